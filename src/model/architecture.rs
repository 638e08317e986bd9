//! What kinds of model there are.

use super::{DecoderConfig, Head, ModelType, Origin};

/// A model: one variant for each kind of architecture, with all that its memory depends on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Model {
    /// A decoder with a language-model head.
    Decoder(DecoderConfig),
}

impl Model {
    /// The name it was asked for by, or the card's.
    pub fn name(&self) -> &str {
        match self {
            Self::Decoder(config) => &config.name,
        }
    }

    /// The `model_type` of its config.json.
    pub const fn model_type(&self) -> ModelType {
        match self {
            Self::Decoder(config) => config.model_type,
        }
    }

    /// How much is known about it.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Decoder(config) => config.origin,
        }
    }

    /// The same model, said to be a guess.
    pub(super) fn guessed(mut self) -> Self {
        match &mut self {
            Self::Decoder(config) => config.origin = Origin::Guess,
        }
        self
    }

    /// The same model with a head that classifies whole sequences (`AutoModelForSequenceClassification`).
    #[must_use]
    pub fn classifying(mut self, num_labels: u64) -> Self {
        match &mut self {
            Self::Decoder(config) => config.head = Head { num_labels: Some(num_labels), ..Head::default() },
        }
        self
    }

    /// Width of the residual stream.
    pub const fn hidden_size(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.hidden_size,
        }
    }

    /// Number of layers.
    pub const fn num_hidden_layers(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.num_hidden_layers,
        }
    }

    /// Rows of the token embedding.
    pub const fn vocab_size(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.vocab_size,
        }
    }

    /// Longest sequence its positions allow.
    pub const fn max_position_embeddings(&self) -> u64 {
        match self {
            Self::Decoder(config) => config.max_position_embeddings,
        }
    }

    /// Its description where it is a decoder.
    pub const fn decoder(&self) -> Option<&DecoderConfig> {
        match self {
            Self::Decoder(config) => Some(config),
        }
    }
}
