//! GPT-2 (`modeling_gpt2.py`).

use super::attend::sdpa;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

/// Learned positions and dropout before the first block (`GPT2Model.forward`).
pub(super) struct Positions {
    wpe: Embedding,
    dropout: f64,
}

impl Positions {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let rows = model.embedding.learned_positions.unwrap_or(model.max_position_embeddings);
        Self { wpe: builder.embedding("wpe", rows, model.hidden_size), dropout: model.embedding.dropout }
    }
}

impl Front for Positions {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let positions = input.positions(cx);
        let position_embeds = self.wpe.forward(cx, &positions);
        let hidden = cx.add(&embeds, &position_embeds);
        let mask = input.mask(cx, Some(&positions), input.run.attention_mask);
        let hidden = cx.dropout(hidden, self.dropout);
        Entered { positions: Some(positions), mask, locals: vec![embeds, position_embeds], ..Entered::new(hidden) }
    }
}

impl Module for Positions {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.wpe.leaves(visit);
    }
}

/// `GPT2Block`
pub(super) struct Block {
    ln_1: NormLayer,
    attn: Attention,
    ln_2: NormLayer,
    mlp: Mlp,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let norm = |name| builder.norm(name, model.norm, model.hidden_size);
        Self {
            ln_1: norm("ln_1"),
            attn: Attention::new(builder, model),
            ln_2: norm("ln_2"),
            mlp: Mlp::new(builder, model),
        }
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.ln_1.forward(cx, hidden);
        let (attn_output, _weights) = self.attn.forward(cx, &states, attend, cache);
        states = cx.add(&attn_output, hidden);
        let residual = states.clone();
        states = self.ln_2.forward(cx, &states);
        let feed_forward = self.mlp.forward(cx, &states);
        states = cx.add(residual, &feed_forward);
        (states, None)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.ln_1.leaves(visit);
        visit(Leaf::Linear(&mut self.attn.c_attn));
        visit(Leaf::Linear(&mut self.attn.c_proj));
        self.ln_2.leaves(visit);
        visit(Leaf::Linear(&mut self.mlp.c_fc));
        visit(Leaf::Linear(&mut self.mlp.c_proj));
    }
}

/// `GPT2Attention`
struct Attention {
    c_attn: Linear,
    c_proj: Linear,
    num_heads: u64,
    head_dim: u64,
    attn_dropout: f64,
    resid_dropout: f64,
}

impl Attention {
    fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let width = model.hidden_size;
        Self {
            c_attn: builder.conv1d("c_attn", Part::Attention, width, 3 * width),
            c_proj: builder.conv1d("c_proj", Part::Attention, width, width),
            num_heads: model.attention.num_heads,
            head_dim: model.attention.head_dim,
            attn_dropout: model.attention.dropout,
            resid_dropout: model.residual_dropout,
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let heads =
            |flat: &Tensor| cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        let [mut query, mut key, mut value] = cx.split_in(self.c_attn.forward(cx, x), -1);
        key = heads(&key);
        value = heads(&value);
        query = heads(&query);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let (mut out, weights) = match attend.implementation {
            AttnImplementation::Eager => self.eager(cx, [&query, &key, &value], attend.full.mask.as_ref()),
            _ => (sdpa(cx, [&query, &key, &value], attend.full.mask.as_ref(), self.attn_dropout), None),
        };
        out = cx.contiguous(cx.reshape(&out, &[batch, length, width]));
        out = self.c_proj.forward(cx, &out);
        out = cx.dropout(&out, self.resid_dropout);
        (out, weights)
    }

    /// `eager_attention_forward`
    fn eager(&self, cx: &Context, [query, key, value]: [&Tensor; 3], mask: Option<&Tensor>) -> Attended {
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { weights.dtype() };
        weights = cx.softmax(&weights, dtype);
        weights = cx.cast(&weights, value.dtype());
        weights = cx.dropout(&weights, self.attn_dropout);
        let out = cx.matmul(&weights, value);
        (cx.transpose(&out, 1, 2), Some(weights))
    }
}

/// `GPT2MLP`
struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
    activation: Activation,
    dropout: f64,
}

impl Mlp {
    fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.mlp.intermediate_size);
        Self {
            c_fc: builder.conv1d("c_fc", Part::Mlp, width, inner),
            c_proj: builder.conv1d("c_proj", Part::Mlp, inner, width),
            activation: model.mlp.activation,
            dropout: model.residual_dropout,
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.c_fc.forward(cx, x);
        states = activate(cx, self.activation, states);
        states = self.c_proj.forward(cx, &states);
        cx.dropout(&states, self.dropout)
    }
}
