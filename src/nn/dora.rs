//! Weight-decomposed adapters (DoRA), as PEFT 0.21 computes them (`peft/tuners/lora/dora.py`).

use super::linear::{Linear, Weight};
use super::lora::Lora;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor, trainable_copy};

/// The magnitudes of a layer's rows, which are trained: first the norms of the rows as they are.
pub(super) fn magnitude(cx: &Context, base: &Linear, a: &Tensor, b: &Tensor) -> Tensor {
    cx.no_grad(|| {
        let norm = cx.within(Category::Temporary, || {
            let (a, b) = (a.detach(), b.detach());
            let dtype = a.dtype();
            let weight = dense_weight(cx, base);
            // half precision is left for the CPU's sake, on any device
            let wide = if dtype == DType::F16 { DType::F32 } else { dtype };
            let (a, b) = (cx.cast(a, wide), cx.cast(b, wide));
            let update = cx.cast(cx.untracked_matmul(&b, &a, &[base.out_features, base.in_features]), dtype);
            row_norms(cx, &weight, &update)
        });
        norm.recategorise(Category::Weights);
        trainable_copy(&norm)
    })
}

/// `DoraLinearLayer.forward`: what is added to `base_result`, or, where `None`, to the base layer's output on an input
/// that was not dropped out.
pub(super) fn update(
    cx: &Context,
    base: &Linear,
    lora: &Lora,
    magnitude: &Tensor,
    x: &Tensor,
    base_result: Option<&Tensor>,
) -> Tensor {
    let (lora_weight, _graph) = lora_weight(cx, lora);
    let lora_weight = cx.no_grad(|| cx.cast(lora_weight, x.dtype()));
    let (weight, norms) = cx.no_grad(|| {
        let weight = cx.cast(dense_weight(cx, base), x.dtype());
        let norms = row_norms(cx, &weight, &lora_weight);
        (weight, norms)
    });
    // a quotient saves its divisor, as a product does
    let scale = cx.reshape(cx.mul(magnitude, &norms), &[1, base.out_features]);
    let lora_result = cx.linear(cx.linear(x, &lora.a, None), &lora.b, None);
    let base_result = match (base_result, base.bias()) {
        (Some(result), Some(bias)) => cx.add(result, bias),
        (Some(result), None) => result.clone(),
        (None, _) => cx.linear(x, &weight, None),
    };
    let corrected = cx.mul(cx.add_scalar(&scale, -1.0), &base_result);
    let added = cx.mul_scalar(cx.mul(&scale, &lora_result), 1.0);
    cx.add(corrected, added)
}

/// `lora_B(lora_A(eye)).T`, with what its graph saves. Only its norm is used, and that is detached: the graph goes with the
/// function that made it, without a gradient.
fn lora_weight(cx: &Context, lora: &Lora) -> (Tensor, Vec<Tensor>) {
    let features = lora.a.dim(1);
    let product_dtype = cx.product_dtype(lora.a.dtype());
    let eye = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[features, features]), lora.a.dtype());
    // casts of the adapter under autocast are made here and kept for the product with the input
    let a = cx.autocast_to(&lora.a, product_dtype).detach();
    let eye = cx.cast(&eye, product_dtype);
    let low = cx.linear(&eye, &a, None);
    let saves = cx.saves_for_backward();
    let eye = saves.then_some(eye);
    let b = cx.autocast_to(&lora.b, product_dtype).detach();
    let weight = cx.linear(&low, &b, None);
    let graph = if saves { [eye, Some(low)].into_iter().flatten().collect() } else { Vec::new() };
    (cx.transpose(weight, 0, 1), graph)
}

/// `linalg.norm(weight + scaling * update, dim=1).to(weight.dtype)`, which reduces rows as a mean does; autocast has it return
/// fp32.
fn row_norms(cx: &Context, weight: &Tensor, update: &Tensor) -> Tensor {
    let sum = cx.add(weight, cx.mul_scalar(update, 1.0));
    let rows = weight.dim(0);
    let norms = if cx.autocast_dtype().is_some() {
        cx.launch(Kernel::Mean, &[&sum], Layout::contiguous(&[rows]), DType::F32)
    } else {
        cx.reshape(cx.mean_last(&sum), &[rows])
    };
    cx.cast(norms, weight.dtype())
}

/// `dequantize_module_weight`, `[out, in]`
fn dense_weight(cx: &Context, base: &Linear) -> Tensor {
    match &base.weight {
        Weight::Dense(weight) if base.conv1d => cx.transpose(weight, 0, 1),
        Weight::Dense(weight) => weight.clone(),
        Weight::FourBit(layer) => cx.dequantize_4bit(&layer.matrix),
        Weight::Int8(layer) => cx.dequantize_8bit(&layer.matrix),
    }
}
