//! Classification of whole sequences (`GenericForSequenceClassification`, `transformers/modeling_layers.py`, 5.17).

use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor};
use crate::nn::Linear;

/// The scores of each sequence's last token that is no padding: scores of all positions, then one of each row.
pub fn pooled_logits(cx: &Context, score: &Linear, hidden: &Tensor, ids: &Tensor) -> Tensor {
    cx.within(Category::Logits, || {
        let logits = score.forward(cx, hidden);
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let make = |dims: &[u64], dtype| cx.launch(Kernel::Scratch("last token"), &[], Layout::contiguous(dims), dtype);
        let non_pad_mask = {
            let _is_token = make(&[batch, length], DType::Bool);
            make(&[batch, length], DType::I32)
        };
        let token_indices = make(&[length], DType::I32);
        let last_non_pad_token = {
            let _product = make(&[batch, length], DType::I32);
            make(&[batch], DType::I64)
        };
        let rows = make(&[batch], DType::I64);
        let pooled = cx.index_pairs(&logits, &rows, &last_non_pad_token);
        drop((rows, last_non_pad_token, token_indices, non_pad_mask));
        pooled
    })
}
