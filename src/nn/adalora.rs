//! AdaLoRA, as PEFT 0.21 computes it (`peft/tuners/adalora`).

use smallvec::SmallVec;

use super::adapter::{Adapter, adapter_parameters, parameter};
use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// Singular vectors and values of a layer's update.
pub struct AdaLora {
    /// `[r, in]`
    a: Tensor,
    /// `[out, r]`
    b: Tensor,
    /// `[r, 1]`
    e: Tensor,
    /// `[1]`: the rank, which is a trained parameter since PEFT wraps it again when it moves it to the GPU.
    ranknum: Tensor,
    dropout: f64,
}

impl AdaLora {
    /// An adapter for `base`.
    pub fn new(cx: &Context, base: &Linear, r: u64, dropout: f64) -> Self {
        Self {
            a: parameter(cx, base, "lora_A", &[r, base.in_features]),
            b: parameter(cx, base, "lora_B", &[base.out_features, r]),
            e: parameter(cx, base, "lora_E", &[r, 1]),
            ranknum: parameter(cx, base, "ranknum", &[1]),
            dropout,
        }
    }

    /// `(dropout(x) @ (lora_A * lora_E).T @ lora_B.T)`
    fn product(&self, cx: &Context, x: &Tensor) -> Tensor {
        let x = cx.dropout(x, self.dropout);
        let scaled = cx.mul(&self.a, &self.e);
        let low = cx.linear(&x, &scaled, None);
        drop((x, scaled));
        // a view of the parameter: autocast's cache takes none
        cx.linear(low, &cx.reshape(&self.b, self.b.dims()), None)
    }

    /// `update * scaling / ranknum`
    fn scaled(cx: &Context, update: Tensor, ranknum: &Tensor) -> Tensor {
        let scaled = cx.mul_scalar(update, 1.0);
        cx.div(scaled, ranknum)
    }
}

impl Adapter for AdaLora {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let mut result = base.base(cx, x);
        if matches!(base.weight, Weight::FourBit(_)) {
            result = cx.copy(&result);
        }
        let dtype = result.dtype();
        let ranknum = cx.add_scalar(&self.ranknum, 1e-5);
        if matches!(base.weight, Weight::Dense(_)) {
            let x = cx.cast(x, self.a.dtype());
            let update = Self::scaled(cx, self.product(cx, &x), &ranknum);
            return cx.add_in_place(result, &update);
        }
        let converts = cx.autocast_dtype().is_none();
        let x = if converts { cx.cast(x, DType::F32) } else { x.clone() };
        let mut update = self.product(cx, &x);
        if converts {
            update = cx.cast(&update, dtype);
        }
        update = Self::scaled(cx, update, &ranknum);
        match base.weight {
            Weight::FourBit(_) => cx.add_in_place(result, &update),
            _ => cx.add(&result, &update),
        }
    }

    adapter_parameters!(a, b, e, ranknum);

    fn orthogonal(&self) -> SmallVec<[(&Tensor, bool); 2]> {
        SmallVec::from_iter([(&self.a, false), (&self.b, true)])
    }
}

/// `AdaLoraModel.forward`: the distance of every adapter's singular vectors from orthogonal ones, added to the loss.
pub fn orthogonal_regularization(cx: &Context, loss: Tensor, factors: &[(Tensor, bool)]) -> Tensor {
    let mut sum: Option<Tensor> = None;
    let (mut _covariance, mut _identity) = (None, None);
    for (factor, of_columns) in factors {
        let turned = cx.transpose(factor, 0, 1);
        let covariance = if *of_columns { cx.mm(&turned, factor) } else { cx.mm(factor, &turned) };
        drop(turned);
        _covariance = Some(covariance.clone());
        let identity =
            cx.launch(Kernel::Scratch("eye"), &[], Layout::contiguous(covariance.dims()), covariance.dtype());
        _identity = Some(identity.clone());
        let distance = cx.vector_norm(cx.add(&covariance, &identity));
        sum = Some(match sum {
            None => cx.add_scalar(&distance, 0.0),
            Some(sum) => cx.add_in_place(sum, &distance),
        });
    }
    let Some(sum) = sum else { return loss };
    let mean = cx.mul_scalar(sum, 1.0);
    cx.add_in_place(loss, &cx.mul_scalar(&mean, 1.0))
}
