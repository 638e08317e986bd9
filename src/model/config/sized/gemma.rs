//! Gemma 3n and Gemma 4: text parts counted layer by layer, towers as `transformers` 5.17 has them.

use serde_json::{Map, Value};

use super::super::base::{Class, HeadDim, KvHeads, layers, listed_layer_types, read};
use super::super::fields::Fields;
use super::super::limits;
use super::super::vision_language::no_fields;
use super::{
    Experts, Heads, Parts, Wide, class, count, gated, narrow, number, required, set_caches, set_layers, wide, window,
};
use crate::model::{
    DecoderConfig, LayerType, Model, ModelError, ModelType, Packing, ParameterList, Role, TokenCache, Tower,
};

/// Rows of a table of embeddings for each layer, unless the file says otherwise.
const ROWS: u64 = 262_144;

/// Embeddings of tokens for each layer: a share of the table and of its projection, and what takes them in.
struct PerLayer {
    width: Wide,
    table: Wide,
}

impl PerLayer {
    fn read(fields: Fields<'_>, default: u64) -> Result<Self, ModelError> {
        let width = number(fields, "hidden_size_per_layer_input", limits::PER_LAYER_WIDTH, default)?;
        Ok(Self { width, table: number(fields, "vocab_size_per_layer_input", limits::VOCAB_SIZE, ROWS)? * width })
    }

    fn of_layer(&self, hidden: Wide) -> Wide {
        match self.width {
            0 => 0,
            width => self.table + hidden * width + 2 * hidden * width + hidden,
        }
    }
}

/// Whether a layer is one of the last `idle` of `all`, which attend to keys and values of earlier ones.
fn is_shared(index: usize, idle: u64, all: u64) -> bool {
    u64::try_from(index).is_ok_and(|index| index + idle >= all)
}

