//! Mixtures of experts with the attention of Llama and its kin.

use super::base::{
    Class, EXPERTS_PER_TOK, HeadDim, KvHeads, PadToken, read, rotary_dim, set_layer_types, set_window_everywhere,
};
use super::fields::{Fields, wrong_type};
use super::limits;
use super::llama::set_attention_bias;
use crate::model::{
    DecoderConfig, Expert, Groups, LayerType, ModelError, Moe, MoeOrder, Norm, QkNorm, Routing, SharedExperts,
};

pub(super) const NUM_EXPERTS: &[&str] = &["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"];

/// A mixture in every layer, of experts as wide as the feed-forward block.
pub(super) fn mixture(
    model: &DecoderConfig,
    fields: Fields<'_>,
    per_tok: u64,
    routing: Routing,
) -> Result<Moe, ModelError> {
    let num_experts = fields.required(NUM_EXPERTS, limits::NUM_EXPERTS)?;
    mixture_of(model, fields, num_experts, per_tok, routing)
}

/// As [`mixture`], with a class default for the number of experts.
pub(super) fn mixture_of(
    model: &DecoderConfig,
    fields: Fields<'_>,
    num_experts: u64,
    per_tok: u64,
    routing: Routing,
) -> Result<Moe, ModelError> {
    let num_experts = fields.dimension(NUM_EXPERTS, limits::NUM_EXPERTS)?.unwrap_or(num_experts);
    let num_experts_per_tok = fields.dimension(EXPERTS_PER_TOK, limits::NUM_EXPERTS)?.unwrap_or(per_tok);
    fields.at_most("num_experts_per_tok", num_experts_per_tok, "num_experts", num_experts)?;
    Ok(Moe {
        num_experts,
        num_experts_per_tok,
        intermediate_size: model.mlp.intermediate_size,
        routing,
        expert: Expert::Gated,
        router_bias: false,
        shared: None,
        sparse_layers: model.layer_types.iter().map(|_| true).collect(),
        latent_size: None,
        order: MoeOrder::RouterFirst,
    })
}

/// `moe_intermediate_size`
pub(super) fn expert_width(fields: Fields<'_>) -> Result<u64, ModelError> {
    fields.required(&["moe_intermediate_size"], limits::INTERMEDIATE_SIZE)
}

/// Layers from `first` on.
pub(super) fn from_layer(model: &DecoderConfig, first: u64) -> Vec<bool> {
    (0..model.num_hidden_layers).map(|layer| layer >= first).collect()
}

/// The layers `mlp_layer_types` calls sparse; where there is no such list, those from `first` on.
pub(super) fn sparse_layers(model: &DecoderConfig, fields: Fields<'_>, first: u64) -> Result<Vec<bool>, ModelError> {
    const FIELD: &str = "mlp_layer_types";
    let Some(list) = fields.list(FIELD)? else {
        return Ok(from_layer(model, first));
    };
    if u64::try_from(list.len()) != Ok(model.num_hidden_layers) {
        return Err(ModelError::WrongLength {
            field: FIELD.to_owned(),
            found: list.len(),
            expected: model.num_hidden_layers,
        });
    }
    list.iter()
        .enumerate()
        .map(|(index, entry)| match entry.as_str() {
            Some("sparse") => Ok(true),
            Some("dense") => Ok(false),
            _ => Err(wrong_type(&format!("{FIELD}[{index}]"), entry, "\"dense\" or \"sparse\"")),
        })
        .collect()
}

/// `count` shared experts, each as wide as the others; none where there are none.
pub(super) fn shared_experts(count: u64, width: u64) -> Option<SharedExperts> {
    (count > 0).then_some(SharedExperts { intermediate_size: count * width, gate: false })
}

