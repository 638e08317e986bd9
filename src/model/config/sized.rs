//! Families whose parameters are counted, layer by layer, and whose forward pass is not known.

use super::base::{Class, EXPERTS_PER_TOK, HeadDim, IntermediateSize, KvHeads, read};
use super::fields::{Fields, Nullable, wrong_type};
use super::limits::{self, Limit};
use super::moe::sparse_layers;
use crate::model::{CountedLayer, DecoderConfig, LayerType, ModelError};

/// Dimensions as they are multiplied: no product of a few of them overflows.
type Wide = u128;

fn wide(value: u64) -> Wide {
    Wide::from(value)
}

/// A count, refused where no model is so large.
fn count(parameters: Wide) -> Result<u64, ModelError> {
    match u64::try_from(parameters) {
        Ok(count) if count <= limits::PARAMETERS => Ok(count),
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        _ => Err(ModelError::TooManyParameters { parameters: parameters as f64 }),
    }
}

/// One layer's parts, before they are known to be possible.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts {
    attention: Wide,
    mixer: Wide,
    mlp: Wide,
    experts: Wide,
    norms: Wide,
    other: Wide,
}

/// Sets the layers of `model`.
fn set_layers(
    model: &mut DecoderConfig,
    of: impl Fn(usize) -> Result<Parts, ModelError>,
) -> Result<(), ModelError> {
    let layer = |index| {
        let parts = of(index)?;
        Ok(CountedLayer {
            attention: count(parts.attention)?,
            mixer: count(parts.mixer)?,
            mlp: count(parts.mlp)?,
            experts: count(parts.experts)?,
            norms: count(parts.norms)?,
            other: count(parts.other)?,
        })
    };
    model.counted = Some((0..model.layer_types.len()).map(layer).collect::<Result<_, ModelError>>()?);
    Ok(())
}

/// Attention with separate projections.
struct Heads {
    width: Wide,
    heads: Wide,
    kv_heads: Wide,
    head_dim: Wide,
}

impl Heads {
    fn of(model: &DecoderConfig) -> Self {
        let spec = &model.attention;
        Self {
            width: wide(model.hidden_size),
            heads: wide(spec.num_heads),
            kv_heads: wide(spec.num_kv_heads),
            head_dim: wide(spec.head_dim),
        }
    }

    /// Query, key, value and output projections.
    fn projections(&self) -> Wide {
        2 * self.width * (self.heads + self.kv_heads) * self.head_dim
    }
}

/// Gate, up and down.
fn gated(width: Wide, inner: Wide) -> Wide {
    3 * width * inner
}

/// Experts and their router.
struct Experts {
    number: Wide,
    inner: Wide,
}

impl Experts {
    fn read(fields: Fields<'_>, number: &[&'static str], inner: &'static str) -> Result<Self, ModelError> {
        let number = fields.required(number, limits::NUM_EXPERTS)?;
        if let Some(chosen) = fields.dimension(EXPERTS_PER_TOK, limits::NUM_EXPERTS)? {
            fields.at_most("num_experts_per_tok", chosen, "number of experts", number)?;
        }
        Ok(Self { number: wide(number), inner: wide(fields.required(&[inner], limits::INTERMEDIATE_SIZE)?) })
    }

    fn count(&self, width: Wide) -> Wide {
        self.number * (gated(width, self.inner) + width)
    }
}

/// A class whose layers say their own widths.
fn class() -> Class {
    Class { intermediate_size: IntermediateSize::OrFourfold, ..Class::default() }
}

fn required(fields: Fields<'_>, field: &'static str, limit: Limit) -> Result<Wide, ModelError> {
    fields.required(&[field], limit).map(wide)
}

fn number(fields: Fields<'_>, field: &str, limit: Limit, default: u64) -> Result<Wide, ModelError> {
    Ok(wide(fields.integer(field, limit)?.unwrap_or(default)))
}

