//! The normalised description of an encoder.

use super::{Activation, EncoderFamily, ModelType, Origin};

/// What an encoder is, as far as memory is concerned; names follow Hugging Face `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// The name it was asked for by, or the card's.
    pub name: String,
    /// The `model_type` of its config.json.
    pub model_type: ModelType,
    /// How much is known about it.
    pub origin: Origin,
    /// What its layers are built as.
    pub family: EncoderFamily,
    /// The class of its checkpoint, with what stands on the encoder.
    pub class: EncoderClass,
    /// Width of the hidden states.
    pub hidden_size: u64,
    /// Width of the embeddings; other than `hidden_size` in small ELECTRAs.
    pub embedding_size: u64,
    /// Number of layers.
    pub num_hidden_layers: u64,
    /// Attention heads, each `hidden_size / num_attention_heads` wide.
    pub num_attention_heads: u64,
    /// Inner width of the feed-forward block.
    pub intermediate_size: u64,
    /// Rows of the token embedding.
    pub vocab_size: u64,
    /// Rows of the position table.
    pub max_position_embeddings: u64,
    /// Rows of the token-type table; 0: none.
    pub type_vocab_size: u64,
    /// `hidden_act`
    pub activation: Activation,
    /// The activation in its masked-language-model head.
    pub head_activation: Activation,
    /// `hidden_dropout_prob`
    pub hidden_dropout: f64,
    /// `attention_probs_dropout_prob`
    pub attention_dropout: f64,
    /// `classifier_dropout`, else `hidden_dropout_prob`.
    pub classifier_dropout: f64,
    /// Classes a sequence classifier tells apart.
    pub num_labels: u64,
}

/// What stands on an encoder, by the suffix of its `transformers` class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncoderClass {
    /// `Model`: the encoder alone, with the pooler where the class has one.
    Base,
    /// `ForMaskedLM`
    MaskedLm,
    /// `ForPreTraining`: of BERT, the pooler, the masked-language-model head and the next-sentence head; of ELECTRA, the
    /// discriminator's head.
    PreTraining,
    /// `ForSequenceClassification`
    SequenceClassification,
}
