//! XGLM (`modeling_xglm.py`): attention is always written out.

use super::front::{Entered, Front, Input};
use super::scores;
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// Rows before the first position (`XGLMSinusoidalPositionalEmbedding`).
const POSITION_OFFSET: u64 = 2;

/// A table of sines as positions (`XGLMModel.forward`).
pub(super) struct Positions {
    weights: Tensor,
    dropout: f64,
}

impl Positions {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let rows = model.max_position_embeddings + POSITION_OFFSET;
        let weights = builder.buffer("weights", &[rows, model.hidden_size], builder.dtype);
        Self { weights, dropout: model.embedding.dropout }
    }
}

impl Front for Positions {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let mask = scores::mask(cx, input, None);
        let made = |dims: &[u64], dtype| cx.launch(Kernel::Embedding, &[], Layout::contiguous(dims), dtype);
        let positions = made(&[1, input.length], DType::I64);
        let mut hidden = {
            let offset = made(&[1, input.length], DType::I64);
            let found = made(&[1, input.length, self.weights.dim(1)], self.weights.dtype());
            drop(offset);
            cx.add(&embeds, &found)
        };
        hidden = cx.dropout(&hidden, self.dropout);
        Entered { mask, locals: vec![embeds, positions], ..Entered::new(hidden) }
    }
}

impl Module for Positions {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.weights);
    }
}

/// `XGLMDecoderLayer`
pub(super) struct DecoderLayer {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    self_attn_layer_norm: NormLayer,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: NormLayer,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    attention_dropout: f64,
    dropout: f64,
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let attention = |name| builder.linear(name, Part::Attention, width, width, true);
        let norm = |name| builder.norm(name, model.norm, width);
        Self {
            k_proj: attention("k_proj"),
            v_proj: attention("v_proj"),
            q_proj: attention("q_proj"),
            out_proj: attention("out_proj"),
            self_attn_layer_norm: norm("self_attn_layer_norm"),
            fc1: builder.linear("fc1", Part::Mlp, width, inner, true),
            fc2: builder.linear("fc2", Part::Mlp, inner, width, true),
            final_layer_norm: norm("final_layer_norm"),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            attention_dropout: spec.dropout,
            dropout: model.residual_dropout,
        }
    }

    /// `XGLMAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let heads =
            |flat: &Tensor| cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        let flat = |x: &Tensor| cx.reshape(x, &[batch * self.num_heads, x.dim(2), self.head_dim]);
        let mut query = cx.mul_scalar(self.q_proj.forward(cx, x), 1.0);
        let mut key = self.k_proj.forward(cx, x);
        let mut value = self.v_proj.forward(cx, x);
        key = heads(&key);
        value = heads(&value);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        query = heads(&query);
        query = flat(&query);
        key = flat(&key);
        value = flat(&value);
        let keys = key.dim(1);
        let mut weights = cx.bmm(&query, cx.transpose(&key, 1, 2));
        if let Some(mask) = &given.full.mask {
            weights = cx.add(cx.reshape(&weights, &[batch, self.num_heads, length, keys]), mask);
            let lowest = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), DType::F32);
            weights = cx.minimum(&weights, &lowest);
            drop(lowest);
            weights = cx.reshape(&weights, &[batch * self.num_heads, length, keys]);
        }
        let dtype = weights.dtype();
        let exact = if dtype == DType::F16 || cx.autocast_dtype().is_some() { DType::F32 } else { dtype };
        weights = cx.softmax(&weights, exact);
        if dtype == DType::F16 {
            weights = cx.cast(&weights, dtype);
        }
        let probabilities = cx.dropout(&weights, self.attention_dropout);
        let mut out = cx.bmm(&probabilities, &value);
        out = cx.reshape(&out, &[batch, self.num_heads, length, self.head_dim]);
        out = cx.transpose(&out, 1, 2);
        out = cx.reshape(&out, &[batch, length, width]);
        out = self.out_proj.forward(cx, &out);
        (out, Some(weights))
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.self_attn_layer_norm.forward(cx, hidden);
        let _weights;
        (states, _weights) = self.attention(cx, &states, attend, cache);
        states = cx.dropout(&states, self.dropout);
        states = cx.add(hidden, &states);
        let residual = states.clone();
        states = self.final_layer_norm.forward(cx, &states);
        states = activate(cx, self.activation, self.fc1.forward(cx, &states));
        states = self.fc2.forward(cx, &states);
        states = cx.dropout(&states, self.dropout);
        states = cx.add(&residual, &states);
        (states, None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        for linear in [&mut self.k_proj, &mut self.v_proj, &mut self.q_proj, &mut self.out_proj] {
            linear.leaves(visit);
        }
        self.self_attn_layer_norm.leaves(visit);
        self.fc1.leaves(visit);
        self.fc2.leaves(visit);
        self.final_layer_norm.leaves(visit);
    }
}
