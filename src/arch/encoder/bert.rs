//! `BertLayer` (`modeling_bert.py`), which RoBERTa, XLM-RoBERTa and ELECTRA copy.

use crate::arch::attention::{Attend, Attended};
use crate::arch::bidirectional::{AttendTo, attend, heads, joined};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, EncoderConfig, Norm};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

pub(super) struct BertLayer {
    attention: SelfAttention,
    attention_output: Output,
    intermediate: Linear,
    output: Output,
    activation: Activation,
}

impl BertLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        Self {
            attention: SelfAttention::new(builder, model),
            attention_output: Output::new(builder, model, Part::Attention, width),
            intermediate: builder.linear("dense", Part::Mlp, width, inner, true),
            output: Output::new(builder, model, Part::Mlp, inner),
            activation: model.activation,
        }
    }
}

impl Layer for BertLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        let (mut attention_output, _weights) = self.attention.forward(cx, hidden, given);
        attention_output = self.attention_output.forward(cx, attention_output, hidden);
        let mut intermediate = self.intermediate.forward(cx, &attention_output);
        intermediate = activate(cx, self.activation, intermediate);
        (self.output.forward(cx, intermediate.clone(), &attention_output), None)
    }
}

impl Module for BertLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.attention_output.leaves(visit);
        self.intermediate.leaves(visit);
        self.output.leaves(visit);
    }
}

/// `BertSelfAttention`
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    num_heads: u64,
    dropout: f64,
}

impl SelfAttention {
    fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let linear = |name| builder.linear(name, Part::Attention, model.hidden_size, model.hidden_size, true);
        Self {
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            num_heads: model.num_attention_heads,
            dropout: model.attention_dropout,
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Attend) -> Attended {
        let project = |linear: &Linear| heads(cx, linear.forward(cx, hidden), self.num_heads);
        let (query, key, value) = (project(&self.query), project(&self.key), project(&self.value));
        let to = AttendTo {
            implementation: given.implementation,
            mask: given.full.mask.as_ref(),
            causal: false,
            dropout: self.dropout,
            fp32_softmax: false,
        };
        let (mut out, weights) = attend(cx, [&query, &key, &value], to);
        out = joined(cx, &out);
        (out, weights)
    }
}

impl Module for SelfAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.query.leaves(visit);
        self.key.leaves(visit);
        self.value.leaves(visit);
    }
}

/// `BertSelfOutput`, `BertOutput`
pub(super) struct Output {
    dense: Linear,
    norm: NormLayer,
    dropout: f64,
}

impl Output {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, part: Part, from: u64) -> Self {
        Self {
            dense: builder.linear("dense", part, from, model.hidden_size, true),
            norm: builder.norm("LayerNorm", Norm::Layer { bias: true }, model.hidden_size),
            dropout: model.hidden_dropout,
        }
    }

    pub(super) fn forward(&self, cx: &Context, mut states: Tensor, input: &Tensor) -> Tensor {
        states = self.dense.forward(cx, &states);
        states = cx.dropout(&states, self.dropout);
        states = self.norm.forward(cx, cx.add(&states, input));
        states
    }
}

impl Module for Output {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.dense.leaves(visit);
        self.norm.leaves(visit);
    }
}
