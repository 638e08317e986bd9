//! `AlbertLayer` (`modeling_albert.py`).

use crate::arch::attention::{Attend, Attended};
use crate::arch::bidirectional::{AttendTo, attend, heads, joined};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, EncoderConfig, Norm};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

pub(super) struct AlbertLayer {
    full_layer_layer_norm: NormLayer,
    query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    attention_norm: NormLayer,
    ffn: Linear,
    ffn_output: Linear,
    num_heads: u64,
    activation: Activation,
    attention_dropout: f64,
    dropout: f64,
}

impl AlbertLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        let linear = |name| builder.linear(name, Part::Attention, width, width, true);
        let norm = |name| builder.norm(name, Norm::Layer { bias: true }, width);
        Self {
            full_layer_layer_norm: norm("full_layer_layer_norm"),
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            dense: linear("dense"),
            attention_norm: norm("LayerNorm"),
            ffn: builder.linear("ffn", Part::Mlp, width, inner, true),
            ffn_output: builder.linear("ffn_output", Part::Mlp, inner, width, true),
            num_heads: model.num_attention_heads,
            activation: model.activation,
            attention_dropout: model.attention_dropout,
            dropout: model.hidden_dropout,
        }
    }

    fn attention(&self, cx: &Context, hidden: &Tensor, given: &Attend) -> Attended {
        let project = |linear: &Linear| heads(cx, linear.forward(cx, hidden), self.num_heads);
        let (query, key, value) = (project(&self.query), project(&self.key), project(&self.value));
        let to = AttendTo {
            implementation: given.implementation,
            mask: given.full.mask.as_ref(),
            causal: false,
            dropout: self.attention_dropout,
            fp32_softmax: false,
        };
        let (mut out, weights) = attend(cx, [&query, &key, &value], to);
        out = joined(cx, &out);
        out = self.dense.forward(cx, &out);
        out = cx.dropout(&out, self.dropout);
        out = self.attention_norm.forward(cx, cx.add(hidden, &out));
        (out, weights)
    }
}

impl Layer for AlbertLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        let (attention_output, _weights) = self.attention(cx, hidden, given);
        let mut fed = self.ffn.forward(cx, &attention_output);
        fed = activate(cx, self.activation, fed);
        fed = self.ffn_output.forward(cx, &fed);
        (self.full_layer_layer_norm.forward(cx, cx.add(&fed, &attention_output)), None)
    }
}

impl Module for AlbertLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.full_layer_layer_norm.leaves(visit);
        for linear in [&mut self.query, &mut self.key, &mut self.value, &mut self.dense] {
            linear.leaves(visit);
        }
        self.attention_norm.leaves(visit);
        self.ffn.leaves(visit);
        self.ffn_output.leaves(visit);
    }
}
