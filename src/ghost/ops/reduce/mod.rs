//! Sums and means, with the buffers their kernels need when they reduce across blocks.

mod config;

use std::borrow::Borrow;

use smallvec::smallvec;

use self::config::Reduction;
use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

/// Tensors with more elements are on no device; the pieces they would be reduced in are not worth counting.
const MOST_ELEMENTS: u64 = 1 << 40;

impl Context {
    /// Sums over the dimensions that `to` has not, or has with size one (`sum_to_size`).
    pub(crate) fn sum_to(&self, a: &Tensor, to: &Layout) -> Tensor {
        let out = self.launch(Kernel::Sum, &[a], Layout::contiguous(to.dims()), a.dtype());
        self.reduction_scratch(a, &out);
        // leading dimensions are reduced to one, which a view takes away
        if a.dims().len() > to.dims().len() { self.alias(Kernel::View, &out, *out.layout()) } else { out }
    }

    /// Sums over the dimensions that `kept` has with size one; a view of `dims` of the result.
    pub(crate) fn sum_to_dims(&self, a: &Tensor, kept: &Layout, dims: &[u64]) -> Tensor {
        let out = self.launch(Kernel::Sum, &[a], *kept, a.dtype());
        self.reduction_scratch(a, &out);
        let layout = Layout::contiguous(dims);
        self.alias(Kernel::View, &out, layout)
    }

    /// `a.mean(-1, keepdim=True)`: nothing is saved; backward expands and divides.
    pub fn mean_last(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.mean_along(a.borrow(), -1)
    }