pub(super) fn mixtral(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 4096 * 32, kv_heads: KvHeads::Default(Some(8)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_window_everywhere(&mut model, fields, None)?;
    model.moe = Some(mixture(&model, fields, 2, Routing::Mixtral)?);
    Ok(model)
}

/// The layers `decoder_sparse_step` and `mlp_only_layers` leave to experts.
pub(super) fn qwen_sparse_layers(model: &DecoderConfig, fields: Fields<'_>) -> Result<Vec<bool>, ModelError> {
    let step = fields.integer("decoder_sparse_step", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(1);
    let dense = fields.indices("mlp_only_layers", limits::LAYER_INDEX)?;
    Ok((0..model.num_hidden_layers).map(|layer| !dense.contains(&layer) && (layer + 1).is_multiple_of(step)).collect())
}

pub(super) fn qwen2_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 32_768, kv_heads: KvHeads::Default(Some(16)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("qkv_bias", true)?;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    let window = if fields.boolean("use_sliding_window", false)? { window } else { None };
    let max_window_layers = fields.integer("max_window_layers", limits::MAX_WINDOW_LAYERS)?.unwrap_or(28);
    set_layer_types(&mut model, fields, window, |layer| {
        let slides = layer.is_multiple_of(2) && layer < max_window_layers;
        if slides { LayerType::SlidingAttention } else { LayerType::FullAttention }
    })?;
    let routing = Routing::Softmax { normalised: fields.boolean("norm_topk_prob", false)? };
    let shared = fields.required(&["shared_expert_intermediate_size"], limits::INTERMEDIATE_SIZE)?;
    model.moe = Some(Moe {
        intermediate_size: expert_width(fields)?,
        shared: Some(SharedExperts { intermediate_size: shared, gate: true }),
        sparse_layers: qwen_sparse_layers(&model, fields)?,
        ..mixture(&model, fields, 4, routing)?
    });
    Ok(model)
}

pub(super) fn qwen3_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 32_768, kv_heads: KvHeads::Default(Some(4)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHead;
    if fields.boolean("use_sliding_window", false)? {
        set_window_everywhere(&mut model, fields, Some(4096))?;
    }
    let routing = Routing::Softmax { normalised: fields.boolean("norm_topk_prob", false)? };
    model.moe = Some(Moe {
        intermediate_size: expert_width(fields)?,
        sparse_layers: qwen_sparse_layers(&model, fields)?,
        order: MoeOrder::ExpertsFirst,
        ..mixture(&model, fields, 8, routing)?
    });
    Ok(model)
}

pub(super) fn olmoe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 4096, pad_token_id: PadToken::Default(Some(1)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::FullWidth;
    if fields.number("clip_qkv")?.is_some() {
        return Err(fields.unsupported("clip_qkv", "leave it out: clipping is not modelled"));
    }
    let routing = Routing::Softmax { normalised: fields.boolean("norm_topk_prob", false)? };
    model.moe = Some(mixture(&model, fields, 8, routing)?);
    Ok(model)
}

pub(super) fn granitemoe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = super::llama::granite(name, fields)?;
    model.moe = Some(mixture(&model, fields, 2, Routing::TopKFirst)?);
    Ok(model)
}

pub(super) fn phimoe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 4096 * 32, kv_heads: KvHeads::Default(Some(8)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.norm = Norm::Layer { bias: true };
    model.head.bias = fields.boolean("lm_head_bias", false)?;
    set_window_everywhere(&mut model, fields, None)?;
    model.moe = Some(mixture(&model, fields, 2, Routing::Counted)?);
    Ok(model)
}

pub(super) fn gpt_oss(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 131_072,
        head_dim: HeadDim::Or(64),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    let bias = fields.boolean("attention_bias", true)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    model.attention.sinks = true;
    model.norm = Norm::RmsInFp32;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(128));
    set_layer_types(&mut model, fields, window, |layer| {
        if layer.is_multiple_of(2) { LayerType::SlidingAttention } else { LayerType::FullAttention }
    })?;
    model.moe = Some(Moe {
        expert: Expert::ClampedWithBias,
        router_bias: true,
        ..mixture(&model, fields, 4, Routing::TopKFirstInType)?
    });
    Ok(model)
}

/// `n_group` and `topk_group` of a router by sigmoid.
pub(super) fn sigmoid(fields: Fields<'_>, groups: [u64; 2], normalised: bool) -> Result<Routing, ModelError> {
    let n_group = fields.integer("n_group", limits::NUM_EXPERTS)?.unwrap_or(groups[0]);
    let topk_group = fields.integer("topk_group", limits::NUM_EXPERTS)?.unwrap_or(groups[1]);
    fields.at_most("topk_group", topk_group, "n_group", n_group)?;
    Ok(Routing::Sigmoid {
        groups: Groups { n_group, topk_group },
        normalised: fields.boolean("norm_topk_prob", normalised)?,
    })
}

/// A mixture routed by sigmoid, with shared experts, from layer `first_k_dense_replace` on.
pub(super) fn sigmoid_mixture(
    model: &DecoderConfig,
    fields: Fields<'_>,
    per_tok: u64,
    routing: Routing,
    first_dense: u64,
) -> Result<Moe, ModelError> {
    let width = expert_width(fields)?;
    let shared = fields.integer("n_shared_experts", limits::SHARED_EXPERTS)?.unwrap_or(1);
    let first = fields.integer("first_k_dense_replace", limits::LAYER_INDEX)?.unwrap_or(first_dense);
    let moe = mixture(model, fields, per_tok, routing)?;
    if let Routing::Sigmoid { groups, .. } = routing {
        fields.multiple_of("n_routed_experts", moe.num_experts, "n_group", groups.n_group)?;
    }
    Ok(Moe {
        intermediate_size: width,
        shared: shared_experts(shared, width),
        sparse_layers: sparse_layers(model, fields, first)?,
        order: MoeOrder::ExpertsFirst,
        ..moe
    })
}

