//! Attention as `ALL_ATTENTION_FUNCTIONS` has it, for families with layers of their own.

use crate::arch::attention::{Attended, repeat_kv};
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Tensor};
use crate::job::AttnImplementation;

/// Attention by the implementation asked for: `[batch, length, heads, head_dim]`.
pub(super) fn attend(
    cx: &Context,
    implementation: AttnImplementation,
    [query, key, value]: [&Tensor; 3],
    mask: Option<&Tensor>,
    dropout: f64,
) -> Attended {
    match implementation {
        AttnImplementation::Eager => eager(cx, [query, key, value], mask, dropout),
        _ => (sdpa(cx, [query, key, value], mask, dropout), None),
    }
}

/// `sdpa_attention_forward`
pub(super) fn sdpa(cx: &Context, [query, key, value]: [&Tensor; 3], mask: Option<&Tensor>, dropout: f64) -> Tensor {
    let groups = query.dim(1) / key.dim(1);
    let grouped = groups > 1 && mask.is_none() && key.dim(-1) <= 256;
    let repeats = if grouped { 1 } else { groups };
    let (key, value) = (&repeat_kv(cx, key, repeats), &repeat_kv(cx, value, repeats));
    let options = AttentionOptions {
        causal: mask.is_none() && query.dim(2) > 1,
        grouped,
        dropout: cx.training() && dropout > 0.0,
    };
    cx.contiguous(cx.transpose(cx.attention(query, key, value, mask, options), 1, 2))
}

/// `eager_attention_forward`: softmax in fp32, cast back.
fn eager(cx: &Context, [query, key, value]: [&Tensor; 3], mask: Option<&Tensor>, dropout: f64) -> Attended {
    let groups = query.dim(1) / key.dim(1);
    let (key, value) = (&repeat_kv(cx, key, groups), &repeat_kv(cx, value, groups));
    let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
    if let Some(mask) = mask {
        weights = cx.add(&weights, mask);
    }
    weights = cx.cast(cx.softmax(&weights, DType::F32), query.dtype());
    weights = cx.dropout(&weights, dropout);
    let mut out = cx.matmul(&weights, value);
    out = cx.contiguous(cx.transpose(&out, 1, 2));
    (out, Some(weights))
}
