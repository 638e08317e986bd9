//! FlashAttention-2 (`aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp`, torch 2.11).

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::{Context, MULTIPROCESSORS};
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

use super::AttentionOptions;

/// Query rows are padded to this in backward's buffers.
const ROW_BLOCK: u64 = 128;
/// Query rows of a block of the kernel that splits keys.
const SPLIT_ROW_BLOCK: u64 = 64;

/// Head widths are rounded up for the kernels' fp32 buffers.
fn rounded_width(width: u64) -> u64 {
    width.next_multiple_of(if width <= 128 { 32 } else { 64 })
}

/// Into how many parts keys are split so that small batches keep the device busy (`num_splits_heuristic`).
#[allow(clippy::cast_precision_loss)]
fn key_splits(row_blocks: u64, keys: u64, width: u64) -> u64 {
    let column_block = match width {
        0..=64 => 256,
        65..=128 => 128,
        _ => 64,
    };
    let blocks = keys.div_ceil(column_block).max(1);
    // two thread blocks a multiprocessor
    let slots = 2 * MULTIPROCESSORS;
    if row_blocks as f64 >= 0.8 * slots as f64 {
        return 1;
    }
    let eligible = |n: u64| n == 1 || blocks.div_ceil(n) != blocks.div_ceil(n - 1);
    let efficiency = |n: u64| {
        let waves = (row_blocks * n) as f64 / slots as f64;
        waves / waves.ceil()
    };
    let candidates = || (1..=128.min(slots).min(blocks)).filter(|&n| eligible(n));
    let best = candidates().map(efficiency).fold(0.0, f64::max);
    candidates().find(|&n| efficiency(n) >= 0.85 * best).unwrap_or(1)
}

/// Head widths are padded to a multiple of this before the kernel (`pad_last_dim`).
const ALIGN_WIDTH: u64 = 8;
/// The widest heads its kernels have.
pub const MAX_WIDTH: u64 = 256;

/// Whose code calls the kernels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// `aten::_scaled_dot_product_flash_attention`
    Torch,
    /// The flash-attn package (`flash_attn_interface.py`, `csrc/flash_attn/flash_api.cpp`, 2.8), on rows of this many sequences
    /// without padding where there is a number.
    Package { sequences: Option<u64> },
}

impl Context {
    /// Flash attention of heads of any width up to 256.
    pub(super) fn padded_flash_attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions,
        caller: Caller,
    ) -> Tensor {
        let width = query.dim(-1);
        if width.is_multiple_of(ALIGN_WIDTH) {
            return self.flash_attention(query, key, value, options, caller);
        }
        let padded = width.next_multiple_of(ALIGN_WIDTH);
        let [query, key, value] = [query, key, value].map(|t| self.pad_last(t, padded));
        let out = self.flash_attention(&query, &key, &value, options, caller);
        self.narrow(out, -1, 0, width)
    }

    /// `pad(x, (0, width - x.shape[-1]))`; backward copies what was there.
    fn pad_last(&self, x: &Tensor, width: u64) -> Tensor {
        let node = self.record(&[x], &[]);
        let own = x.dim(-1);
        let padded = Layout::contiguous(x.layout().narrow(-1, width).dims());
        let mut out = self.launch(Kernel::Copy, &[x], padded, x.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let kept = incoming.grad.layout().narrow(-1, own);
                let layout = Layout::elementwise(&[&kept]);
                smallvec![Some(cx.launch(Kernel::Copy, &[incoming.grad], layout, incoming.grad.dtype()))]
            });
        }
        out
    }

    /// Saves query, key, value, the output and a number a row; backward sums the query's gradient in fp32 and, for grouped
    /// heads, keeps key and value gradients of every query head until they are summed.
    fn flash_attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions,
        caller: Caller,
    ) -> Tensor {
        let inputs = [query, key, value];
        let node = self.record(&inputs, &inputs.map(Some));
        let causal = options.causal;
        let kernel = |what| Kernel::Attention { what, causal };
        let [batch, heads, length, width] = [query.dim(0), query.dim(1), query.dim(2), query.dim(3)];
        // outputs and gradients are made with `empty_like`
        let mut out = self.launch(kernel("out"), &inputs, Layout::elementwise(&[query.layout()]), query.dtype());
        let rows = Layout::contiguous(&[batch, heads, length]);
        let logsumexp = self.launch(kernel("logsumexp"), &inputs, rows, DType::F32);
        // a single query is laid out as if the heads that share a key were rows (`seqlenq_ngroups_swapped`)
        let kv_heads = key.dim(1);
        let swapped = length == 1 && heads > kv_heads && !options.dropout && width.is_multiple_of(8);
        let (split_heads, rows) = if swapped { (kv_heads, heads / kv_heads) } else { (heads, length) };
        let row_blocks = batch * split_heads * rows.div_ceil(SPLIT_ROW_BLOCK);
        // dropout has no kernel that splits keys
        let splits = if options.dropout { 1 } else { key_splits(row_blocks, key.dim(2), width) };
        let _partial = (splits > 1).then(|| {
            let part = |columns| Layout::contiguous(&[splits, batch, heads, length, columns]);
            [1, rounded_width(width)].map(|columns| self.launch(kernel("split"), &inputs, part(columns), DType::F32))
        });
        let seed = self.launch(kernel("seed"), &[], Layout::contiguous(&[2]), DType::I64);
        // the package keeps both in one tensor
        let offset =
            (caller == Caller::Torch).then(|| self.launch(kernel("offset"), &[], Layout::contiguous(&[]), DType::I64));
        if options.dropout {
            drop(self.scratch("generator state", 16));
        }
        if let Some(mut node) = node {
            for kept in [Some(&out), Some(&logsumexp), Some(&seed), offset.as_ref()].into_iter().flatten() {
                node.save_output(self, kept);
            }
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let saved = [incoming.saved(0), incoming.saved(1), incoming.saved(2)];
                let kernel = |what| Kernel::AttentionBackward { what, causal };
                // PyTorch wants the gradient and the output as contiguous [batch, length, heads, width]
                let _copies = [incoming.grad, incoming.saved(3)].map(|t| {
                    let heads_last = t.layout().transpose(1, 2);
                    let copy = || cx.launch(Kernel::Copy, &[t], Layout::contiguous(heads_last.dims()), t.dtype());
                    (caller == Caller::Torch && !heads_last.is_contiguous()).then(copy)
                });
                let [query, key, value] = saved;
                let given = [query, key, value, incoming.grad, incoming.saved(3), incoming.saved(4)];
                let gradient =
                    |what, t: &Tensor| cx.launch(kernel(what), &given, Layout::elementwise(&[t.layout()]), t.dtype());
                let (dq, dk, dv) = (gradient("query", query), gradient("key", key), gradient("value", value));
                let buffer =
                    |what, dims: &[u64], dtype| cx.launch(kernel(what), &saved, Layout::contiguous(dims), dtype);
                let rows = match caller {
                    Caller::Package { sequences: Some(sequences) } => length + ROW_BLOCK * sequences,
                    _ => length.next_multiple_of(ROW_BLOCK),
                };
                let columns = rounded_width(width);
                let _delta = buffer("delta", &[batch, heads, rows], DType::F32);
                let _dq_sum = buffer("query sum", &[batch, rows, heads, columns], DType::F32);
                let _expanded = (key.dim(1) != heads)
                    .then(|| [key, value].map(|t| buffer("expanded", &[batch, t.dim(2), heads, t.dim(3)], t.dtype())));
                smallvec![Some(dq), Some(dk), Some(dv)]
            });
        }
        out
    }
}
