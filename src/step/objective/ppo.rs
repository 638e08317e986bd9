//! Proximal policy optimisation (`PPOTrainer.train`, `trl/experimental/ppo/ppo_trainer.py`, TRL 1.10): a policy and a value
//! model that are trained, a reference and a reward model that are not. Rollouts are generated with the scores of every
//! token, which stay until the next ones are there; then each micro-batch is trained on.

use std::cell::RefCell;

use super::made;
use super::reference::Reference;
use crate::arch::{Batch, Forward, Generate, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Phase, Tensor};
use crate::job::{ExpertsImplementation, Train};
use crate::model::Model;

/// `PPOConfig.local_rollout_forward_batch_size`
const ROLLOUT_BATCH: u64 = 64;

pub(in crate::step) struct Ppo {
    reference: Reference,
    value: Box<dyn Network>,
    reward: Box<dyn Network>,
    /// Sequences of a micro-batch, and of all of them.
    batch: u64,
    sequences: u64,
    prompt: u64,
    completion: u64,
    vocabulary: u64,
    /// Layers and their width: every forward returns all hidden states.
    states: [u64; 2],
    dtype: DType,
    /// Scores of the generated tokens.
    scores: RefCell<Option<Tensor>>,
    /// Logits and hidden states of the last micro-batch, which have names until the next one's are there.
    outputs: RefCell<Vec<Tensor>>,
}

impl Ppo {
    /// `load` loads a frozen model: the policy's, or with a score for its head.
    pub(super) fn new(model: &Model, job: &Train, load: &dyn Fn(bool) -> Box<dyn Network>) -> Self {
        let completion = job.completion_length();
        Self {
            reference: Reference::new(job, || load(false)),
            value: load(true),
            reward: load(true),
            batch: job.per_device_train_batch_size,
            sequences: job.per_device_train_batch_size.saturating_mul(job.gradient_accumulation_steps),
            prompt: job.max_seq_length.saturating_sub(completion),
            completion,
            vocabulary: model.vocab_size(),
            states: [model.num_hidden_layers(), model.hidden_size()],
            dtype: job.float_type().dtype(),
            scores: RefCell::new(None),
            outputs: RefCell::new(Vec::new()),
        }
    }

    /// The value model, which is trained too.
    pub(super) fn value(&mut self) -> &mut dyn Network {
        self.value.as_mut()
    }

    /// Generates and scores what the step trains on.
    pub(super) fn rollout(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) {
        self.outputs.borrow_mut().clear();
        let run = Forward { checkpointing: false, input_require_grads: false, ..run };
        let chunk = self.sequences.min(ROLLOUT_BATCH);
        cx.no_grad(|| {
            let scores = self.generate(cx, network, run, chunk);
            drop(self.scores.replace(Some(scores)));
            cx.ledger().empty_cache();
            cx.set_phase(Phase::Score);
            let batch = self.tokens(cx, chunk);
            drop(self.reference.run(cx, network, run, |network, run| {
                let outputs = self.outputs_of(cx, network, &batch, run);
                let _row = made(cx, &[self.completion, self.vocabulary], self.dtype);
                outputs
            }));
            cx.ledger().empty_cache();
            for model in [&self.value, &self.reward] {
                let _states = self.hidden_states(cx, chunk);
                drop(scored(cx, model.as_ref(), &batch, run));
            }
            cx.ledger().empty_cache();
        });
    }

