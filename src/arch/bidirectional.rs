//! Attention of encoders, and of decoders to an encoder's output.

use super::attention::Attended;
use super::masks::MaskRequest;
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Kernel, Layout, Tensor};
use crate::job::AttnImplementation;

/// `create_bidirectional_mask`: of `queries` tokens to `keys`, which `padding` is of; none where nothing is masked.
pub(super) fn bidirectional_mask(
    cx: &Context,
    implementation: AttnImplementation,
    [batch, queries, keys]: [u64; 3],
    padding: Option<&Tensor>,
    dtype: DType,
) -> Option<Tensor> {
    sliding_bidirectional_mask(cx, implementation, [batch, queries, keys], padding, dtype, None)
}

/// `create_bidirectional_sliding_window_mask`, where there is a window.
pub(super) fn sliding_bidirectional_mask(
    cx: &Context,
    implementation: AttnImplementation,
    [batch, queries, keys]: [u64; 3],
    padding: Option<&Tensor>,
    dtype: DType,
    sliding_window: Option<u64>,
) -> Option<Tensor> {
    let request = MaskRequest {
        implementation,
        batch,
        queries,
        keys,
        padding,
        positions: None,
        bidirectional: true,
        sliding_window,
        chunked: false,
        dtype,
    };
    request.make(cx)
}

/// How one attention differs from another.
#[derive(Clone, Copy)]
pub(super) struct AttendTo<'a> {
    /// `attn_implementation`
    pub(super) implementation: AttnImplementation,
    /// The attention mask.
    pub(super) mask: Option<&'a Tensor>,
    /// Tokens attend to those before them alone, where no mask says so.
    pub(super) causal: bool,
    /// Dropout on attention probabilities.
    pub(super) dropout: f64,
    /// Eager attention's softmax is in fp32, and cast back.
    pub(super) fp32_softmax: bool,
}

/// Attention by the implementation asked for: `[batch, length, heads, head_dim]`. Eager attention's softmax is in the type
/// of the scores, unless it is to be in fp32.
pub(super) fn attend(cx: &Context, [query, key, value]: [&Tensor; 3], to: AttendTo<'_>) -> Attended {
    if to.implementation != AttnImplementation::Eager {
        let options = AttentionOptions {
            causal: to.causal && to.mask.is_none() && query.dim(2) > 1,
            grouped: false,
            dropout: cx.training() && to.dropout > 0.0,
        };
        return (cx.contiguous(cx.transpose(cx.attention(query, key, value, to.mask, options), 1, 2)), None);
    }
    let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
    if let Some(mask) = to.mask {
        weights = cx.add(&weights, mask);
    }
    // on autocast's list of operations that run in fp32
    let dtype = if cx.autocast_dtype().is_some() || to.fp32_softmax { DType::F32 } else { weights.dtype() };
    weights = cx.softmax(&weights, dtype);
    if to.fp32_softmax {
        weights = cx.cast(&weights, query.dtype());
    }
    weights = cx.dropout(&weights, to.dropout);
    let mut out = cx.matmul(&weights, value);
    out = cx.contiguous(cx.transpose(&out, 1, 2));
    (out, Some(weights))
}

/// `view(batch, length, heads, head_dim).transpose(1, 2)`
pub(super) fn heads(cx: &Context, flat: Tensor, num_heads: u64) -> Tensor {
    let [batch, length, width] = [flat.dim(0), flat.dim(1), flat.dim(2)];
    cx.transpose(cx.reshape(flat, &[batch, length, num_heads, width / num_heads]), 1, 2)
}

/// `reshape(batch, length, -1).contiguous()`
pub(super) fn joined(cx: &Context, out: &Tensor) -> Tensor {
    cx.contiguous(cx.reshape(out, &[out.dim(0), out.dim(1), out.dim(2) * out.dim(3)]))
}

/// A tensor that no gradient goes through: counted positions, masks, what they are computed from.
pub(super) fn plain(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    cx.launch(Kernel::Where, &[], Layout::contiguous(dims), dtype)
}
