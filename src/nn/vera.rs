//! VeRA, as PEFT 0.21 computes it (`peft/tuners/vera`).

use super::adapter::{Adapter, adapter_parameters, parameter};
use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// The projections that all layers share: buffers, as wide as the widest of them.
#[derive(Clone)]
pub struct VeraProjections {
    /// `[r, in]`
    a: Tensor,
    /// `[out, r]`
    b: Tensor,
}

impl VeraProjections {
    /// For layers of up to these widths.
    pub fn new(cx: &Context, r: u64, in_features: u64, out_features: u64, dtype: DType) -> Self {
        let a = cx.buffer("vera_A", &[r, in_features], dtype);
        Self { a, b: cx.buffer("vera_B", &[out_features, r], dtype) }
    }
}

/// The vectors of one layer.
pub struct Vera {
    /// `[out]`
    lambda_b: Tensor,
    /// `[r]`
    lambda_d: Tensor,
    projections: VeraProjections,
    dropout: f64,
}

impl Vera {
    /// An adapter for `base`.
    pub fn new(cx: &Context, base: &Linear, projections: &VeraProjections, dropout: f64) -> Self {
        Self {
            lambda_b: parameter(cx, base, "vera_lambda_b", &[base.out_features]),
            lambda_d: parameter(cx, base, "vera_lambda_d", &[projections.a.dim(0)]),
            projections: projections.clone(),
            dropout,
        }
    }
}

impl Adapter for Vera {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let previous_dtype = x.dtype();
        let mut result = base.base(cx, x);
        let dtype = result.dtype();
        if matches!(base.weight, Weight::FourBit(_)) {
            result = cx.copy(&result);
        }
        let a = cx.narrow(&self.projections.a, -1, 0, base.in_features);
        let b = cx.narrow(&self.projections.b, 0, 0, base.out_features);
        let x = cx.cast(x, self.lambda_d.dtype());
        let low = cx.linear(cx.dropout(&x, self.dropout), &a, None);
        let scaled = cx.mul(&self.lambda_d, low);
        let high = cx.linear(scaled, &b, None);
        let update = cx.mul(&self.lambda_b, high);
        result = cx.add(&result, update);
        result = cx.cast(&result, dtype);
        cx.cast(&result, previous_dtype)
    }

    adapter_parameters!(lambda_b, lambda_d);
}
