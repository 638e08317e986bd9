//! Families whose parameters are counted, layer by layer, and whose forward pass is not known.

mod gemma;
mod latent;

pub(super) use self::gemma::{gemma3n_text, gemma4_text, with_towers};
pub(super) use self::latent::{deepseek_v4, kimi_linear, longcat_flash, sparse_latent};

use super::base::{Class, EXPERTS_PER_TOK, HeadDim, IntermediateSize, KvHeads, listed_layer_types, read};
use super::fields::Fields;
use super::limits::{self, Limit};
use super::moe::{NUM_EXPERTS, sparse_layers};
use crate::model::{CountedLayer, DecoderConfig, LayerCache, LayerType, ModelError, Span, TokenCache};

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
struct Parts {
    attention: Wide,
    mixer: Wide,
    mlp: Wide,
    experts: Wide,
    norms: Wide,
    other: Wide,
}

/// Sets the layers of `model`.
fn set_layers(model: &mut DecoderConfig, of: impl Fn(usize) -> Result<Parts, ModelError>) -> Result<(), ModelError> {
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

/// Sets what the layers of `model` keep of tokens, as `of` says of each by its number and span.
fn set_caches(
    model: &mut DecoderConfig,
    of: impl Fn(usize, Span) -> Result<Vec<TokenCache>, ModelError>,
) -> Result<(), ModelError> {
    let layer =
        |(index, kind): (usize, &LayerType)| Ok(LayerCache { tokens: of(index, model.span_of(*kind))?, state: None });
    let caches = model.layer_types.iter().enumerate().map(layer).collect::<Result<_, ModelError>>()?;
    model.caches = Some(caches);
    Ok(())
}

/// Sets what is kept by layers that attend, and by those that mix tokens otherwise.
fn set_caches_in_turn(model: &mut DecoderConfig, attends: TokenCache, recurs: LayerCache) {
    let of = |kind: &LayerType| match kind {
        LayerType::LinearAttention => recurs.clone(),
        _ => LayerCache::of(attends),
    };
    model.caches = Some(model.layer_types.iter().map(of).collect());
}

/// How far sliding layers see; they do not see everything, whatever a configuration leaves out.
fn window(fields: Fields<'_>, default: u64) -> Result<Option<u64>, ModelError> {
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?;
    Ok(window.or_class_default(Some(default)).or(Some(default)))
}

/// Sets the layers that the file lists as sliding; none are where it lists none.
fn set_windows(model: &mut DecoderConfig, fields: Fields<'_>, default: u64) -> Result<(), ModelError> {
    if let Some(types) = listed_layer_types(fields, model.num_hidden_layers)? {
        model.layer_types = types;
    }
    model.sliding_window = window(fields, default)?;
    Ok(())
}

/// A dimension that was read within its limit.
fn narrow(dimension: Wide) -> Result<u64, ModelError> {
    count(dimension)
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

    /// What is kept of a token.
    fn cache(&self, span: Span) -> Result<TokenCache, ModelError> {
        Ok(TokenCache::of_heads(narrow(self.kv_heads)?, narrow(self.head_dim)?, span))
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
    fn read(fields: Fields<'_>, inner: &'static str) -> Result<Self, ModelError> {
        let number = fields.required(NUM_EXPERTS, limits::NUM_EXPERTS)?;
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
    let experts = Experts::read(feeding, "ffn_hidden_size")?;
    let heads = Heads { kv_heads, ..Heads::of(&model) };
    let width = heads.width;
    set_caches(&mut model, |_, span| Ok(vec![heads.cache(span)?]))?;
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
    let kv_heads = number(fields, "num_key_value_heads", limits::NUM_HEADS, 16)?;
    let head_dim = number(fields, "kv_channels", limits::HEAD_DIM, 128)?;
    let kv_width = kv_heads * head_dim;
    set_caches(&mut model, |_, span| Ok(vec![TokenCache::of_heads(narrow(kv_heads)?, narrow(head_dim)?, span)]))?;
    let experts = Experts::read(fields, "intermediate_size")?;
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
    let experts = Experts::read(fields, "intermediate_size")?;
    let (width, inner, types) = (heads.width, heads.heads * heads.head_dim, model.layer_types.clone());
    set_caches_in_turn(&mut model, heads.cache(Span::All)?, LayerCache::of_state(narrow(inner * heads.head_dim)?, 0));
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

/// The numbers of a list that has at least one for each layer.
fn numbers(fields: Fields<'_>, field: &str, layers: usize) -> Result<Vec<u64>, ModelError> {
    let mut list = fields.indices(field, limits::LAYER_INDEX)?;
    if list.len() < layers {
        super::base::as_long_as(u64::try_from(layers).unwrap_or(u64::MAX), list.len(), field)?;
    }
    list.truncate(layers);
    Ok(list)
}

pub(super) fn mimo_v2_flash(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model =
        read(name, fields, &Class { kv_heads: KvHeads::Default(None), head_dim: HeadDim::Or(192), ..class() })?;
    let layers = model.layer_types.len();
    let width = wide(model.hidden_size);
    let experts = Experts::read(fields, "moe_intermediate_size")?;
    let shared = number(fields, "n_shared_experts", limits::SHARED_EXPERTS, 0)?;
    let inner = wide(model.mlp.intermediate_size);
    let (slides, sparse) =
        (numbers(fields, "hybrid_layer_pattern", layers)?, numbers(fields, "moe_layer_freq", layers)?);
    let spec = model.attention.clone();
    let window = fields.integer("sliding_window", limits::SLIDING_WINDOW)?.unwrap_or(128);
    let heads = |field| number(fields, field, limits::NUM_HEADS, spec.num_heads);
    let kept = |kv, [key, value]: [&str; 2], span| -> Result<TokenCache, ModelError> {
        let dim = |field| fields.integer(field, limits::HEAD_DIM).map(|dim| dim.unwrap_or(spec.head_dim));
        Ok(TokenCache {
            key_width: dim(key)?,
            value_width: dim(value)?,
            ..TokenCache::of_heads(kv, spec.head_dim, span)
        })
    };
    let swa_kv = fields.integer("swa_num_key_value_heads", limits::NUM_HEADS)?.unwrap_or(spec.num_kv_heads);
    let all = kept(spec.num_kv_heads, ["head_dim", "v_head_dim"], Span::All)?;
    let last = kept(swa_kv, ["swa_head_dim", "swa_v_head_dim"], Span::Window(window))?;
    let attention = |heads: Wide, cache: TokenCache, sinks: bool| {
        let [kv, key, value] = [cache.heads, cache.key_width, cache.value_width].map(wide);
        width * heads * key + width * kv * (key + value) + heads * value * width + if sinks { heads } else { 0 }
    };
    let full = attention(wide(spec.num_heads), all, fields.boolean("add_full_attention_sink_bias", false)?);
    let sliding =
        attention(heads("swa_num_attention_heads")?, last, fields.boolean("add_swa_attention_sink_bias", true)?);
    set_caches(&mut model, |index, _| Ok(vec![if slides[index] == 1 { last } else { all }]))?;
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
    set_windows(&mut model, fields, 512)?;
    let heads = Heads::of(&model);
    let width = heads.width;
    let experts = Experts::read(fields, "moe_intermediate_size")?;
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
    set_caches(&mut model, |_, span| Ok(vec![heads.cache(span)?]))?;
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

pub(super) fn mellum(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model =
        read(name, fields, &Class { kv_heads: KvHeads::Default(Some(4)), head_dim: HeadDim::Or(128), ..class() })?;
    set_windows(&mut model, fields, 1024)?;
    let heads = Heads::of(&model);
    let width = heads.width;
    let experts = Experts::read(fields, "moe_intermediate_size")?;
    let sparse = sparse_layers(&model, fields, 0)?;
    let inner = wide(model.mlp.intermediate_size);
    set_caches(&mut model, |_, span| Ok(vec![heads.cache(span)?]))?;
    set_layers(&mut model, |index| {
        Ok(Parts {
            attention: heads.projections(),
            mlp: if sparse[index] { 0 } else { gated(width, inner) },
            experts: if sparse[index] { experts.count(width) } else { 0 },
            norms: 2 * width + 2 * heads.head_dim,
            ..Parts::default()
        })
    })?;
    Ok(model)
}