    /// `a.mean(dim, keepdim=True)`
    pub fn mean_along(&self, a: &Tensor, dim: isize) -> Tensor {
        let node = self.record(&[a], &[]);
        let kept = a.layout().narrow(dim, 1);
        let mut out = self.launch(Kernel::Mean, &[a], Layout::contiguous(kept.dims()), a.dtype());
        self.reduction_scratch(a, &out);
        if let Some(node) = node {
            let whole = *a.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let expanded = incoming.grad.layout().expand(whole.dims());
                let layout = Layout::elementwise(&[&expanded]);
                #[expect(clippy::cast_precision_loss, reason = "a tensor's width")]
                let divided = Kernel::MulScalar(1.0 / whole.dim(dim) as f64);
                smallvec![Some(cx.launch(divided, &[incoming.grad], layout, incoming.grad.dtype()))]
            });
        }
        out
    }

    /// `a.sum(dim)`, with the dimension kept as one or taken out; autocast sums in fp32. Backward expands.
    pub fn sum_dim(&self, a: impl Borrow<Tensor>, dim: isize, keep: bool) -> Tensor {
        let dtype = a.borrow().dtype();
        self.sum_dim_as(a, dim, keep, dtype)
    }

    /// As [`Context::sum_dim`] with `dtype=dtype`: the gradient is cast once it is as large as `a`.
    pub fn sum_dim_as(&self, a: impl Borrow<Tensor>, dim: isize, keep: bool, dtype: DType) -> Tensor {
        let a = a.borrow();
        let a = &if self.autocast_dtype().is_some() { self.cast(a, DType::F32) } else { a.clone() };
        let node = self.record(&[a], &[]);
        let kept = Layout::contiguous(a.layout().narrow(dim, 1).dims());
        let mut out = self.launch(Kernel::Sum, &[a], kept, a.dtype().promote(dtype));
        self.reduction_scratch(a, &out);
        if !keep {
            out = self.relaid(out, kept.select(dim));
        }
        if let Some(mut node) = node {
            node.expecting(&[a], a.layout(), out.dtype());
            let whole = *a.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let kept = if keep { *grad.layout() } else { grad.layout().unsqueeze(whole.axis_of(dim)) };
                smallvec![Some(cx.alias(Kernel::Expand, grad, kept.expand(whole.dims())))]
            });
        }
        out
    }

    /// `a.sum()`
    pub fn sum_all(&self, a: impl Borrow<Tensor>) -> Tensor {
        let a = a.borrow();
        let node = self.record(&[a], &[]);
        let mut out = self.launch(Kernel::Sum, &[a], Layout::contiguous(&[]), a.dtype());
        self.reduction_scratch(a, &out);
        if let Some(node) = node {
            let whole = *a.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(cx.alias(Kernel::Expand, incoming.grad, incoming.grad.layout().expand(whole.dims())))]
            });
        }
        out
    }

    /// `a.mean()` outside the tape.
    pub(crate) fn mean_all(&self, a: &Tensor) -> Tensor {
        let out = self.launch(Kernel::Mean, &[a], Layout::contiguous(&[]), a.dtype());
        self.reduction_scratch(a, &out);
        out
    }

    /// `linalg.vector_norm(a)`: saves its input and the norm, which autocast asks for in fp32.
    pub fn vector_norm(&self, a: impl Borrow<Tensor>) -> Tensor {
        let a = a.borrow();
        let dtype = if self.autocast_dtype().is_some() { DType::F32 } else { a.dtype() };
        let node = self.record(&[a], &[Some(a)]);
        let mut out = self.launch(Kernel::Unary("norm"), &[a], Layout::contiguous(&[]), dtype);
        self.reduction_scratch(a, &out);
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (a, norm) = (incoming.saved(0), incoming.saved(1));
                // grad * (a / norm), with zeros where the norm is
                let direction = cx.launch(Kernel::Unary("div"), &[a, norm], *a.layout(), a.dtype());
                let _zero = cx.launch(Kernel::Unary("eq"), &[norm], Layout::contiguous(&[]), DType::Bool);
                // numbers without dimensions promote no type
                smallvec![Some(cx.launch(Kernel::Mul, &[&direction, incoming.grad], *a.layout(), a.dtype()))]
            });
        }
        out
    }

    /// `a.sum()` of booleans, outside the tape: they are summed as int64.
    pub fn cast_sum(&self, a: &Tensor) -> Tensor {
        let out = self.launch(Kernel::Sum, &[a], Layout::contiguous(&[]), DType::I64);
        let whole = self.cast(a, DType::I64);
        self.reduction_scratch(&whole, &out);
        out
    }

    /// `a.any()` of a boolean tensor
    pub(crate) fn any(&self, a: &Tensor) -> Tensor {
        let out = self.launch(Kernel::Unary("any"), &[a], Layout::contiguous(&[]), a.dtype());
        if a.layout().numel() <= MOST_ELEMENTS {
            self.reduce_pieces(&Reduction::new(a.layout(), out.layout(), 1), 1);
        }
        out
    }

    /// What `gpu_reduce_kernel` needs beside its output: partial results where blocks share outputs and, past 32-bit
    /// offsets, a sum in the accumulation type where the output's is narrower.
    pub(crate) fn reduction_scratch(&self, from: &Tensor, to: &Tensor) {
        if from.layout().numel() == 0 || from.layout().numel() > MOST_ELEMENTS {
            return;
        }
        let element = from.dtype().bytes();
        let accumulator = element.max(4);
        let reduction = Reduction::new(from.layout(), to.layout(), element);
        let fits = reduction.fits_32_bits();
        let _sum = (!fits && element < accumulator)
            .then(|| self.scratch("accumulation", to.layout().numel().saturating_mul(accumulator)));
        self.reduce_pieces(&reduction, accumulator);
    }

    fn reduce_pieces(&self, reduction: &Reduction, accumulator: u64) {
        if !reduction.fits_32_bits() {
            reduction.halves().iter().for_each(|half| self.reduce_pieces(half, accumulator));
        } else if let Some([partial, semaphores]) = reduction.scratch(accumulator) {
            let _partial = self.scratch("partial sums", partial);
            let _semaphores = self.scratch("semaphores", semaphores);
        }
    }
}
