//! Choosing between tensors element by element (`derivatives.yaml`, torch 2.11).

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `a > number` and its kin, outside the tape: a byte an element.
    pub fn compare(&self, a: &Tensor) -> Tensor {
        self.launch(Kernel::Unary("compare"), &[a], Layout::elementwise(&[a.layout()]), DType::Bool)
    }

    /// `torch.where(condition, a, b)`: saves the condition; each gradient is the incoming one with zeros in the other's
    /// places.
    pub fn choose(&self, condition: &Tensor, a: &Tensor, b: &Tensor) -> Tensor {
        let node = self.record(&[a, b], &[Some(condition)]);
        let layout = Layout::elementwise(&[condition.layout(), a.layout(), b.layout()]);
        let mut out = self.launch(Kernel::Where, &[condition, a, b], layout, a.dtype().promote(b.dtype()));
        if let Some(mut node) = node {
            node.expecting(&[a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let part = |i| incoming.needs(i).then(|| cx.or_zero(incoming.saved(0), incoming.grad));
                let first = part(0);
                smallvec![first, part(1)]
            });
        }
        out
    }

    /// `torch.where(condition, a, number)` with the number made into a tensor.
    pub fn choose_or_number(&self, condition: &Tensor, a: &Tensor, number: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(condition)]);
        let layout = Layout::elementwise(&[condition.layout(), a.layout()]);
        let mut out = self.launch(Kernel::Where, &[condition, a, number], layout, a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| {
                smallvec![Some(cx.or_zero(incoming.saved(0), incoming.grad))]
            });
        }
        out
    }

    /// `where(condition, grad, 0)`, or the other way round: zero is a tensor too.
    fn or_zero(&self, condition: &Tensor, grad: &Tensor) -> Tensor {
        let _zero = self.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), grad.dtype());
        let layout = Layout::elementwise(&[condition.layout(), grad.layout()]);
        self.launch(Kernel::Where, &[condition, grad], layout, grad.dtype())
    }

    /// `torch.minimum(a, bound)` or `maximum`, where `bound` is one number in a tensor without gradient: saves both;
    /// backward is `where(a == bound, grad / 2, grad).masked_fill_(a > bound, 0)`.
    pub fn minimum(&self, a: &Tensor, bound: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(a), Some(bound)]);
        let mut out = self.launch(Kernel::Unary("minimum"), &[a, bound], Layout::elementwise(&[a.layout()]), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, a) = (incoming.grad, incoming.saved(0));
                let chosen = {
                    let equal = cx.compare(a);
                    let half = cx.no_grad(|| cx.mul_scalar(grad, 0.5));
                    let layout = Layout::elementwise(&[equal.layout(), grad.layout()]);
                    cx.launch(Kernel::Where, &[&equal, &half, grad], layout, grad.dtype())
                };
                drop(cx.compare(a));
                smallvec![Some(chosen)]
            });
        }
        out
    }

    /// `expm1(a)`: saves its output; backward is `grad * (out + 1)`.
    pub fn expm1(&self, a: impl Borrow<Tensor>) -> Tensor {
        let a = a.borrow();
        let a = match self.autocast_dtype() {
            Some(_) => &self.cast(a, DType::F32),
            None => a,
        };
        let node = self.record(&[a], &[]);
        let mut out = self.launch(Kernel::Unary("expm1"), &[a], Layout::elementwise(&[a.layout()]), a.dtype());
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let one_more = cx.no_grad(|| cx.add_scalar(incoming.saved(0), 1.0));
                smallvec![Some(cx.binary(Kernel::Mul, incoming.grad, &one_more))]
            });
        }
        out
    }
}
