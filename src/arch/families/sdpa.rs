//! Attention as `ALL_ATTENTION_FUNCTIONS` has it for families with as many key as query heads.

use crate::ghost::{AttentionOptions, Context, Tensor};

/// `sdpa_attention_forward`: `[batch, length, heads, head_dim]`.
pub(super) fn sdpa(
    cx: &Context,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    mask: Option<&Tensor>,
    dropout: f64,
) -> Tensor {
    let options = AttentionOptions {
        causal: mask.is_none() && query.dim(2) > 1,
        grouped: false,
        dropout: cx.training() && dropout > 0.0,
    };
    cx.contiguous(cx.transpose(cx.attention(query, key, value, mask, options), 1, 2))
}
