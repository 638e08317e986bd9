//! Families with rotary embedding and `LayerNorm`: Phi, StarCoder2, StableLM, GPT-NeoX, Nemotron and Jais 2.

use super::base::{Class, HeadDim, KvHeads, PadToken, read, rotary_dim, set_window_everywhere};
use super::fields::Fields;
use crate::model::{Activation, Block, DecoderConfig, MlpLayout, ModelError, Norm, Projections, QkNorm};

pub(super) fn phi(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { activation: ("hidden_act", Activation::GeluNew), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.block = Block::ParallelSharedNorm;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.5)?));
    if fields.boolean("qk_layernorm", false)? {
        model.attention.qk_norm = QkNorm::LayerNormShared;
    }
    model.embedding.dropout = fields.dropout("embd_pdrop", 0.0)?;
    model.residual_dropout = fields.dropout("resid_pdrop", 0.0)?;
    model.head.bias = true;
    Ok(model)
}

pub(super) fn starcoder2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 4096,
        tie_word_embeddings: true,
        kv_heads: KvHeads::Default(Some(2)),
        activation: ("hidden_act", Activation::GeluTanh),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    set_bias(&mut model, fields.boolean("use_bias", true)?);
    model.embedding.dropout = fields.dropout("embedding_dropout", 0.0)?;
    model.residual_dropout = fields.dropout("residual_dropout", 0.0)?;
    set_window_everywhere(&mut model, fields, None)?;
    Ok(model)
}

pub(super) fn stablelm(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 4096,
        head_dim: HeadDim::Derived,
        kv_heads: KvHeads::Default(Some(32)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.norm = Norm::Layer { bias: true };
    model.attention.qkv_bias = fields.boolean("use_qkv_bias", false)?;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.25)?));
    if fields.boolean("qk_layernorm", false)? {
        model.attention.qk_norm = QkNorm::LayerNormEachHead;
    }
    if fields.boolean("use_parallel_residual", false)? {
        model.block = Block::ParallelSharedNorm;
    }
    model.residual_dropout = fields.dropout("hidden_dropout", 0.0)?;
    Ok(model)
}

pub(super) fn gpt_neox(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        pad_token_id: PadToken::Unused,
        head_dim: HeadDim::Derived,
        kv_heads: KvHeads::Same,
        activation: ("hidden_act", Activation::Gelu),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    let bias = fields.boolean("attention_bias", true)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("rotary_pct", 0.25)?));
    if fields.boolean("use_parallel_residual", true)? {
        model.block = Block::ParallelTwoNorms;
    }
    let dropout = fields.dropout("hidden_dropout", 0.0)?;
    model.embedding.dropout = dropout;
    model.residual_dropout = dropout;
    Ok(model)
}

pub(super) fn nemotron(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class =
        Class { max_position_embeddings: 4096, activation: ("hidden_act", Activation::Relu2), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.norm = Norm::LayerOnePlus;
    set_bias(&mut model, fields.boolean("attention_bias", false)?);
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.5)?));
    Ok(model)
}

pub(super) fn jais2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class =
        Class { max_position_embeddings: 8192, activation: ("hidden_act", Activation::Relu2), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    set_bias(&mut model, fields.boolean("attention_bias", true)?);
    model.mlp.bias = fields.boolean("mlp_bias", true)?;
    Ok(model)
}

/// A plain feed-forward block, `LayerNorm`s, and a bias on every matrix.
pub(super) fn plain_with_bias(model: &mut DecoderConfig) {
    model.norm = Norm::Layer { bias: true };
    model.mlp.layout = MlpLayout::Plain;
    set_bias(model, true);
}

/// The biases of the attention and feed-forward matrices.
pub(super) fn set_bias(model: &mut DecoderConfig, bias: bool) {
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    model.mlp.bias = bias;
}
