//! The profiling run, which finds out what is left for the cache.

use super::request::VllmRequest;
use crate::dtype::DType;
use crate::model::DecoderConfig;
use crate::units::Bytes;

/// Bytes that sampling takes for each logit of each sequence, traced with torch 2.11: logits in the model's type (2) and in
/// fp32 (4), sorted values (4) and their places (8), and the sort's own places and second buffers of both (20).
const SAMPLING: u64 = 2 + 4 + 4 + 8 + 20;

/// A step of `max_num_batched_tokens` tokens, then `max_num_seqs` of them sampled, whose hidden states are still there.
pub(super) fn profile(decoder: &DecoderConfig, request: &VllmRequest) -> Bytes {
    let width = DType::BF16.bytes();
    let of_tokens = |each: u64| request.max_num_batched_tokens.saturating_mul(each).saturating_mul(width);
    let forward = match &decoder.moe {
        // gate and up of a token, and their product
        None => of_tokens(3_u64.saturating_mul(decoder.mlp.intermediate_size)),
        // the two buffers of the experts of a token
        Some(moe) => {
            let inner = moe.intermediate_size;
            let first = decoder.hidden_size.max(inner.saturating_mul(2));
            of_tokens(moe.num_experts_per_tok.saturating_mul(first.saturating_add(inner)))
        }
    };
    let sampling = request.max_num_seqs.saturating_mul(decoder.vocab_size).saturating_mul(SAMPLING);
    Bytes(forward.max(sampling)) + Bytes(of_tokens(decoder.hidden_size))
}
