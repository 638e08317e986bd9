//! `torch.nn.utils.clip_grad_norm_`.

use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};

/// Elements one block of a `multi_tensor_apply` kernel handles (`kChunkSize`, `ForeachUtils`/`MultiTensorApply.cuh`).
const CHUNK: u64 = 65_536;

/// Clips the gradients of `parameters` by their total norm: small tensors only.
pub(super) fn clip_grad_norm(cx: &Context, parameters: &[Tensor]) {
    cx.set_phase(Phase::Clip);
    let grads: Vec<Tensor> = parameters.iter().filter_map(Tensor::grad).collect();
    if grads.is_empty() {
        return;
    }
    cx.within(Category::Temporary, || {
        let scalar = |dtype: DType| cx.launch(Kernel::Scratch("norm"), &[], Layout::contiguous(&[]), dtype);
        let mut norms: Vec<Tensor> = Vec::new();
        for dtype in dtypes(&grads) {
            let group: Vec<&Tensor> = grads.iter().filter(|g| g.dtype() == dtype).collect();
            let chunks = group.iter().map(|g| g.layout().numel().div_ceil(CHUNK)).max().unwrap_or(0);
            let accumulate = if dtype == DType::F32 { DType::F32 } else { DType::F32 };
            let _partial = cx.launch(
                Kernel::Scratch("partial norms"),
                &[],
                Layout::contiguous(&[group.len() as u64 * chunks]),
                accumulate,
            );
            norms.extend(group.iter().map(|_| scalar(dtype)));
        }
        let dtype = norms[0].dtype();
        let total = {
            let stacked = cx.launch(Kernel::Cat { dim: 0 }, &[], Layout::contiguous(&[norms.len() as u64]), dtype);
            let total = scalar(dtype);
            drop(stacked);
            total
        };
        drop(norms);
        let coefficient = {
            let plus = scalar(dtype);
            let reciprocal = scalar(dtype);
            let times = scalar(dtype);
            drop(reciprocal);
            drop(plus);
            times
        };
        let clamped = scalar(dtype);
        drop(coefficient);
        drop(clamped);
        drop(total);
    });
}

/// The gradients' types, in the order they first occur.
pub(super) fn dtypes(tensors: &[Tensor]) -> Vec<DType> {
    let mut all = Vec::new();
    for tensor in tensors {
        if !all.contains(&tensor.dtype()) {
            all.push(tensor.dtype());
        }
    }
    all
}
