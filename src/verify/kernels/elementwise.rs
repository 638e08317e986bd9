//! A number from each number, or from two.

use super::super::array::{Array, Binary, Compare, Result, Unary};
use super::{Call, no_kernel};
use crate::dtype::DType;
use crate::ghost::Kernel;

/// Less than any score, and far from what overflows.
const LOWEST: f64 = -1e30;

/// In another order or type: always new memory.
pub(super) fn copy<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let x = call.aligned(0)?;
    if x.dtype() == call.dtype { x.copy()?.flat() } else { x.cast(call.dtype)?.flat() }
}

pub(super) fn one<A: Array>(call: &Call<'_, A>, function: impl FnOnce(&A) -> Result<A>) -> Result<A> {
    let out = function(&call.aligned(0)?)?;
    out.cast(call.dtype)?.flat()
}

pub(super) fn binary<A: Array>(call: &Call<'_, A>, function: impl FnOnce(&A, &A) -> Result<A>) -> Result<A> {
    let [a, b] = [call.aligned(0)?.cast(call.dtype)?, call.aligned(1)?.cast(call.dtype)?];
    function(&a, &b)?.flat()
}

pub(super) fn power<A: Array>(x: &A, exponent: i32) -> Result<A> {
    match exponent {
        1 => x.copy(),
        2 => x.unary(Unary::Sqr),
        _ => (2..exponent).try_fold(x.unary(Unary::Sqr)?, |power, _| power.mul(x)),
    }
}

pub(super) fn unary<A: Array>(name: &'static str, call: &Call<'_, A>) -> Result<A> {
    match name {
        "silu" => one(call, |x| x.unary(Unary::Silu)),
        "cos" => one(call, |x| x.unary(Unary::Cos)),
        "sin" => one(call, |x| x.unary(Unary::Sin)),
        "exp" => one(call, |x| x.unary(Unary::Exp)),
        "rsqrt" => one(call, |x| x.unary(Unary::Sqrt)?.unary(Unary::Recip)),
        "reciprocal" => one(call, |x| x.unary(Unary::Recip)),
        "at most one" => one(call, |x| x.binary(&call.constant(1.0, &x.dims(), x.dtype())?, Binary::Min)),
        // places begin at 0 in training
        "add_scalar" => copy(call),
        // of scores: those that are masked
        "eq" => {
            let x = call.aligned(0)?;
            let lowest = call.constant(LOWEST, &x.dims(), x.dtype())?;
            x.compare(&lowest, Compare::Le)?.flat()
        }
        "all" => {
            let x = call.input(0)?;
            let last = x.dims().len() - 1;
            // 1 - max(1 - x)
            x.cast(DType::F32)?.affine(-1.0, 1.0)?.max(last)?.affine(-1.0, 1.0)?.cast(DType::Bool)?.flat()
        }
        "tril" => {
            let dims = call.dims();
            lower(call, dims[0], dims[1])?.flat()
        }
        _ => Err(no_kernel(&Kernel::Unary(name))),
    }
}

/// Of two masks, or of what masks are made from.
pub(super) fn combined<A: Array>(name: &'static str, call: &Call<'_, A>) -> Result<A> {
    match name {
        "equal" => call.aligned(0)?.compare(&call.aligned(1)?, Compare::Eq)?.flat(),
        "and" => binary(call, A::mul),
        "not after" => {
            // keys lie along the last dimension, queries along the one before
            let dims = call.dims();
            let queries = call.input(1)?.unsqueeze(1)?.widened(&dims)?;
            call.input(0)?.widened(&dims)?.compare(&queries, Compare::Le)?.flat()
        }
        _ => Err(no_kernel(&Kernel::Binary(name))),
    }
}

/// Whether a column is not after its row, `[rows, columns]`.
pub(super) fn lower<A: Array>(call: &Call<'_, A>, rows: usize, columns: usize) -> Result<A> {
    let (down, across) = (call.range(rows)?.unsqueeze(1)?, call.range(columns)?.unsqueeze(0)?);
    across.broadcast(&[rows, columns])?.compare(&down.broadcast(&[rows, columns])?, Compare::Le)
}

/// 0 where a mask is set, and less than any score elsewhere.
pub(super) fn additive<A: Array>(mask: &A, dtype: DType) -> Result<A> {
    mask.cast(DType::F32)?.affine(-LOWEST, LOWEST)?.cast(dtype)
}

/// An additive mask of a boolean one; zeros of nothing.
pub(super) fn mask<A: Array>(call: &Call<'_, A>) -> Result<A> {
    if call.inputs.is_empty() {
        return A::zeros(call.device, &[call.dims().iter().product()], call.dtype);
    }
    additive(&call.aligned(0)?, call.dtype)?.flat()
}

pub(super) fn unary_backward<A: Array>(name: &'static str, call: &Call<'_, A>) -> Result<A> {
    if name != "silu" {
        return Err(no_kernel(&Kernel::UnaryBackward(name)));
    }
    let grad = call.aligned(0)?.cast(DType::F32)?;
    let x = call.aligned(1)?.cast(DType::F32)?;
    let sigmoid = x.unary(Unary::Neg)?.unary(Unary::Exp)?.affine(1.0, 1.0)?.unary(Unary::Recip)?;
    let inner = x.mul(&sigmoid.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?;
    let slope = inner.mul(&sigmoid)?;
    grad.mul(&slope)?.cast(call.dtype)?.flat()
}
