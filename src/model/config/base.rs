//! What every family reads in the same way.

use super::fields::{Fields, Nullable, wrong_type};
use super::limits;
use crate::model::{
    Activation, Attention, Block, DecoderConfig, Embedding, Head, LayerType, Mlp, ModelError, ModelType, Norm, Origin,
};

pub(super) const HIDDEN_SIZE: &[&str] = &["hidden_size", "n_embd", "n_embed", "d_model"];
pub(super) const NUM_HIDDEN_LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "n_layers", "num_layers"];
pub(super) const NUM_ATTENTION_HEADS: &[&str] = &["num_attention_heads", "n_head", "n_heads"];
const NUM_KEY_VALUE_HEADS: &[&str] = &["num_key_value_heads", "num_kv_heads", "n_head_kv"];
pub(super) const EXPERTS_PER_TOK: &[&str] = &["num_experts_per_tok", "moe_k", "moe_topk", "experts_per_token"];
const INTERMEDIATE_SIZE: &[&str] = &["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"];
const MAX_POSITION_EMBEDDINGS: &[&str] = &["max_position_embeddings", "n_positions", "seq_length"];

/// What differs between the configuration classes in the fields that all have.
pub(super) struct Class {
    /// Layers, where the file lists them and need not say how many there are.
    pub(super) num_hidden_layers: Option<u64>,
    pub(super) max_position_embeddings: u64,
    pub(super) tie_word_embeddings: bool,
    pub(super) pad_token_id: PadToken,
    pub(super) head_dim: HeadDim,
    pub(super) kv_heads: KvHeads,
    /// What the number of heads is called.
    pub(super) num_heads: &'static [&'static str],
    /// What the rows of the token embedding are called.
    pub(super) vocab_size: &'static [&'static str],
    pub(super) intermediate_size: IntermediateSize,
    pub(super) activation: (&'static str, Activation),
}

/// Whether the class gives its embedding a padding row, and where.
#[derive(Clone, Copy)]
pub(super) enum PadToken {
    /// The embedding has none, whatever the configuration says.
    Unused,
    /// `pad_token_id`, with the class default.
    Default(Option<i64>),
}

/// Where the width of a head comes from.
#[derive(Clone, Copy)]
pub(super) enum HeadDim {
    /// Always `hidden_size / num_attention_heads`.
    Derived,
    /// `head_dim`, else derived.
    OrDerived,
    /// `head_dim`, else the class default.
    Or(u64),
}

/// How many key and value heads there are.
#[derive(Clone, Copy)]
pub(super) enum KvHeads {
    /// As many as query heads.
    Same,
    /// `num_key_value_heads`, else the class default; `None`: as many as query heads.
    Default(Option<u64>),
}

/// Where the inner width of the feed-forward block comes from.
#[derive(Clone, Copy)]
pub(super) enum IntermediateSize {
    /// It must be given.
    Required,
    /// Four times `hidden_size` where it is absent.
    OrFourfold,
    /// Always four times `hidden_size`.
    Fourfold,
}

impl Default for Class {
    /// `LlamaConfig`, which most later classes follow.
    fn default() -> Self {
        Self {
            num_hidden_layers: None,
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            pad_token_id: PadToken::Default(None),
            head_dim: HeadDim::OrDerived,
            kv_heads: KvHeads::Default(None),
            num_heads: NUM_ATTENTION_HEADS,
            vocab_size: &["vocab_size"],
            intermediate_size: IntermediateSize::Required,
            activation: ("hidden_act", Activation::Silu),
        }
    }
}

