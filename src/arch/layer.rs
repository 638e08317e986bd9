//! Decoder layers: how attention, MLP, norms and residuals are arranged.

use super::attention::{Attend, SelfAttention};
use super::cache::KvCache;
use super::mlp::FeedForward;
use crate::ghost::{Context, Tensor};
use crate::model::{Block, Model};
use crate::nn::{Builder, Leaf, Module, NormLayer};

/// One layer of a decoder.
pub trait Layer: Module {
    /// Applies it to `hidden`, `[batch, length, hidden_size]`; `cache` is where its keys and values go, and its place there.
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Tensor;
}

/// A layer of the Llama-like families.
pub struct DecoderLayer {
    block: Block,
    attention: SelfAttention,
    mlp: FeedForward,
    norms: Vec<NormLayer>,
}

impl DecoderLayer {
    /// A layer of `model`.
    pub fn new(builder: &Builder<'_>, model: &Model) -> Self {
        let attention = SelfAttention::new(builder, model);
        let mlp = FeedForward::new(builder, model);
        let names: &[&'static str] = match model.block {
            Block::ParallelSharedNorm => &["input_layernorm"],
            Block::Sandwich => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
            _ => &["input_layernorm", "post_attention_layernorm"],
        };
        let norms = names.iter().map(|name| builder.norm(name, model.norm, model.hidden_size)).collect();
        Self { block: model.block, attention, mlp, norms }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Tensor {
        let norm = |i: usize, x: &Tensor| self.norms[i].forward(cx, x);
        match self.block {
            Block::Sandwich => {
                let states = norm(0, hidden);
                let states = self.attention.forward(cx, &states, attend, cache);
                let states = norm(1, &states);
                let states = cx.add(hidden, states);
                let residual = states.clone();
                let states = norm(2, &states);
                let states = self.mlp.forward(cx, &states);
                let states = norm(3, &states);
                cx.add(residual, states)
            }
            _ => {
                let mut states = norm(0, hidden);
                states = self.attention.forward(cx, &states, attend, cache);
                states = cx.add(hidden, states);
                let residual = states.clone();
                states = norm(1, &states);
                states = self.mlp.forward(cx, &states);
                states = cx.add(&residual, states);
                states
            }
        }
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.mlp.leaves(visit);
        self.norms.iter_mut().for_each(|norm| norm.leaves(visit));
    }
}
