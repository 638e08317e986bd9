//! Attention with a learned logit a head, written out.

use super::attention::Attended;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// gpt-oss' `eager_attention_forward` from its logits on: a learned one beside those of the keys, in their own type.
pub(super) fn beside_sinks(
    cx: &Context,
    mut weights: Tensor,
    sinks: &Tensor,
    value: &Tensor,
    dropout: f64,
) -> Attended {
    let [batch, heads, length, keys] = [weights.dim(0), weights.dim(1), weights.dim(2), weights.dim(3)];
    let sinks = cx.expand(cx.reshape(sinks, &[1, heads, 1, 1]), &[batch, heads, length, 1]);
    let mut logits = cx.cat(&[&weights, &sinks], -1);
    logits = cx.sub(&logits, cx.max_last(&logits));
    let probabilities = cx.softmax(&logits, logits.dtype());
    let scores = cx.narrow(&probabilities, -1, 0, keys);
    weights = cx.cast(cx.dropout(&scores, dropout), value.dtype());
    let mut out = cx.matmul(&weights, value);
    out = cx.contiguous(cx.transpose(&out, 1, 2));
    (out, Some(weights))
}

/// Granite SWA's `eager_attention_forward` from its logits on.
pub(super) fn scaled_by_sinks(
    cx: &Context,
    mut weights: Tensor,
    sinks: &Tensor,
    value: &Tensor,
    dropout: f64,
) -> Attended {
    let dtype = value.dtype();
    let heads = weights.dim(1);
    let lse = cx.logsumexp(&weights);
    let scale = {
        let from_sink = cx.sub(&lse, cx.reshape(sinks, &[1, heads, 1]));
        cx.sigmoid(cx.cast(&from_sink, DType::F32))
    };
    weights = cx.cast(cx.softmax(&weights, DType::F32), dtype);
    weights = cx.dropout(&weights, dropout);
    let mut out = cx.matmul(&weights, value);
    out = cx.mul(&out, cx.cast(cx.unsqueeze(&scale, 3), out.dtype()));
    out = cx.contiguous(cx.transpose(&out, 1, 2));
    (out, Some(weights))
}
