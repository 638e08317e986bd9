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
    /// Layers from one that is checkpointed to the next; 0 and 1: all are.
    pub checkpoint_every: usize,
    /// The embeddings' output is made to require gradients (`enable_input_require_grads`).
    pub input_require_grads: bool,
    /// Sequences are packed into one row: no cache is filled.
    pub packed: bool,
    /// A padding mask, `[batch, length]`.
    pub attention_mask: Option<&'a Tensor>,
    /// Position ids, `[batch, length]`, where they are given.
    pub positions: Option<&'a Tensor>,
    /// The cache keys and values go to.
    pub cache: Option<&'a KvCache>,
    /// What is trained in front of the input.
    pub virtual_tokens: Option<&'a VirtualTokens>,
}
