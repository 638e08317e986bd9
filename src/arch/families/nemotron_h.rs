//! Nemotron-H (`modeling_nemotron_h.py`): a norm and one branch a layer, a mixer, attention or a feed-forward block.

use crate::arch::attention::{Attend, Attended, SelfAttention};
use crate::arch::cache::KvCache;
use crate::arch::layer::{Feeding, Layer};
use crate::arch::mixers::TokenMixer;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, LayerType};
use crate::nn::{Builder, Leaf, Module, NormLayer};

/// `NemotronHBlock`
pub(super) struct Block {
    norm: NormLayer,
    branch: Branch,
}

enum Branch {
    Mixer(TokenMixer),
    Attention(Box<SelfAttention>),
    FeedForward(Feeding),
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let norm = builder.norm("norm", model.norm, model.hidden_size);
        let branch = match model.layer_types.get(index) {
            Some(LayerType::LinearAttention) => Branch::Mixer(TokenMixer::new(builder, model)),
            Some(LayerType::FeedForward) => Branch::FeedForward(Feeding::new(builder, model, index)),
            _ => Branch::Attention(Box::new(SelfAttention::new(builder, model, index))),
        };
        Self { norm, branch }
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let dtype = self.norm.weight.as_ref().map_or(hidden.dtype(), Tensor::dtype);
        let mut states = self.norm.forward(cx, cx.cast(hidden, dtype));
        let mut _weights = None;
        states = match &self.branch {
            Branch::Mixer(mixer) => mixer.forward(cx, &states, attend.padding.as_ref(), cache),
            Branch::FeedForward(mlp) => mlp.forward(cx, &states, attend.batched_experts),
            Branch::Attention(attention) => {
                let (out, weights) = attention.forward(cx, &states, attend, cache);
                _weights = weights;
                out
            }
        };
        (cx.add(hidden, &states), None)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.norm.leaves(visit);
        match &mut self.branch {
            Branch::Mixer(mixer) => mixer.leaves(visit),
            Branch::Attention(attention) => attention.leaves(visit),
            Branch::FeedForward(mlp) => mlp.leaves(visit),
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        match &mut self.branch {
            Branch::Mixer(mixer) => mixer.buffers(visit),
            Branch::FeedForward(mlp) => mlp.buffers(visit),
            Branch::Attention(_) => {}
        }
    }
}
