//! Odds-ratio preference optimisation (`concatenated_forward`, `get_batch_loss_metrics`,
//! `trl/experimental/orpo/orpo_trainer.py`, TRL 1.16): chosen and rejected completions in one batch, whose logits are whole.

use super::{halves, made, preference_loss};
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Tensor};

/// `get_batch_loss_metrics`
pub(super) fn loss(cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
    // `concatenated_inputs` puts chosen and rejected together
    let [ids, attention_mask, labels] = [(); 3].map(|()| made(cx, batch.ids.dims(), DType::I64));
    let batch = Batch { ids, attention_mask: Some(attention_mask), labels };
    let (hidden, _) = network.backbone(cx, &batch, run).expect("checked when the objective was made");
    let logits = network.head_logits(cx, &hidden).expect("checked when the objective was made");
    drop(hidden);
    cx.within(Category::Logits, || {
        let _whole_labels = {
            let _ids = made(cx, batch.ids.dims(), DType::I64);
            made(cx, batch.ids.dims(), DType::I64)
        };
        let nll = nll_of_chosen(cx, &logits);
        let log_probabilities = mean_log_probabilities(cx, &logits);
        let [chosen, rejected] = halves(cx, &log_probabilities);
        cx.add(&nll, preference_loss(cx, &cx.add(&chosen, &rejected)))
    })
}

/// `cross_entropy_loss` of prompts and chosen completions.
fn nll_of_chosen(cx: &Context, logits: &Tensor) -> Tensor {
    let [pairs, length, vocabulary] = [logits.dim(0) / 2, logits.dim(1), logits.dim(2)];
    let rows = pairs.saturating_mul(length.saturating_sub(1));
    let chosen = cx.slice(logits, 0, 0, pairs);
    let shifted = cx.contiguous(cx.slice(&chosen, 1, 0, length.saturating_sub(1)));
    let labels = made(cx, &[rows], DType::I64);
    let flat = cx.reshape(shifted, &[rows, vocabulary]);
    cx.cross_entropy(flat, &labels)
}

/// `get_batch_logps`: a number for each sequence.
fn mean_log_probabilities(cx: &Context, logits: &Tensor) -> Tensor {
    let positions = [logits.dim(0), logits.dim(1).saturating_sub(1)];
    let kept = cx.slice(logits, 1, 0, positions[1]);
    let loss_mask = made(cx, &positions, DType::Bool);
    let labels = {
        let _copy = made(cx, &positions, DType::I64);
        made(cx, &positions, DType::I64)
    };
    let each = cx.selective_log_softmax(&kept, &labels);
    let counted = cx.mul(&each, &loss_mask);
    cx.sum_dim(&counted, -1, false)
}