/// The text part of Gemma 4: a fifth or sixth layer attends to everything, with wider heads.
pub(in crate::model::config) fn gemma4_text(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class =
        Class { tie_word_embeddings: true, head_dim: HeadDim::Or(256), kv_heads: KvHeads::Default(Some(4)), ..class() };
    let mut model = read(name, fields, &class)?;
    let all = model.num_hidden_layers;
    model.layer_types = match listed_layer_types(fields, all)? {
        Some(types) => types,
        None => layers(all, |i| match (i + 1).is_multiple_of(6) || i + 1 == all {
            true => LayerType::FullAttention,
            false => LayerType::SlidingAttention,
        }),
    };
    let heads = Heads::of(&model);
    let width = heads.width;
    let unified = fields.model_type == ModelType::Gemma4UnifiedText;
    model.sliding_window = window(fields, if unified { 1024 } else { 512 })?;
    let full_dim = number(fields, "global_head_dim", limits::HEAD_DIM, 512)?;
    let full_kv = number(fields, "num_global_key_value_heads", limits::NUM_HEADS, model.attention.num_kv_heads)?;
    let shares_values = fields.boolean("attention_k_eq_v", false)?;
    let per_layer = PerLayer::read(fields, if unified { 0 } else { 256 })?;
    let idle = fields.integer("num_kv_shared_layers", limits::LAYER_INDEX)?.unwrap_or(0);
    let wide_mlp = fields.boolean("use_double_wide_mlp", false)?;
    let experts = if fields.boolean("enable_moe_block", false)? {
        Some(Experts::read(fields, "moe_intermediate_size")?)
    } else {
        None
    };
    let inner = wide(model.mlp.intermediate_size);
    let types = model.layer_types.clone();
    let full = |index| types.get(index) == Some(&LayerType::FullAttention);
    let dim_of = |index| if full(index) { full_dim } else { heads.head_dim };
    let equal_in = |index| full(index) && shares_values;
    let kv_of = |index| if equal_in(index) { full_kv } else { heads.kv_heads };
    set_caches(&mut model, |index, span| match is_shared(index, idle, all) {
        true => Ok(Vec::new()),
        false => Ok(vec![TokenCache::of_heads(narrow(kv_of(index))?, narrow(dim_of(index))?, span)]),
    })?;
    set_layers(&mut model, |index| {
        let (dim, kv, equal, shared) = (dim_of(index), kv_of(index), equal_in(index), is_shared(index, idle, all));
        let keys = if shared { 0 } else { width * kv * dim * if equal { 1 } else { 2 } };
        let first = if index == 0 { per_layer.width } else { 0 };
        Ok(Parts {
            attention: 2 * width * heads.heads * dim + keys,
            mlp: gated(width, inner) * if shared && wide_mlp { 2 } else { 1 },
            experts: experts.as_ref().map_or(0, |experts| experts.count(width) + width + experts.number),
            norms: 4 * width + dim + if shared { 0 } else { dim } + if experts.is_some() { 3 * width } else { 0 },
            other: per_layer.of_layer(width) + first,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// The text part of Gemma 3n, whose hidden states are several, of which one is computed with (AltUp).
pub(in crate::model::config) fn gemma3n_text(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    const INNER: &str = "intermediate_size";
    let class =
        Class { tie_word_embeddings: true, head_dim: HeadDim::Or(256), kv_heads: KvHeads::Default(Some(2)), ..class() };
    // a width for all layers, or one for each
    let mut map = fields.map().clone();
    let each = match map.get(INNER) {
        Some(Value::Array(_)) => {
            map.remove(INNER);
            Some(fields.indices(INNER, limits::INTERMEDIATE_SIZE)?)
        }
        _ => None,
    };
    let mut model = read(name, Fields::new(&map, fields.model_type), &class)?;
    let all = model.num_hidden_layers;
    if let Some(each) = &each {
        super::super::base::as_long_as(all, each.len(), INNER)?;
    }
    model.layer_types = match listed_layer_types(fields, all)? {
        Some(types) => types,
        None => layers(all, |i| match (i + 1).is_multiple_of(5) {
            true => LayerType::FullAttention,
            false => LayerType::SlidingAttention,
        }),
    };
    model.sliding_window = window(fields, 512)?;
    let heads = Heads::of(&model);
    let (width, dim) = (heads.width, heads.head_dim);
    let per_layer = PerLayer::read(fields, 256)?;
    let idle = fields.integer("num_kv_shared_layers", limits::LAYER_INDEX)?.unwrap_or(15);
    let states = number(fields, "altup_num_inputs", limits::NUM_HEADS, 4)?;
    let rank = number(fields, "laurel_rank", limits::HIDDEN_SIZE, 64)?;
    let inner = model.mlp.intermediate_size;
    set_caches(&mut model, |index, span| match is_shared(index, idle, all) {
        true => Ok(Vec::new()),
        false => Ok(vec![heads.cache(span)?]),
    })?;
    set_layers(&mut model, |index| {
        let shared = is_shared(index, idle, all);
        let keys = if shared { 0 } else { 2 * width * heads.kv_heads * dim };
        let own = each.as_ref().and_then(|each| each.get(index).copied()).unwrap_or(inner);
        let altup = 2 * width + states * states + states * states * states + states * width;
        // what widens and narrows the states around the layers
        let first = if index == 0 { per_layer.width + 2 * states.saturating_sub(1) * width * width } else { 0 };
        Ok(Parts {
            attention: 2 * width * heads.heads * dim + keys,
            mlp: gated(width, wide(own)),
            norms: 4 * width + dim + if shared { 0 } else { dim },
            other: per_layer.of_layer(width) + altup + 2 * width * rank + width + first,
            ..Parts::default()
        })
    })?;
    Ok(model)
}

/// One of them with its towers.
pub(in crate::model::config) fn with_towers(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    use ModelType as T;
    let text_type = match fields.model_type {
        T::Gemma3n => T::Gemma3nText,
        T::Gemma4Unified => T::Gemma4UnifiedText,
        _ => T::Gemma4Text,
    };
    let text_map: Map<String, Value> = match fields.within("text_config")? {
        Some(text) => text.map().clone(),
        None => return Err(fields.unsupported("text_config", "its text part has to be given")),
    };
    let text = Fields::new(&text_map, text_type);
    let mut model = match text_type {
        T::Gemma3nText => gemma3n_text(name, text)?,
        _ => gemma4_text(name, text)?,
    };
    model.model_type = fields.model_type;
    let width = wide(model.hidden_size);
    let vision = fields.within("vision_config")?;
    let audio = fields.within("audio_config")?;
    let none = no_fields(fields.model_type);
    let towers = match fields.model_type {
        T::Gemma3n => {
            if vision.unwrap_or(none).text("architecture")?.is_some_and(|tower| tower != "mobilenetv5_300m_enc") {
                return Err(fields.unsupported("vision_config", "only the tower mobilenetv5_300m_enc is known"));
            }
            gemma3n_towers(vision.unwrap_or(none), audio.unwrap_or(none), width)?
        }
        T::Gemma4Unified => unified_projections(vision.unwrap_or(none), audio.unwrap_or(none), width)?,
        _ => {
            let seen = vision.map_or(Ok(0), |vision| gemma4_vision(vision, width))?;
            seen + audio.map_or(Ok(0), |audio| gemma4_audio(audio, width))?
        }
    };
    let mut list = ParameterList::default();
    let towers = count(towers)?;
    list.once(|group| group.parameter(Role::Tower, "towers", &[towers]));
    model.tower =
        Some(Tower { model_type: fields.model_type, parameters: list, grids: None, packing: Packing::WithoutCache });
    super::super::refuse_absurd_size(&model)?;
    Ok(Model::Decoder(model))
}

/// `Gemma4VisionModel`, two tables of positions, and the projection from it.
fn gemma4_vision(fields: Fields<'_>, width: Wide) -> Result<Wide, ModelError> {
    let d = number(fields, "hidden_size", limits::HIDDEN_SIZE, 768)?;
    let inner = number(fields, "intermediate_size", limits::INTERMEDIATE_SIZE, 3072)?;
    let depth = number(fields, "num_hidden_layers", limits::NUM_HIDDEN_LAYERS, 16)?;
    let heads = number(fields, "num_attention_heads", limits::NUM_HEADS, 12)?;
    let kv_heads = number(fields, "num_key_value_heads", limits::NUM_HEADS, 12)?;
    let head_dim = number(fields, "head_dim", limits::HEAD_DIM, 64)?;
    let patch = number(fields, "patch_size", limits::CHANNELS, 16)?;
    let positions = number(fields, "position_embedding_size", limits::MAX_POSITION_EMBEDDINGS, 10_240)?;
    let layer = 2 * d * (heads + kv_heads) * head_dim + gated(d, inner) + 4 * d + 2 * head_dim;
    Ok(depth * layer + 3 * patch * patch * d + 2 * positions * d + d * width)
}

/// A layer of the conformer that Gemma 3n and 4 hear with.
fn conformer_layer(d: Wide, heads: Wide, kernel: Wide) -> Wide {
    let feeding = 2 * (8 * d * d + 2 * d);
    // with relative positions and a scale for every width of a head
    let attention = 5 * d * d + d / heads.max(1) + 3 * d;
    let convolution = 3 * d * d + kernel * d + 2 * d;
    feeding + attention + convolution
}

/// What halves the spectrogram twice: two convolutions of 3 by 3 with norms, and a projection of the last channels.
fn subsampling(fields: Fields<'_>, field: &str, bins: Wide, d: Wide) -> Result<Wide, ModelError> {
    let channels = match fields.list(field)? {
        None => vec![128, 32],
        Some(_) => fields.indices(field, limits::HIDDEN_SIZE)?,
    };
    let [first, second] = match channels.as_slice() {
        &[first, second] => [wide(first), wide(second)],
        _ => return Err(fields.unsupported(field, "it has two numbers of channels")),
    };
    Ok(9 * first + first + 9 * first * second + second + second * (bins / 4) * d)
}

fn gemma4_audio(fields: Fields<'_>, width: Wide) -> Result<Wide, ModelError> {
    let d = number(fields, "hidden_size", limits::HIDDEN_SIZE, 1024)?;
    let depth = number(fields, "num_hidden_layers", limits::NUM_HIDDEN_LAYERS, 12)?;
    let heads = number(fields, "num_attention_heads", limits::NUM_HEADS, 8)?;
    let kernel = number(fields, "conv_kernel_size", limits::CONV_KERNEL, 5)?;
    let out = number(fields, "output_proj_dims", limits::HIDDEN_SIZE, 1536)?;
    let front = subsampling(fields, "subsampling_conv_channels", 128, d)?;
    Ok(depth * conformer_layer(d, heads, kernel) + front + d * out + out + out * width)
}

/// `Gemma4UnifiedForConditionalGeneration` has projections for towers.
fn unified_projections(vision: Fields<'_>, audio: Fields<'_>, width: Wide) -> Result<Wide, ModelError> {
    let patch = number(vision, "patch_size", limits::CHANNELS, 16)?
        * number(vision, "pooling_kernel_size", limits::CHANNELS, 3)?;
    let (pixels, d) = (3 * patch * patch, required(vision, "mm_embed_dim", limits::HIDDEN_SIZE)?);
    let positions = number(vision, "mm_posemb_size", limits::MAX_POSITION_EMBEDDINGS, 1120)?;
    // norms with biases of pixels, of patches and of both
    let seen = 2 * pixels + pixels * d + d + 4 * d + 2 * positions * d + d * width;
    Ok(seen + number(audio, "audio_embed_dim", limits::HIDDEN_SIZE, 640)? * width)
}

/// Gemma 3n's: MobileNet V5 of timm, a conformer, and for each an embedding of its own tokens with two norms.
fn gemma3n_towers(vision: Fields<'_>, audio: Fields<'_>, width: Wide) -> Result<Wide, ModelError> {
    const MOBILENET_V5_300M: Wide = 294_126_912;
    let embedded = |fields: Fields<'_>, d: Wide| -> Result<Wide, ModelError> {
        Ok(number(fields, "vocab_size", limits::VOCAB_SIZE, 128)? * d + 2 * d + d * width)
    };
    let seen = number(vision, "hidden_size", limits::HIDDEN_SIZE, 2048)?;
    let d = number(audio, "hidden_size", limits::HIDDEN_SIZE, 1536)?;
    let depth = number(audio, "conf_num_hidden_layers", limits::NUM_HIDDEN_LAYERS, 12)?;
    let heads = number(audio, "conf_num_attention_heads", limits::NUM_HEADS, 8)?;
    let kernel = number(audio, "conf_conv_kernel_size", limits::CONV_KERNEL, 5)?;
    let front =
        subsampling(audio, "sscp_conv_channel_size", number(audio, "input_feat_size", limits::CHANNELS, 128)?, d)?;
    let heard = depth * conformer_layer(d, heads, kernel) + front;
    Ok(MOBILENET_V5_300M + heard + embedded(vision, seen)? + embedded(audio, d)?)
}
