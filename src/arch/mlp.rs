//! Feed-forward blocks.

use super::names::Names;
use super::xielu::Xielu;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, DecoderConfig, Mlp, MlpLayout};
use crate::nn::{Builder, Kernels, Leaf, Linear, Module, NormLayer, Part, activate};

/// The feed-forward block of a decoder layer.
pub struct FeedForward {
    spec: Mlp,
    gate: Option<Linear>,
    up: Option<Linear>,
    down: Linear,
    kernels: Kernels,
    inner_norm: Option<NormLayer>,
    xielu: Option<Xielu>,
}

impl FeedForward {
    /// The block of `model`.
    pub fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        Self::of_width(builder, model, model.mlp.intermediate_size)
    }

    /// A block like that of `model`, with another inner width.
    pub fn of_width(builder: &Builder<'_>, model: &DecoderConfig, inner: u64) -> Self {
        let names = Names::of(model.model_type).mlp;
        let spec = Mlp { intermediate_size: inner, ..model.mlp };
        let Mlp { layout, bias, .. } = spec;
        let width = model.hidden_size;
        let linear = |name, from, to| builder.linear(name, Part::Mlp, from, to, bias);
        let gate = match layout {
            MlpLayout::Gated => Some(linear(names[0], width, inner)),
            MlpLayout::GatedFused => Some(linear(names[0], width, 2 * inner)),
            MlpLayout::Plain => None,
        };
        let up = match layout {
            MlpLayout::GatedFused => None,
            _ => Some(linear(names[1], width, inner)),
        };
        let inner_norm = model.mlp.inner_norm.then(|| builder.norm("ffn_sub_norm", model.norm, inner));
        let kernels = builder.kernels;
        let down = linear(names[2], inner, width);
        let xielu = (model.mlp.activation == Activation::Xielu).then(|| Xielu::new(builder));
        Self { spec, gate, up, down, kernels, inner_norm, xielu }
    }

    /// Applies it.
    pub fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let activate = |x: Tensor| match &self.xielu {
            Some(xielu) => xielu.forward(cx, &x),
            None => activate(cx, self.spec.activation, x),
        };
        let inner = match (&self.gate, &self.up) {
            (Some(gate), Some(up)) if self.kernels == Kernels::Liger => {
                cx.fused_silu_mul(gate.forward(cx, x), up.forward(cx, x))
            }
            (Some(gate), Some(up)) => {
                let gated = activate(gate.forward(cx, x));
                cx.mul(gated, up.forward(cx, x))
            }
            (Some(both), None) => {
                let states = both.forward(cx, x);
                let half = self.spec.intermediate_size;
                let mut parts = cx.split(states, &[half, half], -1).into_iter();
                let (Some(gate), Some(up)) = (parts.next(), parts.next()) else {
                    unreachable!("split gives two parts")
                };
                let gated = activate(gate);
                cx.mul(up, gated)
            }
            (None, Some(up)) => activate(up.forward(cx, x)),
            (None, None) => unreachable!("a feed-forward block has a first matrix"),
        };
        let inner = match &self.inner_norm {
            Some(norm) => norm.forward(cx, inner),
            None => inner,
        };
        self.down.forward(cx, inner)
    }
}

impl Module for FeedForward {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.gate.leaves(visit);
        self.up.leaves(visit);
        self.down.leaves(visit);
        self.inner_norm.leaves(visit);
        self.xielu.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Some(xielu) = &mut self.xielu {
            xielu.buffers(visit);
        }
    }
}
