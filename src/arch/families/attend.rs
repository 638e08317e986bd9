//! Attention as `ALL_ATTENTION_FUNCTIONS` has it for families with as many key as query heads.

use crate::arch::attention::Attended;
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
    let options = AttentionOptions {
        causal: mask.is_none() && query.dim(2) > 1,
        grouped: false,
        dropout: cx.training() && dropout > 0.0,
    };
    cx.contiguous(cx.transpose(cx.attention(query, key, value, mask, options), 1, 2))
}

/// `eager_attention_forward`: softmax in fp32, cast back.
fn eager(cx: &Context, [query, key, value]: [&Tensor; 3], mask: Option<&Tensor>, dropout: f64) -> Attended {
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
