//! `attn_implementation = "flash_attention_2"`: the flash-attn package, as `modeling_flash_attention_utils.py` of transformers
//! 5.17 calls it.

use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Kernel, Layout, Tensor};

/// `flash_attention_forward`: query, key and value are `[batch, heads, length, head_dim]`, what comes out
/// `[batch, length, heads, head_dim]`. With a padding `mask`, `[batch, length]`, tokens are gathered before and put back after;
/// how many are padding is not known here, so that all are taken to be gathered. fp32 heads are cast to autocast's type or to
/// that of the layer's `weights`.
pub(super) fn flash_attention(
    cx: &Context,
    heads: [&Tensor; 3],
    mask: Option<&Tensor>,
    dropout: f64,
    weights: DType,
) -> Tensor {
    let cast = |t: &Tensor| match t.dtype() {
        DType::F32 => cx.cast(t, cx.autocast_dtype().unwrap_or(weights)),
        _ => t.clone(),
    };
    let [query, key, value] = heads.map(cast);
    let [batch, length] = [query.dim(0), query.dim(2)];
    let options =
        AttentionOptions { causal: true, grouped: query.dim(1) != key.dim(1), dropout: cx.training() && dropout > 0.0 };
    let Some(mask) = mask else {
        looked_for_packing(cx, length);
        let out = cx.flash_attn_package([&query, &key, &value], options, None);
        return cx.contiguous(cx.transpose(out, 1, 2));
    };
    let rows = batch * length;
    let whole = |dims: &[u64], dtype| cx.launch(Kernel::Unary("unpad"), &[mask], Layout::contiguous(dims), dtype);
    // `_get_unpad_data`
    let lengths = whole(&[batch], DType::I32);
    let indices = whole(&[rows], DType::I64);
    let _cumulative = whole(&[batch + 1], DType::I32);
    drop(lengths);
    let unpad = |t: &Tensor| {
        let tokens = cx.transpose(t, 1, 2);
        let flat = cx.reshape(&tokens, &[rows, t.dim(1), t.dim(3)]);
        cx.index_rows(&flat, &indices)
    };
    let (unpadded_key, unpadded_value) = (unpad(&key), unpad(&value));
    let unpadded_query = unpad(&query);
    // the kernels take them as one sequence's heads
    let one = |t: &Tensor| cx.transpose(cx.unsqueeze(t, 0), 1, 2);
    let [q, k, v] = [&unpadded_query, &unpadded_key, &unpadded_value].map(one);
    let out = cx.flash_attn_package([&q, &k, &v], options, Some(batch));
    let tokens = cx.reshape(cx.transpose(out, 1, 2), unpadded_query.dims());
    let padded = cx.put_rows(&tokens, &indices, rows);
    cx.reshape(&padded, &[batch, length, query.dim(1), query.dim(3)])
}

/// `_is_packed_sequence`: position ids are compared to a range.
fn looked_for_packing(cx: &Context, length: u64) {
    let range = || cx.launch(Kernel::Arange, &[], Layout::contiguous(&[1, length]), DType::I64);
    drop((range(), range(), range()));
}
