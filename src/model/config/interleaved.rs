//! Families whose rotary embedding turns neighbouring dimensions: Helium, GLM, Cohere and ERNIE 4.5.

use super::base::{Class, HeadDim, KvHeads, PadToken, read, rotary_dim};
use super::fields::Fields;
use super::layer_norm::set_bias;
use super::llama::set_attention_bias;
use crate::model::{Block, DecoderConfig, MlpLayout, ModelError, Norm, QkNorm};

pub(super) fn helium(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 4096,
        pad_token_id: PadToken::Default(Some(3)),
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(20)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("attention_bias", false)?;
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    model.norm = Norm::RmsWeightInFp32;
    in_pairs(model)
}

pub(super) fn glm(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 131_072,
        pad_token_id: PadToken::Default(Some(151_329)),
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(2)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("attention_bias", true)?;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.5)?));
    model.mlp.layout = MlpLayout::GatedFused;
    in_pairs(model)
}

pub(super) fn glm4(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = glm(name, fields)?;
    model.block = Block::Sandwich;
    Ok(model)
}

pub(super) fn cohere(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(0)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.norm = Norm::CohereLayer;
    model.block = Block::ParallelSharedNorm;
    model.head.scaled = true;
    if fields.boolean("use_qk_norm", false)? {
        model.attention.qk_norm = QkNorm::EachHeadOwnWeight;
    }
    Ok(model)
}

pub(super) fn ernie4_5(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 131_072,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(0)),
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(2)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_bias(&mut model, fields.boolean("use_bias", false)?);
    in_pairs(model)
}

/// Refuses a head of which an odd number of dimensions would turn: a table of cosines for pairs has no place for it.
pub(super) fn in_pairs(model: DecoderConfig) -> Result<DecoderConfig, ModelError> {
    match model.attention.rotary_dim {
        Some(turned) if !turned.is_multiple_of(2) => Err(ModelError::NotAMultiple {
            field: "the turned dimensions of a head".to_owned(),
            value: turned,
            divisor_field: "a pair".to_owned(),
            divisor: 2,
            fix: "give an even head_dim, or qk_rope_head_dim where latents have one".to_owned(),
        }),
        _ => Ok(model),
    }
}
