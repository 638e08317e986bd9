//! What kinds of model there are.

use super::{DecoderConfig, EncoderConfig, EncoderDecoderConfig, ModelType, Origin};

/// A model: one variant for each kind of architecture, with all that its memory depends on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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
