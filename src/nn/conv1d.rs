//! Causal depthwise convolutions.

use super::activation::activate;
use super::module::{Leaf, Module, Part};
use super::{Builder, FreeParameters};
use crate::ghost::{Context, Tensor};
use crate::model::Activation;

/// `nn.Conv1d` with a filter for each channel.
pub struct Conv1d {
    /// `weight`, `[channels, 1, kernel]`, and `bias`, `[channels]`, where there is one.
    free: FreeParameters,
}

impl Conv1d {
    /// One of `channels` filters of `kernel` taps.
    pub fn new(builder: &Builder<'_>, name: &'static str, channels: u64, kernel: u64, bias: bool) -> Self {
        let (weight, bias_shape) = ([channels, 1, kernel], [channels]);
        let shapes: &[&[u64]] = if bias { &[&weight, &bias_shape] } else { &[&weight] };
        Self { free: builder.free(name, Part::Mixer, shapes) }
    }

    /// Its taps.
    pub fn kernel(&self) -> u64 {
        self.weight().dim(-1)
    }

    fn weight(&self) -> &Tensor {
        &self.free.tensors[0]
    }

    fn bias(&self) -> Option<&Tensor> {
        self.free.tensors.get(1)
    }

    /// `causal_conv1d_fn`: of `x`, `[batch, channels, length]`; `silu` follows where it is `activated`.
    pub fn causal(&self, cx: &Context, x: &Tensor, activated: bool) -> Tensor {
        let weight = self.weight();
        let padding = weight.dim(-1) - 1;
        let whole = cx.depthwise_conv1d(&cx.cast(x, weight.dtype()), weight, self.bias(), padding);
        let mut out = cx.narrow(whole, -1, 0, x.dim(-1));
        if activated {
            out = activate(cx, Activation::Silu, out);
        }
        cx.cast(&out, x.dtype())
    }

    /// `causal_conv1d_update`: of the next token, after those in `state`, which it is written into.
    pub fn update(&self, cx: &Context, x: &Tensor, state: &Tensor, activated: bool) -> Tensor {
        let weight = self.weight();
        let joined = cx.cast(cx.cat(&[state, x], -1), weight.dtype());
        let mut out = cx.depthwise_conv1d(&joined, weight, self.bias(), 0);
        out = cx.narrow(&out, -1, out.dim(-1) - x.dim(-1), x.dim(-1));
        if activated {
            out = activate(cx, Activation::Silu, out);
        }
        cx.cast(&out, x.dtype())
    }
}

impl Module for Conv1d {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.free.leaves(visit);
    }
}
