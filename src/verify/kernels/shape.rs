//! Sums, products, and what moves numbers.

use super::super::VerifyError;
use super::super::array::{Array, Result};
use super::Call;
use crate::dtype::DType;

/// Over the dimensions that the output has not, or has as one.
pub(super) fn sum<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let x = call.input(0)?;
    let (from, to) = (x.dims(), call.dims());
    let lead = from.len() - to.len();
    let gone: Vec<usize> =
        (0..from.len()).filter(|&dim| dim.checked_sub(lead).is_none_or(|own| to[own] != from[dim])).collect();
    let sum = if gone.is_empty() { x.copy()? } else { x.exact_sum(&gone)? };
    let out = sum.cast(call.dtype)?.flat()?.reshape(&to)?;
    call.stored(&out)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of tensors that fit this machine")]
pub(super) fn mean<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let elements = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
    let ratio = elements(call.dims()) / elements(call.input(0)?.dims());
    sum(call)?.scale(ratio)
}

/// A matrix, or as many as there are.
fn matrices<A: Array>(x: &A, transposed: bool) -> Result<A> {
    let x = if x.dims().len() == 2 { x.unsqueeze(0)? } else { x.clone() };
    if transposed { x.swapped(1, 2) } else { Ok(x) }
}

pub(super) fn matmul<A: Array>(call: &Call<'_, A>, transpose_a: bool, transpose_b: bool) -> Result<A> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if a.dims().len() == 1 {
        // frequencies times places
        let dims = call.dims();
        let columns = b.unsqueeze(2)?.widened(&dims)?;
        return a.widened(&dims)?.mul(&columns)?.flat();
    }
    let product = matrices(a, transpose_a)?.matmul(&matrices(b, transpose_b)?)?;
    match call.inputs.get(2) {
        Some(bias) => product.add(&bias.widened(&product.dims())?)?.flat(),
        None => product.flat(),
    }
}

/// Parts beside each other; what one part lacks is filled: labels with what is not looked at, numbers with zeros.
pub(super) fn cat<A: Array>(call: &Call<'_, A>, axis: usize) -> Result<A> {
    let dims = call.dims();
    let own = |part: &A| -> Result<A> {
        let part = part.cast(call.dtype)?;
        if part.is_contiguous() { Ok(part) } else { part.copy() }
    };
    let mut parts = call.inputs.iter().map(own).collect::<Result<Vec<A>>>()?;
    let length: usize = parts.iter().map(|part| part.dims()[axis]).sum();
    if length < dims[axis] {
        let mut rest = dims.clone();
        rest[axis] -= length;
        let zeros = A::zeros(call.device, &rest, call.dtype)?;
        parts.push(if call.dtype == DType::I64 { zeros.affine(1.0, IGNORED)? } else { zeros });
    }
    let parts: Vec<&A> = parts.iter().collect();
    match parts[..] {
        [one] => one.copy()?.flat(),
        _ => A::cat(&parts, axis)?.flat(),
    }
}

/// `ignore_index` of cross entropy.
const IGNORED: f64 = -100.0;

/// Numbers beside each other, in one dimension.
pub(super) fn stack<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let parts = call.inputs.iter().map(|part| part.cast(call.dtype)?.flat()).collect::<Result<Vec<A>>>()?;
    let parts: Vec<&A> = parts.iter().collect();
    match parts[..] {
        [one] => one.copy(),
        _ => A::cat(&parts, 0),
    }
}

pub(super) fn slice_backward<A: Array>(call: &Call<'_, A>, axis: usize, start: u64) -> Result<A> {
    let grad = call.input(0)?;
    let dims = call.dims();
    if grad.dims().len() != dims.len() {
        return Err(VerifyError::Kernel("the gradient of one place of a dimension".to_owned()));
    }
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let zeros = |len: usize| -> Result<Option<A>> {
        let mut sizes = dims.clone();
        sizes[axis] = len;
        (len > 0).then(|| A::zeros(call.device, &sizes, call.dtype)).transpose()
    };
    let grad = if grad.is_contiguous() { grad.clone() } else { grad.copy()? };
    let (before, after) = (zeros(start)?, zeros(dims[axis] - start - grad.dims()[axis])?);
    let parts: Vec<&A> = [before.as_ref(), Some(&grad), after.as_ref()].into_iter().flatten().collect();
    match parts[..] {
        [one] => one.copy()?.flat(),
        _ => A::cat(&parts, axis)?.flat(),
    }
}

pub(super) fn embedding<A: Array>(call: &Call<'_, A>) -> Result<A> {
    call.input(1)?.rows(&call.input(0)?.flat()?)?.flat()
}

/// Summed in fp32.
pub(super) fn embedding_backward<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let dims = call.dims();
    let ids = call.input(1)?.flat()?;
    let grad = call.input(0)?.flat()?.reshape(&[ids.dims()[0], dims[1]])?.cast(DType::F32)?;
    A::zeros(call.device, &dims, DType::F32)?.add_rows(&ids, &grad)?.cast(call.dtype)?.flat()
}
