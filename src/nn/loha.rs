//! LoHa, as PEFT 0.21 computes it (`peft/tuners/loha`).

use smallvec::smallvec;

use super::adapter::{Adapter, adapter_parameters, parameter};
use super::delta;
use super::linear::Linear;
use crate::ghost::{Context, Tensor};

/// Two low-rank products whose elementwise product is a layer's update.
pub struct LoHa {
    /// `[out, r]`
    w1_a: Tensor,
    /// `[r, in]`
    w1_b: Tensor,
    /// `[out, r]`
    w2_a: Tensor,
    /// `[r, in]`
    w2_b: Tensor,
    rank_dropout: f64,
}

impl LoHa {
    /// An adapter for `base`.
    pub fn new(cx: &Context, base: &Linear, r: u64, rank_dropout: f64) -> Self {
        let a = |name| parameter(cx, base, name, &[base.out_features, r]);
        let b = |name| parameter(cx, base, name, &[r, base.in_features]);
        Self { w1_a: a("hada_w1_a"), w1_b: b("hada_w1_b"), w2_a: a("hada_w2_a"), w2_b: b("hada_w2_b"), rank_dropout }
    }

    /// `HadaWeight`: saves the four factors and makes everything else again in backward.
    fn weight(&self, cx: &Context) -> Tensor {
        let factors = [&self.w1_a, &self.w1_b, &self.w2_a, &self.w2_b];
        let node = cx.record(&factors, &factors.map(Some));
        let mut weight = cx.no_grad(|| {
            let product = cx.mul(cx.mm(&self.w1_a, &self.w1_b), cx.mm(&self.w2_a, &self.w2_b));
            cx.mul_scalar(product, 1.0)
        });
        if let Some(node) = node {
            node.finish(cx, &mut [&mut weight], |cx, incoming| {
                let [w1_a, w1_b, w2_a, w2_b] = [0, 1, 2, 3].map(|i| incoming.saved(i));
                let grad = cx.mul_scalar(incoming.grad, 1.0);
                let mut through = cx.mul(&grad, cx.mm(w2_a, w2_b));
                let grad_w1_a = cx.mm(&through, &cx.transpose(w1_b, 0, 1));
                let grad_w1_b = cx.mm(&cx.transpose(w1_a, 0, 1), &through);
                through = cx.mul(&grad, cx.mm(w1_a, w1_b));
                let grad_w2_a = cx.mm(&through, &cx.transpose(w2_b, 0, 1));
                let grad_w2_b = cx.mm(&cx.transpose(w2_a, 0, 1), &through);
                drop(through);
                smallvec![Some(grad_w1_a), Some(grad_w1_b), Some(grad_w2_a), Some(grad_w2_b)]
            });
        }
        weight
    }
}

impl Adapter for LoHa {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        delta::beside(cx, base, x, || {
            let weight = self.weight(cx);
            let dtype = weight.dtype();
            delta::row_dropout(cx, weight, self.rank_dropout, dtype, true)
        })
    }

    adapter_parameters!(w1_a, w1_b, w2_a, w2_b);
}
