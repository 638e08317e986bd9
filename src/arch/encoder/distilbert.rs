//! DistilBERT's `TransformerBlock` (`modeling_distilbert.py`).

use crate::arch::attention::{Attend, Attended};
use crate::arch::bidirectional::{AttendTo, attend, heads, joined};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, EncoderConfig, Norm};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

pub(super) struct TransformerBlock {
    q_lin: Linear,
    k_lin: Linear,
    v_lin: Linear,
    out_lin: Linear,
    sa_layer_norm: NormLayer,
    lin1: Linear,
    lin2: Linear,
    output_layer_norm: NormLayer,
    num_heads: u64,
    activation: Activation,
    attention_dropout: f64,
    dropout: f64,
}

impl TransformerBlock {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        let linear = |name| builder.linear(name, Part::Attention, width, width, true);
        let norm = |name| builder.norm(name, Norm::Layer { bias: true }, width);
        Self {
            q_lin: linear("q_lin"),
            k_lin: linear("k_lin"),
            v_lin: linear("v_lin"),
            out_lin: linear("out_lin"),
            sa_layer_norm: norm("sa_layer_norm"),
            lin1: builder.linear("lin1", Part::Mlp, width, inner, true),
            lin2: builder.linear("lin2", Part::Mlp, inner, width, true),
            output_layer_norm: norm("output_layer_norm"),
            num_heads: model.num_attention_heads,
            activation: model.activation,
            attention_dropout: model.attention_dropout,
            dropout: model.hidden_dropout,
        }
    }

    fn attention(&self, cx: &Context, hidden: &Tensor, given: &Attend) -> Attended {
        let project = |linear: &Linear| heads(cx, linear.forward(cx, hidden), self.num_heads);
        let (query, key, value) = (project(&self.q_lin), project(&self.k_lin), project(&self.v_lin));
        let to = AttendTo {
            implementation: given.implementation,
            mask: given.full.mask.as_ref(),
            causal: false,
            dropout: self.attention_dropout,
            fp32_softmax: false,
        };
        let (mut out, weights) = attend(cx, [&query, &key, &value], to);
        out = joined(cx, &out);
        out = self.out_lin.forward(cx, &out);
        (out, weights)
    }
}

impl Layer for TransformerBlock {
    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        let (mut attended, _weights) = self.attention(cx, hidden, given);
        attended = self.sa_layer_norm.forward(cx, cx.add(&attended, hidden));
        let mut fed = self.lin1.forward(cx, &attended);
        fed = activate(cx, self.activation, fed);
        fed = self.lin2.forward(cx, &fed);
        fed = cx.dropout(&fed, self.dropout);
        fed = self.output_layer_norm.forward(cx, cx.add(&fed, &attended));
        (fed, None)
    }
}

impl Module for TransformerBlock {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.q_lin.leaves(visit);
        self.k_lin.leaves(visit);
        self.v_lin.leaves(visit);
        self.out_lin.leaves(visit);
        self.sa_layer_norm.leaves(visit);
        self.lin1.leaves(visit);
        self.lin2.leaves(visit);
        self.output_layer_norm.leaves(visit);
    }
}
