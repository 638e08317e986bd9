//! Sentence embeddings (`MultipleNegativesRankingLoss` with mean pooling, sentence-transformers 6.2): anchors and positives
//! each in a forward of their own, and every anchor compared with every positive.

use super::made;
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Tensor};

/// `compute_loss_from_embeddings`
pub(super) fn loss(cx: &Context, network: &dyn Network, columns: [&Batch; 2], run: Forward<'_>) -> Tensor {
    let [anchors, positives] = columns.map(|column| embedded(cx, network, column, run));
    cx.within(Category::Logits, || {
        let [anchors, positives] = [anchors, positives].map(|side| normalised(cx, &side));
        let scores = cx.matmul(&anchors, cx.transpose(&positives, 0, 1));
        let scores = cx.mul_scalar(scores, 20.0);
        let labels = made(cx, &[scores.dim(0)], DType::I64);
        cx.cross_entropy(scores, &labels)
    })
}

/// `Pooling` of the last hidden states: their mean where the mask has ones, summed in fp32.
fn embedded(cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
    let (hidden, _) = network.backbone(cx, batch, run).expect("checked when the objective was made");
    let mask = made(cx, &[hidden.dim(0), hidden.dim(1), 1], hidden.dtype());
    let sum = cx.sum_dim_as(cx.mul(&hidden, &mask), 1, false, DType::F32);
    let count = made(cx, &[hidden.dim(0), 1], DType::F32);
    cx.cast(cx.div(sum, &count), hidden.dtype())
}

/// `torch.nn.functional.normalize`
fn normalised(cx: &Context, embeddings: &Tensor) -> Tensor {
    let norm = cx.mean_last(cx.pow(embeddings, 2));
    cx.div(embeddings, &norm)
}
