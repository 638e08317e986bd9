//! Falcon-H1 (`modeling_falcon_h1.py`): attention and a Mamba-2 mixer side by side, each multiplied.

use crate::arch::attention::{Attend, Attended, SelfAttention};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::arch::mixers::TokenMixer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// `FalconH1DecoderLayer`
pub(super) struct DecoderLayer {
    mlp: Mlp,
    mamba: TokenMixer,
    attention: SelfAttention,
    input_layernorm: NormLayer,
    pre_ff_layernorm: NormLayer,
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let norm = |name| builder.norm(name, model.norm, model.hidden_size);
        Self {
            mlp: Mlp::new(builder, model),
            mamba: TokenMixer::new(builder, model),
            attention: SelfAttention::new(builder, model, index),
            input_layernorm: norm("input_layernorm"),
            pre_ff_layernorm: norm("pre_ff_layernorm"),
        }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.input_layernorm.forward(cx, hidden);
        let mut mixed = self.mamba.forward(cx, &states, attend.padding.as_ref(), cache);
        mixed = cx.mul_scalar(&mixed, 1.0);
        let (mut attended, weights) = self.attention.forward(cx, &cx.mul_scalar(&states, 1.0), attend, cache);
        attended = cx.mul_scalar(&attended, 1.0);
        states = cx.add(&mixed, &attended);
        states = cx.add(hidden, &states);
        let residual = states.clone();
        states = self.pre_ff_layernorm.forward(cx, &states);
        states = self.mlp.forward(cx, &states);
        let _weights = weights;
        (cx.add(&residual, &states), None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.mlp.leaves(visit);
        self.mamba.leaves(visit);
        self.attention.leaves(visit);
        self.input_layernorm.leaves(visit);
        self.pre_ff_layernorm.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.mamba.buffers(visit);
    }
}

/// `FalconH1MLP`
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    activation: Activation,
}

impl Mlp {
    fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.mlp.intermediate_size);
        let linear = |name, from, to| builder.linear(name, Part::Mlp, from, to, model.mlp.bias);
        Self {
            gate_proj: linear("gate_proj", width, inner),
            up_proj: linear("up_proj", width, inner),
            down_proj: linear("down_proj", inner, width),
            activation: model.mlp.activation,
        }
    }

    /// `down_proj(up_proj(x) * act_fn(gate_proj(x) * multiplier)) * multiplier`
    fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut y = {
            let up = self.up_proj.forward(cx, x);
            let gate = cx.mul_scalar(self.gate_proj.forward(cx, x), 1.0);
            cx.mul(up, activate(cx, self.activation, gate))
        };
        y = cx.mul_scalar(self.down_proj.forward(cx, &y), 1.0);
        y
    }
}

impl Module for Mlp {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.gate_proj.leaves(visit);
        self.up_proj.leaves(visit);
        self.down_proj.leaves(visit);
    }
}
