//! LoRA, as PEFT 0.21 computes it.

use super::linear::Linear;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// What adapters are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraSpec {
    /// Rank.
    pub r: u64,
    /// Dropout on the adapter's input.
    pub dropout: f64,
    /// Half-precision adapters are cast to fp32 (`autocast_adapter_dtype`).
    pub cast_to_fp32: bool,
}

/// The adapter of one linear layer.
pub struct Lora {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    dropout: f64,
}

impl Lora {
    /// An adapter for `base`, made in `dtype`.
    pub fn new(cx: &Context, base: &Linear, spec: LoraSpec, dtype: DType) -> Self {
        let parameter = |name, dims: &[u64]| cx.parameter(name, dims, dtype, true);
        Self {
            a: parameter("lora_A", &[spec.r, base.in_features]),
            b: parameter("lora_B", &[base.out_features, spec.r]),
            dropout: spec.dropout,
        }
    }

    /// `base(x) + lora_B(lora_A(dropout(x.to(lora_A.dtype)))) * scaling`
    pub(super) fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let result = base.base(cx, x);
        let result_dtype = result.dtype();
        let x = cx.cast(x, self.a.dtype());
        let result = {
            let low = cx.linear(cx.dropout(&x, self.dropout), &self.a, None);
            let update = cx.mul_scalar(cx.linear(low, &self.b, None), 1.0);
            cx.add(result, update)
        };
        cx.cast(result, result_dtype)
    }
}
