//! ALiBi, as BLOOM and Falcon build it (`build_alibi_tensor`).

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// `[batch * heads, 1, keys]` in `dtype`, from an attention mask `[batch, keys]`; slopes are multiplied in `slope_dtype`.
pub(super) fn build(cx: &Context, mask: &Tensor, heads: u64, slope_dtype: DType, dtype: DType) -> Tensor {
    let [batch, keys] = [mask.dim(0), mask.dim(1)];
    let vector = |n: u64, dtype| cx.launch(Kernel::Scratch("alibi"), &[], Layout::contiguous(&[n]), dtype);
    let powers_of_two = 1 << heads.max(1).ilog2();
    let remaining = heads - powers_of_two;
    let _base = vector(1, DType::F32);
    let _powers = vector(powers_of_two, DType::I32);
    let mut slopes = vector(powers_of_two, DType::F32);
    let _extra = (remaining > 0).then(|| {
        let extra = (vector(1, DType::F32), vector(remaining, DType::I32));
        let more = vector(remaining, DType::F32);
        slopes = cx.cat(&[&slopes, &more], 0);
        extra
    });
    let arange = cx.mul(cx.untracked("add_scalar", cx.cumsum(mask)), mask);
    let arange = cx.unsqueeze(arange, 1);
    let rows = cx.unsqueeze(&slopes, 1);
    let alibi = cx.mul(cx.cast(rows, slope_dtype), &arange);
    cx.cast(cx.reshape(&alibi, &[batch * heads, 1, keys]), dtype)
}
