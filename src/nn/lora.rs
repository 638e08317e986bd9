//! LoRA, as PEFT 0.21 computes it.

use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};

/// What adapters are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraSpec {
    /// Rank.
    pub r: u64,
    /// Dropout on the adapter's input.
    pub dropout: f64,
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
    /// An adapter for `base`, in the type of its weight or what it computes in.
    pub fn new(cx: &Context, base: &Linear, spec: LoraSpec) -> Self {
        let parameter = |name, dims: &[u64]| cx.parameter(name, dims, base.adapter_dtype(), true);
        Self {
            a: parameter("lora_A", &[spec.r, base.in_features]),
            b: parameter("lora_B", &[base.out_features, spec.r]),
            dropout: spec.dropout,
        }
    }

    /// `cast_adapter_dtype`: half-precision adapters become fp32.
    pub fn cast_to_fp32(&mut self, cx: &Context) {
        for (name, parameter) in [("lora_A", &mut self.a), ("lora_B", &mut self.b)] {
            if parameter.dtype() != DType::F32 {
                *parameter = trainable_copy(&cx.parameter(name, parameter.dims(), DType::F32, false));
            }
        }
    }

    pub(super) fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        match &base.weight {
            Weight::Dense(_) => self.beside_dense(cx, base, x),
            Weight::FourBit(_) | Weight::Int8(_) => self.beside_quantized(cx, base, x),
        }
    }

    /// `lora.Linear`: the input is cast under autocast too, and the sum is in the wider type.
    fn beside_dense(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let result = base.base(cx, x);
        let result_dtype = result.dtype();
        let x = cx.cast(x, self.a.dtype());
        let result = {
            let update = self.update(cx, &x);
            cx.add(result, update)
        };
        cx.cast(&result, result_dtype)
    }

    /// `lora.Linear4bit` and `lora.Linear8bitLt`: the update is cast rather than the sum, and autocast is left to cast.
    fn beside_quantized(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let mut result = base.base(cx, x);
        if matches!(base.weight, Weight::FourBit(_)) {
            result = cx.copy(&result);
        }
        let converts = cx.autocast_dtype().is_none();
        let x = if converts { cx.cast(x, self.a.dtype()) } else { x.clone() };
        let mut update = self.update(cx, &x);
        if converts {
            update = cx.cast(&update, result.dtype());
        }
        cx.add(&result, &update)
    }

    /// `lora_B(lora_A(dropout(x))) * scaling`
    fn update(&self, cx: &Context, x: &Tensor) -> Tensor {
        let low = cx.linear(cx.dropout(x, self.dropout), &self.a, None);
        cx.mul_scalar(cx.linear(low, &self.b, None), 1.0)
    }
}
