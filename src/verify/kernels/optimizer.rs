//! AdamW's step and the norms that gradients are clipped by, in fp32.

use super::super::array::{Array, Result, Unary};
use super::{Call, no_kernel};
use crate::dtype::DType;
use crate::ghost::Kernel;

/// How AdamW learns; `torch.optim.AdamW`'s own numbers but for the rate.
#[derive(Clone, Copy, Debug)]
pub(in crate::verify) struct AdamW {
    /// `lr`
    pub(in crate::verify) learning_rate: f64,
}

/// `betas`, `eps` and `weight_decay`.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

fn aligned<A: Array>(call: &Call<'_, A>, index: usize) -> Result<A> {
    call.aligned(index)?.cast(DType::F32)
}

pub(super) fn norm<A: Array>(call: &Call<'_, A>) -> Result<A> {
    let squares = call.input(0)?.cast(DType::F32)?.flat()?.unary(Unary::Sqr)?;
    squares.sum(&[0])?.unary(Unary::Sqrt)?.cast(call.dtype)?.flat()
}

pub(super) fn moment<A: Array>(what: &'static str, call: &Call<'_, A>) -> Result<A> {
    let (moment, grad) = (aligned(call, 0)?, aligned(call, 1)?);
    let (new, beta) = match what {
        "average" => (grad, BETAS[0]),
        "square" => (grad.unary(Unary::Sqr)?, BETAS[1]),
        _ => return Err(no_kernel(&Kernel::Moment(what))),
    };
    moment.scale(beta)?.add(&new.scale(1.0 - beta)?)?.cast(call.dtype)?.flat()
}

pub(super) fn denominator<A: Array>(step: i32, call: &Call<'_, A>) -> Result<A> {
    let correction = (1.0 - BETAS[1].powi(step)).sqrt();
    aligned(call, 0)?.unary(Unary::Sqrt)?.affine(correction.recip(), EPSILON)?.cast(call.dtype)?.flat()
}

pub(super) fn update<A: Array>(step: i32, call: &Call<'_, A>) -> Result<A> {
    let rate = call.adamw.learning_rate;
    let kept = aligned(call, 0)?.scale(1.0 - rate * WEIGHT_DECAY)?;
    let direction = aligned(call, 1)?.div(&aligned(call, 2)?)?;
    let size = rate / (1.0 - BETAS[0].powi(step));
    kept.sub(&direction.scale(size)?)?.cast(call.dtype)?.flat()
}