/// The common fields, in a model that is otherwise Llama without biases or dropout.
pub(super) fn read(name: &str, fields: Fields<'_>, class: &Class) -> Result<DecoderConfig, ModelError> {
    let hidden_size = fields.required(HIDDEN_SIZE, limits::HIDDEN_SIZE)?;
    let num_hidden_layers = match (fields.dimension(NUM_HIDDEN_LAYERS, limits::NUM_HIDDEN_LAYERS)?, class) {
        (None, Class { num_hidden_layers: Some(listed), .. }) => *listed,
        _ => fields.required(NUM_HIDDEN_LAYERS, limits::NUM_HIDDEN_LAYERS)?,
    };
    let num_heads = fields.required(class.num_heads, limits::NUM_HEADS)?;
    let vocab_size = fields.required(class.vocab_size, limits::VOCAB_SIZE)?;
    let num_kv_heads = kv_heads(fields, num_heads, class.kv_heads)?;
    let head_dim = head_dim(fields, hidden_size, num_heads, class.head_dim)?;
    let intermediate_size = match class.intermediate_size {
        IntermediateSize::Required => fields.required(INTERMEDIATE_SIZE, limits::INTERMEDIATE_SIZE)?,
        IntermediateSize::OrFourfold => {
            fields.dimension(INTERMEDIATE_SIZE, limits::INTERMEDIATE_SIZE)?.unwrap_or(4 * hidden_size)
        }
        IntermediateSize::Fourfold => 4 * hidden_size,
    };
    Ok(DecoderConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        hidden_size,
        num_hidden_layers,
        vocab_size,
        max_position_embeddings: max_position_embeddings(fields, class.max_position_embeddings)?,
        pad_token_id: match class.pad_token_id {
            PadToken::Unused => None,
            PadToken::Default(default) => fields.pad_token_id(default)?,
        },
        embedding: Embedding::default(),
        attention: Attention {
            dropout: fields.dropout("attention_dropout", 0.0)?,
            ..Attention::of_heads(num_heads, num_kv_heads, head_dim)
        },
        mla: None,
        mixer: None,
        mlp: Mlp::gated(intermediate_size, fields.activation(class.activation.0, class.activation.1)?),
        moe: None,
        counted: None,
        caches: None,
        tower_left_out: 0,
        norm: Norm::Rms,
        block: Block::PreNorm,
        layer_types: same_layers(LayerType::FullAttention, num_hidden_layers),
        nope_layers: Vec::new(),
        sliding_window: None,
        residual_dropout: 0.0,
        residual_multiplier: None,
        final_norm: true,
        head: Head {
            tied: fields.boolean("tie_word_embeddings", class.tie_word_embeddings)?,
            bias: false,
            logit_softcap: false,
            scaled: false,
            num_labels: None,
        },
        tower: None,
    })
}

pub(super) fn max_position_embeddings(fields: Fields<'_>, default: u64) -> Result<u64, ModelError> {
    for &name in MAX_POSITION_EMBEDDINGS {
        if let Some(value) = fields.integer(name, limits::MAX_POSITION_EMBEDDINGS)? {
            return Ok(value);
        }
    }
    Ok(default)
}

fn kv_heads(fields: Fields<'_>, num_heads: u64, class: KvHeads) -> Result<u64, ModelError> {
    let KvHeads::Default(default) = class else {
        return Ok(num_heads);
    };
    let mut null = false;
    for &name in NUM_KEY_VALUE_HEADS {
        match fields.nullable_integer(name, limits::NUM_HEADS)? {
            Nullable::Value(value) => {
                return multiple_of_kv_heads(num_heads, value, "every key and value head serves as many query heads");
            }
            Nullable::Null => null = true,
            Nullable::Absent => {}
        }
    }
    match default {
        Some(default) if !null => multiple_of_kv_heads(
            num_heads,
            default,
            "that is the class default of the absent num_key_value_heads, so give it",
        ),
        _ => Ok(num_heads),
    }
}

fn multiple_of_kv_heads(num_heads: u64, num_kv_heads: u64, fix: &str) -> Result<u64, ModelError> {
    if num_heads.is_multiple_of(num_kv_heads) {
        return Ok(num_kv_heads);
    }
    Err(ModelError::NotAMultiple {
        field: "num_attention_heads".to_owned(),
        value: num_heads,
        divisor_field: "num_key_value_heads".to_owned(),
        divisor: num_kv_heads,
        fix: fix.to_owned(),
    })
}

