//! Objectives beyond a model's own loss: what a step of TRL's trainers computes.

mod dpo;
mod embedding;
mod fused;
mod grpo;
mod kto;
mod notes;
mod orpo;
mod ppo;
mod reference;
mod reward;

use super::error::EstimateError;
use crate::arch::{Batch, Forward, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor};
use crate::job::{JobError, Objective, Train};
use crate::model::Model;

use dpo::Dpo;
use grpo::Grpo;
use kto::Kto;
pub(super) use notes::notes;
use ppo::Ppo;

/// What is learned, with what it needs beside the model.
pub(super) enum Learned {
    /// The model's own loss.
    Own,
    /// Direct preference optimisation.
    Dpo(Dpo),
    /// Kahneman-Tversky optimisation.
    Kto(Kto),
    /// Group relative policy optimisation.
    Grpo(Grpo),
    /// Proximal policy optimisation.
    Ppo(Box<Ppo>),
    /// Odds-ratio preference optimisation.
    Orpo,
    /// A reward model.
    Reward,
    /// Sentence embeddings, with the batch of positives.
    Embedding(Batch),
}

impl Learned {
    /// The objective of `job` on `model`; `load` loads another, frozen one: the same, or with a score for its head.
    ///
    /// # Errors
    /// The model has not the parts it needs.
    pub(super) fn new(
        cx: &Context,
        network: &dyn Network,
        model: &Model,
        job: &Train,
        load: &dyn Fn(bool) -> Box<dyn Network>,
    ) -> Result<Self, EstimateError> {
        let possible = match job.objective {
            Objective::Sft => true,
            Objective::Embedding => network.has_last_hidden_state(),
            _ => network.has_backbone(),
        };
        if !possible {
            let fix = match network.has_last_hidden_state() {
                true => "this kind of model can be trained by its own loss or to embed; use \"sft\" or \"embedding\"",
                false => "this kind of model can only be trained by its own loss; use \"sft\"",
            };
            return Err(JobError::unsupported("train.objective", job.objective, fix).into());
        }
        let reference = || load(false);
        Ok(match job.objective {
            Objective::Dpo => Self::Dpo(Dpo::new(cx, job, reference)),
            Objective::Kto => Self::Kto(Kto::new(cx, job, reference)),
            Objective::Grpo => Self::Grpo(Grpo::new(job, reference)),
            Objective::Ppo => Self::Ppo(Box::new(Ppo::new(model, job, load))),
            Objective::Orpo => Self::Orpo,
            Objective::Reward => Self::Reward,
            Objective::Embedding => {
                Self::Embedding(tokens(cx, [job.per_device_train_batch_size, job.max_seq_length], false))
            }
            _ => Self::Own,
        })
    }

    /// A model that is trained beside the policy.
    pub(super) fn value(&mut self) -> Option<&mut dyn Network> {
        match self {
            Self::Ppo(ppo) => Some(ppo.value()),
            _ => None,
        }
    }

    /// The batch a step gets.
    pub(super) fn batch(&self, cx: &Context, network: &dyn Network, job: &Train) -> Batch {
        let [batch, length] = job.row();
        match self {
            Self::Own => {
                let shape = crate::arch::BatchShape { batch, length, attention_mask: job.attention_mask };
                network.batch(cx, shape)
            }
            Self::Dpo(_) | Self::Orpo => tokens(cx, [2 * batch, length], true),
            Self::Reward => tokens(cx, [2 * batch, length], false),
            Self::Kto(_) => tokens(cx, [batch, length], true),
            Self::Embedding(_) => tokens(cx, [batch, length], false),
            // what it generates
            Self::Grpo(_) | Self::Ppo(_) => {
                Batch { ids: cx.meta(&[0], DType::I64), attention_mask: None, labels: cx.meta(&[0], DType::I64) }
            }
        }
    }

    /// What comes before the first micro-batch of a step.
    pub(super) fn prepare(&self, cx: &Context, network: &dyn Network, run: Forward<'_>) {
        match self {
            Self::Grpo(grpo) => grpo.generate(cx, network, run),
            Self::Ppo(ppo) => ppo.rollout(cx, network, run),
            _ => {}
        }
    }

    /// Whether a step keeps nothing for the next but weights and states.
    pub(super) const fn keeps_nothing(&self) -> bool {
        !matches!(self, Self::Grpo(_) | Self::Ppo(_))
    }

    /// The loss of a batch, and what the loop may keep of the forward.
    pub(super) fn loss(
        &self,
        cx: &Context,
        network: &dyn Network,
        batch: &Batch,
        run: Forward<'_>,
    ) -> (Tensor, Option<Outputs>) {
        match self {
            Self::Own => {
                let (loss, outputs) = network.loss(cx, batch, run);
                (loss, Some(outputs))
            }
            Self::Dpo(dpo) => (dpo.loss(cx, network, batch, run), None),
            Self::Kto(kto) => (kto.loss(cx, network, batch, run), None),
            Self::Grpo(grpo) => (grpo.loss(cx, network, run), None),
            Self::Ppo(ppo) => (ppo.loss(cx, network, run), None),
            Self::Orpo => (orpo::loss(cx, network, batch, run), None),
            Self::Embedding(positives) => (embedding::loss(cx, network, [batch, positives], run), None),
            Self::Reward => (reward::loss(cx, network, batch, run), None),
        }
    }
}

/// Tokens with a padding mask and, where asked for, a mask of completions.
fn tokens(cx: &Context, dims: [u64; 2], completions: bool) -> Batch {
    let tensor = |name| cx.input(name, &dims, DType::I64);
    let (ids, attention_mask) = (tensor("input_ids"), Some(tensor("attention_mask")));
    let labels = if completions { tensor("completion_mask") } else { cx.meta(&[0], DType::I64) };
    Batch { ids, attention_mask, labels }
}

/// `-logsigmoid(x).mean()` of the difference between two halves of `x`.
fn preference_loss(cx: &Context, difference: &Tensor) -> Tensor {
    // `log_sigmoid_forward` saves its input; nothing here is more than a number for each pair
    let mean = cx.mean_last(cx.neg(cx.tanh(difference)));
    cx.reshape(mean, &[])
}

/// The two halves of a tensor along its first dimension.
fn halves(cx: &Context, whole: &Tensor) -> [Tensor; 2] {
    cx.split_in(whole.clone(), 0)
}

fn made(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    cx.within(Category::Logits, || cx.launch(Kernel::Scratch("objective"), &[], Layout::contiguous(dims), dtype))
}
