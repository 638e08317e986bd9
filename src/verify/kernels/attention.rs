//! Fused attention: scores are computed again in backward, from what forward saved and a number a row.

use super::super::array::{Array, Result, Unary};
use super::Call;
use super::elementwise::{additive, lower};
use super::softmax::{log_sum, probabilities};
use crate::dtype::DType;

/// Heads as matrices in fp32, `[batch * heads, length, width]`; heads that are shared are repeated.
fn heads<A: Array>(x: &A, heads: usize) -> Result<A> {
    let dims = x.dims();
    let [batch, own, length, width] = [dims[0], dims[1], dims[2], dims[3]];
    let x = x.cast(DType::F32)?;
    let x = if own == heads { x } else { x.unsqueeze(2)?.broadcast(&[batch, own, heads / own, length, width])? };
    x.flat()?.reshape(&[batch * heads, length, width])
}

/// Gradients of repeated heads, summed over those that shared one, `[batch, heads, length, width]`.
fn shared<A: Array>(grad: &A, dims: &[usize], heads: usize) -> Result<A> {
    let [batch, own, length, width] = [dims[0], dims[1], dims[2], dims[3]];
    let grad = grad.reshape(&[batch, own, heads / own, length, width])?;
    if own == heads { grad.squeeze(2) } else { grad.sum(&[2])?.squeeze(2) }
}

/// `query · keyᵀ / sqrt(width)`, with what is not looked at as low as can be.
fn scores<A: Array>(call: &Call<'_, A>, query: &A, key: &A, causal: bool, bias: Option<&A>) -> Result<A> {
    let scores = query.matmul(&key.swapped(1, 2)?)?;
    let scores = scores.scale(scale(query))?;
    let dims = scores.dims();
    let scores = if causal {
        let mask = additive(&lower(call, dims[1], dims[2])?, DType::F32)?;
        scores.add(&mask.unsqueeze(0)?.broadcast(&dims)?)?
    } else {
        scores
    };
    let Some(bias) = bias else { return Ok(scores) };
    // a mask of each sequence, for all its heads
    let own = bias.dims();
    let wide = [own[0], dims[0] / own[0], dims[1], dims[2]];
    let bias = bias.cast(DType::F32)?.broadcast(&wide)?.flat()?.reshape(&dims)?;
    scores.add(&bias)
}

#[expect(clippy::cast_precision_loss, reason = "a head's width")]
fn scale<A: Array>(query: &A) -> f64 {
    (query.dims()[2] as f64).sqrt().recip()
}

/// What forward gives: the rest is its random state and what partial results are kept in.
pub(super) fn is_result(what: &str) -> bool {
    matches!(what, "out" | "logsumexp")
}

/// What backward gives.
pub(super) fn is_gradient(what: &str) -> bool {
    matches!(what, "query" | "key" | "value")
}

pub(super) fn forward<A: Array>(what: &'static str, causal: bool, call: &Call<'_, A>) -> Result<Option<A>> {
    if !is_result(what) {
        return Ok(None);
    }
    if call.layout.numel() == 0 {
        return A::zeros(call.device, &[0], call.dtype).map(Some);
    }
    let dims = call.input(0)?.dims();
    let [batch, count, length] = [dims[0], dims[1], dims[2]];
    let query = heads(call.input(0)?, count)?;
    let key = heads(call.input(1)?, count)?;
    let scores = scores(call, &query, &key, causal, call.inputs.get(3))?;
    if what == "out" {
        let value = heads(call.input(2)?, count)?;
        let out = probabilities(&scores)?.matmul(&value)?.cast(call.dtype)?;
        return call.stored(&out.reshape(&call.dims())?).map(Some);
    }
    let log = log_sum(&scores)?.reshape(&[batch, count, length])?;
    let rows = call.dims()[2];
    if rows == length {
        return log.flat().map(Some);
    }
    let rest = A::zeros(call.device, &[batch, count, rows - length], DType::F32)?;
    A::cat(&[&log, &rest], 2)?.flat().map(Some)
}

/// Inputs: query, key, value, the gradient, the output, its log-sum-exp, and a mask where there is one.
pub(super) fn backward<A: Array>(what: &'static str, causal: bool, call: &Call<'_, A>) -> Result<Option<A>> {
    if !is_gradient(what) {
        return Ok(None);
    }
    let dims = call.input(0)?.dims();
    let [batch, count, length] = [dims[0], dims[1], dims[2]];
    let query = heads(call.input(0)?, count)?;
    let key = heads(call.input(1)?, count)?;
    let grad = heads(call.input(3)?, count)?;
    let log = call.input(5)?.narrow(2, 0, length)?.flat()?.reshape(&[batch * count, length, 1])?;
    let probabilities = {
        let scores = scores(call, &query, &key, causal, call.inputs.get(6))?;
        scores.sub(&log.broadcast(&scores.dims())?)?.unary(Unary::Exp)?
    };
    let out = match what {
        "value" => shared(&probabilities.swapped(1, 2)?.matmul(&grad)?, &call.input(2)?.dims(), count)?,
        _ => {
            let value = heads(call.input(2)?, count)?;
            let out = heads(call.input(4)?, count)?;
            let delta = grad.mul(&out)?.sum(&[2])?;
            let of_probabilities = grad.matmul(&value.swapped(1, 2)?)?;
            let difference = of_probabilities.sub(&delta.broadcast(&of_probabilities.dims())?)?;
            let of_scores = probabilities.mul(&difference)?.scale(scale(&query))?;
            match what {
                "query" => of_scores.matmul(&key)?.reshape(&dims)?,
                _ => shared(&of_scores.swapped(1, 2)?.matmul(&query)?, &call.input(1)?.dims(), count)?,
            }
        }
    };
    call.stored(&out.cast(call.dtype)?).map(Some)
}
