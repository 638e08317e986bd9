//! DeBERTa v2 and v3.

use serde_json::Value;

use super::encoder::{BERT, Class, read};
use super::fields::{Fields, wrong_type};
use super::limits;
use crate::model::{Activation, DebertaV2, EncoderConfig, EncoderFamily, ModelError, RelativeAttention};

pub(super) fn deberta_v2(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class { type_vocab_size: 0, classifier_dropout: None, ..BERT };
    let mut model = read(name, fields, &class)?;
    model.type_vocab_size = fields.integer("type_vocab_size", limits::TYPE_VOCAB_SIZE)?.unwrap_or(0);
    model.embedding_size = fields.integer("embedding_size", limits::HIDDEN_SIZE)?.unwrap_or(model.hidden_size);
    model.classifier_dropout = fields.dropout("cls_dropout", model.hidden_dropout)?;
    if !fields.boolean("legacy", true)? {
        return Err(fields.unsupported("legacy", "only the masked-language-model head of `legacy = true` is modelled"));
    }
    if fields.signed("conv_kernel_size")?.is_some_and(|kernel| kernel > 0) {
        return Err(fields.unsupported("conv_kernel_size", "its convolution is not modelled; DeBERTa v3 has none"));
    }
    let pooler = fields.integer("pooler_hidden_size", limits::HIDDEN_SIZE)?;
    if pooler.is_some_and(|pooler| pooler != model.hidden_size) {
        return Err(fields.unsupported("pooler_hidden_size", "a pooler is as wide as the hidden states"));
    }
    let relative_attention = match fields.boolean("relative_attention", false)? {
        true => Some(relative_attention(fields, model.max_position_embeddings)?),
        false => None,
    };
    model.family = EncoderFamily::DebertaV2(DebertaV2 {
        relative_attention,
        position_biased_input: fields.boolean("position_biased_input", true)?,
        pooler_dropout: fields.dropout("pooler_dropout", 0.0)?,
        pooler_activation: fields.activation("pooler_hidden_act", Activation::Gelu)?,
    });
    Ok(model)
}

fn relative_attention(fields: Fields<'_>, max_position_embeddings: u64) -> Result<RelativeAttention, ModelError> {
    // below one: the default
    let positive = |field| match fields.signed(field)? {
        Some(number) if number > 0 => fields.integer(field, limits::MAX_POSITION_EMBEDDINGS),
        _ => Ok(None),
    };
    let buckets = positive("position_buckets")?;
    let max_relative_positions = positive("max_relative_positions")?.unwrap_or(max_position_embeddings);
    let kinds = kinds(fields)?;
    Ok(RelativeAttention {
        span: buckets.unwrap_or(max_relative_positions),
        in_buckets: buckets.is_some(),
        norm: fields.text("norm_rel_ebd")?.is_some_and(|text| text.to_lowercase().contains("layer_norm")),
        share_att_key: fields.boolean("share_att_key", false)?,
        content_to_position: kinds.iter().any(|kind| kind == "c2p"),
        position_to_content: kinds.iter().any(|kind| kind == "p2c"),
    })
}

/// `pos_att_type`: a list, or texts with a bar between them.
fn kinds(fields: Fields<'_>) -> Result<Vec<String>, ModelError> {
    const FIELD: &str = "pos_att_type";
    if let Ok(Some(text)) = fields.text(FIELD) {
        return Ok(text.to_lowercase().split('|').map(|kind| kind.trim().to_owned()).collect());
    }
    let list = fields.list(FIELD)?.unwrap_or_default();
    let texts = list.iter().map(|value| match value {
        Value::String(text) => Ok(text.to_lowercase()),
        other => Err(wrong_type(FIELD, other, "a list of \"c2p\" and \"p2c\"")),
    });
    texts.collect()
}
