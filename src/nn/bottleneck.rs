//! Bottleneck adapters, as the `adapters` library has them (`adapters/modeling.py`).

use super::activation::activate;
use super::adapter::{Adapter, adapter_parameters, parameter};
use super::linear::Linear;
use crate::ghost::{Context, Tensor};
use crate::model::Activation;

/// A small network after a block, whose result is added to the block's: behind the block's last linear layer.
pub struct Bottleneck {
    /// `[inner, width]`
    down: Tensor,
    down_bias: Tensor,
    /// `[width, inner]`
    up: Tensor,
    up_bias: Tensor,
    activation: Activation,
}

impl Bottleneck {
    /// An adapter behind `base`, `inner` wide.
    pub fn new(cx: &Context, base: &Linear, inner: u64, activation: Activation) -> Self {
        let width = base.out_features;
        let make = |name, dims: &[u64]| parameter(cx, base, name, dims);
        Self {
            down: make("adapter_down", &[inner, width]),
            down_bias: make("adapter_down", &[inner]),
            up: make("adapter_up", &[width, inner]),
            up_bias: make("adapter_up", &[width]),
            activation,
        }
    }
}

impl Adapter for Bottleneck {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let result = base.base(cx, x);
        let x = cx.cast(&result, self.down.dtype());
        let down = activate(cx, self.activation, cx.linear(&x, &self.down, Some(&self.down_bias)));
        let up = cx.linear(&down, &self.up, Some(&self.up_bias));
        let scaled = cx.mul_scalar(up, 1.0);
        let sum = cx.add(&scaled, &x);
        cx.cast(&sum, result.dtype())
    }

    adapter_parameters!(down, down_bias, up, up_bias);
}
