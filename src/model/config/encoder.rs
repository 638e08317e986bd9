//! Encoders: BERT and those that follow it.

use super::base;
use super::fields::Fields;
use super::limits;
use crate::model::{Activation, EncoderClass, EncoderConfig, EncoderFamily, ModelError, ModelType, Origin};

const HIDDEN_SIZE: &[&str] = &["hidden_size", "dim"];
const NUM_HIDDEN_LAYERS: &[&str] = &["num_hidden_layers", "n_layers"];
const NUM_ATTENTION_HEADS: &[&str] = &["num_attention_heads", "n_heads"];
const INTERMEDIATE_SIZE: &[&str] = &["intermediate_size", "hidden_dim"];

/// What the classes call their fields, and their defaults.
pub(super) struct Class {
    /// 0: no token types.
    pub(super) type_vocab_size: u64,
    pub(super) activation: &'static str,
    /// Of embeddings and residual branches.
    pub(super) hidden_dropout: Option<(&'static str, f64)>,
    pub(super) attention_dropout: (&'static str, f64),
    /// `None`: `classifier_dropout`, else the hidden dropout.
    pub(super) classifier_dropout: Option<(&'static str, f64)>,
    pub(super) max_position_embeddings: u64,
    pub(super) default_activation: Activation,
}

pub(super) const BERT: Class = Class {
    type_vocab_size: 2,
    activation: "hidden_act",
    hidden_dropout: Some(("hidden_dropout_prob", 0.1)),
    attention_dropout: ("attention_probs_dropout_prob", 0.1),
    classifier_dropout: None,
    max_position_embeddings: 512,
    default_activation: Activation::Gelu,
};

pub(super) fn bert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let fix = "encoders run as decoders are not modelled, so leave it out";
    fields.refuse("is_decoder", fix)?;
    fields.refuse("add_cross_attention", fix)?;
    read(name, fields, &BERT)
}

pub(super) fn electra(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let mut model = bert(name, fields)?;
    model.embedding_size = fields.integer("embedding_size", limits::HIDDEN_SIZE)?.unwrap_or(128);
    Ok(model)
}

pub(super) fn albert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class {
        hidden_dropout: Some(("hidden_dropout_prob", 0.0)),
        attention_dropout: ("attention_probs_dropout_prob", 0.0),
        classifier_dropout: Some(("classifier_dropout_prob", 0.1)),
        default_activation: Activation::GeluNew,
        ..BERT
    };
    let mut model = read(name, fields, &class)?;
    model.embedding_size = fields.integer("embedding_size", limits::HIDDEN_SIZE)?.unwrap_or(128);
    let count = |field| fields.integer(field, limits::NUM_HIDDEN_LAYERS).map(|count| count.unwrap_or(1));
    let (num_hidden_groups, inner_group_num) = (count("num_hidden_groups")?, count("inner_group_num")?);
    fields.at_most("num_hidden_groups", num_hidden_groups, "num_hidden_layers", model.num_hidden_layers)?;
    model.family = EncoderFamily::Albert { num_hidden_groups, inner_group_num };
    Ok(model)
}

pub(super) fn mpnet(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class { type_vocab_size: 0, classifier_dropout: Some(("hidden_dropout_prob", 0.1)), ..BERT };
    let mut model = read(name, fields, &class)?;
    model.head_activation = Activation::Gelu;
    let buckets = fields.integer("relative_attention_num_buckets", limits::BUCKETS)?.unwrap_or(32);
    model.family = EncoderFamily::Mpnet { buckets };
    Ok(model)
}

pub(super) fn distilbert(name: &str, fields: Fields<'_>) -> Result<EncoderConfig, ModelError> {
    let class = Class {
        type_vocab_size: 0,
        activation: "activation",
        hidden_dropout: Some(("dropout", 0.1)),
        attention_dropout: ("attention_dropout", 0.1),
        classifier_dropout: Some(("seq_classif_dropout", 0.2)),
        ..BERT
    };
    read(name, fields, &class)
}

pub(super) fn read(name: &str, fields: Fields<'_>, class: &Class) -> Result<EncoderConfig, ModelError> {
    let hidden_size = fields.required(HIDDEN_SIZE, limits::HIDDEN_SIZE)?;
    let num_attention_heads = fields.required(NUM_ATTENTION_HEADS, limits::NUM_HEADS)?;
    whole_heads(NUM_ATTENTION_HEADS[0], hidden_size, num_attention_heads)?;
    let hidden_dropout = match class.hidden_dropout {
        Some((field, default)) => fields.dropout(field, default)?,
        None => 0.0,
    };
    let activation = fields.activation(class.activation, class.default_activation)?;
    let (attention_dropout, default) = class.attention_dropout;
    Ok(EncoderConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        family: EncoderFamily::Bert,
        class: class_of(fields)?,
        hidden_size,
        embedding_size: hidden_size,
        num_hidden_layers: fields.required(NUM_HIDDEN_LAYERS, limits::NUM_HIDDEN_LAYERS)?,
        num_attention_heads,
        intermediate_size: fields.required(INTERMEDIATE_SIZE, limits::INTERMEDIATE_SIZE)?,
        vocab_size: fields.required(&["vocab_size"], limits::VOCAB_SIZE)?,
        max_position_embeddings: base::max_position_embeddings(fields, class.max_position_embeddings)?,
        type_vocab_size: match class.type_vocab_size {
            0 => 0,
            default => fields.integer("type_vocab_size", limits::TYPE_VOCAB_SIZE)?.unwrap_or(default),
        },
        activation,
        head_activation: match fields.model_type {
            ModelType::Roberta | ModelType::XlmRoberta | ModelType::Electra => Activation::Gelu,
            _ => activation,
        },
        hidden_dropout,
        attention_dropout: fields.dropout(attention_dropout, default)?,
        classifier_dropout: match class.classifier_dropout {
            Some((field, default)) => fields.dropout(field, default)?,
            None => fields.dropout("classifier_dropout", hidden_dropout)?,
        },
        num_labels: fields.integer("num_labels", limits::NUM_LABELS)?.unwrap_or(2),
    })
}

pub(super) fn whole_heads(field: &str, width: u64, heads: u64) -> Result<(), ModelError> {
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(ModelError::NotAMultiple {
        field: "hidden_size".to_owned(),
        value: width,
        divisor_field: field.to_owned(),
        divisor: heads,
        fix: "every head is as wide as the next".to_owned(),
    })
}

/// The class `architectures` names; the encoder alone where it names none.
fn class_of(fields: Fields<'_>) -> Result<EncoderClass, ModelError> {
    let Some(name) = fields.architecture()? else { return Ok(EncoderClass::Base) };
    let pre_training = matches!(fields.model_type, ModelType::Bert | ModelType::Electra | ModelType::Albert);
    match name {
        name if name.ends_with("ForMaskedLM") && fields.model_type != ModelType::EuroBert => Ok(EncoderClass::MaskedLm),
        name if name.ends_with("ForPreTraining") && pre_training => Ok(EncoderClass::PreTraining),
        name if name.ends_with("ForSequenceClassification") => Ok(EncoderClass::SequenceClassification),
        name if name.ends_with("Model") => Ok(EncoderClass::Base),
        other => Err(ModelError::Unsupported {
            field: "architectures".to_owned(),
            value: crate::model::error::one_line(other),
            model_type: fields.model_type,
            fix: "the classes known are those ending in Model, ForMaskedLM, ForPreTraining and \
                  ForSequenceClassification; leave it out for the encoder alone"
                .to_owned(),
        }),
    }
}
