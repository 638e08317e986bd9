//! The profiling run, which finds out what is left for the cache.

use super::request::VllmRequest;
use crate::dtype::DType;
use crate::model::DecoderConfig;
use crate::units::Bytes;

/// Bytes that sampling by a sort takes for each logit of each sequence, traced with torch 2.11: logits in the model's type
/// (2) and in fp32 (4), sorted values (4) and their places (8), and the sort's own places and second buffers of both (20).
const SORTED: u64 = 2 + 4 + 4 + 8 + 20;

/// The same without a sort: logits in the model's type and in fp32, their softmax, and the exponential noise it is divided by
/// (`TopKTopPSampler.forward_native`, `random_sample`, vllm/v1/sample/ops/topk_topp_sampler.py); FlashInfer's masked logits
/// and softmax are as much.
const UNSORTED: u64 = 2 + 4 + 4 + 4;

/// Sequences below which later versions sort too (`apply_top_k_top_p`).
const FEW: u64 = 8;

/// Rows of fp32 logits that the Triton kernel keeps: one for each multiprocessor at most
/// (`apply_top_k_top_p_triton`, vllm/v1/sample/ops/topk_topp_triton.py); those of an H100.
const MULTIPROCESSORS: u64 = 132;

/// A step of `max_num_batched_tokens` tokens, then `max_num_seqs` of them sampled, whose hidden states are still there.
pub(super) fn profile(decoder: &DecoderConfig, request: &VllmRequest) -> Bytes {
    let width = DType::BF16.bytes();
    let tp = request.parallel.tensor_parallel_size.max(1);
    let of_tokens = |each: u64| request.max_num_batched_tokens.saturating_mul(each).saturating_mul(width);
    // gate and up of a token, and their product
    let dense = of_tokens(3_u64.saturating_mul(decoder.mlp.intermediate_size.div_ceil(tp)));
    let forward = decoder.moe.as_ref().map_or(dense, |moe| {
        // the two buffers of the experts of a token
        let inner = moe.intermediate_size.div_ceil(request.parallel.of_an_expert().max(1));
        let first = decoder.hidden_size.max(inner.saturating_mul(2));
        dense.max(of_tokens(moe.num_experts_per_tok.saturating_mul(first.saturating_add(inner))))
    });
    Bytes(forward.max(sampling(decoder, request))) + Bytes(of_tokens(decoder.hidden_size))
}

/// Every GPU has the logits of all of the vocabulary, gathered from those that share the head.
fn sampling(decoder: &DecoderConfig, request: &VllmRequest) -> u64 {
    if request.pooling {
        return 0;
    }
    let logits = |rows: u64, each: u64| rows.saturating_mul(decoder.vocab_size).saturating_mul(each);
    if request.version.sorts() || request.max_num_seqs < FEW {
        return logits(request.max_num_seqs, SORTED);
    }
    let kept = logits(request.max_num_seqs.min(MULTIPROCESSORS), DType::F32.bytes());
    logits(request.max_num_seqs, UNSORTED).saturating_add(kept)
}
