//! Liger's Triton kernels (`liger_kernel/ops`, liger-kernel 0.8.5): what they save, and what they write over.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::{Context, MULTIPROCESSORS};
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::ledger::Category;
use crate::ghost::tensor::Tensor;

const FUSED: Kernel = Kernel::Scratch("fused");

impl Context {
    /// `LigerRMSNorm` (`rms_norm.py`): saves its input, the weight and a root for each row; its gradient is written over the
    /// incoming one, and the weight's is summed from a row for each multiprocessor.
    pub fn fused_rms_norm(&self, x: impl Borrow<Tensor>, weight: &Tensor) -> Tensor {
        let x = &self.contiguous(x.borrow());
        let node = self.record(&[x, weight], &[]);
        let columns = x.dim(-1);
        let rows = x.layout().numel() / columns.max(1);
        let mut out = self.launch(FUSED, &[x], Layout::contiguous(x.dims()), x.dtype());
        let rstd = self.launch(FUSED, &[x], Layout::contiguous(&[rows]), DType::F32);
        if let Some(mut node) = node {
            for saved in [x, weight, &rstd] {
                node.save_output(self, saved);
            }
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = cx.contiguous(incoming.grad);
                let weight = incoming.saved(1);
                let partial = incoming
                    .needs(1)
                    .then(|| cx.launch(FUSED, &[], Layout::contiguous(&[MULTIPROCESSORS, columns]), DType::F32));
                let of_x = cx.alias(Kernel::View, &grad, *grad.layout());
                let of_weight = partial.map(|partial| {
                    let sum = cx.sum_to(&partial, weight.layout());
                    cx.cast(sum, weight.dtype())
                });
                smallvec![Some(of_x), of_weight]
            });
        }
        out
    }

    /// `LigerSiLUMulFunction` (`swiglu.py`): saves both inputs, over which their gradients are written.
    pub fn fused_silu_mul(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (a, b) = (&self.contiguous(a.borrow()), &self.contiguous(b.borrow()));
        let node = self.record(&[a, b], &[]);
        let mut out = self.launch(FUSED, &[a, b], Layout::contiguous(a.dims()), a.dtype());
        if let Some(mut node) = node {
            node.save_output(self, a);
            node.save_output(self, b);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let _grad = cx.contiguous(incoming.grad);
                let over = |i: usize| cx.alias(Kernel::View, incoming.saved(i), *incoming.saved(i).layout());
                smallvec![Some(over(0)), Some(over(1))]
            });
        }
        out
    }

    /// `LigerRopeFunction` (`rope.py`): turns queries and keys, `[batch, heads, length, dim]`, where they are; saves cosines
    /// and sines.
    pub fn fused_rope(&self, query: &Tensor, key: &Tensor, cos: &Tensor, sin: &Tensor) -> (Tensor, Tensor) {
        let node = self.record(&[query, key], &[]);
        let turn = |cx: &Self, x: &Tensor| {
            let physical = cx.alias(Kernel::Transpose(1, 2), x, x.layout().transpose(1, 2));
            let physical = cx.no_grad(|| cx.contiguous(physical));
            cx.alias(Kernel::Transpose(1, 2), &physical, physical.layout().transpose(1, 2))
        };
        let (mut turned_query, mut turned_key) = (turn(self, query), turn(self, key));
        if let Some(mut node) = node {
            node.save_output(self, cos);
            node.save_output(self, sin);
            node.finish(self, &mut [&mut turned_query, &mut turned_key], move |cx, incoming| {
                incoming.grads.iter().map(|grad| grad.as_ref().map(|grad| turn(cx, grad))).collect()
            });
        }
        (turned_query, turned_key)
    }

    /// `LigerFusedLinearCrossEntropyFunction` (`fused_linear_cross_entropy.py`) of `hidden`, `[rows, width]`, and the head's
    /// weight, `[vocabulary, width]`: the logits of as many rows at a time as take the room of `hidden`, and the gradients
    /// already in forward.
    pub fn fused_linear_cross_entropy(&self, hidden: &Tensor, weight: &Tensor) -> Tensor {
        let node = self.record(&[hidden, weight], &[]);
        let (rows, width, vocabulary) = (hidden.dim(0), hidden.dim(1), weight.dim(0));
        let [zeros_like, temporary] = [Kernel::Zeros, FUSED]
            .map(|kernel| move |layout: Layout, dtype: DType| self.launch(kernel.clone(), &[], layout, dtype));
        let chunk = chunk_size(rows, width, vocabulary);
        let grad_hidden = zeros_like(Layout::contiguous(&[rows, width]), hidden.dtype());
        let wanted = node.is_some();
        let grad_weight = (wanted && weight.requires_grad()).then(|| zeros_like(*weight.layout(), weight.dtype()));
        let losses = zeros_like(Layout::contiguous(&[rows]), DType::F32);
        let mask = temporary(Layout::contiguous(&[rows]), DType::Bool);
        drop(self.cast_sum(&mask));
        let computes_in = self.product_dtype(hidden.dtype());
        // `_can_use_mm_out`: products are written where they belong
        let in_place = hidden.dtype() == weight.dtype() && computes_in == hidden.dtype();
        let logits = |rows: u64| temporary(Layout::contiguous(&[rows, vocabulary]), computes_in);
        let storage = in_place.then(|| logits(chunk));
        let mut start = 0;
        while start < rows {
            let here = chunk.min(rows - start);
            start += here;
            let cast = |of: &Tensor, dims: &[u64]| {
                (of.dtype() != computes_in).then(|| temporary(Layout::contiguous(dims), computes_in))
            };
            let logits = match &storage {
                Some(storage) => storage.clone(),
                None => {
                    let _operands = (cast(weight, weight.dims()), cast(hidden, &[here, width]));
                    logits(here)
                }
            };
            self.touch_cublas();
            if !wanted {
                continue;
            }
            if !in_place {
                // the weight itself, not its transpose: autocast keeps the cast of a trainable one
                let _weight = self.no_grad(|| self.autocast_to(weight, computes_in));
                drop(temporary(Layout::contiguous(&[here, width]), computes_in));
            }
            if let Some(grad_weight) = &grad_weight {
                let half = computes_in != DType::F32;
                if half {
                    drop(cast(hidden, &[here, width]));
                } else {
                    drop(temporary(*grad_weight.layout(), DType::F32));
                }
            }
            drop(logits);
        }
        drop(storage);
        let mut loss = self.launch(FUSED, &[], Layout::contiguous(&[]), DType::F32);
        self.reduction_scratch(&losses, &loss);
        drop((mask, losses));
        if let Some(mut node) = node {
            node.save_output(self, &grad_hidden);
            if let Some(grad_weight) = &grad_weight {
                node.save_output(self, grad_weight);
            }
            drop((grad_hidden, grad_weight));
            node.finish(self, &mut [&mut loss], |cx, incoming| {
                cx.is_one(incoming.grad);
                let of_weight = incoming.needs(1).then(|| incoming.saved(1).clone());
                smallvec![Some(incoming.saved(0).clone()), of_weight]
            });
        }
        loss
    }

    /// `torch.equal(a, torch.tensor(1.0))`
    fn is_one(&self, a: &Tensor) {
        self.within(Category::Temporary, || {
            let scalar = |dtype| self.launch(FUSED, &[], Layout::contiguous(&[]), dtype);
            let _one = scalar(a.dtype());
            let equal = scalar(DType::Bool);
            let _all = scalar(DType::Bool);
            drop(equal);
        });
    }
}

/// Rows whose logits are made at once.
fn chunk_size(rows: u64, width: u64, vocabulary: u64) -> u64 {
    let factor = vocabulary.div_ceil(width.max(1)).max(1);
    rows.div_ceil(factor).next_power_of_two().min(rows)
}
