//! Softmax.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `softmax(a, dim=-1, dtype=dtype)`: saves its output; the cast is part of the kernel, forth and back.
    pub fn softmax(&self, a: impl Borrow<Tensor>, dtype: DType) -> Tensor {
        let a = a.borrow();
        let node = self.record(&[a], &[]);
        let layout = Layout::contiguous(a.dims());
        let mut out = self.launch(Kernel::Softmax, &[a], layout, dtype);
        if let Some(mut node) = node {
            node.save_output(self, &out);
            let back = a.dtype();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(cx.launch(
                    Kernel::SoftmaxBackward,
                    &[incoming.grad, incoming.saved(0)],
                    Layout::contiguous(incoming.grad.dims()),
                    back
                ))]
            });
        }
        out
    }
}
