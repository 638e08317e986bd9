//! Mamba and Falcon Mamba: no attention, no feed-forward block.

use super::base;
use super::fields::Fields;
use super::hybrid::{whole_groups, whole_heads};
use super::limits;
use crate::model::{
    Activation, Attention, Block, DecoderConfig, Embedding, Head, LayerType, Mamba, Mamba2, Mixer, Mlp, ModelError,
    Norm, Origin,
};

/// `max_position_embeddings` of models whose configuration has none: states have no positions.
const ANY_LENGTH: u64 = 1 << 30;

pub(super) fn mamba(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = without_attention(name, fields, true)?;
    let hidden = model.hidden_size;
    let expand = fields.integer("expand", limits::EXPAND)?.unwrap_or(2);
    // the class takes a width that is given over the product
    let inner_size = fields.integer("intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(expand * hidden);
    fields.only_activation("hidden_act", Activation::Silu)?;
    fields.refuse("use_mambapy", "mamba.py's scan is not modelled, so leave it out")?;
    model.mixer = Some(Mixer::Mamba(Mamba {
        inner_size,
        state_size: fields.integer("state_size", limits::STATE_SIZE)?.unwrap_or(16),
        conv_kernel: fields.integer("conv_kernel", limits::CONV_KERNEL)?.unwrap_or(4),
        time_step_rank: time_step_rank(fields, "time_step_rank", hidden)?,
        conv_bias: fields.boolean("use_conv_bias", true)?,
        proj_bias: fields.boolean("use_bias", false)?,
        norms: false,
        residual_in_fp32: fields.boolean("residual_in_fp32", true)?,
    }));
    Ok(model)
}

pub(super) fn mamba2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = without_attention(name, fields, false)?;
    let inner_size = fields.integer("expand", limits::EXPAND)?.unwrap_or(2) * model.hidden_size;
    let num_heads = fields.integer("num_heads", limits::NUM_HEADS)?.unwrap_or(128);
    let head_dim = fields.integer("head_dim", limits::HEAD_DIM)?.unwrap_or(64);
    let num_groups = fields.integer("n_groups", limits::NUM_HEADS)?.unwrap_or(8);
    whole_heads(inner_size, num_heads, "num_heads", Some(head_dim))?;
    whole_groups(num_heads, num_groups)?;
    fields.only_activation("hidden_act", Activation::Silu)?;
    model.mixer = Some(Mixer::Mamba2(Mamba2 {
        inner_size,
        num_heads,
        num_groups,
        state_size: fields.integer("state_size", limits::STATE_SIZE)?.unwrap_or(128),
        conv_kernel: fields.integer("conv_kernel", limits::CONV_KERNEL)?.unwrap_or(4),
        chunk_size: fields.integer("chunk_size", limits::CHUNK_SIZE)?.unwrap_or(256),
        conv_bias: fields.boolean("use_conv_bias", true)?,
        proj_bias: fields.boolean("use_bias", false)?,
        gated_norm: true,
        norm_before_gate: false,
        residual_in_fp32: fields.boolean("residual_in_fp32", true)?,
    }));
    Ok(model)
}

/// `"auto"`: a sixteenth of the width, rounded up.
pub(super) fn time_step_rank(fields: Fields<'_>, field: &str, hidden_size: u64) -> Result<u64, ModelError> {
    Ok(fields.integer_or_auto(field, limits::HIDDEN_SIZE)?.unwrap_or(hidden_size.div_ceil(16)))
}

/// A model in which no layer attends and none has a feed-forward block.
pub(super) fn without_attention(name: &str, fields: Fields<'_>, tied: bool) -> Result<DecoderConfig, ModelError> {
    let hidden_size = fields.required(base::HIDDEN_SIZE, limits::HIDDEN_SIZE)?;
    let num_hidden_layers = fields.required(base::NUM_HIDDEN_LAYERS, limits::NUM_HIDDEN_LAYERS)?;
    Ok(DecoderConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        hidden_size,
        num_hidden_layers,
        vocab_size: fields.required(&["vocab_size"], limits::VOCAB_SIZE)?,
        max_position_embeddings: fields
            .integer("max_position_embeddings", limits::MAX_POSITION_EMBEDDINGS)?
            .unwrap_or(ANY_LENGTH),
        pad_token_id: None,
        embedding: Embedding::default(),
        attention: Attention { rotary_dim: None, ..Attention::of_heads(0, 0, 0) },
        mixer: None,
        mla: None,
        moe: None,
        counted: None,
        caches: None,
        tower_left_out: 0,
        mlp: Mlp::gated(0, Activation::Silu),
        norm: Norm::Rms,
        block: Block::OneBranch,
        layer_types: base::same_layers(LayerType::LinearAttention, num_hidden_layers),
        nope_layers: Vec::new(),
        sliding_window: None,
        residual_dropout: 0.0,
        residual_multiplier: None,
        final_norm: true,
        head: Head {
            tied: fields.boolean("tie_word_embeddings", tied)?,
            bias: false,
            logit_softcap: false,
            scaled: false,
            num_labels: None,
        },
        tower: None,
    })
}
