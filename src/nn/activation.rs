//! Activation functions.

use crate::ghost::{Context, Tensor};
use crate::model::Activation;

/// Applies an activation as `transformers.activations` computes it.
pub fn activate(cx: &Context, activation: Activation, x: Tensor) -> Tensor {
    match activation {
        Activation::Silu => cx.silu(x),
        Activation::Gelu | Activation::GeluTanh => cx.gelu(x),
        Activation::Relu => cx.relu(x),
        Activation::Relu2 => {
            let positive = cx.relu(x);
            cx.pow(positive)
        }
        Activation::GeluNew | Activation::BloomGelu => gelu_new(cx, &x),
    }
}

/// `0.5 * x * (1 + tanh(c * (x + 0.044715 * x³)))`
fn gelu_new(cx: &Context, x: &Tensor) -> Tensor {
    let half = cx.mul_scalar(x, 0.5);
    let cubic = {
        let scaled = cx.mul_scalar(cx.pow(x), 0.044_715);
        cx.mul_scalar(cx.add(x, scaled), (2.0 / std::f64::consts::PI).sqrt())
    };
    let one_plus = cx.add_scalar(cx.tanh(cubic));
    cx.mul(half, one_plus)
}
