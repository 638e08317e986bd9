//! Families in which layers with attention stand between, or beside, layers that mix tokens otherwise.

use serde_json::Value;

use super::base::{Class, HeadDim, KvHeads, PadToken, as_long_as, layers, read, rotary_dim};
use super::fields::{Fields, wrong_type};
use super::limits;
use super::llama::set_biases;
use super::mamba::time_step_rank;
use super::moe::{from_layer, mixture_of, sigmoid};
use crate::model::{
    Activation, Block, DecoderConfig, Expert, LayerType, Mamba, Mamba2, Mixer, MlpLayout, ModelError, ModelType, Moe,
    MoeOrder, QkNorm, Routing, SharedExperts, ShortConv,
};

pub(super) fn lfm2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_lfm2(name, fields)?;
    let given = fields.integer("block_ff_dim", limits::INTERMEDIATE_SIZE)?.unwrap_or(model.mlp.intermediate_size);
    model.mlp.intermediate_size = lfm2_width(fields, given)?;
    Ok(model)
}

/// What LFM2 has with and without experts.
fn read_lfm2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let tied = fields.boolean("tie_embedding", fields.boolean("tie_word_embeddings", true)?)?;
    let class = Class {
        max_position_embeddings: 128_000,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.head.tied = tied;
    model.attention.qk_norm = QkNorm::PerHead;
    model.attention.dropout = 0.0;
    model.mlp.activation = Activation::Silu;
    let listed = fields.list("layer_types")?;
    let attends = fields.list("full_attn_idxs")?;
    model.layer_types = match (listed, attends) {
        (Some(list), _) => listed_types(fields, list, model.num_hidden_layers)?,
        (None, Some(attends)) => layers(model.num_hidden_layers, |i| at_indices(attends, i)),
        (None, None) => model.layer_types,
    };
    model.mixer = Some(Mixer::ShortConv(ShortConv {
        conv_kernel: fields.integer("conv_L_cache", limits::CONV_KERNEL)?.unwrap_or(3),
        bias: fields.boolean("conv_bias", false)?,
    }));
    Ok(model)
}

/// `Lfm2MLP`: two thirds of the width, times a factor, rounded up to a multiple.
fn lfm2_width(fields: Fields<'_>, given: u64) -> Result<u64, ModelError> {
    if !fields.boolean("block_auto_adjust_ff_dim", true)? {
        return Ok(given);
    }
    let width = 2 * given / 3;
    let factor = fields.number("block_ffn_dim_multiplier")?.unwrap_or(1.0);
    let multiple = fields.integer("block_multiple_of", limits::INTERMEDIATE_SIZE)?.unwrap_or(256);
    if !(0.0..=1024.0).contains(&factor) {
        return Err(ModelError::OutOfRange {
            field: "block_ffn_dim_multiplier".to_owned(),
            value: factor.to_string(),
            min: "0".to_owned(),
            max: "1024".to_owned(),
        });
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 2^34, and the class truncates"
    )]
    let scaled = (width as f64 * factor) as u64;
    Ok(scaled.next_multiple_of(multiple))
}

pub(super) fn bamba(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 262_144,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_biases(&mut model, fields)?;
    // the class sets the factor whatever the file says
    model.attention.rotary_dim = Some(rotary_dim(model.attention.head_dim, 0.5));
    let attends = fields.list("attn_layer_indices")?.unwrap_or_default();
    model.layer_types = layers(model.num_hidden_layers, |i| at_indices(attends, i));
    let inner_size = fields.integer("mamba_expand", limits::EXPAND)?.unwrap_or(2) * model.hidden_size;
    model.mixer = Some(Mixer::Mamba2(mamba2(fields, inner_size)?));
    Ok(model)
}

