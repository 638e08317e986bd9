//! Llama and the families that follow it: RMSNorm, gated feed-forward block, rotary embedding.

use super::base::{
    Class, HeadDim, KvHeads, PadToken, as_long_as, every, read, rotary_dim, set_layer_types, set_window_everywhere,
};
use super::fields::{Fields, wrong_type};
use super::limits;
use crate::model::{Activation, Block, DecoderConfig, LayerType, MlpLayout, ModelError, Norm, Projections, QkNorm};

pub(super) fn llama(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class::default())?;
    set_biases(&mut model, fields)?;
    Ok(model)
}

pub(super) fn mistral(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 4096 * 32, kv_heads: KvHeads::Default(Some(8)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_window_everywhere(&mut model, fields, Some(4096))?;
    Ok(model)
}

pub(super) fn qwen2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 32_768, kv_heads: KvHeads::Default(Some(32)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = true;
    set_qwen_windows(&mut model, fields)?;
    Ok(model)
}

pub(super) fn qwen3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 32_768,
        kv_heads: KvHeads::Default(Some(32)),
        head_dim: HeadDim::Or(128),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHead;
    set_qwen_windows(&mut model, fields)?;
    Ok(model)
}

pub(super) fn phi3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class =
        Class { max_position_embeddings: 4096, pad_token_id: PadToken::Default(Some(32_000)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 1.0)?));
    model.mlp.layout = MlpLayout::GatedFused;
    // The class also has an embd_pdrop, which its model never applies.
    model.residual_dropout = fields.dropout("resid_pdrop", 0.0)?;
    set_window_everywhere(&mut model, fields, None)?;
    Ok(model)
}

pub(super) fn olmo2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { pad_token_id: PadToken::Default(Some(1)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::FullWidth;
    model.block = Block::BranchNorm;
    model.norm = Norm::RmsInFp32;
    Ok(model)
}

pub(super) fn granite(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = llama(name, fields)?;
    set_multipliers(&mut model, fields)?;
    Ok(model)
}

/// Embeddings, branches and logits are multiplied also where the multiplier is 1, its class default.
fn set_multipliers(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    model.embedding.scaled = true;
    model.head.scaled = true;
    model.residual_multiplier = Some(fields.number("residual_multiplier")?.unwrap_or(1.0));
    for multiplier in ["embedding_multiplier", "attention_multiplier", "logits_scaling"] {
        fields.number(multiplier)?;
    }
    Ok(())
}

pub(super) fn ministral3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 262_144,
        pad_token_id: PadToken::Default(Some(11)),
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.scales_queries = true;
    set_window_everywhere(&mut model, fields, None)?;
    Ok(model)
}

pub(super) fn seed_oss(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 524_288,
        pad_token_id: PadToken::Default(Some(1)),
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("attention_bias", true)?;
    model.attention.output_bias = fields.boolean("attention_out_bias", false)?;
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    model.attention.dropout = fields.dropout("attention_dropout", 0.1)?;
    model.residual_dropout = fields.dropout("residual_dropout", 0.1)?;
    Ok(model)
}

pub(super) fn hunyuan_v1_dense(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { pad_token_id: PadToken::Default(Some(0)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHeadAfterRotary;
    Ok(model)
}

pub(super) fn olmo(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { pad_token_id: PadToken::Default(Some(1)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.norm = Norm::LayerInFp32;
    Ok(model)
}

pub(super) fn olmo3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = olmo2(name, fields)?;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    set_layer_types(&mut model, fields, window, |layer| every(4, layer))?;
    Ok(model)
}

pub(super) fn bitnet(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        head_dim: HeadDim::OrDerived,
        kv_heads: KvHeads::Default(Some(5)),
        activation: ("hidden_act", Activation::Relu2),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.output_norm = true;
    model.mlp.inner_norm = true;
    Ok(model)
}

pub(super) fn arcee(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class =
        Class { max_position_embeddings: 4096, activation: ("hidden_act", Activation::Relu2), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_biases(&mut model, fields)?;
    model.mlp.layout = MlpLayout::Plain;
    Ok(model)
}

pub(super) fn granite_swa(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        kv_heads: KvHeads::Default(Some(4)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_biases(&mut model, fields)?;
    set_multipliers(&mut model, fields)?;
    model.attention.sinks = true;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(128));
    set_layer_types(&mut model, fields, window, |layer| {
        if layer.is_multiple_of(4) { LayerType::FullAttention } else { LayerType::SlidingAttention }
    })?;
    set_layer_thetas(&mut model, fields)?;
    Ok(model)
}

/// `layer_rope_theta`: layers of 0 do not turn; the others are modelled with one theta, which one rotary embedding serves.
fn set_layer_thetas(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    const FIELD: &str = "layer_rope_theta";
    let Some(list) = fields.list(FIELD)? else { return Ok(()) };
    as_long_as(model.num_hidden_layers, list.len(), FIELD)?;
    let mut theta = None;
    let mut nope = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let value = entry.as_f64().ok_or_else(|| wrong_type(&format!("{FIELD}[{index}]"), entry, "a number"))?;
        nope.push(value == 0.0);
        if value != 0.0 && theta.get_or_insert(value).total_cmp(&value).is_ne() {
            return Err(ModelError::Unsupported {
                field: format!("{FIELD}[{index}]"),
                value: value.to_string(),
                model_type: fields.model_type,
                fix: "only one theta beside 0 is modelled".to_owned(),
            });
        }
    }
    if theta.is_none() {
        model.attention.rotary_dim = None;
    }
    model.nope_layers = nope;
    Ok(())
}

pub(super) fn apertus(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 65_536,
        pad_token_id: PadToken::Default(Some(3)),
        activation: ("hidden_act", Activation::Xielu),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHead;
    model.mlp.layout = MlpLayout::Plain;
    Ok(model)
}

/// `attention_bias` and `mlp_bias`, each on all its matrices.
pub(super) fn set_biases(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    set_attention_bias(model, fields)?;
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    Ok(())
}

pub(super) fn set_attention_bias(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    let bias = fields.boolean("attention_bias", false)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    Ok(())
}

/// Layers from `max_window_layers` on have the window, and none has it without `use_sliding_window`.
fn set_qwen_windows(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    let window = if fields.boolean("use_sliding_window", false)? { window } else { None };
    let max_window_layers = fields.integer("max_window_layers", limits::MAX_WINDOW_LAYERS)?.unwrap_or(28);
    set_layer_types(model, fields, window, |layer| {
        if layer >= max_window_layers { LayerType::SlidingAttention } else { LayerType::FullAttention }
    })
}
