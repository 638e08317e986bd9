//! Looking up rows and elements, and choosing and ordering values (`Indexing.cu`, `Sort.cu`, `TensorTopK.cu`, torch 2.11).

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tape::{Grads, Incoming};
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

    /// Zeros of `rows` rows with those of `a` put in their places: saves the index. Backward takes them out again.
    pub fn put_rows(&self, a: &Tensor, index: &Tensor, rows: u64) -> Tensor {
        let node = self.record(&[a], &[Some(index)]);
        let own = *a.layout();
        let mut dims = own.dims().to_vec();
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        let mut out = self.launch(Kernel::Zeros, &[a], Layout::contiguous(&dims), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let inputs = [incoming.saved(0), incoming.grad];
                let layout = Layout::contiguous(own.dims());
                smallvec![Some(cx.launch(Kernel::Embedding, &inputs, layout, incoming.grad.dtype()))]
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

    /// `a.gather(-1, places)`: saves the places, and `a` itself for its size (`gather_backward`, `derivatives.yaml`).
    pub fn gather(&self, a: &Tensor, places: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(a), Some(places)]);
        let layout = Layout::contiguous(places.dims());
        let mut out = self.launch(Kernel::Unary("gather"), &[a, places], layout, a.dtype());
        if let Some(node) = node {
            let whole = *a.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| smallvec![Some(cx.scattered(incoming.grad, whole))]);
        }
        out
    }

    /// `torch.full_like(whole, number).scatter_(-1, places, values)`: saves the places. Backward gathers.
    pub fn scattered_into(&self, values: &Tensor, places: &Tensor, whole: Layout) -> Tensor {
        let node = self.record(&[values], &[Some(places)]);
        let layout = Layout::contiguous(whole.dims());
        let mut out = self.launch(Kernel::Unary("scatter"), &[values, places], layout, values.dtype());
        if let Some(node) = node {
            let layout = Layout::contiguous(places.dims());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let inputs = [incoming.grad, incoming.saved(0)];
                smallvec![Some(cx.launch(Kernel::Unary("gather"), &inputs, layout, incoming.grad.dtype()))]
            });
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
        let mut out = self.filled(a, mask);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], masked_fill_back);
        }
        out
    }

    /// A contiguous copy, filled (`masked_fill`, `Indexing.cpp`).
    fn filled(&self, a: &Tensor, mask: &Tensor) -> Tensor {
        self.launch(Kernel::Where, &[a, mask], Layout::contiguous(a.dims()), a.dtype())
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

    /// `a.masked_scatter(mask, source)`, where `a` takes no gradient: a copy with the elements of `source` in their places.
    pub fn masked_scatter(&self, a: &Tensor, mask: &Tensor, source: &Tensor) -> Tensor {
        let node = self.record(&[source], &[Some(mask)]);
        let mut out = self.launch(Kernel::Scratch("masked_scatter"), &[a], Layout::contiguous(a.dims()), a.dtype());
        // running counts of the mask's elements
        drop(self.scratch("counts", a.layout().numel().saturating_mul(DType::I64.bytes())));
        if let Some(node) = node {
            let layout = Layout::contiguous(source.dims());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(cx.launch(
                    Kernel::Scratch("masked_select"),
                    &[incoming.grad],
                    layout,
                    incoming.grad.dtype()
                ))]
            });
        }
        out
    }

    /// `a[rows, columns]` with as many rows as columns, which are saved: the first two dimensions become one. Backward adds
    /// into zeros of the whole size, for which indices are made linear and sorted.
    pub fn index_pairs(&self, a: impl Borrow<Tensor>, rows: &Tensor, columns: &Tensor) -> Tensor {
        let a = a.borrow();
        let whole = *a.layout();
        let count = rows.layout().numel();
        let node = self.record(&[a], &[Some(rows), Some(columns)]);
        let mut dims = vec![count];
        dims.extend_from_slice(&whole.dims()[2..]);
        let mut out = self.launch(Kernel::Scratch("index"), &[a], Layout::contiguous(&dims), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let out = cx.launch(Kernel::Zeros, &[grad], Layout::contiguous(whole.dims()), grad.dtype());
                let indices = || cx.scratch("index", count.saturating_mul(DType::I64.bytes()));
                let wrapped = (indices(), indices());
                let scaled = indices();
                let linear = indices();
                drop((scaled, wrapped));
                let _sorted = (indices(), indices());
                {
                    let _range = indices();
                    drop(cx.sort_scratch(count));
                }
                drop(linear);
                smallvec![Some(out)]
            });
        }
        out
    }
}

fn masked_fill_back(cx: &Context, incoming: &Incoming<'_>) -> Grads {
    smallvec![Some(cx.filled(incoming.grad, incoming.saved(0)))]
}
