//! VeRA, as PEFT 0.21 computes it (`peft/tuners/vera`).

use std::cell::RefCell;
use std::rc::Rc;

use super::adapter::{Adapter, adapter_parameters, parameter, to_fp32};
use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// The projections that all layers share: buffers, as wide as the widest of them.
pub struct VeraProjections {
    /// `[r, in]`
    a: RefCell<Tensor>,
    /// `[out, r]`
    b: RefCell<Tensor>,
}

impl VeraProjections {
    /// For layers of up to these widths.
    pub fn new(cx: &Context, r: u64, in_features: u64, out_features: u64, dtype: DType) -> Self {
        let a = RefCell::new(cx.buffer("vera_A", &[r, in_features], dtype));
        Self { a, b: RefCell::new(cx.buffer("vera_B", &[out_features, r], dtype)) }
    }
}

/// The vectors of one layer.
pub struct Vera {
    /// `[out]`
    lambda_b: Tensor,
    /// `[r]`
    lambda_d: Tensor,
    projections: Rc<VeraProjections>,
    dropout: f64,
}

impl Vera {
    /// An adapter for `base`; the first brings the projections, which are as wide as the widest layer.
    pub fn new(
        cx: &Context,
        base: &Linear,
        r: u64,
        projections: impl FnOnce() -> Rc<VeraProjections>,
        dropout: f64,
    ) -> Self {
        let lambda_b = parameter(cx, base, "vera_lambda_b", &[base.out_features]);
        let lambda_d = parameter(cx, base, "vera_lambda_d", &[r]);
        Self { lambda_b, lambda_d, projections: projections(), dropout }
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
        let a = cx.narrow(&*self.projections.a.borrow(), -1, 0, base.in_features);
        let b = cx.narrow(&*self.projections.b.borrow(), 0, 0, base.out_features);
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

    fn cast_to_fp32(&mut self, cx: &Context) {
        to_fp32(cx, self.parameters_mut());
        for shared in [&self.projections.a, &self.projections.b] {
            let mut shared = shared.borrow_mut();
            if shared.dtype() != DType::F32 {
                *shared = cx.buffer("vera", shared.dims(), DType::F32);
            }
        }
    }
}