pub(super) fn granitemoehybrid(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class::default())?;
    if fields.integer("num_local_experts", limits::EXPERTS)?.unwrap_or(8) > 0 {
        let moe = mixture_of(&model, fields, 8, 2, Routing::TopKFirst)?;
        let shared = fields.integer("shared_intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(1024);
        model.moe = Some(Moe { shared: Some(SharedExperts { intermediate_size: shared, gate: false }), ..moe });
    }
    set_biases(&mut model, fields)?;
    model.attention.rotary_dim =
        (fields.text("position_embedding_type")? == Some("rope")).then_some(model.attention.head_dim);
    model.mlp.layout = MlpLayout::GatedFused;
    model.mlp.bias = false;
    model.mlp.intermediate_size =
        fields.integer("shared_intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(1024);
    model.layer_types = match fields.list("layer_types")?.or(fields.list("layers_block_type")?) {
        Some(list) => listed_types(fields, list, model.num_hidden_layers)?,
        None => layers(model.num_hidden_layers, |_| LayerType::LinearAttention),
    };
    model.embedding.scaled = true;
    model.residual_multiplier = Some(fields.number("residual_multiplier")?.unwrap_or(1.0));
    model.head.scaled = true;
    let inner_size = fields.integer("mamba_expand", limits::EXPAND)?.unwrap_or(2) * model.hidden_size;
    model.mixer = Some(Mixer::Mamba2(mamba2(fields, inner_size)?));
    Ok(model)
}

pub(super) fn jamba(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 262_144,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    fields.only_activation("hidden_act", Activation::Silu)?;
    fields.refuse("use_mambapy", "mamba.py's scan is not modelled, so leave it out")?;
    model.attention.rotary_dim = None;
    let period = fields.integer("attn_layer_period", limits::NUM_HIDDEN_LAYERS)?.unwrap_or(8);
    let offset = fields.integer("attn_layer_offset", limits::MAX_WINDOW_LAYERS)?.unwrap_or(4);
    model.layer_types = layers(model.num_hidden_layers, |i| attends_if(i % period == offset));
    model.mixer = Some(Mixer::Mamba(Mamba {
        inner_size: fields.integer("mamba_expand", limits::EXPAND)?.unwrap_or(2) * model.hidden_size,
        state_size: fields.integer("mamba_d_state", limits::STATE_SIZE)?.unwrap_or(16),
        conv_kernel: fields.integer("mamba_d_conv", limits::CONV_KERNEL)?.unwrap_or(4),
        time_step_rank: time_step_rank(fields, "mamba_dt_rank", model.hidden_size)?,
        conv_bias: fields.boolean("mamba_conv_bias", true)?,
        proj_bias: fields.boolean("mamba_proj_bias", false)?,
        norms: true,
        residual_in_fp32: false,
    }));
    let period = fields.integer("expert_layer_period", limits::NUM_HIDDEN_LAYERS)?.unwrap_or(2);
    let offset = fields.integer("expert_layer_offset", limits::MAX_WINDOW_LAYERS)?.unwrap_or(1);
    if fields.integer("num_experts", limits::EXPERTS)?.unwrap_or(16) > 1 {
        let sparse_layers = (0..model.num_hidden_layers).map(|i| i % period == offset).collect();
        let moe = mixture_of(&model, fields, 16, 2, Routing::Softmax { normalised: false })?;
        model.moe = Some(Moe { sparse_layers, ..moe });
    }
    Ok(model)
}

pub(super) fn falcon_h1(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 8192,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(8)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_biases(&mut model, fields)?;
    model.layer_types = layers(model.num_hidden_layers, |_| LayerType::Hybrid);
    model.embedding.scaled = true;
    model.head.scaled = true;
    let expand = fields.integer("mamba_expand", limits::EXPAND)?.unwrap_or(2);
    let inner_size = fields
        .nullable_integer("mamba_d_ssm", limits::INTERMEDIATE_SIZE)?
        .or_class_default(Some(1024))
        .unwrap_or(expand * model.hidden_size);
    let gated_norm = fields.boolean("mamba_rms_norm", false)?;
    let norm_before_gate = fields.boolean("mamba_norm_before_gate", true)?;
    model.mixer = Some(Mixer::Mamba2(Mamba2 { gated_norm, norm_before_gate, ..mamba2(fields, inner_size)? }));
    Ok(model)
}

pub(super) fn nemotron_h(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let listed = match (fields.list("layers_block_type")?, fields.text("hybrid_override_pattern")?) {
        (Some(list), _) => Some(list.len()),
        (None, pattern) => pattern.map(|pattern| pattern.chars().count()),
    };
    let most = usize::try_from(limits::NUM_HIDDEN_LAYERS.max).unwrap_or(usize::MAX);
    let class = Class {
        num_hidden_layers: listed
            .filter(|count| (1..=most).contains(count))
            .and_then(|count| u64::try_from(count).ok()),
        max_position_embeddings: 4096,
        pad_token_id: PadToken::Default(Some(0)),
        kv_heads: KvHeads::Default(Some(8)),
        head_dim: HeadDim::Or(128),
        activation: ("mlp_hidden_act", Activation::Relu2),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    model.mlp.layout = MlpLayout::Plain;
    model.mlp.bias = fields.boolean("mlp_bias", false)?;
    model.attention.rotary_dim = None;
    model.block = Block::OneBranch;
    model.layer_types = match (fields.list("layers_block_type")?, fields.text("hybrid_override_pattern")?) {
        (Some(list), _) => listed_types(fields, list, model.num_hidden_layers)?,
        (None, Some(pattern)) => pattern_types(pattern, model.num_hidden_layers)?,
        (None, None) => {
            return Err(ModelError::MissingField {
                field: "hybrid_override_pattern".to_owned(),
                fix: "a `nemotron_h` config.json must give it (or layers_block_type)".to_owned(),
            });
        }
    };
    let sparse: Vec<bool> = match (fields.list("layers_block_type")?, fields.text("hybrid_override_pattern")?) {
        (Some(list), _) => list.iter().map(|entry| entry.as_str() == Some("moe")).collect(),
        (None, Some(pattern)) => pattern.chars().map(|letter| letter == 'E').collect(),
        (None, None) => Vec::new(),
    };
    if sparse.contains(&true) {
        model.moe = Some(nemotron_experts(&model, fields, sparse)?);
    }
    let integer = |names: [&str; 2], limit, default| -> Result<u64, ModelError> {
        Ok(fields.integer(names[0], limit)?.or(fields.integer(names[1], limit)?).unwrap_or(default))
    };
    let num_heads = fields.integer("mamba_num_heads", limits::NUM_HEADS)?.unwrap_or(128);
    let head_dim = fields.integer("mamba_head_dim", limits::HEAD_DIM)?.unwrap_or(64);
    let num_groups = integer(["n_groups", "mamba_n_groups"], limits::NUM_HEADS, 8)?;
    whole_groups(num_heads, num_groups)?;
    fields.refuse("use_bias", "a bias on out_proj alone is not modelled, so leave it out")?;
    fields.refuse("mamba_proj_bias", "a bias on in_proj alone is not modelled, so leave it out")?;
    model.mixer = Some(Mixer::Mamba2(Mamba2 {
        inner_size: num_heads * head_dim,
        num_heads,
        num_groups,
        state_size: fields.integer("ssm_state_size", limits::STATE_SIZE)?.unwrap_or(128),
        conv_kernel: integer(["conv_kernel", "mamba_d_conv"], limits::CONV_KERNEL, 4)?,
        chunk_size: integer(["chunk_size", "mamba_chunk_size"], limits::CHUNK_SIZE, 128)?,
        conv_bias: fields.boolean("mamba_conv_bias", fields.boolean("use_conv_bias", true)?)?,
        proj_bias: false,
        gated_norm: true,
        norm_before_gate: false,
        residual_in_fp32: false,
    }));
    Ok(model)
}

/// `NemotronHMoE`
fn nemotron_experts(model: &DecoderConfig, fields: Fields<'_>, sparse_layers: Vec<bool>) -> Result<Moe, ModelError> {
    let width = |field| fields.integer(field, limits::INTERMEDIATE_SIZE).map(|width| width.unwrap_or(7688));
    let routing = sigmoid(fields, [1, 1], true)?;
    let moe = mixture_of(model, fields, 8, 2, routing)?;
    if let Routing::Sigmoid { groups, .. } = routing {
        fields.multiple_of("n_routed_experts", moe.num_experts, "n_group", groups.n_group)?;
    }
    Ok(Moe {
        intermediate_size: width("moe_intermediate_size")?,
        expert: Expert::Plain,
        shared: Some(SharedExperts { intermediate_size: width("moe_shared_expert_intermediate_size")?, gate: false }),
        sparse_layers,
        latent_size: fields.integer("moe_latent_size", limits::INTERMEDIATE_SIZE)?,
        order: MoeOrder::ExpertsFirst,
        ..moe
    })
}

/// LFM2 with experts in all but the first layers.
pub(super) fn lfm2_moe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_lfm2(name, fields)?;
    let first = fields.integer("num_dense_layers", limits::LAYER_INDEX)?.unwrap_or(2);
    let routing = Routing::SigmoidInType {
        bias: fields.boolean("use_expert_bias", true)?,
        normalised: fields.boolean("norm_topk_prob", true)?,
    };
    model.moe = Some(Moe {
        intermediate_size: fields.integer("moe_intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(1792),
        sparse_layers: from_layer(&model, first),
        order: MoeOrder::ExpertsFirst,
        ..mixture_of(&model, fields, 32, 4, routing)?
    });
    Ok(model)
}

/// The fields Bamba, Granite 4 and Falcon-H1 have in common.
fn mamba2(fields: Fields<'_>, inner_size: u64) -> Result<Mamba2, ModelError> {
    let num_heads = fields.integer("mamba_n_heads", limits::NUM_HEADS)?.unwrap_or(128);
    let num_groups = fields.integer("mamba_n_groups", limits::NUM_HEADS)?.unwrap_or(1);
    whole_heads(inner_size, num_heads, "mamba_n_heads", fields.integer_or_auto("mamba_d_head", limits::HEAD_DIM)?)?;
    whole_groups(num_heads, num_groups)?;
    fields.only_activation("hidden_act", Activation::Silu)?;
    Ok(Mamba2 {
        inner_size,
        num_heads,
        num_groups,
        state_size: fields.integer("mamba_d_state", limits::STATE_SIZE)?.unwrap_or(256),
        conv_kernel: fields.integer("mamba_d_conv", limits::CONV_KERNEL)?.unwrap_or(4),
        chunk_size: fields.integer("mamba_chunk_size", limits::CHUNK_SIZE)?.unwrap_or(256),
        conv_bias: fields.boolean("mamba_conv_bias", true)?,
        proj_bias: fields.boolean("mamba_proj_bias", false)?,
        gated_norm: true,
        norm_before_gate: false,
        residual_in_fp32: false,
    })
}

/// Refuses an inner width that heads do not share equally.
pub(super) fn whole_heads(
    inner_size: u64,
    num_heads: u64,
    field: &str,
    head_dim: Option<u64>,
) -> Result<(), ModelError> {
    if inner_size.is_multiple_of(num_heads) && head_dim.is_none_or(|dim| dim * num_heads == inner_size) {
        return Ok(());
    }
    Err(ModelError::NotAMultiple {
        field: "the mixer's inner width".to_owned(),
        value: inner_size,
        divisor_field: field.to_owned(),
        divisor: num_heads,
        fix: "heads times their width must be the inner width".to_owned(),
    })
}

/// Refuses heads that groups do not share equally.
pub(super) fn whole_groups(num_heads: u64, num_groups: u64) -> Result<(), ModelError> {
    if num_heads.is_multiple_of(num_groups) {
        return Ok(());
    }
    Err(ModelError::NotAMultiple {
        field: "the mixer's heads".to_owned(),
        value: num_heads,
        divisor_field: "its groups".to_owned(),
        divisor: num_groups,
        fix: "every group serves as many heads".to_owned(),
    })
}

pub(super) const fn attends_if(attends: bool) -> LayerType {
    if attends { LayerType::FullAttention } else { LayerType::LinearAttention }
}

/// Layers that attend are listed by their index.
fn at_indices(attends: &[Value], index: u64) -> LayerType {
    attends_if(attends.iter().any(|listed| listed.as_u64() == Some(index)))
}

/// `layer_types`, by the names of transformers 5 and before.
pub(super) fn listed_types(fields: Fields<'_>, list: &[Value], layers: u64) -> Result<Vec<LayerType>, ModelError> {
    as_long_as(layers, list.len(), "layer_types")?;
    let named = |(index, entry): (usize, &Value)| match entry.as_str() {
        Some("full_attention" | "attention") => Ok(LayerType::FullAttention),
        Some("linear_attention" | "mamba" | "mamba2" | "conv") => Ok(LayerType::LinearAttention),
        Some("mlp") => Ok(LayerType::FeedForward),
        Some("moe") if fields.model_type == ModelType::NemotronH => Ok(LayerType::FeedForward),
        _ => {
            let expected = "\"full_attention\", \"linear_attention\", \"conv\" or \"mlp\"";
            Err(wrong_type(&format!("layer_types[{index}]"), entry, expected))
        }
    };
    list.iter().enumerate().map(named).collect()
}

/// `hybrid_override_pattern`: `M` a Mamba-2 layer, `*` attention, `-` a feed-forward block, `E` experts.
fn pattern_types(pattern: &str, layers: u64) -> Result<Vec<LayerType>, ModelError> {
    const FIELD: &str = "hybrid_override_pattern";
    as_long_as(layers, pattern.chars().count(), FIELD)?;
    let named = |letter| match letter {
        'M' => Ok(LayerType::LinearAttention),
        '*' => Ok(LayerType::FullAttention),
        '-' | 'E' => Ok(LayerType::FeedForward),
        _ => Err(wrong_type(FIELD, &Value::String(pattern.to_owned()), "made of M, *, - and E")),
    };
    pattern.chars().map(named).collect()
}
