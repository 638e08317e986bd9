//! Families in which some layers go without rotary embedding.

use super::base::{Class, KvHeads, PadToken, as_long_as, every, read, set_layer_types};
use super::fields::{Fields, wrong_type};
use super::interleaved::cohere;
use super::limits;
use super::llama::set_biases;
use crate::model::{Block, DecoderConfig, LayerType, ModelError, QkNorm};

pub(super) fn smollm3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 32_768,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(128_004)),
        kv_heads: KvHeads::Default(Some(4)),
        ..Class::default()
    };
    let mut model = read(name, fields, &class)?;
    set_biases(&mut model, fields)?;
    model.nope_layers = no_rope_layers(fields, model.num_hidden_layers)?;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(None);
    let window = if fields.boolean("use_sliding_window", false)? { window } else { None };
    let nope = model.nope_layers.clone();
    set_layer_types(&mut model, fields, window, |layer| {
        let index = usize::try_from(layer).unwrap_or(usize::MAX);
        if nope.get(index) == Some(&true) { LayerType::SlidingAttention } else { LayerType::FullAttention }
    })?;
    Ok(model)
}

/// `no_rope_layers`, in which 1 says that a layer *has* rotary embedding; else every `no_rope_layer_interval`-th has none.
fn no_rope_layers(fields: Fields<'_>, num_hidden_layers: u64) -> Result<Vec<bool>, ModelError> {
    const FIELD: &str = "no_rope_layers";
    let Some(list) = fields.list(FIELD)? else {
        let interval = fields.integer("no_rope_layer_interval", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(4);
        return Ok((0..num_hidden_layers).map(|layer| (layer + 1).is_multiple_of(interval)).collect());
    };
    as_long_as(num_hidden_layers, list.len(), FIELD)?;
    let entries = list.iter().enumerate().map(|(index, entry)| match entry.as_u64() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(wrong_type(&format!("{FIELD}[{index}]"), entry, "0 or 1")),
    });
    entries.collect()
}

pub(super) fn exaone4(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { kv_heads: KvHeads::Default(Some(32)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.attention.qk_norm = QkNorm::PerHead;
    model.block = Block::BranchNorm;
    sliding_layers_turn(&mut model, fields)?;
    Ok(model)
}

pub(super) fn cohere2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = cohere(name, fields)?;
    sliding_layers_turn(&mut model, fields)?;
    // unlike EXAONE 4's, its full layers never turn
    model.nope_layers = model.layer_types.iter().map(|layer| *layer == LayerType::FullAttention).collect();
    Ok(model)
}

/// Every fourth layer is full, and where there is a window only the sliding ones have rotary embedding.
fn sliding_layers_turn(model: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), ModelError> {
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    let pattern = fields.integer("sliding_window_pattern", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(4);
    set_layer_types(model, fields, window, |layer| every(pattern, layer))?;
    if window.is_some() {
        model.nope_layers = model.layer_types.iter().map(|layer| *layer == LayerType::FullAttention).collect();
    }
    Ok(())
}
