//! Families whose layers are arranged in their own way, each as its `transformers` module computes it.

mod alibi;
mod attend;
mod bloom;
mod counted;
mod falcon;
mod falcon_h1;
mod front;
mod gpt2;
mod gpt_neox;
mod llama;
mod llama4;
mod mamba;
mod nemotron_h;
mod opt;

use std::rc::Rc;

pub(super) use front::{Entered, Front, Input};

use super::layer::{DecoderLayer, Layer};
use crate::model::{DecoderConfig, ModelType};
use crate::nn::Builder;

/// What comes before the layers of `model`.
pub(super) fn front(builder: &Builder<'_>, model: &DecoderConfig) -> Box<dyn Front> {
    match model.model_type {
        ModelType::Gpt2 => Box::new(gpt2::Positions::new(builder, model)),
        ModelType::GptNeox => Box::new(gpt_neox::EmbedDropout::new(model)),
        ModelType::Bloom => Box::new(bloom::EmbedNorm::new(builder, model)),
        ModelType::Falcon => Box::new(falcon::Masks::new(model)),
        ModelType::Opt => Box::new(opt::Positions::new(builder, model)),
        ModelType::Mamba | ModelType::Mamba2 | ModelType::FalconMamba => Box::new(mamba::Plain),
        _ => Box::new(llama::Spans::new(model)),
    }
}

/// A layer of `model`.
pub(super) fn layer(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Rc<dyn Layer> {
    if let Some(layer) = model.counted.as_ref().and_then(|layers| layers.get(index)) {
        return Rc::new(counted::Counted::new(builder, *layer));
    }
    match model.model_type {
        ModelType::Gpt2 => Rc::new(gpt2::Block::new(builder, model)),
        ModelType::GptNeox => Rc::new(gpt_neox::Layer::new(builder, model)),
        ModelType::Bloom => Rc::new(bloom::Block::new(builder, model)),
        ModelType::Falcon => Rc::new(falcon::DecoderLayer::new(builder, model)),
        ModelType::Opt => Rc::new(opt::DecoderLayer::new(builder, model)),
        ModelType::Mamba | ModelType::Mamba2 | ModelType::FalconMamba => Rc::new(mamba::Block::new(builder, model)),
        ModelType::FalconH1 => Rc::new(falcon_h1::DecoderLayer::new(builder, model, index)),
        ModelType::NemotronH => Rc::new(nemotron_h::Block::new(builder, model, index)),
        ModelType::Llama4 | ModelType::Llama4Text => Rc::new(llama4::DecoderLayer::new(builder, model, index)),
        _ => Rc::new(DecoderLayer::new(builder, model, index)),
    }
}
