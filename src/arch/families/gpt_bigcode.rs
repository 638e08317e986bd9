//! GPT-BigCode: SantaCoder and StarCoder (`modeling_gpt_bigcode.py`).

use super::attend::attend;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

/// Learned positions, and a table of what may be seen that nothing reads any more (`GPTBigCodeModel`).
pub(super) struct Positions {
    wpe: Embedding,
    dropout: f64,
    max_positions: u64,
    bias: Option<Tensor>,
}

impl Positions {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let max_positions = model.max_position_embeddings;
        let rows = model.embedding.learned_positions.unwrap_or(max_positions);
        Self {
            wpe: builder.embedding("wpe", rows, model.hidden_size),
            dropout: model.embedding.dropout,
            max_positions,
            bias: None,
        }
    }
}

impl Front for Positions {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let positions = input.positions(cx);
        let mask = input.mask(cx, Some(&positions), input.run.attention_mask);
        let position_embeds = self.wpe.forward(cx, &positions);
        let hidden = cx.add(&embeds, &position_embeds);
        let hidden = cx.dropout(hidden, self.dropout);
        Entered { positions: Some(positions), mask, locals: vec![embeds, position_embeds], ..Entered::new(hidden) }
    }

    fn make_last(&mut self, builder: &Builder<'_>) {
        let dims = [self.max_positions; 2];
        self.bias = Some({
            let _ones = builder.temporary(&dims, DType::Bool);
            builder.buffer("bias", &dims, DType::Bool)
        });
        // `_init_weights` makes it again and copies it
        let _ones = builder.temporary(&dims, DType::Bool);
        let _triangle = builder.temporary(&dims, DType::Bool);
    }
}

impl Module for Positions {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.wpe.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.bias.iter_mut().for_each(visit);
    }
}

/// `GPTBigCodeBlock`
pub(super) struct Block {
    ln_1: NormLayer,
    c_attn: Linear,
    c_proj: Linear,
    ln_2: NormLayer,
    c_fc: Linear,
    mlp_c_proj: Linear,
    activation: Activation,
    num_heads: u64,
    num_kv_heads: u64,
    head_dim: u64,
    attention_dropout: f64,
    dropout: f64,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let norm = |name| builder.norm(name, model.norm, width);
        let attention = |name, to| builder.linear(name, Part::Attention, width, to, true);
        let mlp = |name, from, to| builder.linear(name, Part::Mlp, from, to, true);
        Self {
            ln_1: norm("ln_1"),
            c_attn: attention("c_attn", width + 2 * spec.num_kv_heads * spec.head_dim),
            c_proj: attention("c_proj", width),
            ln_2: norm("ln_2"),
            c_fc: mlp("c_fc", width, inner),
            mlp_c_proj: mlp("c_proj", inner, width),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            num_kv_heads: spec.num_kv_heads,
            head_dim: spec.head_dim,
            attention_dropout: spec.dropout,
            dropout: model.residual_dropout,
        }
    }

    /// Query, key and value: one head of the latter two, or three parts of every head.
    fn project(&self, cx: &Context, x: &Tensor) -> [Tensor; 3] {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let fused = self.c_attn.forward(cx, x);
        if self.num_kv_heads == self.num_heads {
            let heads = cx.reshape(fused, &[batch, length, self.num_heads, 3 * self.head_dim]);
            return cx.split_in(cx.transpose(heads, 1, 2), -1);
        }
        let parts = cx.split(cx.unsqueeze(fused, 1), &[width, self.head_dim, self.head_dim], 3);
        let Ok([query, key, value]) = <[Tensor; 3]>::try_from(parts) else { unreachable!("three parts") };
        let query = cx.transpose(cx.reshape(query, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        [query, key, value]
    }

    /// `GPTBigCodeAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [query, mut key, mut value] = self.project(cx, x);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = given.full.mask.as_ref();
        let (mut out, weights) = attend(cx, given.implementation, [&query, &key, &value], mask, self.attention_dropout);
        out = cx.contiguous(cx.reshape(&out, x.dims()));
        out = self.c_proj.forward(cx, &out);
        out = cx.dropout(&out, self.dropout);
        (out, weights)
    }

    /// `GPTBigCodeMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.c_fc.forward(cx, x);
        states = activate(cx, self.activation, states);
        states = self.mlp_c_proj.forward(cx, &states);
        cx.dropout(&states, self.dropout)
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.ln_1.forward(cx, hidden);
        let (attn_output, _weights) = self.attention(cx, &states, attend, cache);
        states = cx.add(&attn_output, hidden);
        let residual = states.clone();
        states = self.ln_2.forward(cx, &states);
        let feed_forward = self.mlp(cx, &states);
        states = cx.add(residual, &feed_forward);
        (states, None)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.ln_1.leaves(visit);
        self.c_attn.leaves(visit);
        self.c_proj.leaves(visit);
        self.ln_2.leaves(visit);
        self.c_fc.leaves(visit);
        self.mlp_c_proj.leaves(visit);
    }
}
