//! Norms.

use std::borrow::Borrow;

use smallvec::SmallVec;

use super::builder::Kernels;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::Norm;

/// Added to the variance; a model's own makes no difference to memory.
const EPSILON: f64 = 1e-6;

/// A norm with its weights.
pub struct NormLayer {
    /// Its name within its parent.
    pub name: &'static str,
    /// What it computes.
    pub kind: Norm,
    /// `[width]`; none where the norm is not learned.
    pub weight: Option<Tensor>,
    /// `[width]`
    pub bias: Option<Tensor>,
    /// What it runs.
    pub kernels: Kernels,
}

impl NormLayer {
    pub(super) fn parameters(&mut self) -> SmallVec<[&mut Tensor; 2]> {
        self.weight.iter_mut().chain(self.bias.as_mut()).collect()
    }

    /// Normalises the last dimension.
    pub fn forward(&self, cx: &Context, x: impl Borrow<Tensor>) -> Tensor {
        let x = x.borrow();
        match (self.kind, &self.weight) {
            (Norm::Rms, Some(weight)) if self.kernels == Kernels::Liger => cx.fused_rms_norm(x, weight),
            (Norm::Rms, Some(weight)) => rms(cx, x, |normed| cx.mul(weight, cx.cast(normed, x.dtype()))),
            (Norm::RmsCastFirst, Some(weight)) => rms_cast_first(cx, x, weight),
            (Norm::RmsInFp32, Some(weight)) => rms(cx, x, |normed| cx.cast(cx.mul(weight, normed), x.dtype())),
            (Norm::RmsWeightInFp32, Some(weight)) => {
                rms(cx, x, |normed| weighted_in_fp32(cx, weight, normed, x.dtype()))
            }
            (Norm::CohereLayer, Some(weight)) => cohere_layer(cx, x, weight),
            (Norm::LayerInFp32, _) => {
                let normed = cx.layer_norm(cx.cast(x, DType::F32), None, None);
                cx.cast(normed, x.dtype())
            }
            (Norm::LayerOnePlus, Some(weight)) => one_plus(cx, x, weight, self.bias.as_ref()),
            (Norm::GemmaRms, Some(weight)) => gemma_rms(cx, x, weight),
            (Norm::T5, Some(weight)) => t5_rms(cx, x, weight),
            (_, weight) => cx.layer_norm(x, weight.as_ref(), self.bias.as_ref()),
        }
    }
}

/// `x.float() * rsqrt(mean(x²) + eps)`, then `finish`.
fn rms(cx: &Context, x: &Tensor, finish: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let x = cx.cast(x, DType::F32);
    let variance = cx.mean_last(cx.pow(&x, 2));
    let normed = cx.mul(x, cx.rsqrt(cx.add_scalar(&variance, EPSILON)));
    finish(&normed)
}

/// `Llama4TextRMSNorm`
fn rms_cast_first(cx: &Context, x: &Tensor, weight: &Tensor) -> Tensor {
    let normed = {
        let x32 = cx.cast(x, DType::F32);
        let inverse = cx.rsqrt(cx.add_scalar(cx.mean_last(cx.pow(&x32, 2)), EPSILON));
        cx.mul(&x32, inverse)
    };
    let output = cx.cast(&normed, x.dtype());
    drop(normed);
    cx.mul(&output, weight)
}

/// `(weight.float() * normed).to(dtype)`
fn weighted_in_fp32(cx: &Context, weight: &Tensor, normed: &Tensor, dtype: DType) -> Tensor {
    cx.cast(cx.mul(cx.cast(weight, DType::F32), normed), dtype)
}

/// `CohereLayerNorm`
fn cohere_layer(cx: &Context, x: &Tensor, weight: &Tensor) -> Tensor {
    let mut states = cx.cast(x, DType::F32);
    let mean = cx.mean_last(&states);
    let variance = cx.mean_last(cx.pow(cx.sub(&states, &mean), 2));
    states = cx.mul(cx.sub(&states, &mean), cx.rsqrt(cx.add_scalar(&variance, EPSILON)));
    states = cx.mul(cx.cast(weight, DType::F32), &states);
    cx.cast(&states, x.dtype())
}

/// `NemotronLayerNorm1P`: what it is given is cast to autocast's type, outside of which it runs.
fn one_plus(cx: &Context, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let weight = cx.add_scalar(weight, 1.0);
    let given = |t: &Tensor| cx.autocast_dtype().map_or_else(|| t.clone(), |dtype| cx.cast(t, dtype));
    let (x, weight, bias) = (given(x), given(&weight), bias.map(given));
    cx.with_autocast_off(|| cx.layer_norm(&x, Some(&weight), bias.as_ref()))
}

/// `weight * (x * rsqrt(mean(x.float()²) + eps))`, cast before the product where the weight is in half precision.
fn t5_rms(cx: &Context, x: &Tensor, weight: &Tensor) -> Tensor {
    let variance = cx.mean_last(cx.pow(cx.cast(x, DType::F32), 2));
    let mut states = cx.mul(x, cx.rsqrt(cx.add_scalar(&variance, EPSILON)));
    if matches!(weight.dtype(), DType::F16 | DType::BF16) {
        states = cx.cast(&states, weight.dtype());
    }
    cx.mul(weight, &states)
}

/// `(norm(x.float()) * (1 + weight.float())).type_as(x)`
fn gemma_rms(cx: &Context, x: &Tensor, weight: &Tensor) -> Tensor {
    let output = {
        let x32 = cx.cast(x, DType::F32);
        let mean = cx.mean_last(cx.pow(&x32, 2));
        let rsqrt = cx.rsqrt(cx.add_scalar(mean, EPSILON));
        cx.mul(x32, rsqrt)
    };
    let weight = cx.add_scalar(cx.cast(weight, DType::F32), 1.0);
    let output = cx.mul(output, weight);
    cx.cast(&output, x.dtype())
}
