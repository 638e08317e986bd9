//! Choosing between a tensor and numbers.

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `torch.where(condition, a, number)`: saves the condition; the number is brought to the GPU for a moment.
    pub fn where_else_number(&self, condition: &Tensor, a: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(condition)]);
        let number = |dtype| self.launch(Kernel::Scratch("number"), &[], Layout::contiguous(&[]), dtype);
        let mut out = {
            let _number = number(a.dtype());
            self.launch(
                Kernel::Where,
                &[condition, a],
                Layout::elementwise(&[condition.layout(), a.layout()]),
                a.dtype(),
            )
        };
        if let Some(mut node) = node {
            node.expecting(&[a], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, condition) = (incoming.grad, incoming.saved(0));
                let _zero = cx.launch(Kernel::Scratch("zero"), &[], Layout::contiguous(&[]), grad.dtype());
                let layout = Layout::elementwise(&[condition.layout(), grad.layout()]);
                smallvec![Some(cx.launch(Kernel::Where, &[condition, grad], layout, grad.dtype()))]
            });
        }
        out
    }

    /// `torch.clamp(a, min=-limit, max=limit)` with a limit that is `where(isinf(a).any(), ...)`: saves its input and the
    /// limits.
    pub fn clamp_tensor(&self, a: &Tensor) -> Tensor {
        let scalar = |dtype| self.launch(Kernel::Scratch("limit"), &[], Layout::contiguous(&[]), dtype);
        let infinite = {
            let _magnitude = self.untracked("abs", a);
            self.launch(Kernel::Unary("eq"), &[a], Layout::contiguous(a.dims()), DType::Bool)
        };
        let any = self.any(&infinite);
        drop(infinite);
        let most = scalar(DType::F32);
        drop(any);
        let least = scalar(DType::F32);
        let node = self.record(&[a], &[Some(a), Some(&least), Some(&most)]);
        let mut out = self.launch(Kernel::Unary("clamp"), &[a], Layout::elementwise(&[a.layout()]), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let flags =
                    || cx.launch(Kernel::Unary("eq"), &[], Layout::contiguous(incoming.grad.dims()), DType::Bool);
                let _inside = (flags(), flags(), flags());
                let layout = Layout::elementwise(&[incoming.grad.layout()]);
                smallvec![Some(cx.launch(Kernel::Where, &[incoming.grad], layout, incoming.grad.dtype()))]
            });
        }
        out
    }
}
