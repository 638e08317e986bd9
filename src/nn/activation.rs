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
            // both keep their names until the call returns
            let positive = cx.relu(&x);
            cx.pow(&positive, 2)
        }
        Activation::GeluNew => gelu_new(cx, &x),
        Activation::Xielu => unreachable!("the feed-forward block applies it, with its parameters"),
        Activation::BloomGelu => cx.custom_function(x, bloom_gelu_forward, bloom_gelu_back),
    }
}

/// `0.5 * x * (1 + tanh(c * (x + 0.044715 * x³)))`
fn gelu_new(cx: &Context, x: &Tensor) -> Tensor {
    let half = cx.mul_scalar(x, 0.5);
    let cubic = {
        let scaled = cx.mul_scalar(cx.pow(x, 3), 0.044_715);
        cx.mul_scalar(cx.add(x, scaled), (2.0 / std::f64::consts::PI).sqrt())
    };
    let one_plus = cx.add_scalar(cx.tanh(cubic), 1.0);
    cx.mul(half, one_plus)
}

/// The argument of BLOOM's tanh: `0.79788456 * x * (1 + 0.044715 * x * x)`
fn bloom_inner(cx: &Context, x: &Tensor) -> Tensor {
    let scaled = cx.mul_scalar(x, 0.797_884_56);
    let square = cx.add_scalar(cx.mul(cx.mul_scalar(x, 0.044_715), x), 1.0);
    cx.mul(scaled, square)
}

/// `x * 0.5 * (1 + tanh(...))`
fn bloom_gelu_forward(cx: &Context, x: &Tensor) -> Tensor {
    let half = cx.mul_scalar(x, 0.5);
    let one_plus = cx.add_scalar(cx.tanh(bloom_inner(cx, x)), 1.0);
    cx.mul(half, one_plus)
}

/// BLOOM's derivative, written out in Python as its forward is.
fn bloom_gelu_back(cx: &Context, grad: &Tensor, x: &Tensor) -> Tensor {
    let tanh = cx.tanh(bloom_inner(cx, x));
    let ff = {
        let half = cx.mul_scalar(x, 0.5);
        let one_minus = cx.untracked("one_minus", cx.mul(&tanh, &tanh));
        let square = cx.add_scalar(cx.mul(cx.mul_scalar(x, 0.107_032_224_3), x), 0.797_884_56);
        let first = cx.mul(half, cx.mul(one_minus, square));
        cx.add(first, cx.mul_scalar(cx.add_scalar(&tanh, 1.0), 0.5))
    };
    cx.mul(ff, grad)
}
