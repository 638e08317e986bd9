//! Mixtures of experts whose layers differ in how far they attend: Llama 4 and AFMoE.

use super::base::{Class, HeadDim, KvHeads, read, set_layer_types};
use super::fields::Fields;
use super::limits;
use super::llama::set_attention_bias;
use super::moe::{expert_width, from_layer, mixture_of, shared_experts};
use super::tower;
use crate::model::{Block, DecoderConfig, LayerType, ModelError, Moe, MoeOrder, Norm, QkNorm, Routing};

/// Llama 4's language model: experts in every layer or in every second, and one that every token passes.
pub(super) fn llama4(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let (text, tied) = tower::language_model(fields)?;
    let class = Class {
        max_position_embeddings: 131_072,
        kv_heads: KvHeads::Default(Some(8)),
        head_dim: HeadDim::Or(128),
        ..Class::default()
    };
    let mut model = read(name, text, &class)?;
    set_attention_bias(&mut model, text)?;
    model.head.tied = tied;
    model.norm = Norm::RmsCastFirst;
    let interval = text.integer("no_rope_layer_interval", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(4);
    let given = text.indices("no_rope_layers", limits::LAYER_INDEX)?;
    if !given.is_empty() {
        super::base::as_long_as(model.num_hidden_layers, given.len(), "no_rope_layers")?;
    }
    // one says that a layer turns
    model.nope_layers = (0..model.num_hidden_layers)
        .zip(given.iter().map(Some).chain(std::iter::repeat(None)))
        .map(|(layer, given)| given.map_or((layer + 1).is_multiple_of(interval), |turns| *turns == 0))
        .collect();
    let chunk = text.nullable_integer("attention_chunk_size", limits::SLIDING_WINDOW)?.or_class_default(Some(8192));
    if let Some(chunk) = chunk {
        // what turns attends within its chunk
        let kind = |nope: &bool| if *nope { LayerType::FullAttention } else { LayerType::SlidingAttention };
        model.layer_types = model.nope_layers.iter().map(kind).collect();
        model.sliding_window = Some(chunk);
    }
    model.attention.weightless_qk_norm = text.boolean("use_qk_norm", true)?;
    model.attention.scales_queries = text.boolean("attn_temperature_tuning", true)?;
    let width = model.mlp.intermediate_size;
    let dense = text.required(&["intermediate_size_mlp"], limits::INTERMEDIATE_SIZE)?;
    let step = text.integer("interleave_moe_layer_step", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(1);
    let listed = text.indices("moe_layers", limits::LAYER_INDEX)?;
    let sparse =
        |layer: u64| if listed.is_empty() { (layer + 1).is_multiple_of(step) } else { listed.contains(&layer) };
    model.moe = Some(Moe {
        shared: shared_experts(1, width),
        sparse_layers: (0..model.num_hidden_layers).map(sparse).collect(),
        order: MoeOrder::ExpertsFirst,
        ..mixture_of(&model, text, 16, 1, Routing::Counted)?
    });
    model.mlp.intermediate_size = dense;
    model.tower_left_out = tower::llama4(fields, model.hidden_size)?;
    Ok(model)
}

pub(super) fn afmoe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 16_384,
        kv_heads: KvHeads::Default(None),
        head_dim: HeadDim::Or(128),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.norm = Norm::RmsInFp32;
    model.embedding.scaled = fields.boolean("mup_enabled", false)?;
    model.attention.qk_norm = QkNorm::PerHead;
    model.attention.gate_projection = true;
    model.block = Block::Sandwich;
    let width = expert_width(fields)?;
    let shared = fields.integer("num_shared_experts", limits::SHARED_EXPERTS)?.unwrap_or(0);
    let first = fields.integer("num_dense_layers", limits::LAYER_INDEX)?.unwrap_or(1);
    let interval = fields.integer("global_attn_every_n_layers", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(4);
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(1024));
    set_layer_types(&mut model, fields, window, |layer| super::base::every(interval, layer))?;
    // layers that attend to everything do not turn
    model.nope_layers = model.layer_types.iter().map(|kind| *kind == LayerType::FullAttention).collect();
    model.moe = Some(Moe {
        intermediate_size: width,
        shared: shared_experts(shared, width),
        sparse_layers: from_layer(&model, first),
        ..mixture_of(&model, fields, 64, 6, Routing::CorrectedSigmoid)?
    });
    Ok(model)
}