pub(super) fn dbrx(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let missing = |field: &str| ModelError::MissingField {
        field: field.to_owned(),
        fix: "a `dbrx` config.json must give it".to_owned(),
    };
    let mut model = read(name, fields, &Class { kv_heads: KvHeads::Same, ..class() })?;
    let attention = fields.within("attn_config")?.ok_or_else(|| missing("attn_config"))?;
    let feeding = fields.within("ffn_config")?.ok_or_else(|| missing("ffn_config"))?;
    let kv_heads = number(attention, "kv_n_heads", limits::NUM_HEADS, 1)?;
    let experts = Experts::read(feeding, &["moe_num_experts"], "ffn_hidden_size")?;
    let heads = Heads { kv_heads, ..Heads::of(&model) };
    let width = heads.width;
    set_layers(&mut model, |_| {
        Ok(Parts {
            attention: heads.projections(),
            experts: experts.count(width),
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

pub(super) fn jetmoe(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { tie_word_embeddings: true, kv_heads: KvHeads::Same, head_dim: HeadDim::Or(128), ..class() };
    let mut model = read(name, fields, &class)?;
    let width = wide(model.hidden_size);
    let kv_width = number(fields, "num_key_value_heads", limits::NUM_HEADS, 16)?
        * number(fields, "kv_channels", limits::HEAD_DIM, 128)?;
    let experts = Experts::read(fields, &["num_local_experts"], "intermediate_size")?;
    set_layers(&mut model, |_| {
        Ok(Parts {
            // queries and outputs are experts too, with one bias and a router
            attention: 2 * width * kv_width + experts.number * (2 * kv_width * width + width) + width,
            experts: experts.count(width) + width,
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

pub(super) fn minimax(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class { kv_heads: KvHeads::Default(Some(8)), ..Class::default() })?;
    model.layer_types = match fields.list("layer_types")? {
        Some(list) => super::hybrid::listed_types(fields, list, model.num_hidden_layers)?,
        None => super::base::layers(model.num_hidden_layers, |i| super::hybrid::attends_if(!(i + 1).is_multiple_of(2))),
    };
    let heads = Heads::of(&model);
    let experts = Experts::read(fields, &["num_local_experts"], "intermediate_size")?;
    let (width, inner, types) = (heads.width, heads.heads * heads.head_dim, model.layer_types.clone());
    set_layers(&mut model, |index| {
        let linear = types[index] == LayerType::LinearAttention;
        Ok(Parts {
            attention: if linear { 0 } else { heads.projections() },
            // queries, keys and values in one, a gate, the output, a norm
            mixer: if linear { 5 * width * inner + inner } else { 0 },
            experts: experts.count(width),
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// Multi-head latent attention.
struct Latent {
    query: Option<Wide>,
    latent: Wide,
    unturned: Wide,
    turned: Wide,
    value: Wide,
}

impl Latent {
    fn read(fields: Fields<'_>, query: u64) -> Result<Self, ModelError> {
        Ok(Self {
            query: match fields.nullable_integer("q_lora_rank", limits::LATENT)? {
                Nullable::Absent => Some(wide(query)),
                Nullable::Null => None,
                Nullable::Value(rank) => Some(wide(rank)),
            },
            latent: required(fields, "kv_lora_rank", limits::LATENT)?,
            unturned: required(fields, "qk_nope_head_dim", limits::LATENT)?,
            turned: required(fields, "qk_rope_head_dim", limits::LATENT)?,
            value: required(fields, "v_head_dim", limits::LATENT)?,
        })
    }

    fn count(&self, width: Wide, heads: Wide) -> Wide {
        let of_head = heads * (self.unturned + self.turned);
        let query = self.query.map_or(width * of_head, |rank| width * rank + rank + rank * of_head);
        query
            + width * (self.latent + self.turned)
            + self.latent
            + self.latent * heads * (self.unturned + self.value)
            + heads * self.value * width
    }
}

/// A class with latent attention, whose `head_dim` says nothing of it.
fn latent_class() -> Class {
    Class { kv_heads: KvHeads::Same, head_dim: HeadDim::Or(64), ..class() }
}

pub(super) fn longcat_flash(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, &["n_routed_experts"], "expert_ffn_hidden_size")?;
    // experts that pass on what they are given have no weights, but a score each
    let idle = number(fields, "zero_expert_num", limits::EXPERTS, 256)?;
    let inner = required(fields, "ffn_hidden_size", limits::INTERMEDIATE_SIZE)?;
    set_layers(&mut model, |_| {
        Ok(Parts {
            attention: 2 * latent.count(width, heads),
            mlp: 2 * gated(width, inner),
            experts: experts.count(width) + idle * width,
            norms: 4 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// DeepSeek V3.2 and GLM-5: latent attention to the tokens an indexer chooses.
pub(super) fn sparse_latent(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, &["n_routed_experts"], "moe_intermediate_size")?;
    let shared = number(fields, "n_shared_experts", limits::SHARED_EXPERTS, 1)?;
    let first = fields.integer("first_k_dense_replace", limits::LAYER_INDEX)?.unwrap_or(3);
    let sparse = sparse_layers(&model, fields, first)?;
    let inner = wide(model.mlp.intermediate_size);
    let (index_heads, index_dim) = (
        number(fields, "index_n_heads", limits::NUM_HEADS, 64)?,
        number(fields, "index_head_dim", limits::HEAD_DIM, 128)?,
    );
    let rank = latent.query.unwrap_or(width);
    let indexer =
        rank * index_heads * index_dim + width * index_dim + 2 * index_dim + width * index_heads;
    let shares = texts(fields, "indexer_types", model.layer_types.len(), &["full", "shared"])?;
    set_layers(&mut model, |index| {
        let own = shares.as_ref().is_none_or(|types| types[index] == "full");
        Ok(Parts {
            attention: latent.count(width, heads) + if own { indexer } else { 0 },
            mlp: if sparse[index] { shared * gated(width, experts.inner) } else { gated(width, inner) },
            experts: if sparse[index] { experts.count(width) } else { 0 },
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// A list with one of `known` for each layer.
fn texts<'a>(
    fields: Fields<'a>,
    field: &str,
    layers: usize,
    known: &[&str],
) -> Result<Option<Vec<&'a str>>, ModelError> {
    let Some(list) = fields.list(field)? else { return Ok(None) };
    super::base::as_long_as(u64::try_from(layers).unwrap_or(u64::MAX), list.len(), field)?;
    let one = |(index, entry): (usize, &'a serde_json::Value)| {
        entry
            .as_str()
            .filter(|text| known.contains(text))
            .ok_or_else(|| wrong_type(&format!("{field}[{index}]"), entry, &format!("one of {}", known.join(", "))))
    };
    list.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
}

/// The numbers of a list that has at least one for each layer.
fn numbers(fields: Fields<'_>, field: &str, layers: usize) -> Result<Vec<u64>, ModelError> {
    let mut list = fields.indices(field, limits::LAYER_INDEX)?;
    if list.len() < layers {
        super::base::as_long_as(u64::try_from(layers).unwrap_or(u64::MAX), list.len(), field)?;
    }
    list.truncate(layers);
    Ok(list)
}

pub(super) fn kimi_linear(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, &["num_experts"], "moe_intermediate_size")?;
    let shared = number(fields, "num_shared_experts", limits::SHARED_EXPERTS, 1)?;
    let first = fields.integer("first_k_dense_replace", limits::LAYER_INDEX)?.unwrap_or(1);
    let sparse = sparse_layers(&model, fields, first)?;
    let inner = wide(model.mlp.intermediate_size);
    let within = fields.within("linear_attn_config")?;
    let of = |old: &'static str, new: &'static str, limit, default| match within {
        Some(within) => number(within, old, limit, default),
        None => number(fields, new, limit, default),
    };
    let delta_heads = of("num_heads", "linear_num_heads", limits::NUM_HEADS, 32)?;
    let head_dim = of("head_dim", "linear_head_dim", limits::HEAD_DIM, 128)?;
    let kernel = of("short_conv_kernel_size", "linear_conv_kernel_dim", limits::CONV_KERNEL, 4)?;
    model.layer_types = match (fields.list("layer_types")?, within) {
        (Some(list), _) => super::hybrid::listed_types(fields, list, model.num_hidden_layers)?,
        (None, Some(within)) => {
            let attends = within.indices("full_attn_layers", limits::LAYER_INDEX)?;
            // counted from one
            super::base::layers(model.num_hidden_layers, |i| super::hybrid::attends_if(attends.contains(&(i + 1))))
        }
        (None, None) => super::base::layers(model.num_hidden_layers, |i| {
            super::hybrid::attends_if((i + 1).is_multiple_of(4))
        }),
    };
    let all = delta_heads * head_dim;
    // queries, keys and values with their convolutions, two narrow gates, learning rates, a norm, the output
    let delta = 3 * width * all
        + 3 * all * kernel
        + all
        + delta_heads
        + 2 * (width * head_dim + head_dim * all)
        + width * delta_heads
        + head_dim
        + all * width;
    let types = model.layer_types.clone();
    set_layers(&mut model, |index| {
        let linear = types[index] == LayerType::LinearAttention;
        Ok(Parts {
            attention: if linear { 0 } else { latent.count(width, heads) },
            mixer: if linear { delta } else { 0 },
            mlp: if sparse[index] { shared * gated(width, experts.inner) } else { gated(width, inner) },
            experts: if sparse[index] { experts.count(width) } else { 0 },
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

pub(super) fn mimo_v2_flash(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model =
        read(name, fields, &Class { kv_heads: KvHeads::Default(None), head_dim: HeadDim::Or(192), ..class() })?;
    let layers = model.layer_types.len();
    let width = wide(model.hidden_size);
    let experts = Experts::read(fields, &["n_routed_experts"], "moe_intermediate_size")?;
    let shared = number(fields, "n_shared_experts", limits::SHARED_EXPERTS, 0)?;
    let inner = wide(model.mlp.intermediate_size);
    let (slides, sparse) =
        (numbers(fields, "hybrid_layer_pattern", layers)?, numbers(fields, "moe_layer_freq", layers)?);
    let attention = |heads: Wide, kv: Wide, key: Wide, value: Wide, sinks: bool| {
        width * heads * key + width * kv * (key + value) + heads * value * width + if sinks { heads } else { 0 }
    };
    let spec = model.attention.clone();
    let full = attention(
        wide(spec.num_heads),
        wide(spec.num_kv_heads),
        wide(spec.head_dim),
        number(fields, "v_head_dim", limits::HEAD_DIM, spec.head_dim)?,
        fields.boolean("add_full_attention_sink_bias", false)?,
    );
    let sliding = attention(
        number(fields, "swa_num_attention_heads", limits::NUM_HEADS, spec.num_heads)?,
        number(fields, "swa_num_key_value_heads", limits::NUM_HEADS, spec.num_kv_heads)?,
        number(fields, "swa_head_dim", limits::HEAD_DIM, spec.head_dim)?,
        number(fields, "swa_v_head_dim", limits::HEAD_DIM, spec.head_dim)?,
        fields.boolean("add_swa_attention_sink_bias", true)?,
    );
    set_layers(&mut model, |index| {
        let routed = sparse[index] == 1;
        Ok(Parts {
            attention: if slides[index] == 1 { sliding } else { full },
            mlp: if routed { shared * gated(width, experts.inner) } else { gated(width, inner) },
            experts: if routed { experts.count(width) } else { 0 },
            norms: 2 * width,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

pub(super) fn laguna(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model =
        read(name, fields, &Class { kv_heads: KvHeads::Default(Some(8)), head_dim: HeadDim::Or(128), ..class() })?;
    let heads = Heads::of(&model);
    let width = heads.width;
    let experts = Experts::read(fields, &["num_experts"], "moe_intermediate_size")?;
    let shared = required(fields, "shared_expert_intermediate_size", limits::INTERMEDIATE_SIZE)?;
    let sparse = sparse_layers(&model, fields, 1)?;
    let inner = wide(model.mlp.intermediate_size);
    let each = match fields.list("num_attention_heads_per_layer")? {
        Some(_) => Some(numbers(fields, "num_attention_heads_per_layer", model.layer_types.len())?),
        None => None,
    };
    if let Some(most) = each.iter().flatten().max() {
        fields.at_most("num_attention_heads_per_layer", *most, "most heads", limits::NUM_HEADS.max)?;
    }
    set_layers(&mut model, |index| {
        let own = Heads { heads: each.as_ref().map_or(heads.heads, |each| wide(each[index])), ..heads };
        Ok(Parts {
            // with a gate for every head
            attention: own.projections() + width * own.heads,
            mlp: if sparse[index] { gated(width, shared) } else { gated(width, inner) },
            // a bias that is a parameter
            experts: if sparse[index] { experts.count(width) + experts.number } else { 0 },
            norms: 2 * width + 2 * own.head_dim,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// DeepSeek V4: one key and value head, compressed in most layers, and hyper-connections around everything.
pub(super) fn deepseek_v4(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class { kv_heads: KvHeads::Same, head_dim: HeadDim::Or(512), ..class() })?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let head_dim = wide(model.attention.head_dim);
    let experts = Experts::read(fields, &["n_routed_experts"], "moe_intermediate_size")?;
    let shared = number(fields, "n_shared_experts", limits::SHARED_EXPERTS, 1)?;
    let rank = required(fields, "q_lora_rank", limits::LATENT)?;
    let (groups, output_rank) =
        (number(fields, "o_groups", limits::NUM_HEADS, 8)?, required(fields, "o_lora_rank", limits::LATENT)?);
    let (index_heads, index_dim) = (
        number(fields, "index_n_heads", limits::NUM_HEADS, 64)?,
        number(fields, "index_head_dim", limits::HEAD_DIM, 128)?,
    );
    let streams = number(fields, "hc_mult", limits::NUM_HEADS, 4)?;
    let layers = model.layer_types.len();
    let ratios = numbers(fields, "compress_ratios", layers)?;
    let attention = width * rank
        + rank * heads * head_dim
        + width * head_dim
        + output_rank * heads * head_dim
        + groups * output_rank * width
        + heads;
    let compressor = |wide_dim: Wide, ratio: Wide| 2 * width * wide_dim + ratio * wide_dim;
    let mixes = streams * (streams + 2);
    let connection = mixes * streams * width + mixes + 3;
    let head = streams * streams * width + streams + 1;
    set_layers(&mut model, |index| {
        let ratio = wide(ratios[index]);
        let (compressed, compressed_norms) = match ratios[index] {
            0 => (0, 0),
            // overlapping, with an indexer
            4 => (
                compressor(2 * head_dim, ratio)
                    + compressor(2 * index_dim, ratio)
                    + rank * index_heads * index_dim
                    + width * index_heads,
                head_dim + index_dim,
            ),
            _ => (compressor(head_dim, ratio), head_dim),
        };
        Ok(Parts {
            attention: attention + compressed,
            mlp: shared * gated(width, experts.inner),
            experts: experts.count(width),
            norms: 2 * width + rank + head_dim + compressed_norms,
            // the streams are joined again after the last layer
            other: 2 * connection + if index + 1 == layers { head } else { 0 },
            ..Parts::default()
        })
    })?;
    Ok(model)
}
