//! Adapters whose update is a whole weight (`peft/tuners/lycoris_utils.py`).

use super::linear::Linear;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// The base layer's result and the input's product with the weight that `delta` makes.
pub(super) fn beside(cx: &Context, base: &Linear, x: &Tensor, delta: impl FnOnce() -> Tensor) -> Tensor {
    let result = base.base(cx, x);
    let update = {
        let delta = delta();
        let x = cx.cast(x, delta.dtype());
        cx.linear(&x, &delta, None)
    };
    let sum = cx.add(&result, &update);
    drop((result, update));
    cx.cast(&sum, x.dtype())
}

/// Rows of `weight` dropped out in place; the mask comes from the host in `dtype`.
pub(super) fn row_dropout(cx: &Context, weight: Tensor, p: f64, dtype: DType, scaled: bool) -> Tensor {
    if p <= 0.0 || !cx.training() {
        return weight;
    }
    let column = Layout::contiguous(&[weight.dim(0), 1]);
    let mask = cx.launch(Kernel::Input("drop"), &[], column, dtype);
    if scaled {
        drop(cx.launch(Kernel::Mean, &[&mask], Layout::contiguous(&[]), dtype));
    }
    cx.mul_in_place(weight, &mask)
}
