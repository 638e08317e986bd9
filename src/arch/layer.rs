//! Decoder layers: how attention, MLP, norms and residuals are arranged.

use std::cell::RefCell;

use super::attention::{Attend, Attended, SelfAttention};
use super::cache::KvCache;
use super::latent::LatentAttention;
use super::mixers::TokenMixer;
use super::mlp::FeedForward;
use super::moe::SparseMoe;
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
    Latent(Box<LatentAttention>),
    Other(TokenMixer),
}

/// A layer's feed-forward part.
pub(super) enum Feeding {
    Dense(Box<FeedForward>),
    Sparse(Box<SparseMoe>),
}

impl Mixing {
    fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        match (model.layer_types.get(index), model.mla) {
            (Some(LayerType::LinearAttention), _) => Self::Other(TokenMixer::new(builder, model)),
            (_, Some(mla)) => Self::Latent(Box::new(LatentAttention::new(builder, model, mla, index))),
            (_, None) => Self::Attention(Box::new(SelfAttention::new(builder, model, index))),
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        match self {
            Self::Attention(attention) => attention.forward(cx, x, attend, cache),
            Self::Latent(attention) => attention.forward(cx, x, attend, cache),
            Self::Other(mixer) => (mixer.forward(cx, x, attend.padding.as_ref(), cache), None),
        }
    }
}

impl Module for Mixing {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match self {
            Self::Attention(attention) => attention.leaves(visit),
            Self::Latent(attention) => attention.leaves(visit),
            Self::Other(mixer) => mixer.leaves(visit),
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Self::Other(mixer) = self {
            mixer.buffers(visit);
        }
    }
}

impl Feeding {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        match &model.moe {
            Some(moe) if moe.sparse_layers.get(index) == Some(&true) => {
                Self::Sparse(Box::new(SparseMoe::new(builder, model, moe)))
            }
            _ => Self::Dense(Box::new(FeedForward::new(builder, model))),
        }
    }

    pub(super) fn forward(&self, cx: &Context, x: &Tensor, batched_experts: bool) -> Tensor {
        match self {
            Self::Dense(mlp) => mlp.forward(cx, x),
            Self::Sparse(moe) => moe.forward(cx, x, batched_experts),
        }
    }
}

impl Module for Feeding {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match self {
            Self::Dense(mlp) => mlp.leaves(visit),
            Self::Sparse(moe) => moe.leaves(visit),
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Self::Sparse(moe) = self {
            moe.buffers(visit);
        }
    }
}

/// A layer of the Llama-like families.
pub struct DecoderLayer {
    block: Block,
    mixing: Mixing,
    mlp: Feeding,
    norms: Vec<NormLayer>,
    residual_multiplier: Option<f64>,
    attention_dropout: f64,
    mlp_dropout: f64,
    /// StableLM keeps a name for each branch until the layer returns.
    keeps_branches: bool,
    /// gpt-oss gives the probabilities' name to its router's scores.
    forgets_weights: bool,
}

impl DecoderLayer {
    /// Layer `index` of `model`.
    pub fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let mixing = Mixing::new(builder, model, index);
        let mlp = Feeding::new(builder, model, index);
        let names: &[&'static str] = match model.block {
            Block::ParallelSharedNorm => &["input_layernorm"],
            Block::BranchNorm => &["post_attention_layernorm", "post_feedforward_layernorm"],
            Block::Sandwich if model.model_type == ModelType::Glm4 => {
                &["input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"]
            }
            Block::Sandwich if model.model_type == ModelType::Afmoe => {
                &["input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"]
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
            forgets_weights: model.model_type == ModelType::GptOss,
        }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let norm = |i: usize, x: &Tensor| self.norms[i].forward(cx, x);
        // `hidden_states, _ = self.self_attn(...)`: the probabilities stay until the layer returns
        let kept = RefCell::new(None);
        let attention = |x: &Tensor| {
            let (out, weights) = self.mixing.forward(cx, x, attend, cache);
            kept.replace(weights);
            cx.dropout(out, self.attention_dropout)
        };
        let mlp = |x: &Tensor| {
            let out = self.mlp.forward(cx, x, attend.batched_experts);
            if self.forgets_weights {
                kept.take();
            }
            cx.dropout(out, self.mlp_dropout)
        };
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
            Block::PostNorm => {
                let attended = attention(hidden);
                states = cx.add(hidden, &attended);
                states = norm(0, &states);
                let residual = states.clone();
                states = mlp(&states);
                states = cx.add(&residual, &states);
                norm(1, &states)
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
        self.mixing.buffers(visit);
        self.mlp.buffers(visit);
    }
}
