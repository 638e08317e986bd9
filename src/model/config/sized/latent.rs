//! Those with latent attention, or one that grew out of it.

use super::super::base::{self, Class, HeadDim, KvHeads, read};
use super::super::fields::{Fields, Nullable, wrong_type};
use super::super::moe::sparse_layers;
use super::super::{hybrid, limits};
use super::{
    Experts, Parts, Wide, class, gated, narrow, number, numbers, required, set_caches, set_caches_in_turn, set_layers,
    wide,
};
use crate::model::{DecoderConfig, Expanded, LayerCache, LayerType, ModelError, Span, TokenCache, TokenCacheKind};

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

    /// What is kept of a token.
    fn cache(&self, heads: Wide) -> Result<TokenCache, ModelError> {
        let key_width = narrow(self.unturned + self.turned)?;
        let expanded = Expanded { heads: narrow(heads)?, key_width, value_width: narrow(self.value)? };
        Ok(TokenCache::latent(narrow(self.latent)?, narrow(self.turned)?, expanded))
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

pub(in crate::model::config) fn longcat_flash(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    // transformers writes twice the number beside it: a layer attends twice
    let mut map = fields.map().clone();
    if map.contains_key("num_layers") {
        map.remove("num_hidden_layers");
    }
    let mut model = read(name, Fields::new(&map, fields.model_type), &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, "expert_ffn_hidden_size")?;
    // experts that pass on what they are given have no weights, but a score each
    let idle = number(fields, "zero_expert_num", limits::EXPERTS, 256)?;
    let inner = required(fields, "ffn_hidden_size", limits::INTERMEDIATE_SIZE)?;
    // a layer attends twice
    set_caches(&mut model, |_, _| Ok(vec![latent.cache(heads)?; 2]))?;
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
pub(in crate::model::config) fn sparse_latent(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, "moe_intermediate_size")?;
    let shared = number(fields, "n_shared_experts", limits::SHARED_EXPERTS, 1)?;
    let first = fields.integer("first_k_dense_replace", limits::LAYER_INDEX)?.unwrap_or(3);
    let sparse = sparse_layers(&model, fields, first)?;
    let inner = wide(model.mlp.intermediate_size);
    let (index_heads, index_dim) = (
        number(fields, "index_n_heads", limits::NUM_HEADS, 64)?,
        number(fields, "index_head_dim", limits::HEAD_DIM, 128)?,
    );
    let rank = latent.query.unwrap_or(width);
    let indexer = rank * index_heads * index_dim + width * index_dim + 2 * index_dim + width * index_heads;
    let shares = texts(fields, "indexer_types", model.layer_types.len(), &["full", "shared"])?;
    set_caches(&mut model, |index, _| {
        let own = shares.as_ref().is_none_or(|types| types[index] == "full");
        let key = own.then(|| narrow(index_dim).map(TokenCache::indexer_key)).transpose()?;
        Ok(std::iter::once(latent.cache(heads)?).chain(key).collect())
    })?;
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
    base::as_long_as(u64::try_from(layers).unwrap_or(u64::MAX), list.len(), field)?;
    let one = |(index, entry): (usize, &'a serde_json::Value)| {
        entry
            .as_str()
            .filter(|text| known.contains(text))
            .ok_or_else(|| wrong_type(&format!("{field}[{index}]"), entry, &format!("one of {}", known.join(", "))))
    };
    list.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
}

pub(in crate::model::config) fn kimi_linear(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &latent_class())?;
    let latent = Latent::read(fields, 1536)?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let experts = Experts::read(fields, "moe_intermediate_size")?;
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
        (Some(list), _) => hybrid::listed_types(fields, list, model.num_hidden_layers)?,
        (None, Some(within)) => {
            let attends = within.indices("full_attn_layers", limits::LAYER_INDEX)?;
            // counted from one
            base::layers(model.num_hidden_layers, |i| hybrid::attends_if(attends.contains(&(i + 1))))
        }
        (None, None) => base::layers(model.num_hidden_layers, |i| hybrid::attends_if((i + 1).is_multiple_of(4))),
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
    let recurs = LayerCache::of_state(narrow(3 * all * kernel)?, narrow(all * head_dim)?);
    set_caches_in_turn(&mut model, latent.cache(heads)?, recurs);
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

/// DeepSeek V4: one key and value head, compressed in most layers, and hyper-connections around everything.
pub(in crate::model::config) fn deepseek_v4(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class { kv_heads: KvHeads::Same, head_dim: HeadDim::Or(512), ..class() })?;
    let (width, heads) = (wide(model.hidden_size), wide(model.attention.num_heads));
    let head_dim = wide(model.attention.head_dim);
    let experts = Experts::read(fields, "moe_intermediate_size")?;
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
    // a window of tokens in any case: keys that are values too
    let window = fields.integer("sliding_window", limits::SLIDING_WINDOW)?.unwrap_or(128);
    let (key_width, index_width) = (model.attention.head_dim, narrow(index_dim)?);
    set_caches(&mut model, |index, _| {
        let one = TokenCache { value_width: 0, ..TokenCache::of_heads(1, key_width, Span::Window(window)) };
        let compressed = TokenCache { span: Span::OneOf(ratios[index]), ..one };
        let chosen_by = TokenCache { kind: TokenCacheKind::IndexerKey, key_width: index_width, ..compressed };
        Ok(match ratios[index] {
            0 => vec![one],
            4 => vec![one, compressed, chosen_by],
            _ => vec![one, compressed],
        })
    })?;
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
