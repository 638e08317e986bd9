//! Decoder layers: how attention, MLP, norms and residuals are arranged.

use super::attention::{Attend, Attended, SelfAttention};
use super::cache::KvCache;
use super::mixers::TokenMixer;
use super::mlp::FeedForward;
use crate::ghost::{Context, Tensor};
use crate::model::{Block, DecoderConfig, LayerType, ModelType};
use crate::nn::{Builder, Leaf, Module, NormLayer};

/// One layer of a decoder.
pub trait Layer: Module {
    /// Applies it to `hidden`, `[batch, length, hidden_size]`; `cache` is where its keys and values go, and its place there.
    ///
    /// Beside the hidden states it returns the attention probabilities where its class does: the model's loop has a name
    /// for them until the next layer's come.
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended;
}

/// How a layer mixes tokens.
enum Mixing {
    Attention(Box<SelfAttention>),
    Other(TokenMixer),
}

impl Mixing {
    fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        match model.layer_types.get(index) {
            Some(LayerType::LinearAttention) => Self::Other(TokenMixer::new(builder, model)),
            _ => Self::Attention(Box::new(SelfAttention::new(builder, model, index))),
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        match self {
            Self::Attention(attention) => attention.forward(cx, x, attend, cache),
            Self::Other(mixer) => (mixer.forward(cx, x, attend.padding.as_ref(), cache), None),
        }
    }
}

impl Module for Mixing {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match self {
            Self::Attention(attention) => attention.leaves(visit),
            Self::Other(mixer) => mixer.leaves(visit),
        }
    }
}

/// A layer of the Llama-like families.
pub struct DecoderLayer {
    block: Block,
    mixing: Mixing,
    mlp: FeedForward,
    norms: Vec<NormLayer>,
    residual_multiplier: Option<f64>,
    attention_dropout: f64,
    mlp_dropout: f64,
    /// StableLM keeps a name for each branch until the layer returns.
    keeps_branches: bool,
}

impl DecoderLayer {
    /// Layer `index` of `model`.
    pub fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let mixing = Mixing::new(builder, model, index);
        let mlp = FeedForward::new(builder, model);
        let names: &[&'static str] = match model.block {
            Block::ParallelSharedNorm => &["input_layernorm"],
            Block::BranchNorm => &["post_attention_layernorm", "post_feedforward_layernorm"],
            Block::Sandwich if model.model_type == ModelType::Glm4 => {
                &["input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"]
            }
            Block::Sandwich => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
            _ => &["input_layernorm", "post_attention_layernorm"],
        };
        let norms = names.iter().map(|name| builder.norm(name, model.norm, model.hidden_size)).collect();
        let dropout = model.residual_dropout;
        // StarCoder2 drops out inside its MLP, StableLM after it alone
        let mlp_only = matches!(model.model_type, ModelType::Starcoder2 | ModelType::Stablelm);
        Self {
            block: model.block,
            mixing,
            mlp,
            norms,
            residual_multiplier: model.residual_multiplier,
            attention_dropout: if mlp_only { 0.0 } else { dropout },
            mlp_dropout: dropout,
            keeps_branches: model.model_type == ModelType::Stablelm,
        }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let norm = |i: usize, x: &Tensor| self.norms[i].forward(cx, x);
        // `hidden_states, _ = self.self_attn(...)`: the probabilities stay until the layer returns
        let mut _weights = None;
        let mut attention = |x: &Tensor| {
            let (out, weights) = self.mixing.forward(cx, x, attend, cache);
            _weights = weights;
            cx.dropout(out, self.attention_dropout)
        };
        let mlp = |x: &Tensor| cx.dropout(self.mlp.forward(cx, x), self.mlp_dropout);
        let add = |residual: &Tensor, branch: &Tensor| match self.residual_multiplier {
            Some(factor) => cx.add(residual, cx.mul_scalar(branch, factor)),
            None => cx.add(residual, branch),
        };
        // a name bound again lets go of what it stood for after the new value is there, as in Python
        let mut states;
        let out = match self.block {
            Block::Sandwich => {
                states = norm(0, hidden);
                states = attention(&states);
                states = norm(1, &states);
                states = cx.add(hidden, &states);
                let residual = states.clone();
                states = norm(2, &states);
                states = mlp(&states);
                states = norm(3, &states);
                cx.add(&residual, &states)
            }
            Block::BranchNorm => {
                states = attention(hidden);
                states = norm(0, &states);
                states = cx.add(hidden, &states);
                let residual = states.clone();
                states = mlp(&states);
                states = norm(1, &states);
                cx.add(&residual, &states)
            }
            Block::ParallelSharedNorm => {
                states = norm(0, hidden);
                let attended = attention(&states);
                let fed = mlp(&states);
                let both = if self.keeps_branches { cx.add(hidden, &attended) } else { cx.add(&attended, &fed) };
                cx.add(both, if self.keeps_branches { &fed } else { hidden })
            }
            Block::PreNorm if self.keeps_branches => {
                states = norm(0, hidden);
                let attended = attention(&states);
                let residual = cx.add(hidden, &attended);
                let fed = mlp(&norm(1, &residual));
                states = cx.add(&residual, &fed);
                states
            }
            _ => {
                states = norm(0, hidden);
                states = attention(&states);
                states = add(hidden, &states);
                let residual = states.clone();
                states = norm(1, &states);
                states = mlp(&states);
                add(&residual, &states)
            }
        };
        (out, None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.mixing.leaves(visit);
        self.mlp.leaves(visit);
        self.norms.iter_mut().for_each(|norm| norm.leaves(visit));
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.mlp.buffers(visit);
    }
}
