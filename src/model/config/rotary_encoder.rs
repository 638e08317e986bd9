//! Encoders of Llama's layers: EuroBERT, Nomic's BERT.

use super::base;
use super::encoder::{BERT, Class, read};
use super::fields::Fields;
use super::llama::llama;
use crate::model::{Activation, Block, EncoderConfig, EncoderFamily, ModelError, Norm};

pub(super) fn eurobert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class {
        type_vocab_size: 0,
        hidden_dropout: None,
        attention_dropout: ("attention_dropout", 0.0),
        classifier_dropout: Some(("classifier_dropout", 0.0)),
        max_position_embeddings: 8192,
        default_activation: Activation::Silu,
        ..BERT
    };
    if fields.text("classifier_pooling")?.is_some_and(|pooling| pooling != "late") {
        return Err(fields.unsupported("classifier_pooling", "only \"late\" is modelled"));
    }
    let mut model = read(name, fields, &class)?;
    model.family = EncoderFamily::Rotary(Box::new(llama(name, fields)?));
    Ok(model)
}

pub(super) fn nomic_bert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class {
        hidden_dropout: Some(("hidden_dropout_prob", 0.0)),
        attention_dropout: ("attention_probs_dropout_prob", 0.0),
        max_position_embeddings: 2048,
        default_activation: Activation::Silu,
        ..BERT
    };
    let mut model = read(name, fields, &class)?;
    let mut layers = base::read(name, fields, &base::Class::default())?;
    layers.norm = Norm::Layer { bias: true };
    layers.block = Block::PostNorm;
    layers.final_norm = false;
    layers.residual_dropout = model.hidden_dropout;
    layers.attention.dropout = model.attention_dropout;
    model.family = EncoderFamily::Rotary(Box::new(layers));
    Ok(model)
}