    /// `batch_generation`: the scores of every chunk are stacked, then padded to one tensor.
    fn generate(&self, cx: &Context, network: &dyn Network, run: Forward<'_>, chunk: u64) -> Tensor {
        cx.set_phase(Phase::Prefill);
        let scores = |sequences: u64| made(cx, &[sequences, self.completion, self.vocabulary], DType::F32);
        let mut stacked = Vec::new();
        let mut left = self.sequences;
        while left > 0 {
            let sequences = left.min(chunk);
            left -= sequences;
            // further chunks do what the first did
            if stacked.is_empty() {
                let each = scores(sequences);
                let prompt = made(cx, &[sequences, self.prompt], DType::I64);
                let how = Generate {
                    implementation: run.implementation,
                    logits_to_keep: 1,
                    max_new_tokens: self.completion,
                    decode_experts: ExpertsImplementation::BatchedMm,
                    samples: true,
                };
                network.generate(cx, &prompt, how);
                stacked.push(scores(sequences));
                drop(each);
            } else {
                let each = scores(sequences);
                stacked.push(scores(sequences));
                drop(each);
            }
        }
        scores(self.sequences)
    }

    fn tokens(&self, cx: &Context, sequences: u64) -> Batch {
        let tensor = || made(cx, &[sequences, self.prompt + self.completion], DType::I64);
        let (ids, attention_mask) = (tensor(), tensor());
        Batch { ids, attention_mask: Some(attention_mask), labels: cx.meta(&[0], DType::I64) }
    }

    /// `output_hidden_states=True`
    fn hidden_states(&self, cx: &Context, sequences: u64) -> Tensor {
        let [layers, width] = self.states;
        let dims = [layers.saturating_add(1), sequences, self.prompt + self.completion, width];
        cx.within(Category::Activations, || made(cx, &dims, self.dtype))
    }

    /// Logits of all positions, and hidden states.
    fn outputs_of(&self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> [Tensor; 2] {
        let states = self.hidden_states(cx, batch.ids.dim(0));
        let (hidden, _) = network.backbone(cx, batch, run).expect("checked when the objective was made");
        [network.head_logits(cx, &hidden).expect("checked when the objective was made"), states]
    }

    /// `logits /= temperature` of the completions' positions, in place on a view: its backward (`CopySlices`) copies the
    /// gradient of all positions, and takes the completions' out twice.
    fn divided(&self, cx: &Context, logits: &Tensor) -> Tensor {
        let part = [self.batch, self.completion, self.vocabulary];
        cx.custom_function(
            logits,
            |_, logits| logits.detach(),
            move |cx, grad, _| {
                let whole = made(cx, grad.dims(), grad.dtype());
                let _parts = [(); 2].map(|()| made(cx, &part, grad.dtype()));
                whole
            },
        )
    }

    /// The loss of a micro-batch under both trained models.
    pub(super) fn loss(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) -> Tensor {
        let batch = self.tokens(cx, self.batch);
        let values = {
            let _states = self.hidden_states(cx, self.batch);
            // `PolicyAndValueWrapper` turns checkpointing on for the policy alone
            let run = Forward { checkpointing: false, ..run };
            scored(cx, self.value.as_ref(), &batch, run)
        };
        // the last micro-batch's probabilities, whose entropy was logged
        let again = !self.outputs.borrow().is_empty();
        let probabilities = again.then(|| made(cx, &[self.batch, self.completion, self.vocabulary], self.dtype));
        let [logits, states] = self.outputs_of(cx, network, &batch, run);
        cx.within(Category::Logits, || {
            let divided = self.divided(cx, &logits);
            let kept = cx.slice(&divided, 1, self.prompt.saturating_sub(1), self.completion);
            let mut loss = cx.sum_all(cx.mul(&values, &values));
            // `selective_log_softmax`, a sequence at a time
            let ones = vec![1; usize::try_from(self.batch).unwrap_or(0)];
            for row in cx.split(kept, &ones, 0) {
                let row = cx.reshape(row, &[self.completion, self.vocabulary]);
                let targets = made(cx, &[self.completion], DType::I64);
                loss = cx.add(loss, cx.cross_entropy(row, &targets));
            }
            drop(self.outputs.replace([logits.detach(), states].into_iter().chain(probabilities).collect()));
            loss
        })
    }
}

/// A score for every position.
fn scored(cx: &Context, model: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
    let (hidden, score) = model.backbone(cx, batch, run).expect("checked when the objective was made");
    cx.within(Category::Logits, || score.forward(cx, &hidden))
}
