//! Direct preference optimisation (`_compute_loss`, `trl/trainer/dpo_trainer.py`, TRL 1.16): chosen and rejected completions
//! in one batch, log-probabilities of their tokens under the policy and, without gradients, under a reference.

use super::fused::FusedHead;
use super::reference::Reference;
use super::{halves, preference_loss};
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Metric, Tensor};
use crate::job::Train;

/// What log-probabilities are compared with.
enum Against {
    Reference(Reference),
    /// Numbers that came with the batch.
    Precomputed(Tensor),
}

pub(in crate::step) struct Dpo {
    against: Against,
    head: FusedHead,
}

impl Dpo {
    pub(super) fn new(cx: &Context, job: &Train, load: impl FnOnce() -> Box<dyn Network>) -> Self {
        let against = if job.precompute_ref_log_probs {
            Against::Precomputed(cx.input("ref_logps", &[2 * job.per_device_train_batch_size], DType::F32))
        } else {
            Against::Reference(Reference::new(job, load))
        };
        Self { against, head: FusedHead::new(job) }
    }

    pub(super) fn loss(&self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
        let labels = FusedHead::labels(cx, &batch.ids);
        let metrics = [Metric::Entropy, Metric::MeanLogits, Metric::IsTop1];
        let (log_probabilities, _metrics) = self.head.log_probabilities(cx, network, batch, run, &metrics);
        let logps = cx.within(Category::Logits, || cx.sum_dim(&log_probabilities, -1, false));
        let reference = match &self.against {
            Against::Precomputed(logps) => logps.clone(),
            Against::Reference(reference) => {
                reference.run(cx, network, run, |network, run| self.head.sums(cx, network, batch, run))
            }
        };
        let loss = cx.within(Category::Logits, || {
            let [chosen, rejected] = halves(cx, &logps);
            let [ref_chosen, ref_rejected] = halves(cx, &reference);
            let chosen = cx.add(&chosen, &ref_chosen);
            let rejected = cx.add(&rejected, &ref_rejected);
            preference_loss(cx, &cx.add(&chosen, &rejected))
        });
        drop(labels);
        loss
    }
}
