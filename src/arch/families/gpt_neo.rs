//! GPT-Neo (`modeling_gpt_neo.py`): every layer masks by a table of its own.

use super::front::{Entered, Front, Input};
use super::scores;
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

/// Learned positions, the mask before them (`GPTNeoModel.forward`).
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
        let mask = scores::mask(cx, input, Some(&positions));
        let position_embeds = self.wpe.forward(cx, &positions);
        let hidden = cx.dropout(cx.add(&embeds, &position_embeds), self.dropout);
        Entered { mask, locals: vec![embeds, position_embeds, positions], ..Entered::new(hidden) }
    }
}

impl Module for Positions {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.wpe.leaves(visit);
    }
}

/// `GPTNeoBlock`
pub(super) struct Block {
    ln_1: NormLayer,
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    /// What each position may look at.
    bias: Tensor,
    ln_2: NormLayer,
    c_fc: Linear,
    c_proj: Linear,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    attention_dropout: f64,
    dropout: f64,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let rows = model.max_position_embeddings;
        let norm = |name| builder.norm(name, model.norm, width);
        let attention = |name, bias| builder.linear(name, Part::Attention, width, width, bias);
        Self {
            ln_1: norm("ln_1"),
            bias: builder.buffer("bias", &[1, 1, rows, rows], DType::Bool),
            k_proj: attention("k_proj", spec.qkv_bias),
            v_proj: attention("v_proj", spec.qkv_bias),
            q_proj: attention("q_proj", spec.qkv_bias),
            out_proj: attention("out_proj", spec.output_bias),
            ln_2: norm("ln_2"),
            c_fc: builder.linear("c_fc", Part::Mlp, width, inner, true),
            c_proj: builder.linear("c_proj", Part::Mlp, inner, width, true),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            attention_dropout: spec.dropout,
            dropout: model.residual_dropout,
        }
    }

    /// `GPTNeoSelfAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length] = [x.dim(0), x.dim(1)];
        let heads =
            |flat: Tensor| cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        let [query, key, value] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|linear| linear.forward(cx, x));
        let [query, mut key, mut value] = [query, key, value].map(heads);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mut _mask_value = None;
        let adjust = |mut weights: Tensor| {
            let [queries, keys] = [weights.dim(-2), weights.dim(-1)];
            let seen = cx.narrow(cx.narrow(&self.bias, 2, keys - queries, queries), 3, 0, keys);
            let lowest = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), weights.dtype());
            weights = cx.choose_or_number(&seen, &weights, &lowest);
            _mask_value = Some(lowest);
            match &given.full.mask {
                Some(mask) => cx.add(&weights, mask),
                None => weights,
            }
        };
        let (mut out, weights) = scores::attend(cx, [&query, &key, &value], adjust, self.attention_dropout);
        out = scores::merge_heads(cx, &out);
        out = self.out_proj.forward(cx, &out);
        out = cx.dropout(&out, self.dropout);
        (out, weights)
    }

    /// `GPTNeoMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.c_fc.forward(cx, x);
        states = activate(cx, self.activation, states);
        states = self.c_proj.forward(cx, &states);
        cx.dropout(&states, self.dropout)
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.ln_1.forward(cx, hidden);
        let (attn_output, weights) = self.attention(cx, &states, attend, cache);
        states = cx.add(&attn_output, hidden);
        let residual = states.clone();
        states = self.ln_2.forward(cx, &states);
        let feed_forward = self.mlp(cx, &states);
        states = cx.add(residual, &feed_forward);
        (states, weights)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.ln_1.leaves(visit);
        for linear in [&mut self.k_proj, &mut self.v_proj, &mut self.q_proj, &mut self.out_proj] {
            linear.leaves(visit);
        }
        self.ln_2.leaves(visit);
        self.c_fc.leaves(visit);
        self.c_proj.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.bias);
    }
}
