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
            (Norm::Rms, Some(weight)) => rms(cx, x, weight, false),
            (Norm::RmsInFp32, Some(weight)) => rms(cx, x, weight, true),
            (Norm::GemmaRms, Some(weight)) => gemma_rms(cx, x, weight),
            (_, weight) => cx.layer_norm(x, weight.as_ref(), self.bias.as_ref()),
        }
    }
}

/// `weight * (x.float() * rsqrt(mean(x²) + eps)).to(x.dtype)`, or the cast after the product with the weight.
fn rms(cx: &Context, x: &Tensor, weight: &Tensor, weight_in_fp32: bool) -> Tensor {
    let input_dtype = x.dtype();
    let x = cx.cast(x, DType::F32);
    let variance = cx.mean_last(cx.pow(&x, 2));
    let normed = cx.mul(x, cx.rsqrt(cx.add_scalar(&variance, EPSILON)));
    if weight_in_fp32 {
        cx.cast(cx.mul(weight, &normed), input_dtype)
    } else {
        cx.mul(weight, cx.cast(&normed, input_dtype))
    }
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
