//! Embedding look-up.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `embedding(ids, weight)`: saves the ids; backward makes a dense gradient of the whole table.
    pub fn embedding(&self, ids: impl Borrow<Tensor>, weight: &Tensor) -> Tensor {
        let ids = ids.borrow();
        let node = self.record(&[weight], &[Some(ids)]);
        let mut dims = ids.dims().to_vec();
        dims.push(weight.dim(1));
        let mut out = self.launch(Kernel::Embedding, &[ids, weight], Layout::contiguous(&dims), weight.dtype());
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
        let _sorting =
            (ids.layout().numel() > 3072).then(|| self.scratch("sort", ids.layout().numel() * DType::I64.bytes()));
        self.launch(Kernel::EmbeddingBackward, &[grad, ids], Layout::contiguous(table.dims()), grad.dtype())
    }
}
