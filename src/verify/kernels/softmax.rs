//! Softmax and cross entropy, along the last dimension, in fp32.

use super::super::array::{Array, Binary, Compare, Result, Unary};
use super::Call;
use crate::dtype::DType;

fn last<A: Array>(x: &A) -> usize {
    x.dims().len() - 1
}

/// `exp(x - max)` and its sum.
fn exponentials<A: Array>(x: &A) -> Result<(A, A)> {
    let top = x.max(last(x))?.broadcast(&x.dims())?;
    let exponentials = x.sub(&top)?.unary(Unary::Exp)?;
    let sum = exponentials.sum(&[last(x)])?;
    Ok((exponentials, sum))
}

/// Of fp32 scores.
pub(super) fn probabilities<A: Array>(x: &A) -> Result<A> {
    let (exponentials, sum) = exponentials(x)?;
    exponentials.div(&sum.broadcast(&x.dims())?)
}

/// `log(sum(exp(x)))`, with the dimension kept as one.
pub(super) fn log_sum<A: Array>(x: &A) -> Result<A> {
    let top = x.max(last(x))?;
    let shifted = x.sub(&top.broadcast(&x.dims())?)?;
    shifted.unary(Unary::Exp)?.sum(&[last(x)])?.unary(Unary::Log)?.add(&top)
}

pub(super) fn softmax<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let x = call.input(0)?.cast(DType::F32)?;
    call.stored(&probabilities(&x)?.cast(call.dtype)?)
}

pub(super) fn softmax_backward<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let [grad, out] = [call.input(0)?.cast(DType::F32)?, call.input(1)?.cast(DType::F32)?];
    let both = grad.mul(&out)?.sum(&[last(&out)])?;
    let difference = grad.sub(&both.broadcast(&out.dims())?)?;
    call.stored(&out.mul(&difference)?.cast(call.dtype)?)
}

pub(super) fn log_softmax<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let x = call.input(0)?.cast(DType::F32)?;
    let log = log_sum(&x)?;
    x.sub(&log.broadcast(&x.dims())?)?.cast(call.dtype)?.flat()
}

pub(super) fn log_softmax_backward<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let [grad, out] = [call.input(0)?.cast(DType::F32)?, call.input(1)?.cast(DType::F32)?];
    let sum = grad.sum(&[last(&out)])?;
    let shared = out.unary(Unary::Exp)?.mul(&sum.broadcast(&out.dims())?)?;
    grad.sub(&shared)?.cast(call.dtype)?.flat()
}

/// A column of ids that can be looked up, and 1 where they are to be.
fn labels<A: Array>(call: &Call<'_, A>, index: usize) -> Result<(A, A)> {
    let labels = call.input(index)?.flat()?;
    let zero = A::zeros(call.device, &[1], DType::I64)?.broadcast(&labels.dims())?;
    let counted = labels.compare(&zero, Compare::Ge)?.cast(DType::F32)?;
    let ids = labels.binary(&zero, Binary::Max)?;
    Ok((ids.unsqueeze(1)?, counted.unsqueeze(1)?))
}

/// The mean of what the labels that count are given.
pub(super) fn nll_loss<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let (ids, counted) = labels(call, 1)?;
    let picked = call.input(0)?.pick(&ids)?.cast(DType::F32)?;
    let sum = picked.mul(&counted)?.sum(&[0, 1])?;
    sum.div(&counted.sum(&[0, 1])?)?.scale(-1.0)?.cast(call.dtype)?.flat()
}

pub(super) fn total_weight<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let (_, counted) = labels(call, 1)?;
    counted.sum(&[0, 1])?.cast(call.dtype)?.flat()
}

/// From the loss' gradient, the labels and their number; of the log-probabilities it takes the sizes alone.
pub(super) fn nll_loss_backward<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let (ids, counted) = labels(call, 2)?;
    let share = call.input(0)?.cast(DType::F32)?.div(&call.input(3)?.cast(DType::F32)?)?.scale(-1.0)?;
    let source = counted.mul(&share.broadcast(&counted.dims())?)?.cast(call.dtype)?;
    let out = A::zeros(call.device, &call.dims(), call.dtype)?;
    out.put(&ids, &source)?;
    out.flat()
}
