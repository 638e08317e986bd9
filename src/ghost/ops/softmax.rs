//! Softmax.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `softmax(a, dim=-1, dtype=dtype)`: saves its output; for fp16 to fp32 the cast is part of the
    /// kernel, forth and back.
    pub fn softmax(&self, a: impl Borrow<Tensor>, dtype: DType) -> Tensor {
        // only fp16 has a kernel that casts on the way (`SoftMax.cpp`)
        let fused = a.borrow().dtype() == DType::F16 && dtype == DType::F32;
        let a = if fused { a.borrow().clone() } else { self.cast(a.borrow(), dtype) };
        let a = &a;
        let node = self.record(&[a], &[]);
        let layout = Layout::contiguous(a.dims());
        let mut out = self.launch(Kernel::Softmax, &[a], layout, dtype);
        if let Some(mut node) = node {
            node.save_output(self, &out);
            let back = a.dtype();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let (grad, output) = (incoming.grad, incoming.saved(0));
                let layout = Layout::contiguous(grad.dims());
                let result = cx.launch(Kernel::SoftmaxBackward, &[grad, output], layout, back);
                // grad * output, which the kernel then sums (`SoftMax.cu`)
                drop(cx.binary(Kernel::Mul, grad, output));
                smallvec![Some(result)]
            });
        }
        out
    }
}
