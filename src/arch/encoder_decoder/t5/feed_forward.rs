//! A layer's feed-forward block.

use crate::ghost::{Context, Tensor};
use crate::model::{Activation, EncoderDecoderConfig, Norm, Stack};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// `T5LayerFF`
pub(super) struct FeedForward {
    wi_0: Linear,
    wi_1: Option<Linear>,
    wo: Linear,
    layer_norm: NormLayer,
    activation: Activation,
    activation_dropout: f64,
    dropout: f64,
}

impl FeedForward {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack) -> Self {
        let linear = |name, from, to| builder.linear(name, Part::Mlp, from, to, false);
        let (width, inner) = (model.d_model, stack.ffn_dim);
        Self {
            wi_0: linear(if model.gated { "wi_0" } else { "wi" }, width, inner),
            wi_1: model.gated.then(|| linear("wi_1", width, inner)),
            wo: linear("wo", inner, width),
            layer_norm: builder.norm("layer_norm", Norm::T5, width),
            activation: model.activation,
            activation_dropout: model.activation_dropout,
            dropout: model.dropout,
        }
    }

    pub(super) fn forward(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        let mut states = self.layer_norm.forward(cx, hidden);
        states = self.dense(cx, states.clone());
        cx.add(hidden, cx.dropout(&states, self.dropout))
    }

    fn dense(&self, cx: &Context, mut states: Tensor) -> Tensor {
        let (mut _gate, mut _up) = (None, None);
        if let Some(wi_1) = &self.wi_1 {
            let gate = activate(cx, self.activation, self.wi_0.forward(cx, &states));
            let up = wi_1.forward(cx, &states);
            states = cx.mul(&gate, &up);
            (_gate, _up) = (Some(gate), Some(up));
        } else {
            states = self.wi_0.forward(cx, &states);
            states = activate(cx, self.activation, states);
        }
        states = cx.dropout(&states, self.activation_dropout);
        // `wo` may be kept in another type
        if let crate::nn::Weight::Dense(weight) = &self.wo.weight {
            states = cx.cast(&states, weight.dtype());
        }
        self.wo.forward(cx, &states)
    }
}

impl Module for FeedForward {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.wi_0.leaves(visit);
        self.wi_1.leaves(visit);
        self.wo.leaves(visit);
        self.layer_norm.leaves(visit);
    }
}
