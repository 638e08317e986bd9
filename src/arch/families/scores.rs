//! Attention that is always written out, its scores in fp32 (GPT-Neo, GPT-J, CodeGen).

use super::front::Input;
use crate::arch::attention::Attended;
use crate::arch::forward::Forward;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;

/// `_attn`: `adjust` does what a class does to its scores, scaled or not, before their softmax.
pub(super) fn attend(
    cx: &Context,
    [query, key, value]: [&Tensor; 3],
    adjust: impl FnOnce(Tensor) -> Tensor,
    dropout: f64,
) -> Attended {
    let (query, key) = (cx.cast(query, DType::F32), cx.cast(key, DType::F32));
    let mut weights = adjust(cx.matmul(&query, cx.transpose(&key, -1, -2)));
    let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { weights.dtype() };
    weights = cx.softmax(&weights, dtype);
    weights = cx.cast(&weights, value.dtype());
    weights = cx.dropout(&weights, dropout);
    let out = cx.matmul(&weights, value);
    (out, Some(weights))
}

/// The additive mask of a class that knows no other attention.
pub(super) fn mask(cx: &Context, input: &Input<'_>, positions: Option<&Tensor>) -> Option<Tensor> {
    let run = Forward { implementation: AttnImplementation::Eager, ..input.run };
    Input { run, ..*input }.mask(cx, positions, input.run.attention_mask)
}

/// `[batch, heads, length, head_dim]` to `[batch, length, width]`: a copy.
pub(super) fn merge_heads(cx: &Context, x: &Tensor) -> Tensor {
    let [batch, heads, length, head_dim] = [x.dim(0), x.dim(1), x.dim(2), x.dim(3)];
    cx.reshape(cx.contiguous(cx.transpose(x, 1, 2)), &[batch, length, heads * head_dim])
}
