//! Direct preference optimisation (`_compute_loss`, `trl/trainer/dpo_trainer.py`, TRL 1.16): chosen and rejected completions
//! in one batch, log-probabilities of their tokens under the policy and, without gradients, under a reference.

use super::{halves, made, preference_loss};
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Tensor};
use crate::job::Train;
use crate::nn::Weight;

/// What log-probabilities are compared with.
enum Reference {
    /// A frozen copy of the model.
    Model(Box<dyn Network>),
    /// The model without its adapters.
    WithoutAdapters,
    /// Numbers that came with the batch.
    Precomputed(Tensor),
}

pub(in crate::step) struct Dpo {
    reference: Reference,
    /// Tokens of a sequence whose log-probabilities count.
    completion: u64,
}

impl Dpo {
    pub(super) fn new(cx: &Context, job: &Train, load: impl FnOnce() -> Box<dyn Network>) -> Self {
        let reference = if job.precompute_ref_log_probs {
            Reference::Precomputed(cx.input("ref_logps", &[2 * job.per_device_train_batch_size], DType::F32))
        } else if job.peft.is_some() {
            Reference::WithoutAdapters
        } else {
            Reference::Model(load())
        };
        // the first token is predicted by nothing
        let most = job.max_seq_length.saturating_sub(1);
        Self { reference, completion: job.max_completion_length.unwrap_or(most).min(most) }
    }

    pub(super) fn loss(&self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
        let labels = {
            let _is_prompt = made(cx, batch.ids.dims(), DType::Bool);
            made(cx, batch.ids.dims(), DType::I64)
        };
        let (log_probabilities, _metrics) = self.log_probabilities(cx, network, batch, run, true);
        let logps = cx.within(Category::Logits, || cx.sum_dim(&log_probabilities, -1, false));
        let reference = self.reference(cx, network, batch, run);
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

    /// A number for each sequence.
    fn reference(&self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
        let run = Forward { checkpointing: false, input_require_grads: false, ..run };
        let sums = |network: &dyn Network| {
            let (log_probabilities, _) = self.log_probabilities(cx, network, batch, run, false);
            cx.within(Category::Logits, || cx.sum_dim(&log_probabilities, -1, false))
        };
        match &self.reference {
            Reference::Precomputed(logps) => logps.clone(),
            Reference::WithoutAdapters => cx.no_grad(|| cx.with_adapters_disabled(|| sums(network))),
            Reference::Model(model) => {
                let training = cx.training();
                cx.set_training(false);
                let sums = cx.no_grad(|| sums(model.as_ref()));
                cx.set_training(training);
                sums
            }
        }
    }

    /// `_fused_forward` (`trl/trainer/utils.py`): hidden states of the positions that count, and what the head makes of them;
    /// zeros elsewhere.
    fn log_probabilities(
        &self,
        cx: &Context,
        network: &dyn Network,
        batch: &Batch,
        run: Forward<'_>,
        metrics: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (hidden, head) = network.backbone(cx, batch, run).expect("checked when the objective was made");
        let Weight::Dense(weight) = &head.weight else { unreachable!("heads are not quantised") };
        cx.within(Category::Logits, || {
            let [sequences, length, width] = [hidden.dim(0), hidden.dim(1), hidden.dim(2)];
            let positions = [sequences, length.saturating_sub(1)];
            let count = sequences.saturating_mul(self.completion);
            let hidden = cx.narrow(&hidden, 1, 0, positions[1]);
            let mask = made(cx, &positions, DType::Bool);
            let (log_probabilities, metrics) = {
                let at = made(cx, &[count, 2], DType::I64);
                let [rows, columns] = [0, 1].map(|_| cx.select(&at, 1));
                let kept = cx.index_pairs(&hidden, &rows, &columns);
                let targets = made(cx, &[count], DType::I64);
                let kept = cx.reshape(kept, &[count, width]);
                cx.chunked_log_probabilities(&kept, weight, &targets, metrics)
            };
            let placed = |x: &Tensor| {
                let zeros = cx.launch(
                    crate::ghost::Kernel::Zeros,
                    &[],
                    crate::ghost::Layout::contiguous(&positions),
                    x.dtype(),
                );
                let placed = cx.masked_scatter(&zeros, &mask, x);
                drop(zeros);
                placed
            };
            let log_probabilities = placed(&log_probabilities);
            let metrics = metrics.iter().map(placed).collect();
            (log_probabilities, metrics)
        })
    }
}
