//! Embedding look-up (`Embedding.cu` and `EmbeddingBackwardKernel.cu`, torch 2.11).

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

/// Up to this many ids one kernel adds gradients up without sorting.
const UNSORTED_IDS: u64 = 3072;
/// Rows of the gradient that one thread sums (`NROWS_PER_THREAD`).
const ROWS_PER_THREAD: u64 = 10;

impl Context {
    /// `embedding(ids, weight)`: saves the ids; backward makes a dense gradient of the whole table.
    pub fn embedding(&self, ids: impl Borrow<Tensor>, weight: &Tensor) -> Tensor {
        let ids = ids.borrow();
        let node = self.record(&[weight], &[Some(ids)]);
        let mut dims = ids.dims().to_vec();
        dims.push(weight.dim(1));
        let mut out = {
            // ids that only broadcast are written out, here and in backward
            let ids = &self.no_grad(|| self.contiguous(ids));
            self.launch(Kernel::Embedding, &[ids, weight], Layout::contiguous(&dims), weight.dtype())
        };
        if let Some(node) = node {
            let table = *weight.layout();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let ids = incoming.saved(0);
                smallvec![Some(cx.embedding_backward(incoming.grad, ids, table))]
            });
        }
        out
    }

    fn embedding_backward(&self, grad: &Tensor, ids: &Tensor, table: Layout) -> Tensor {
        let (grad, ids) = (self.contiguous(grad), &self.contiguous(ids));
        let make =
            || self.launch(Kernel::EmbeddingBackward, &[&grad, ids], Layout::contiguous(table.dims()), grad.dtype());
        let count = ids.layout().numel();
        if count <= UNSORTED_IDS {
            return make();
        }
        let indices = |n: u64| self.scratch("indices", n * DType::I64.bytes());
        let _sorted = (indices(count), indices(count));
        {
            let _range = indices(count);
            drop(self.sort_scratch(count));
        }
        let out = make();
        let segments = count.min(table.dim(0));
        let partial_segments = count / ROWS_PER_THREAD + segments;
        let _offsets = (indices(count), indices(1));
        {
            let _keys = indices(count);
            drop(self.unique_scratch(count));
        }
        let _partials = (indices(segments), indices(segments));
        drop(self.scan_scratch(segments, DType::I64.bytes()));
        let _partial_offsets = (indices(1), indices(partial_segments));
        let sums = partial_segments * table.dim(1) * grad.dtype().bytes().max(DType::F32.bytes());
        drop(self.scratch("partial sums", sums));
        out
    }
}
