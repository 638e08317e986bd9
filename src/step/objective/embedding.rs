//! Sentence embeddings (`MultipleNegativesRankingLoss` with mean pooling, sentence-transformers 6.2): anchors and positives
//! each in a forward of their own, and every anchor compared with every positive.

use super::made;
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Tensor};

/// `compute_loss_from_embeddings`
pub(super) fn loss(cx: &Context, network: &dyn Network, columns: [&Batch; 2], run: Forward<'_>) -> Tensor {
    let [queries, positives] = columns.map(|column| embedded(cx, network, column, run));
    cx.within(Category::Logits, || {
        let documents = cx.cat(&[&positives], 0);
        let range = || made(cx, &[queries.dim(0)], DType::I64);
        let (indices, rows) = (range(), range());
        let local_queries = cx.index_rows(&queries, &indices);
        let _local_documents = cx.index_rows(&positives, &indices);
        let scores = {
            let of_queries = normalised(cx, &local_queries);
            let of_documents = normalised(cx, &documents);
            cx.mm(&of_queries, &cx.transpose(of_documents, 0, 1))
        };
        let scores = cx.mul_scalar(scores, 20.0);
        let positive = cx.index_pairs(&scores, &rows, &indices);
        let all = cx.logsumexp(&cx.cat(&[&scores], 1));
        let mean = cx.mean_last(cx.sub(&positive, &all));
        cx.neg(cx.reshape(mean, &[]))
    })
}

/// `Pooling` of the last hidden states: their mean where the mask has ones, summed in fp32.
fn embedded(cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
    let hidden = network.last_hidden_state(cx, batch, run).expect("checked when the objective was made");
    let mask = made(cx, &[hidden.dim(0), hidden.dim(1), 1], hidden.dtype());
    let sum = cx.sum_dim_as(cx.mul(&hidden, &mask), 1, false, DType::F32);
    let count = {
        let _sum = made(cx, &[hidden.dim(0), 1], DType::F32);
        made(cx, &[hidden.dim(0), 1], DType::F32)
    };
    let mean = cx.cast(cx.div(&sum, &count), hidden.dtype());
    cx.cat(&[&mean], -1)
}

/// `torch.nn.functional.normalize`
fn normalised(cx: &Context, embeddings: &Tensor) -> Tensor {
    let norm = cx.clamp(cx.row_norms(embeddings), false);
    cx.div(embeddings, &norm)
}
