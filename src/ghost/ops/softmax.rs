//! Softmax.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `torch.logsumexp(a, dim=-1)`: saves its input and its output; backward is `grad * (a - out).exp()`.
    pub fn logsumexp(&self, a: &Tensor) -> Tensor {
        let a = match self.autocast_dtype() {
            Some(_) => &self.cast(a, DType::F32),
            None => a,
        };
        let node = self.record(&[a], &[Some(a)]);
        let kept = a.layout().narrow(-1, 1);
        let mut out = self.no_grad(|| {
            let row = |dtype| self.launch(Kernel::Sum, &[a], Layout::contiguous(kept.select(-1).dims()), dtype);
            // where there are any infinite ones, they are made 0 in place
            let maxima = row(a.dtype());
            drop((row(a.dtype()), row(DType::Bool)));
            let _exponentials = self.launch(Kernel::Sub, &[a, &maxima], Layout::elementwise(&[a.layout()]), a.dtype());
            row(a.dtype())
        });
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, a) = (incoming.grad, incoming.saved(0));
                let like = |kernel| cx.launch(kernel, &[a], Layout::elementwise(&[a.layout()]), a.dtype());
                let exponentials = {
                    let difference = like(Kernel::Sub);
                    let exponentials = like(Kernel::Unary("exp"));
                    drop(difference);
                    exponentials
                };
                let out = cx.launch(
                    Kernel::Mul,
                    &[grad, &exponentials],
                    Layout::elementwise(&[exponentials.layout()]),
                    grad.dtype(),
                );
                smallvec![Some(out)]
            });
        }
        out
    }

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
