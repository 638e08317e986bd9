//! Families whose layers are arranged in their own way, each as its `transformers` module computes it.

mod alibi;
mod attend;
mod bloom;
mod counted;
mod falcon;
mod falcon_h1;
mod front;
mod gpt2;
mod gpt_bigcode;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod llama;
mod llama4;
mod mamba;
mod mpt;
mod nemotron_h;
mod opt;
mod persimmon;
mod scores;
mod sized;
mod xglm;

use std::rc::Rc;

pub(super) use front::{Entered, Front, Input};

use super::layer::{DecoderLayer, Layer};
use crate::model::{DecoderConfig, LayerType, Mixer, ModelType};
use crate::nn::Builder;

/// What comes before the layers of `model`.
pub(super) fn front(builder: &Builder<'_>, model: &DecoderConfig) -> Box<dyn Front> {
    match model.model_type {
        ModelType::Gpt2 => Box::new(gpt2::Positions::new(builder, model)),
        ModelType::GptNeox => Box::new(gpt_neox::EmbedDropout::new(model)),
        ModelType::GptBigcode => Box::new(gpt_bigcode::Positions::new(builder, model)),
        ModelType::GptNeo => Box::new(gpt_neo::Positions::new(builder, model)),
        ModelType::Gptj | ModelType::Codegen => Box::new(gptj::EmbedDropout::new(model)),
        ModelType::Mpt => Box::new(mpt::Alibi::new(model)),
        ModelType::Xglm => Box::new(xglm::Positions::new(builder, model)),
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
        return Rc::new(sized::Layer::new(builder, *layer));
    }
    if let (Some(LayerType::LinearAttention), Some(Mixer::Counted(counted))) =
        (model.layer_types.get(index), &model.mixer)
    {
        return Rc::new(counted::Layer::new(builder, model, counted, index));
    }
    match model.model_type {
        ModelType::Gpt2 => Rc::new(gpt2::Block::new(builder, model)),
        ModelType::GptNeox => Rc::new(gpt_neox::Layer::new(builder, model)),
        ModelType::GptBigcode => Rc::new(gpt_bigcode::Block::new(builder, model)),
        ModelType::GptNeo => Rc::new(gpt_neo::Block::new(builder, model)),
        ModelType::Gptj | ModelType::Codegen => Rc::new(gptj::Block::new(builder, model)),
        ModelType::Mpt => Rc::new(mpt::Block::new(builder, model)),
        ModelType::Persimmon => Rc::new(persimmon::DecoderLayer::new(builder, model)),
        ModelType::Xglm => Rc::new(xglm::DecoderLayer::new(builder, model)),
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
