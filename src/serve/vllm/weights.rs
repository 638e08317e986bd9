//! What vLLM's modules load of a decoder: its matrices, joined as the engine joins them, in blocks of PyTorch's allocator.

use crate::dtype::DType;
use crate::ghost::CachingAllocator;
use crate::model::DecoderConfig;
use crate::units::Bytes;

/// Rows that tables of the vocabulary are filled up to (`DEFAULT_VOCAB_PADDING_SIZE`).
const VOCABULARY_PADDING: u64 = 64;

/// "Model loading took": every tensor as the allocator counts it, with what it does not split off, in 16 bits; `None`: the
/// model has tensors of another kind, or more than 64 bits count.
///
/// Queries, keys and values are one matrix, gates and ups another; experts are stacked; cosines and sines of every position
/// are a table in the model's type (`RotaryEmbedding._compute_cos_sin_cache`).
pub(super) fn loaded(decoder: &DecoderConfig) -> Option<Bytes> {
    let mut allocator = CachingAllocator::default();
    let mut bytes = 0_u64;
    let mut add = |dims: &[u64]| -> Option<()> {
        let size = dims.iter().try_fold(DType::BF16.bytes(), |size, dim| size.checked_mul(*dim))?;
        if size > 0 {
            bytes = bytes.checked_add(allocator.malloc(size).ok().map(|block| allocator.size(block))?)?;
        }
        Some(())
    };
    let (width, attention) = (decoder.hidden_size, &decoder.attention);
    let heads = attention.num_heads.checked_mul(attention.head_dim)?;
    let keys = attention.num_kv_heads.checked_mul(attention.head_dim)?;
    let joined = heads.checked_add(keys.checked_mul(2)?)?;
    let rows = decoder.vocab_size.checked_next_multiple_of(VOCABULARY_PADDING)?;
    add(&[rows, width])?;
    add(&[decoder.max_position_embeddings, attention.rotary_dim.unwrap_or(0)])?;
    for layer in 0..decoder.layer_types.len() {
        add(&[joined, width])?;
        if attention.qkv_bias {
            add(&[joined])?;
        }
        add(&[width, heads])?;
        match decoder.moe.as_ref().filter(|moe| moe.sparse_layers.get(layer) == Some(&true)) {
            Some(moe) if moe.shared.is_none() && moe.latent_size.is_none() => {
                add(&[moe.num_experts, width])?;
                add(&[moe.num_experts, moe.intermediate_size.checked_mul(2)?, width])?;
                add(&[moe.num_experts, width, moe.intermediate_size])?;
            }
            Some(_) => return None,
            None => {
                add(&[decoder.mlp.intermediate_size.checked_mul(2)?, width])?;
                add(&[width, decoder.mlp.intermediate_size])?;
            }
        }
        // two norms; those of queries and keys are too small to matter
        add(&[width])?;
        add(&[width])?;
    }
    add(&[width])?;
    if !decoder.head.tied {
        add(&[rows, width])?;
    }
    Some(Bytes(bytes))
}
