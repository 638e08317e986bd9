//! ModernBERT.

use super::encoder::{Class, read};
use super::fields::Fields;
use super::{base, limits};
use crate::model::{Activation, EncoderConfig, EncoderFamily, LayerType, ModelError, ModernBert};

const CLASS: Class = Class {
    type_vocab_size: 0,
    activation: "hidden_activation",
    // its dropouts are fields of their own
    hidden_dropout: None,
    attention_dropout: ("attention_dropout", 0.0),
    classifier_dropout: Some(("classifier_dropout", 0.0)),
    max_position_embeddings: 8192,
    default_activation: Activation::Gelu,
};

pub(super) fn modernbert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let mut model = read(name, fields, &CLASS)?;
    fields.refuse("sparse_prediction", "how many tokens are masked is not known, so leave it out")?;
    if fields.text("classifier_pooling")?.is_some_and(|pooling| pooling != "cls") {
        return Err(fields.unsupported("classifier_pooling", "only \"cls\" is modelled"));
    }
    model.head_activation = fields.activation("classifier_activation", Activation::Gelu)?;
    let local_attention = fields.integer("local_attention", limits::SLIDING_WINDOW)?.unwrap_or(128);
    let period = fields.integer("global_attn_every_n_layers", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(3);
    let pattern = |layer: u64| match layer % period {
        0 => LayerType::FullAttention,
        _ => LayerType::SlidingAttention,
    };
    let listed = base::listed_layer_types(fields, model.num_hidden_layers)?;
    model.family = EncoderFamily::ModernBert(ModernBert {
        layer_types: listed.unwrap_or_else(|| base::layers(model.num_hidden_layers, pattern)),
        sliding_window: local_attention / 2,
        attention_bias: fields.boolean("attention_bias", false)?,
        mlp_bias: fields.boolean("mlp_bias", false)?,
        norm_bias: fields.boolean("norm_bias", false)?,
        head_bias: fields.boolean("classifier_bias", false)?,
        decoder_bias: fields.boolean("decoder_bias", true)?,
        embedding_dropout: fields.dropout("embedding_dropout", 0.0)?,
        mlp_dropout: fields.dropout("mlp_dropout", 0.0)?,
    });
    Ok(model)
}
