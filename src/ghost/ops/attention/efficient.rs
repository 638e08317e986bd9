//! Memory-efficient attention (`aten/src/ATen/native/transformers/cuda/attention{,_backward}.cu`, torch 2.11).

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tape::Grads;
use crate::ghost::tensor::Tensor;

/// Rows of the log-sum-exp are padded to this (`kAlignLSE`).
const ALIGN_LSE: u64 = 32;
/// The last dimension of a mask is padded to this (`mem_eff_alignment`).
const ALIGN_BIAS: u64 = 8;
/// And that of its gradient to this.
const ALIGN_BIAS_GRADIENT: u64 = 16;
/// A lock and a counter before each block of the query gradient's temporary storage (`GradQTempStorage`).
const BLOCK_HEADER: u64 = 16;

/// Query rows and columns of a block of the backward kernel that serves heads of this width on compute capability 8.0.
fn backward_block(width: u64, dtype: DType) -> (u64, u64) {
    match (width, dtype) {
        (..=64, _) => (64, 64),
        (..=128, DType::F16 | DType::BF16) => (128, 128),
        _ => (128, 64),
    }
}

/// Key rows that gradients of wide heads are kept for at a time, and how many heads' splits are made at most.
const KEY_BLOCK: u64 = 64;
const MOST_SPLITS: u64 = 200;

/// Bytes backward keeps gradients in before they are rounded to the output's type: the query's in blocks and, for heads
/// too wide for the registers, a block of the key's and the value's for every part the keys are split into
/// (`AttentionBackwardKernel::Params::workspace_size`).
fn backward_workspace(heads: u64, queries: u64, keys: u64, width: u64, dtype: DType) -> u64 {
    let (rows, columns) = backward_block(width, dtype);
    let fp32 = DType::F32.bytes();
    let query = queries.div_ceil(rows) * width.div_ceil(columns) * (BLOCK_HEADER + rows * columns * fp32);
    let key_and_value = if width > 128 && dtype != DType::F32 {
        let splits = keys.div_ceil(KEY_BLOCK).min(MOST_SPLITS / heads.max(1)).max(1);
        2 * splits * KEY_BLOCK * width.next_multiple_of(rows) * fp32
    } else {
        0
    };
    heads * (query + key_and_value)
}

impl Context {
    /// A boolean mask as an additive one in `dtype`, its rows padded where the kernel wants that
    /// (`convert_boolean_attn_mask`, `pad_bias`).
    pub(super) fn attention_bias(&self, mask: &Tensor, dtype: DType, padded: bool) -> Tensor {
        let bias = if mask.dtype() == DType::Bool {
            let scalar = || self.launch(Kernel::Scratch("mask value"), &[], Layout::contiguous(&[]), dtype);
            let (_zero, _lowest) = (scalar(), scalar());
            self.launch(Kernel::Where, &[mask], Layout::contiguous(mask.dims()), dtype)
        } else {
            mask.clone()
        };
        let columns = bias.dim(-1);
        if !padded || columns.is_multiple_of(ALIGN_BIAS) {
            return bias;
        }
        let wide = bias.layout().narrow(-1, columns.next_multiple_of(ALIGN_BIAS));
        self.launch(Kernel::Copy, &[&bias], Layout::contiguous(wide.dims()), dtype)
    }

    /// Saves query, key, value, the mask, the output and, where gradients are wanted, a number a row.
    pub(super) fn efficient_attention(&self, inputs: [&Tensor; 3], bias: Option<&Tensor>, causal: bool) -> Tensor {
        let [query, key, value] = inputs;
        // a bias that is trained comes expanded, so that its gradient is one of every sequence
        let trained_bias = bias.filter(|bias| bias.requires_grad());
        let expanded =
            trained_bias.map(|bias| self.expand(bias, &[query.dim(0), query.dim(1), query.dim(2), key.dim(2)]));
        let bias = expanded.as_ref().or(bias);
        let bias_shape = expanded.as_ref().map(|bias| (*bias.layout(), bias.dtype()));
        let wanting: SmallVec<[&Tensor; 4]> = inputs.into_iter().chain(&expanded).collect();
        let node = self.record(&wanting, &[Some(query), Some(key), Some(value), bias]);
        let has_bias = bias.is_some();
        let kernel = |what| Kernel::Attention { what, causal };
        let given: SmallVec<[&Tensor; 4]> = inputs.into_iter().chain(bias).collect();
        let [batch, heads, length] = [query.dim(0), query.dim(1), query.dim(2)];
        let heads_last = Layout::contiguous(&[batch, length, heads, value.dim(3)]).transpose(1, 2);
        let mut out = self.launch(kernel("out"), &given, heads_last, query.dtype());
        let rows = if node.is_some() { length.next_multiple_of(ALIGN_LSE) } else { 0 };
        let rows = Layout::contiguous(&[batch, heads, rows]);
        let logsumexp = self.launch(kernel("logsumexp"), &given, rows, DType::F32);
        // wide heads are summed in fp32 outside the registers (`kNeedsOutputAccumulatorBuffer`)
        let width = value.dim(3);
        let accumulates = width > 128 && query.dtype() != DType::F32;
        drop(accumulates.then(|| self.scratch("output", batch * heads * length * width * DType::F32.bytes())));
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.save_output(self, &logsumexp);
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let saved = [incoming.saved(0), incoming.saved(1), incoming.saved(2)];
                let kernel = |what| Kernel::AttentionBackward { what, causal };
                let mut given: SmallVec<[&Tensor; 8]> = SmallVec::from_iter(saved);
                given.extend([incoming.grad, incoming.saved(4), incoming.saved(5)]);
                given.extend(has_bias.then(|| incoming.saved(3)));
                let gradient = |what, t: &Tensor| {
                    let layout = Layout::contiguous(&[t.dim(0), t.dim(2), t.dim(1), t.dim(3)]).transpose(1, 2);
                    cx.launch(kernel(what), &given, layout, t.dtype())
                };
                let dq = gradient("query", saved[0]);
                let dk = gradient("key", saved[1]);
                let dv = gradient("value", saved[2]);
                // its rows are padded
                let db = bias_shape.map(|(layout, dtype)| {
                    let wide = layout.narrow(-1, layout.dim(-1).next_multiple_of(ALIGN_BIAS_GRADIENT));
                    let whole = cx.launch(kernel("bias"), &saved, Layout::contiguous(wide.dims()), dtype);
                    cx.narrow(&whole, -1, 0, layout.dim(-1))
                });
                let dtype = saved[0].dtype();
                let delta_layout = Layout::contiguous(&[batch, heads, length]);
                let delta = if dtype == DType::F32 {
                    // this type's kernel leaves sum(grad * out) to tensor operations
                    let product = cx.launch(kernel("delta"), &saved, *incoming.grad.layout(), DType::F32);
                    let sum = cx.launch(
                        kernel("delta"),
                        &[&product],
                        Layout::contiguous(&[batch, length, heads]),
                        DType::F32,
                    );
                    let delta = cx.launch(kernel("delta"), &[&sum], delta_layout, DType::F32);
                    drop(sum);
                    drop(product);
                    delta
                } else {
                    cx.launch(kernel("delta"), &saved, delta_layout, DType::F32)
                };
                let keys = saved[1].dim(2);
                let bytes = backward_workspace(batch * heads, length, keys, saved[0].dim(3), dtype);
                let _workspace = cx.scratch("query gradient", bytes);
                drop(delta);
                let mut grads: Grads = smallvec![Some(dq), Some(dk), Some(dv)];
                grads.extend(db.map(Some));
                grads
            });
        }
        out
    }
}
