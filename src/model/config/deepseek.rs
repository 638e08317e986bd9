//! Multi-head latent attention: DeepSeek and the families that follow it.

use super::base::{Class, HeadDim, KvHeads, read};
use super::fields::{Fields, Nullable};
use super::limits;
use super::moe::{expert_width, from_layer, mixture, shared_experts, sigmoid, sigmoid_mixture};
use super::tower;
use crate::model::{DecoderConfig, Groups, Mla, MlaRotary, ModelError, Moe, MoeOrder, Routing};

/// The common fields, with heads as wide as their turning part: that is what rotary frequencies are made for.
fn read_latent(
    name: &str,
    fields: Fields<'_>,
    max_position_embeddings: u64,
    tie_word_embeddings: bool,
    q_lora_rank: u64,
) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings,
        tie_word_embeddings,
        // keys are made for every head, whatever num_key_value_heads says
        kv_heads: KvHeads::Same,
        head_dim: HeadDim::Or(64),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    let bias = fields.boolean("attention_bias", false)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    let width = |field: &'static str| fields.required(&[field], limits::LATENT);
    let turned = width("qk_rope_head_dim")?;
    let interleaved = fields.boolean("rope_interleave", true)?;
    model.attention.head_dim = turned;
    model.attention.rotary_dim = Some(turned);
    model.mla = Some(Mla {
        q_lora_rank: match fields.nullable_integer("q_lora_rank", limits::LATENT)? {
            Nullable::Absent => Some(q_lora_rank),
            Nullable::Null => None,
            Nullable::Value(rank) => Some(rank),
        },
        kv_lora_rank: width("kv_lora_rank")?,
        qk_nope_head_dim: width("qk_nope_head_dim")?,
        qk_rope_head_dim: turned,
        v_head_dim: width("v_head_dim")?,
        rotary: if interleaved { MlaRotary::Interleaved } else { MlaRotary::Halves },
    });
    super::interleaved::in_pairs(model)
}

pub(super) fn deepseek_v2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_latent(name, fields, 2048, false, 1536)?;
    if let Some(mla) = &mut model.mla {
        mla.rotary = MlaRotary::Complex;
    }
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    let groups = if fields.text("topk_method")?.is_some_and(|method| method == "group_limited_greedy") {
        let number = |field: &'static str| fields.required(&[field], limits::NUM_EXPERTS);
        Some(Groups { n_group: number("n_group")?, topk_group: number("topk_group")? })
    } else {
        None
    };
    let width = expert_width(fields)?;
    let shared = fields.integer("n_shared_experts", limits::SHARED_EXPERTS)?.unwrap_or(2);
    let first = fields.integer("first_k_dense_replace", limits::LAYER_INDEX)?.unwrap_or(0);
    let per_tok = fields.required(super::base::EXPERTS_PER_TOK, limits::NUM_EXPERTS)?;
    let moe = mixture(&model, fields, per_tok, Routing::SoftmaxInFp32 { groups })?;
    if let Some(groups) = groups {
        fields.at_most("topk_group", groups.topk_group, "n_group", groups.n_group)?;
        fields.multiple_of("n_routed_experts", moe.num_experts, "n_group", groups.n_group)?;
    }
    model.moe = Some(Moe {
        intermediate_size: width,
        shared: shared_experts(shared, width),
        sparse_layers: from_layer(&model, first),
        order: MoeOrder::ExpertsFirst,
        ..moe
    });
    Ok(model)
}

pub(super) fn deepseek_v3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_latent(name, fields, 4096, false, 1536)?;
    let routing = sigmoid(fields, [8, 4], true)?;
    model.moe = Some(sigmoid_mixture(&model, fields, 8, routing, 3)?);
    Ok(model)
}

pub(super) fn axk1(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_latent(name, fields, 32_768, false, 1536)?;
    let routing = sigmoid(fields, [8, 4], true)?;
    model.moe = Some(sigmoid_mixture(&model, fields, 8, routing, 1)?);
    Ok(model)
}

pub(super) fn glm4_moe_lite(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_latent(name, fields, 202_752, false, 768)?;
    let routing = sigmoid(fields, [1, 1], true)?;
    model.moe = Some(sigmoid_mixture(&model, fields, 4, routing, 1)?);
    Ok(model)
}

pub(super) fn youtu(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    read_latent(name, fields, 131_072, true, 1536)
}

pub(super) fn minicpm3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    read_latent(name, fields, 32_768, true, 768)
}

/// DeepSeek-MoE: the first of the family, whose attention is Llama's.
pub(super) fn deepseek(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = super::llama::llama(name, fields)?;
    let per_tok = fields.required(super::base::EXPERTS_PER_TOK, limits::NUM_EXPERTS)?;
    model.moe = Some(sigmoid_mixture(&model, fields, per_tok, Routing::Counted, 0)?);
    Ok(model)
}

/// Kimi K2.5: DeepSeek V3 beside a vision tower.
pub(super) fn kimi_k25(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let (text, tied) = tower::language_model(fields)?;
    let mut model = deepseek_v3(name, text)?;
    model.head.tied = tied;
    model.tower_left_out = tower::kimi_k25(fields)?;
    Ok(model)
}
