//! Reward models (`trl/trainer/reward_trainer.py`, TRL 1.16): a score for each of a pair, in one forward.

use super::{halves, preference_loss};
use crate::arch::{Batch, Forward, Network, pooled_logits};
use crate::ghost::{Category, Context, Tensor};

/// `compute_loss`
pub(super) fn loss(cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
    let (hidden, score) = network.backbone(cx, batch, run).expect("checked when the objective was made");
    let scores = pooled_logits(cx, score, &hidden, &batch.ids);
    drop(hidden);
    cx.within(Category::Logits, || {
        let [chosen, rejected] = halves(cx, &cx.reshape(&scores, &[batch.ids.dim(0)]));
        preference_loss(cx, &cx.add(&chosen, &rejected))
    })
}
