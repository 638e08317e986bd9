//! Families without rotary embedding: GPT-2, OPT and BLOOM.

use super::base::{Class, HeadDim, IntermediateSize, KvHeads, PadToken, read};
use super::fields::Fields;
use super::layer_norm::{plain_with_bias, set_bias};
use super::limits;
use crate::model::{Activation, Block, DecoderConfig, ModelError, Norm, Projections};

fn class() -> Class {
    Class {
        tie_word_embeddings: true,
        pad_token_id: PadToken::Unused,
        head_dim: HeadDim::Derived,
        kv_heads: KvHeads::Same,
        ..Class::default()
    }
}

pub(super) fn gpt2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    fields.refuse("add_cross_attention", "decoders that read an encoder's output are not modelled, so leave it out")?;
    let class = Class {
        max_position_embeddings: 1024,
        intermediate_size: IntermediateSize::OrFourfold,
        activation: ("activation_function", Activation::GeluNew),
        ..class()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.embedding.learned_positions = Some(model.max_position_embeddings);
    model.embedding.dropout = fields.dropout("embd_pdrop", 0.1)?;
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim = None;
    model.attention.dropout = fields.dropout("attn_pdrop", 0.1)?;
    model.residual_dropout = fields.dropout("resid_pdrop", 0.1)?;
    Ok(model)
}

pub(super) fn opt(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    /// Rows before the first position (`OPTLearnedPositionalEmbedding`).
    const POSITION_OFFSET: u64 = 2;

    let class = Class {
        pad_token_id: PadToken::Default(Some(1)),
        activation: ("activation_function", Activation::Relu),
        ..class()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    set_bias(&mut model, fields.boolean("enable_bias", true)?);
    if !fields.boolean("layer_norm_elementwise_affine", true)? {
        model.norm = Norm::LayerWithoutWeight;
    }
    model.embedding.learned_positions = Some(model.max_position_embeddings + POSITION_OFFSET);
    model.embedding.projection_dim =
        fields.integer("word_embed_proj_dim", limits::HIDDEN_SIZE)?.filter(|&projected| projected != model.hidden_size);
    model.attention.rotary_dim = None;
    // Applied to the branches only: OPT has no dropout on its embedding.
    model.residual_dropout = fields.dropout("dropout", 0.1)?;
    let norm_before = fields.boolean("do_layer_norm_before", true)?;
    if !norm_before {
        model.block = Block::PostNorm;
    }
    model.final_norm = norm_before && !fields.boolean("_remove_final_layer_norm", false)?;
    Ok(model)
}

pub(super) fn bloom(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { intermediate_size: IntermediateSize::Fourfold, ..class() };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.embedding.norm = true;
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim = None;
    model.attention.alibi = true;
    // BLOOM always has its own gelu function.
    model.mlp.activation = Activation::BloomGelu;
    model.residual_dropout = fields.dropout("hidden_dropout", 0.0)?;
    Ok(model)
}
