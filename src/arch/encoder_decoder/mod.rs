//! Encoder-decoders with a language-model head.

mod bart;
mod cache;
mod model;
mod t5;

use self::model::EncoderDecoder;
use super::network::{Network, Weights};
use crate::model::{EncoderDecoderConfig, Positions};
use crate::nn::Builder;

/// The model with its parameters, frozen, as transformers runs it: the head shares the token embedding.
pub(super) fn network(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Box<dyn Network> {
    make(builder, &EncoderDecoderConfig { untied_head: false, ..model.clone() })
}

/// The parameters of its checkpoint.
pub(super) fn checkpoint(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Box<dyn Weights> {
    make(builder, model)
}

fn make(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Box<dyn Network> {
    match model.positions {
        Positions::RelativeBias { .. } => Box::new(EncoderDecoder::<t5::T5>::new(builder, model)),
        Positions::Learned { .. } => Box::new(EncoderDecoder::<bart::Bart>::new(builder, model)),
    }
}
