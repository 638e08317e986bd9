//! Persimmon (`modeling_persimmon.py`).

use super::attend::attend;
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, DecoderConfig, QkNorm};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, RotaryStyle, activate, apply_rotary};

/// `PersimmonDecoderLayer`
pub(super) struct DecoderLayer {
    query_key_value: Linear,
    dense: Linear,
    /// Of queries and of keys.
    qk_norms: Option<[NormLayer; 2]>,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    input_layernorm: NormLayer,
    post_attention_layernorm: NormLayer,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    attention_dropout: f64,
    hidden_dropout: f64,
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let norm = |name, width| builder.norm(name, model.norm, width);
        Self {
            query_key_value: builder.linear("query_key_value", Part::Attention, width, 3 * width, true),
            dense: builder.linear("dense", Part::Attention, width, width, true),
            qk_norms: (spec.qk_norm != QkNorm::None)
                .then(|| ["q_layernorm", "k_layernorm"].map(|name| norm(name, spec.head_dim))),
            dense_h_to_4h: builder.linear("dense_h_to_4h", Part::Mlp, width, inner, true),
            dense_4h_to_h: builder.linear("dense_4h_to_h", Part::Mlp, inner, width, true),
            input_layernorm: norm("input_layernorm", width),
            post_attention_layernorm: norm("post_attention_layernorm", width),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            attention_dropout: spec.dropout,
            hidden_dropout: model.residual_dropout,
        }
    }

    /// `PersimmonAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let fused = self.query_key_value.forward(cx, x);
        let [mut query, mut key, value] = {
            let split = cx.reshape(&fused, &[x.dim(0), x.dim(1), self.num_heads, 3, self.head_dim]);
            [0, 1, 2].map(|_| cx.select(&split, -2))
        };
        if let Some([q_layernorm, k_layernorm]) = &self.qk_norms {
            query = q_layernorm.forward(cx, &query);
            key = k_layernorm.forward(cx, &key);
        }
        query = cx.transpose(&query, 1, 2);
        let mut value = cx.transpose(&value, 1, 2);
        key = cx.transpose(&key, 1, 2);
        let mut _locals = Vec::new();
        if let Some((cos, sin)) = &given.full.rotary {
            let turned = apply_rotary(cx, RotaryStyle::Sliced, &query, &key, cos, sin);
            (query, key, _locals) = (turned.query, turned.key, turned.locals);
        }
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = given.full.mask.as_ref();
        let (mut out, weights) = attend(cx, given.implementation, [&query, &key, &value], mask, self.attention_dropout);
        out = cx.reshape(&out, x.dims());
        out = self.dense.forward(cx, &out);
        drop(fused);
        (out, weights)
    }

    /// `PersimmonMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.dense_h_to_4h.forward(cx, x);
        states = activate(cx, self.activation, states);
        self.dense_4h_to_h.forward(cx, &states)
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.input_layernorm.forward(cx, hidden);
        let _weights;
        (states, _weights) = self.attention(cx, &states, attend, cache);
        states = cx.add(hidden, &states);
        let residual = states.clone();
        states = self.post_attention_layernorm.forward(cx, &states);
        states = self.mlp(cx, &states);
        states = cx.dropout(&states, self.hidden_dropout);
        states = cx.add(&states, &residual);
        (states, None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.query_key_value.leaves(visit);
        self.dense.leaves(visit);
        self.qk_norms.iter_mut().flatten().for_each(|norm| norm.leaves(visit));
        self.dense_h_to_4h.leaves(visit);
        self.dense_4h_to_h.leaves(visit);
        self.input_layernorm.leaves(visit);
        self.post_attention_layernorm.leaves(visit);
    }
}
