//! Looking up rows, and choosing and ordering values (`Indexing.cu`, `Sort.cu`, `TensorTopK.cu`, torch 2.11).

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

/// Up to this many values are sorted in place by one kernel (`should_use_small_sort`).
const SMALL_SORT: u64 = 4096;

impl Context {
    /// `a[index]` along the first dimension: a copy; saves the index. Backward adds into a zero tensor of the whole size.
    pub fn index_rows(&self, a: impl Borrow<Tensor>, index: impl Borrow<Tensor>) -> Tensor {
        let (a, index) = (a.borrow(), index.borrow());
        let node = self.record(&[a], &[Some(index)]);
        let whole = *a.layout();
        let layout = Layout::contiguous(whole.narrow(0, index.layout().numel()).dims());
        let mut out = self.launch(Kernel::Embedding, &[index, a], layout, a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let (grad, index) = (incoming.grad, incoming.saved(0));
                let inputs = [grad, index];
                let out = cx.launch(Kernel::EmbeddingBackward, &inputs, Layout::contiguous(whole.dims()), grad.dtype());
                cx.index_put_scratch(index.layout().numel(), whole.dim(0));
                smallvec![Some(out)]
            });
        }
        out
    }

    /// What adding into rows at `count` indices needs: indices wrapped, scaled and sorted (`index_put_with_sort_kernel`).
    pub(super) fn index_put_scratch(&self, count: u64, rows: u64) {
        let indices = || self.scratch("indices", count * DType::I64.bytes());
        let wrapped = indices();
        let _linear = indices();
        drop(wrapped);
        let _sorted = (indices(), indices(), indices());
        // keys are compared by as many bits as the largest has
        drop(self.sort_bits_scratch(count, u64::from(u64::BITS - rows.saturating_sub(1).max(1).leading_zeros())));
    }

    /// `torch.sort` of a vector of indices, outside the tape: values and their places.
    pub fn sort_indices(&self, a: &Tensor) -> (Tensor, Tensor) {
        let make = || self.launch(Kernel::Unary("sort"), &[a], Layout::contiguous(a.dims()), DType::I64);
        let (values, places) = (make(), make());
        let count = a.layout().numel();
        let _range = self.scratch("indices", count * DType::I64.bytes());
        if count > SMALL_SORT {
            drop(self.sort_scratch(count));
        }
        (values, places)
    }

    /// `a.topk(k, dim=-1)`: values and their places; the places are saved. Backward scatters into zeros.
    pub fn top_k(&self, a: &Tensor, k: u64) -> (Tensor, Tensor) {
        let node = self.record(&[a], &[]);
        let layout = Layout::contiguous(a.layout().narrow(-1, k).dims());
        let mut values = self.launch(Kernel::Unary("topk"), &[a], layout, a.dtype());
        let places = self.launch(Kernel::Unary("topk"), &[a], layout, DType::I64);
        if let Some(mut node) = node {
            node.save_output(self, &places);
            let whole = *a.layout();
            node.finish(self, &mut [&mut values], move |cx, incoming| {
                smallvec![Some(cx.scattered(incoming.grad, whole))]
            });
        }
        (values, places)
    }

    /// `a.max(dim=-1, keepdim=True).values`: its places are saved. Backward scatters into zeros.
    pub fn max_last(&self, a: &Tensor) -> Tensor {
        self.top_k(a, 1).0
    }

    /// `a.gather(-1, places)`: saves the places.
    pub fn gather(&self, a: &Tensor, places: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(places)]);
        let layout = Layout::contiguous(places.dims());
        let mut out = self.launch(Kernel::Unary("gather"), &[a, places], layout, a.dtype());
        if let Some(node) = node {
            let whole = *a.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| smallvec![Some(cx.scattered(incoming.grad, whole))]);
        }
        out
    }

    /// A gradient scattered into zeros.
    fn scattered(&self, grad: &Tensor, whole: Layout) -> Tensor {
        self.launch(Kernel::Zeros, &[grad], Layout::contiguous(whole.dims()), grad.dtype())
    }

    /// `a.masked_fill(mask, number)`: saves the mask.
    pub fn masked_fill(&self, a: &Tensor, mask: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(mask)]);
        let mut out = self.launch(Kernel::Where, &[a, mask], Layout::elementwise(&[a.layout()]), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], masked_fill_back);
        }
        out
    }

    /// `a.masked_fill_(mask, number)`
    pub fn masked_fill_in_place(&self, a: Tensor, mask: &Tensor) -> Tensor {
        let node = self.record(&[&a], &[Some(mask)]);
        let mut out = self.written_over(Kernel::Where, &a, &[mask]);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], masked_fill_back);
        }
        out
    }
}

fn masked_fill_back(cx: &Context, incoming: &crate::ghost::tape::Incoming<'_>) -> crate::ghost::tape::Grads {
    let (grad, mask) = (incoming.grad, incoming.saved(0));
    smallvec![Some(cx.launch(Kernel::Where, &[grad, mask], Layout::elementwise(&[grad.layout()]), grad.dtype()))]
}
