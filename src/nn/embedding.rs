//! Embedding tables.

use crate::ghost::{Context, Tensor};

/// `nn.Embedding`
pub struct Embedding {
    /// Its name within its parent.
    pub name: &'static str,
    /// `[rows, width]`
    pub weight: Tensor,
}

impl Embedding {
    /// Looks `ids` up.
    pub fn forward(&self, cx: &Context, ids: &Tensor) -> Tensor {
        cx.embedding(ids, &self.weight)
    }
}
