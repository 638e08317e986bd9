//! Falcon, which is three architectures in one class.

use super::base::{Class, HeadDim, IntermediateSize, KvHeads, PadToken, read};
use super::fields::Fields;
use super::layer_norm::{plain_with_bias, set_bias};
use super::limits;
use crate::model::{Activation, Block, DecoderConfig, ModelError, Projections};

pub(super) fn falcon(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let new_decoder = fields.boolean("new_decoder_architecture", false)?;
    let multi_query = fields.boolean("multi_query", true)?;
    let class = Class {
        tie_word_embeddings: true,
        pad_token_id: PadToken::Unused,
        head_dim: HeadDim::Derived,
        // Only the new decoder reads num_kv_heads.
        kv_heads: if new_decoder { KvHeads::Default(None) } else { KvHeads::Same },
        intermediate_size: IntermediateSize::OrFourfold,
        activation: ("activation", Activation::Gelu),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    set_bias(&mut model, fields.boolean("bias", false)?);
    if !new_decoder && multi_query {
        model.attention.num_kv_heads = 1;
    }
    model.attention.projections = if new_decoder { Projections::FusedGroups } else { Projections::Fused };
    model.attention.alibi = fields.boolean("alibi", false)?;
    if model.attention.alibi {
        model.attention.rotary_dim = None;
    } else {
        // Without ALiBi the class never applies its attention_dropout.
        model.attention.dropout = 0.0;
    }
    model.block = block(fields, new_decoder)?;
    model.residual_dropout = fields.dropout("hidden_dropout", 0.0)?;
    Ok(model)
}

fn block(fields: Fields<'_>, new_decoder: bool) -> Result<Block, ModelError> {
    let norms = fields.integer("num_ln_in_parallel_attn", limits::NUM_LN_IN_PARALLEL_ATTN)?.unwrap_or(2);
    let parallel = fields.boolean("parallel_attn", true)?;
    Ok(match (new_decoder, parallel) {
        (true, _) if norms == 2 => Block::ParallelTwoNorms,
        (true, _) | (false, true) => Block::ParallelSharedNorm,
        (false, false) => Block::PreNorm,
    })
}
