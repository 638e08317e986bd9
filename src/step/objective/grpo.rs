//! Group relative policy optimisation (`trl/trainer/grpo_trainer.py`, TRL 1.16) with generation in the same process: before a
//! step completions are generated for all its micro-batches at once and, with a KL term, scored under a reference; then
//! each micro-batch is trained on.

use std::cell::RefCell;

use super::fused::FusedHead;
use super::made;
use super::reference::Reference;
use crate::arch::{Batch, Forward, Generate, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Metric, Phase, Tensor};
use crate::job::{ExpertsImplementation, Train};
use crate::step::train::RECORDED_MICRO_BATCHES;

pub(in crate::step) struct Grpo {
    /// Only with a KL term.
    reference: Option<Reference>,
    head: FusedHead,
    /// Sequences of a micro-batch.
    batch: u64,
    /// Micro-batches that are generated together.
    micro_batches: u64,
    prompt: u64,
    completion: u64,
    /// What was generated: prompts, completions, their masks, advantages, and log-probabilities under the reference.
    buffered: RefCell<Option<Buffered>>,
}

struct Buffered {
    _tokens: Vec<Tensor>,
    reference: Option<Tensor>,
}

impl Grpo {
    pub(super) fn new(job: &Train, load: impl FnOnce() -> Box<dyn Network>) -> Self {
        let completion = job.completion_length();
        Self {
            reference: job.has_reference().then(|| Reference::new(job, load)),
            head: FusedHead::new(job),
            batch: job.per_device_train_batch_size,
            micro_batches: job.micro_batches_generated(),
            prompt: job.max_seq_length.saturating_sub(completion),
            completion,
            buffered: RefCell::new(None),
        }
    }

    /// `_generate_and_score_completions`, and the shuffle after it.
    pub(super) fn generate(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) {
        let sequences = self.batch.saturating_mul(self.micro_batches);
        cx.no_grad(|| {
            cx.set_phase(Phase::Prefill);
            let prompt = made(cx, &[sequences, self.prompt], DType::I64);
            let how = Generate {
                implementation: run.implementation,
                logits_to_keep: 1,
                max_new_tokens: self.completion,
                decode_experts: ExpertsImplementation::BatchedMm,
                samples: true,
            };
            network.generate(cx, &prompt, how);
        });
        cx.set_phase(Phase::Score);
        let buffered = cx.within(Category::Activations, || {
            let generated = self.tokens(cx, sequences);
            let whole = [(); 2].map(|()| made(cx, &[sequences, self.prompt + self.completion], DType::I64));
            let reference = self
                .reference
                .as_ref()
                .map(|reference| reference.run(cx, network, run, |network, run| self.score(cx, network, run)));
            // `shuffle_sequence_dict` copies
            let shuffled = self.tokens(cx, sequences);
            let reference = reference.map(|scores| made(cx, scores.dims(), DType::F32));
            drop((generated, whole));
            Buffered { _tokens: shuffled, reference }
        });
        drop(self.buffered.replace(Some(buffered)));
    }

    /// Prompts, completions and their masks.
    fn tokens(&self, cx: &Context, sequences: u64) -> Vec<Tensor> {
        let widths = [self.prompt, self.prompt, self.completion, self.completion];
        widths.iter().map(|width| made(cx, &[sequences, *width], DType::I64)).collect()
    }

    /// Log-probabilities of all completions, as many sequences at a time as a micro-batch has.
    fn score(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) -> Tensor {
        let chunk = |at: u64| {
            if at >= RECORDED_MICRO_BATCHES {
                return made(cx, &[self.batch, self.positions()], DType::F32);
            }
            let batch = self.micro_batch(cx);
            let _labels = FusedHead::labels(cx, &batch.ids);
            self.head.log_probabilities(cx, network, &batch, run, &[]).0
        };
        let chunks: Vec<Tensor> = (0..self.micro_batches).map(chunk).collect();
        cx.within(Category::Logits, || cx.cat(&chunks.iter().collect::<Vec<_>>(), 0))
    }

    /// Positions whose next token is known.
    fn positions(&self) -> u64 {
        (self.prompt + self.completion).saturating_sub(1)
    }

    fn micro_batch(&self, cx: &Context) -> Batch {
        let tensor = || made(cx, &[self.batch, self.prompt + self.completion], DType::I64);
        let (ids, attention_mask) = (tensor(), tensor());
        Batch { ids, attention_mask: Some(attention_mask), labels: cx.meta(&[0], DType::I64) }
    }

    /// `_compute_loss`
    pub(super) fn loss(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) -> Tensor {
        let batch = self.micro_batch(cx);
        let each = {
            let _labels = FusedHead::labels(cx, &batch.ids);
            self.head.log_probabilities(cx, network, &batch, run, &[Metric::Entropy])
        };
        cx.within(Category::Logits, || {
            let (whole, entropies) = each;
            let kept = |of: &Tensor| cx.slice(of, 1, self.positions().saturating_sub(self.completion), self.completion);
            // `torch.cat` of one chunk
            let each = cx.cat(&[&kept(&whole)], 0);
            let _entropies = entropies.iter().map(|of| cx.cat(&[&kept(of)], 0)).collect::<Vec<_>>();
            drop((whole, entropies));
            let log_ratio = cx.sub(&each, each.detach());
            let ratio = cx.exp(&log_ratio);
            let kl = self.buffered.borrow().as_ref().and_then(|buffered| buffered.reference.as_ref()).map(|_| {
                let reference = made(cx, each.dims(), DType::F32);
                let difference = cx.sub(&reference, &each);
                let kl = cx.sub(cx.exp(&difference), cx.sub(&reference, &each));
                cx.add_scalar(kl, -1.0)
            });
            let clipped = cx.clamp(&ratio, true);
            let advantages = made(cx, &[self.batch, 1], DType::F32);
            let [first, second] = [&ratio, &clipped].map(|ratio| cx.mul(ratio, &advantages));
            // `torch.min` saves both too
            let mut loss = cx.neg(cx.mul(&first, &second));
            if let Some(kl) = kl {
                loss = cx.add(loss, cx.mul_scalar(kl, 1.0));
            }
            let mask = made(cx, each.dims(), DType::I64);
            cx.sum_all(cx.mul(loss, &mask))
        })
    }
}
