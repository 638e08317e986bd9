//! IA³, as PEFT 0.21 computes it (`peft/tuners/ia3`).

use super::adapter::{Adapter, adapter_parameters, parameter};
use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// A trained scale of a layer's input or output.
pub struct Ia3 {
    /// `[1, in]` or `[out, 1]`
    scale: Tensor,
    scales_input: bool,
}

impl Ia3 {
    /// One that scales the input of `base`, as in feed-forward blocks, or its output.
    pub fn new(cx: &Context, base: &Linear, scales_input: bool) -> Self {
        let dims = if scales_input { [1, base.in_features] } else { [base.out_features, 1] };
        Self { scale: parameter(cx, base, "ia3_l", &dims), scales_input }
    }

    /// `1 * ia3_l.flatten()`
    fn scaling(&self, cx: &Context) -> Tensor {
        cx.mul_scalar(cx.reshape(&self.scale, &[self.scale.layout().numel()]), 1.0)
    }

    fn beside_dense(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let scaling = self.scaling(cx);
        if self.scales_input {
            let x32 = cx.cast(x, self.scale.dtype());
            let scaled = cx.cast(cx.mul(&x32, &scaling), x.dtype());
            return base.base(cx, &scaled);
        }
        let result = base.base(cx, x);
        cx.cast(cx.mul(&result, &scaling), result.dtype())
    }

    /// `ia3.Linear4bit` and `ia3.Linear8bitLt` compute in fp32 unless autocast is on.
    fn beside_quantized(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let scaling = self.scaling(cx);
        let converts = cx.autocast_dtype().is_none();
        let x = if converts { cx.cast(x, DType::F32) } else { x.clone() };
        let (mut result, dtype);
        if self.scales_input {
            result = base.base(cx, &cx.mul(&x, &scaling));
            dtype = result.dtype();
        } else {
            result = base.base(cx, &x);
            dtype = result.dtype();
            result = cx.mul(&result, &scaling);
        }
        if matches!(base.weight, Weight::FourBit(_)) {
            result = cx.copy(&result);
        }
        if converts { cx.cast(&result, dtype) } else { result }
    }
}

impl Adapter for Ia3 {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        match base.weight {
            Weight::Dense(_) => self.beside_dense(cx, base, x),
            Weight::FourBit(_) | Weight::Int8(_) => self.beside_quantized(cx, base, x),
        }
    }

    adapter_parameters!(scale);
}
