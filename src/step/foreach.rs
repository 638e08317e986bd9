//! PyTorch's foreach operations: many tensors in one kernel.

use crate::dtype::DType;
use crate::ghost::Tensor;

/// Elements one block of a foreach kernel handles (`kChunkSize`, `ATen/native/cuda/MultiTensorApply.cuh`, torch 2.11).
pub(super) const CHUNK: u64 = 65_536;

/// The tensors' types in the order their groups are worked through: the last to occur comes first, since
/// `_group_tensors_by_first_tensors_device_and_dtype` (`ATen/native/ForeachUtils.h`) keeps them in a
/// `std::unordered_map`, which libstdc++ fills from the front.
pub(super) fn dtypes(tensors: &[Tensor]) -> Vec<DType> {
    let mut all = Vec::new();
    for tensor in tensors {
        if !all.contains(&tensor.dtype()) {
            all.push(tensor.dtype());
        }
    }
    all.reverse();
    all
}

/// The tensors, one group a type.
pub(super) fn by_dtype(tensors: &[Tensor]) -> Vec<Vec<&Tensor>> {
    let of = |dtype: DType| tensors.iter().filter(|t| t.dtype() == dtype).collect();
    dtypes(tensors).into_iter().map(of).collect()
}

/// Lets go of a Python list of tensors, which gives up its last element first (`list_dealloc`, `Objects/listobject.c`).
pub(super) fn drop_list(mut tensors: Vec<Tensor>) {
    while tensors.pop().is_some() {}
}
