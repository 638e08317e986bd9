//! `torch.nn.utils.clip_grad_norm_` (`torch/nn/utils/clip_grad.py`, torch 2.11).

use super::foreach;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};

/// Clips the gradients of `parameters` by their total norm: small tensors only.
pub(super) fn clip_grad_norm(cx: &Context, parameters: &[Tensor], max_norm: f64) {
    cx.set_phase(Phase::Clip);
    let grads: Vec<Tensor> = parameters.iter().filter_map(Tensor::grad).collect();
    if grads.is_empty() {
        return;
    }
    cx.within(Category::Temporary, || {
        let total_norm = total_norm(cx, &grads);
        scale(cx, &total_norm, max_norm, &grads);
    });
}

/// `_get_total_norm`: the norm of the gradients' norms.
fn total_norm(cx: &Context, grads: &[Tensor]) -> Tensor {
    let norms: Vec<Tensor> = foreach::by_dtype(grads).iter().flat_map(|group| foreach_norm(cx, group)).collect();
    let dtype = norms.iter().map(Tensor::dtype).reduce(DType::promote).unwrap_or(DType::F32);
    let all: Vec<&Tensor> = norms.iter().collect();
    let stacked = small(cx, Kernel::Stack, &all, &[norms.len() as u64], dtype);
    let total = small(cx, Kernel::Norm, &[&stacked], &[], dtype);
    drop(stacked);
    foreach::drop_list(norms);
    total
}

/// `torch._foreach_norm` of tensors of one type: a partial norm for every chunk of the largest tensor, for each tensor, in
/// fp32 (`ATen/native/cuda/ForeachReduceOp.cu`).
fn foreach_norm(cx: &Context, group: &[&Tensor]) -> Vec<Tensor> {
    let chunks = group.iter().map(|g| g.layout().numel().div_ceil(foreach::CHUNK)).max().unwrap_or(0);
    let partial = [(group.len() as u64).saturating_mul(chunks)];
    let _partial = small(cx, Kernel::Scratch("partial norms"), &[], &partial, DType::F32);
    group.iter().map(|grad| small(cx, Kernel::Norm, &[grad], &[], grad.dtype())).collect()
}

/// `_clip_grads_with_norm_`: what the gradients are multiplied by, in place.
fn scale(cx: &Context, total_norm: &Tensor, max_norm: f64, grads: &[Tensor]) {
    let dtype = total_norm.dtype();
    let scalar = |kernel, of: &Tensor| small(cx, kernel, &[of], &[], dtype);
    // max_norm / (total_norm + 1e-6) is a reciprocal and a product
    let shifted = scalar(Kernel::AddScalar(1e-6), total_norm);
    let reciprocal = scalar(Kernel::Unary("reciprocal"), &shifted);
    let clip_coef = scalar(Kernel::MulScalar(max_norm), &reciprocal);
    drop(reciprocal);
    drop(shifted);
    let clip_coef_clamped = scalar(Kernel::Unary("at most one"), &clip_coef);
    drop(clip_coef);
    grads.iter().for_each(|grad| cx.update(Kernel::Mul, grad, &[&clip_coef_clamped]));
    drop(clip_coef_clamped);
}

fn small(cx: &Context, kernel: Kernel, of: &[&Tensor], dims: &[u64], dtype: DType) -> Tensor {
    cx.launch(kernel, of, Layout::contiguous(dims), dtype)
}
