//! The bias on attention scores that tells where a token is, in place of position embeddings.

use super::attention::Branch;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};

impl Branch {
    /// `create_position_bias_mask`
    pub(super) fn masked_bias(
        &self,
        cx: &Context,
        bias: &Tensor,
        mask: Option<&Tensor>,
        [queries, keys]: [u64; 2],
    ) -> Tensor {
        if let Some(mask) = mask {
            return cx.where_else_number(mask, bias);
        }
        if !self.is_causal || queries == 1 {
            return bias.clone();
        }
        let causal = {
            let range = |n| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
            let (_queries, _keys) = (range(queries), range(keys));
            cx.launch(Kernel::Where, &[], Layout::contiguous(&[1, 1, queries, keys]), DType::Bool)
        };
        cx.where_else_number(&causal, bias)
    }

    /// The bias on scores: of the table, or zeros.
    pub(super) fn position_bias(
        &self,
        cx: &Context,
        [queries, keys]: [u64; 2],
        dtype: DType,
        checkpointing: bool,
    ) -> Tensor {
        let Some(table) = &self.relative_attention_bias else {
            let layout = Layout::contiguous(&[1, self.num_heads, queries, keys]);
            let zeros = cx.launch(Kernel::Zeros, &[], layout, dtype);
            // `position_bias.requires_grad = True`
            return if checkpointing && cx.training() { trainable_copy(&zeros) } else { zeros };
        };
        let range = |n| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
        let _context = {
            let _range = range(queries);
            range(queries)
        };
        let _memory = range(keys);
        let (buckets, _relative) = self.buckets(cx, [queries, keys]);
        let values = table.forward(cx, &buckets);
        cx.unsqueeze(cx.transpose(cx.transpose(&values, 0, 2), 1, 2), 0)
    }

    /// `_relative_position_bucket` of every query and key, and what it is computed from: whole numbers, `[queries, keys]`.
    fn buckets(&self, cx: &Context, [queries, keys]: [u64; 2]) -> (Tensor, Tensor) {
        let made = |dtype| cx.launch(Kernel::Where, &[], Layout::contiguous(&[queries, keys]), dtype);
        let relative = made(DType::I64);
        let sums = (!self.is_causal).then(|| {
            let scaled = {
                let whole = {
                    let _positive = made(DType::Bool);
                    made(DType::I64)
                };
                let scaled = made(DType::I64);
                drop(whole);
                scaled
            };
            let sum = made(DType::I64);
            drop(scaled);
            sum
        });
        let _distance = if self.is_causal {
            let lower = {
                let _zeros = made(DType::I64);
                made(DType::I64)
            };
            let negated = made(DType::I64);
            drop(lower);
            negated
        } else {
            made(DType::I64)
        };
        let _is_small = made(DType::Bool);
        let far = {
            // float, divided, log, divided, multiplied, whole, plus: each goes when the next is there
            let mut x = made(DType::F32);
            for dtype in [DType::F32, DType::F32, DType::F32, DType::F32, DType::I64, DType::I64] {
                x = made(dtype);
            }
            x
        };
        let _far = {
            let _most = made(DType::I64);
            let least = made(DType::I64);
            drop(far);
            least
        };
        let chosen = made(DType::I64);
        // added to nothing where there is no sum yet: a copy
        let buckets = sums.unwrap_or_else(|| made(DType::I64));
        drop(chosen);
        (buckets, relative)
    }
}
