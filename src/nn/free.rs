//! Parameters that belong to no linear layer, embedding or norm.

use smallvec::SmallVec;

use super::module::Part;
use crate::ghost::Tensor;

/// Parameters a module holds itself: stacked experts, a convolution's kernel, a state-space layer's decay, a class token.
pub struct FreeParameters {
    /// Its name within its parent.
    pub name: &'static str,
    /// What it is part of.
    pub part: Part,
    /// The parameters, in registration order.
    pub tensors: SmallVec<[Tensor; 2]>,
}