pub(super) fn glm4_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 131_072, kv_heads: KvHeads::Default(Some(8)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("attention_bias", false)?;
    if fields.boolean("use_qk_norm", false)? {
        model.attention.qk_norm = QkNorm::PerHead;
    }
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.5)?));
    let routing = sigmoid(fields, [1, 1], true)?;
    model.moe = Some(sigmoid_mixture(&model, fields, 8, routing, 1)?);
    Ok(model)
}

pub(super) fn solar_open(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 131_072,
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(8)),
        // every layer is sparse
        intermediate_size: super::base::IntermediateSize::OrFourfold,
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.qkv_bias = fields.boolean("attention_bias", false)?;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 1.0)?));
    let routing = sigmoid(fields, [1, 1], true)?;
    model.moe = Some(Moe { sparse_layers: from_layer(&model, 0), ..sigmoid_mixture(&model, fields, 8, routing, 0)? });
    Ok(model)
}

pub(super) fn dots1(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { kv_heads: KvHeads::Default(Some(32)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHead;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    let max_window_layers = fields.integer("max_window_layers", limits::MAX_WINDOW_LAYERS)?.unwrap_or(62);
    set_layer_types(&mut model, fields, window, |layer| {
        if layer >= max_window_layers { LayerType::SlidingAttention } else { LayerType::FullAttention }
    })?;
    let routing = sigmoid(fields, [1, 1], false)?;
    let per_tok = fields.required(EXPERTS_PER_TOK, limits::NUM_EXPERTS)?;
    model.moe = Some(sigmoid_mixture(&model, fields, per_tok, routing, 0)?);
    Ok(model)
}

pub(super) fn ernie4_5_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 131_072,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(4)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    let bias = fields.boolean("use_bias", false)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    model.mlp.bias = bias;
    let width = expert_width(fields)?;
    let shared = fields.integer("moe_num_shared_experts", limits::SHARED_EXPERTS)?.unwrap_or(2);
    let index = |field, default| fields.integer(field, limits::LAYER_INDEX).map(|index| index.unwrap_or(default));
    let (first, interval) = (index("moe_layer_start_index", 1)?, index("moe_layer_interval", 1)?.max(1));
    let last = fields.signed("moe_layer_end_index")?.and_then(|last| u64::try_from(last).ok()).unwrap_or(u64::MAX);
    model.moe = Some(Moe {
        intermediate_size: width,
        shared: shared_experts(shared, width),
        sparse_layers: (0..model.num_hidden_layers)
            .map(|layer| (layer + 1).is_multiple_of(interval) && layer >= first && layer <= last)
            .collect(),
        ..mixture(&model, fields, 6, Routing::CorrectedSoftmax)?
    });
    Ok(model)
}

pub(super) fn minimax_m2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 196_608,
        head_dim: HeadDim::Or(128),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.attention.qk_norm = QkNorm::FullWidth;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 1.0)?));
    model.moe = Some(mixture(&model, fields, 8, Routing::UngroupedSigmoid)?);
    Ok(model)
}

pub(super) fn flex_olmo(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = super::llama::olmo2(name, fields)?;
    let routing = Routing::Softmax { normalised: fields.boolean("norm_topk_prob", false)? };
    model.moe = Some(mixture(&model, fields, 5, routing)?);
    Ok(model)
}

pub(super) fn hunyuan_v1_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class::default())?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHeadAfterRotary;
    let width = model.mlp.intermediate_size;
    model.moe = Some(Moe { shared: shared_experts(1, width), ..mixture(&model, fields, 1, Routing::LinearInFp32)? });
    Ok(model)
}

pub(super) fn hy_v3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 262_144, ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::PerHead;
    if !fields.boolean("enable_moe_fp32_combine", true)? {
        return Err(fields.unsupported("enable_moe_fp32_combine", "leave it out: only the sum in fp32 is modelled"));
    }
    let width = expert_width(fields)?;
    let shared = fields.integer("num_shared_experts", limits::SHARED_EXPERTS)?.unwrap_or(1);
    model.moe = Some(Moe {
        intermediate_size: width,
        shared: shared_experts(shared, width),
        sparse_layers: sparse_layers(&model, fields, 1)?,
        ..mixture(&model, fields, 8, Routing::SigmoidInFp32)?
    });
    Ok(model)
}
