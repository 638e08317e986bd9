//! How a forward pass is run.

use super::cache::KvCache;
use crate::ghost::Tensor;
use crate::job::AttnImplementation;
use crate::nn::VirtualTokens;

/// How a forward pass is run.
#[derive(Clone, Copy, Default)]
pub struct Forward<'a> {
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// Experts are run by `batched_mm`, not `grouped_mm`.
    pub batched_experts: bool,
    /// `gradient_checkpointing`
    pub checkpointing: bool,
    /// The embeddings' output is made to require gradients (`enable_input_require_grads`).
    pub input_require_grads: bool,
    /// A padding mask, `[batch, length]`.
    pub attention_mask: Option<&'a Tensor>,
    /// The cache keys and values go to.
    pub cache: Option<&'a KvCache>,
    /// What is trained in front of the input.
    pub virtual_tokens: Option<&'a VirtualTokens>,
}
