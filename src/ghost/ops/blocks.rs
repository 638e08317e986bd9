//! Operations on blocks of matrices: triangles, copies, pairs.

use smallvec::smallvec;

use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `a[:, rows, columns] = values`: the indices are saved; backward copies the gradient and picks the values'.
    pub(crate) fn put_triangle(&self, a: Tensor, values: &Tensor, [rows, columns]: &[Tensor; 2]) -> Tensor {
        let node = self.record(&[&a, values], &[Some(rows), Some(columns)]);
        let mut out = self.written_over(Kernel::Copy, &a, &[values]);
        if let Some(node) = node {
            let picked = *values.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let whole = Layout::contiguous(grad.dims());
                let of_a = incoming.needs(0).then(|| cx.launch(Kernel::Copy, &[grad], whole, grad.dtype()));
                let of_values = incoming.needs(1).then(|| {
                    let layout = Layout::contiguous(picked.dims());
                    cx.launch(Kernel::Scratch("index"), &[grad], layout, grad.dtype())
                });
                smallvec![of_a, of_values]
            });
        }
        out
    }

    /// `a.repeat(times, 1, 1)` of one matrix; backward sums the copies.
    pub(crate) fn repeat_first(&self, a: &Tensor, times: u64) -> Tensor {
        let expanded = self.expand(a, &[times, a.dim(1), a.dim(2)]);
        self.copy(&expanded)
    }

    /// `first, second = a`: views without the first dimension; backward stacks the gradients.
    pub(crate) fn unbind_pair(&self, a: &Tensor) -> [Tensor; 2] {
        let node = self.record(&[a], &[]);
        let one = || self.alias(Kernel::Select { dim: 0 }, a, a.layout().select(0));
        let [mut first, mut second] = [one(), one()];
        if let Some(node) = node {
            let whole = *a.layout();
            node.finish(self, &mut [&mut first, &mut second], move |cx, incoming| {
                let dtype = incoming.grad.dtype();
                let zeros = || cx.launch(Kernel::Zeros, &[], Layout::contiguous(whole.select(0).dims()), dtype);
                let parts: Vec<Tensor> = incoming.grads.iter().map(|grad| grad.clone().unwrap_or_else(zeros)).collect();
                let parts: Vec<&Tensor> = parts.iter().collect();
                smallvec![Some(cx.launch(Kernel::Cat { dim: 0 }, &parts, Layout::contiguous(whole.dims()), dtype))]
            });
        }
        [first, second]
    }
}
