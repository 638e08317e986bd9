//! What kinds of model there are.

use super::{DecoderConfig, EncoderClass, EncoderConfig, EncoderDecoderConfig, Head, ModelType, Origin};

/// A model: one variant for each kind of architecture, with all that its memory depends on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // a run has one: boxing it would only burden those who read it
pub enum Model {
    /// A decoder with a language-model head.
    Decoder(DecoderConfig),
    /// An encoder, with or without a head.
    Encoder(EncoderConfig),
    /// An encoder and a decoder that attends to it, with a language-model head.
    EncoderDecoder(EncoderDecoderConfig),
}

impl Model {
    /// The name it was asked for by, or the card's.
    pub fn name(&self) -> &str {
        match self {
            Self::Decoder(config) => &config.name,
            Self::Encoder(config) => &config.name,
            Self::EncoderDecoder(config) => &config.name,
        }
    }

    /// The `model_type` of its config.json.
    pub const fn model_type(&self) -> ModelType {
        match self {
            Self::Decoder(config) => config.model_type,
            Self::Encoder(config) => config.model_type,
            Self::EncoderDecoder(config) => config.model_type,
        }
    }

    /// How much is known about it.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Decoder(config) => config.origin,
            Self::Encoder(config) => config.origin,
            Self::EncoderDecoder(config) => config.origin,
        }
    }

    /// The same model, said to be a guess.
    pub(super) fn guessed(mut self) -> Self {
        match &mut self {
            Self::Decoder(config) => config.origin = Origin::Guess,
            Self::Encoder(config) => config.origin = Origin::Guess,
            Self::EncoderDecoder(config) => config.origin = Origin::Guess,
        }
        self
    }

    /// The same model with a head that classifies whole sequences (`AutoModelForSequenceClassification`); `None`: into as
    /// many classes as its config says, or two. An encoder-decoder stays as it is.
    #[must_use]
    pub fn classifying(mut self, num_labels: Option<u64>) -> Self {
        match &mut self {
            Self::Decoder(config) => {
                config.head = Head { num_labels: num_labels.or(Some(2)), ..Head::default() };
            }
            Self::Encoder(config) => {
                config.class = EncoderClass::SequenceClassification;
                config.num_labels = num_labels.unwrap_or(config.num_labels);
            }
            Self::EncoderDecoder(_) => {}
        }
        self
    }

    /// The same model with a head that predicts masked tokens (`AutoModelForMaskedLM`), where it is an encoder.
    #[must_use]
    pub fn predicting_masked_tokens(mut self) -> Self {
        if let Self::Encoder(config) = &mut self {
            config.class = EncoderClass::MaskedLm;
        }
        self
    }

    /// The same model with its head tied to the token embedding, as transformers 5 runs every encoder-decoder whether or not
    /// its checkpoint has a head of its own.
    #[must_use]
    pub fn tied(mut self) -> Self {
        if let Self::EncoderDecoder(config) = &mut self {
            config.untied_head = false;
        }
        self
    }

    /// Width of the residual stream.
    pub const fn hidden_size(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.hidden_size,
            Self::Encoder(config) => config.hidden_size,
            Self::EncoderDecoder(config) => config.d_model,
        }
    }

    /// Number of layers; an encoder's and its decoder's together.
    pub const fn num_hidden_layers(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.num_hidden_layers,
            Self::Encoder(config) => config.num_hidden_layers,
            Self::EncoderDecoder(config) => config.encoder.num_layers + config.decoder.num_layers,
        }
    }

    /// Rows of the token embedding.
    pub const fn vocab_size(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.vocab_size,
            Self::Encoder(config) => config.vocab_size,
            Self::EncoderDecoder(config) => config.vocab_size,
        }
    }

    /// Longest sequence its positions allow.
    pub const fn max_position_embeddings(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.max_position_embeddings,
            Self::Encoder(config) => config.max_position_embeddings,
            Self::EncoderDecoder(config) => config.max_position_embeddings,
        }
    }

    /// Its description where it is a decoder.
    pub const fn decoder(&self) -> Option<&DecoderConfig> {
        match self {
            Self::Decoder(config) => Some(config),
            _ => None,
        }
    }
}
