//! Kahneman-Tversky optimisation (`_compute_loss`, `trl/trainer/kto_trainer.py`, TRL 1.16): completions without a pair, and
//! mismatched ones for the estimate of how far the policy has moved, both under the policy and under a reference.

use super::fused::FusedHead;
use super::reference::Reference;
use super::{halves, preference_loss};
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Metric, Tensor};
use crate::job::Train;

pub(in crate::step) struct Kto {
    /// `None`: its numbers came with the batch.
    reference: Option<Reference>,
    head: FusedHead,
    /// The completions of other prompts (`KL_input_ids`).
    mismatched: Batch,
}

impl Kto {
    pub(super) fn new(cx: &Context, job: &Train, load: impl FnOnce() -> Box<dyn Network>) -> Self {
        let sequences = job.per_device_train_batch_size;
        let reference = if job.precompute_ref_log_probs {
            let numbers = |name| cx.input(name, &[sequences], DType::F32);
            drop((numbers("ref_logps"), numbers("ref_KL_logps")));
            None
        } else {
            Some(Reference::new(job, load))
        };
        let tensor = |name| cx.input(name, &[sequences, job.max_seq_length], DType::I64);
        let mismatched = Batch {
            ids: tensor("KL_input_ids"),
            attention_mask: Some(tensor("KL_attention_mask")),
            labels: tensor("KL_completion_mask"),
        };
        Self { reference, head: FusedHead::new(job), mismatched }
    }

    pub(super) fn loss(&self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
        let metrics = [Metric::Entropy, Metric::MeanLogits];
        let _kl = self.mismatched_sums(cx, network, run);
        let _labels = FusedHead::labels(cx, &batch.ids);
        let (log_probabilities, _metrics) = self.head.log_probabilities(cx, network, batch, run, &metrics);
        let logps = cx.within(Category::Logits, || cx.sum_dim(&log_probabilities, -1, false));
        let reference = self.reference.as_ref().map(|reference| {
            reference.run(cx, network, run, |network, run| {
                let kl = self.mismatched_sums(cx, network, run);
                (kl, self.head.sums(cx, network, batch, run))
            })
        });
        cx.within(Category::Logits, || {
            let [chosen, rejected] = halves(cx, &logps);
            drop(reference);
            preference_loss(cx, &cx.cat(&[&chosen, &rejected], 0))
        })
    }

    /// `_compute_kl_logps`
    fn mismatched_sums(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) -> Tensor {
        cx.no_grad(|| {
            let _labels = FusedHead::labels(cx, &self.mismatched.ids);
            self.head.sums(cx, network, &self.mismatched, run)
        })
    }
}
