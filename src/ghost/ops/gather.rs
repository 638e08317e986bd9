//! Picking rows by index, as `a[rows, columns]` does (`Indexing.cu`, torch 2.11).

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
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
    pub fn gather(&self, a: impl Borrow<Tensor>, rows: &Tensor, columns: &Tensor) -> Tensor {
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
