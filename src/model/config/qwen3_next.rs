//! Qwen3-Next and Qwen3.5: gated delta nets, attention with a gate every few layers, experts in most.

use super::base::{Class, HeadDim, KvHeads, layers, read, rotary_dim};
use super::fields::Fields;
use super::hybrid::{attends_if, listed_types};
use super::limits;
use super::moe::{expert_width, from_layer, mixture, qwen_sparse_layers};
use super::tower;
use crate::model::{DecoderConfig, GatedDelta, Mixer, ModelError, Moe, Norm, QkNorm, Routing, SharedExperts};

/// What the three classes have in common, with the defaults of key and value heads and of the inner width.
fn read_gated(
    name: &str,
    fields: Fields<'_>,
    kv_heads: u64,
    dense: bool,
    fused: bool,
) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 32_768,
        kv_heads: KvHeads::Default(Some(kv_heads)),
        head_dim: HeadDim::Or(256),
        intermediate_size: if dense {
            super::base::IntermediateSize::Required
        } else {
            // every layer is sparse where it is absent
            super::base::IntermediateSize::OrFourfold
        },
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    super::llama::set_attention_bias(&mut model, fields)?;
    model.norm = Norm::GemmaRms;
    model.attention.qk_norm = QkNorm::PerHead;
    model.attention.output_gate = true;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.25)?));
    let interval = fields.integer("full_attention_interval", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(4);
    model.layer_types = match fields.list("layer_types")? {
        Some(list) => listed_types(fields, list, model.num_hidden_layers)?,
        None => layers(model.num_hidden_layers, |i| attends_if((i + 1).is_multiple_of(interval))),
    };
    let heads = |field, default| fields.integer(field, limits::NUM_HEADS).map(|heads| heads.unwrap_or(default));
    let width = |field| fields.integer(field, limits::HEAD_DIM).map(|width| width.unwrap_or(128));
    let (num_key_heads, num_value_heads) = (heads("linear_num_key_heads", 16)?, heads("linear_num_value_heads", 32)?);
    super::hybrid::whole_groups(num_value_heads, num_key_heads)?;
    model.mixer = Some(Mixer::GatedDelta(GatedDelta {
        num_key_heads,
        num_value_heads,
        key_head_dim: width("linear_key_head_dim")?,
        value_head_dim: width("linear_value_head_dim")?,
        conv_kernel: fields.integer("linear_conv_kernel_dim", limits::CONV_KERNEL)?.unwrap_or(4),
        fused,
    }));
    Ok(model)
}

/// Experts with one that all tokens pass, its output scaled by a gate.
fn gated_mixture(
    model: &DecoderConfig,
    fields: Fields<'_>,
    per_tok: u64,
    normalised: bool,
    sparse_layers: Vec<bool>,
) -> Result<Moe, ModelError> {
    let shared = fields.integer("shared_expert_intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(512);
    Ok(Moe {
        intermediate_size: expert_width(fields)?,
        shared: Some(SharedExperts { intermediate_size: shared, gate: true }),
        sparse_layers,
        ..mixture(model, fields, per_tok, Routing::Softmax { normalised })?
    })
}

pub(super) fn qwen3_next(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_gated(name, fields, 2, false, true)?;
    let sparse = qwen_sparse_layers(&model, fields)?;
    if sparse.contains(&true) {
        let normalised = fields.boolean("norm_topk_prob", true)?;
        model.moe = Some(gated_mixture(&model, fields, 10, normalised, sparse)?);
    }
    Ok(model)
}

pub(super) fn qwen3_5(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let (text, tied) = tower::language_model(fields)?;
    let mut model = read_gated(name, text, 4, true, false)?;
    model.head.tied = tied;
    model.tower_left_out = tower::qwen3_5(fields)?;
    Ok(model)
}

pub(super) fn qwen3_5_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let (text, tied) = tower::language_model(fields)?;
    let mut model = read_gated(name, text, 2, false, false)?;
    model.head.tied = tied;
    model.tower_left_out = tower::qwen3_5(fields)?;
    model.moe = Some(gated_mixture(&model, text, 8, true, from_layer(&model, 0))?);
    Ok(model)
}
