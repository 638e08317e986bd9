//! `torch.nn.utils.clip_grad_norm_` (`torch/nn/utils/clip_grad.py`, torch 2.11).

use super::foreach;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};

/// Clips the gradients of `parameters` by their total norm: small tensors only.
pub(super) fn clip_grad_norm(cx: &Context, parameters: &[Tensor]) {
    cx.set_phase(Phase::Clip);
    let grads: Vec<Tensor> = parameters.iter().filter_map(Tensor::grad).collect();
    if grads.is_empty() {
        return;
    }
    cx.within(Category::Temporary, || {
        let total_norm = total_norm(cx, &grads);
        scale(cx, &total_norm);
    });
}

/// `_get_total_norm`: the norm of the gradients' norms.
fn total_norm(cx: &Context, grads: &[Tensor]) -> Tensor {
    let norms: Vec<Tensor> = foreach::by_dtype(grads).iter().flat_map(|group| foreach_norm(cx, group)).collect();
    let dtype = norms.iter().map(Tensor::dtype).reduce(DType::promote).unwrap_or(DType::F32);
    let stacked = small(cx, &[norms.len() as u64], dtype);
    let total = small(cx, &[], dtype);
    drop(stacked);
    foreach::drop_list(norms);
    total
}

/// `torch._foreach_norm` of tensors of one type: a partial norm for every chunk of the largest tensor, for each tensor, in
/// fp32 (`ATen/native/cuda/ForeachReduceOp.cu`).
fn foreach_norm(cx: &Context, group: &[&Tensor]) -> Vec<Tensor> {
    let chunks = group.iter().map(|g| g.layout().numel().div_ceil(foreach::CHUNK)).max().unwrap_or(0);
    let _partial = small(cx, &[(group.len() as u64).saturating_mul(chunks)], DType::F32);
    group.iter().map(|grad| small(cx, &[], grad.dtype())).collect()
}

/// `_clip_grads_with_norm_`: what the gradients are multiplied by, in place.
fn scale(cx: &Context, total_norm: &Tensor) {
    let scalar = || small(cx, &[], total_norm.dtype());
    // max_norm / (total_norm + 1e-6) is a reciprocal and a product
    let shifted = scalar();
    let reciprocal = scalar();
    let clip_coef = scalar();
    drop(reciprocal);
    drop(shifted);
    let clip_coef_clamped = scalar();
    drop(clip_coef);
    drop(clip_coef_clamped);
}

fn small(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    cx.launch(Kernel::Scratch("norm"), &[], Layout::contiguous(dims), dtype)
}
