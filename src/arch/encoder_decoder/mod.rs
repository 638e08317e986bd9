//! Encoder-decoders with a language-model head.

mod bart;
mod cache;
mod model;
mod t5;
mod whisper;

use self::model::EncoderDecoder;
use super::network::Network;
use crate::model::{EncoderDecoderConfig, Positions};
use crate::nn::Builder;

/// The model with its parameters, frozen.
pub(super) fn network(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Box<dyn Network> {
    match model.positions {
        Positions::RelativeBias { .. } => Box::new(EncoderDecoder::<t5::T5>::new(builder, model)),
        Positions::Audio { .. } => Box::new(EncoderDecoder::<whisper::Whisper>::new(builder, model)),
        _ => Box::new(EncoderDecoder::<bart::Bart>::new(builder, model)),
    }
}