fn head_dim(fields: Fields<'_>, hidden_size: u64, num_heads: u64, class: HeadDim) -> Result<u64, ModelError> {
    let given = match class {
        HeadDim::Derived => None,
        HeadDim::OrDerived => fields.integer("head_dim", limits::HEAD_DIM)?,
        HeadDim::Or(default) => Some(fields.integer("head_dim", limits::HEAD_DIM)?.unwrap_or(default)),
    };
    if let Some(given) = given {
        return Ok(given);
    }
    if hidden_size.is_multiple_of(num_heads) {
        return Ok(hidden_size / num_heads);
    }
    Err(ModelError::NotAMultiple {
        field: "hidden_size".to_owned(),
        value: hidden_size,
        divisor_field: "num_attention_heads".to_owned(),
        divisor: num_heads,
        fix: if matches!(class, HeadDim::Derived) {
            "change one of them".to_owned()
        } else {
            "change one of them, or give head_dim".to_owned()
        },
    })
}

/// Every layer alike.
pub(super) fn same_layers(layer_type: LayerType, num_hidden_layers: u64) -> Vec<LayerType> {
    layers(num_hidden_layers, |_| layer_type)
}

/// Layers by their index.
pub(super) fn layers(num_hidden_layers: u64, layer_type: impl Fn(u64) -> LayerType) -> Vec<LayerType> {
    (0..num_hidden_layers).map(layer_type).collect()
}

/// Sets `layer_types` and `sliding_window`: what the file lists, else `pattern`; all full where there is no window.
pub(super) fn set_layer_types(
    model: &mut DecoderConfig,
    fields: Fields<'_>,
    sliding_window: Option<u64>,
    pattern: impl Fn(u64) -> LayerType,
) -> Result<(), ModelError> {
    let listed = listed_layer_types(fields, model.num_hidden_layers)?;
    if sliding_window.is_none() {
        return Ok(());
    }
    model.layer_types = listed.unwrap_or_else(|| layers(model.num_hidden_layers, pattern));
    // The window of a model whose layers are all full would be one that nothing reads.
    if model.layer_types.contains(&LayerType::SlidingAttention) {
        model.sliding_window = sliding_window;
    }
    Ok(())
}

/// Every `pattern`-th layer is full, the others slide.
pub(super) fn every(pattern: u64, layer: u64) -> LayerType {
    if (layer + 1).is_multiple_of(pattern) { LayerType::FullAttention } else { LayerType::SlidingAttention }
}

/// Sets a window that every layer has (Mistral, Phi-3, StarCoder2: one mask for all layers).
pub(super) fn set_window_everywhere(
    model: &mut DecoderConfig,
    fields: Fields<'_>,
    class_default: Option<u64>,
) -> Result<(), ModelError> {
    model.sliding_window =
        fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(class_default);
    if model.sliding_window.is_some() {
        model.layer_types = same_layers(LayerType::SlidingAttention, model.num_hidden_layers);
    }
    Ok(())
}

pub(super) fn listed_layer_types(
    fields: Fields<'_>,
    num_hidden_layers: u64,
) -> Result<Option<Vec<LayerType>>, ModelError> {
    const FIELD: &str = "layer_types";
    let Some(list) = fields.list(FIELD)? else {
        return Ok(None);
    };
    as_long_as(num_hidden_layers, list.len(), FIELD)?;
    list.iter()
        .enumerate()
        .map(|(index, entry)| match entry.as_str() {
            Some("full_attention") => Ok(LayerType::FullAttention),
            Some("sliding_attention") => Ok(LayerType::SlidingAttention),
            Some("linear_attention") if fields.model_type == ModelType::OlmoHybrid => Ok(LayerType::LinearAttention),
            _ => Err(wrong_type(&format!("{FIELD}[{index}]"), entry, "\"full_attention\" or \"sliding_attention\"")),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Refuses a list that has not one entry for each layer.
pub(super) fn as_long_as(layers: u64, found: usize, field: &str) -> Result<(), ModelError> {
    if u64::try_from(found) == Ok(layers) {
        return Ok(());
    }
    Err(ModelError::WrongLength { field: field.to_owned(), found, expected: layers })
}

/// How many of a head's dimensions turn: the class rounds the product down.
pub(super) fn rotary_dim(head_dim: u64, factor: f64) -> u64 {
    rounded_down(head_dim, factor)
}

/// `int(width * factor)`, of a width up to 2^20 and a factor up to 64.
pub(super) fn rounded_down(width: u64, factor: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "the width is at most 2^20")]
    let product = width as f64 * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 2^26, and meant to truncate"
    )]
    let product = product as u64;
    product
}
