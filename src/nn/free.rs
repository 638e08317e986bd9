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

/// Whether a parameter is one that its class registers with `requires_grad=False` (ERNIE 4.5's and AFMoE's correction of
/// scores).
pub fn is_never_trained(name: &str) -> bool {
    matches!(name, "e_score_correction_bias" | "expert_bias")
}
