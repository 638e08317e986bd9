//! A training step.

use super::adapt;
use super::clip::clip_grad_norm;
use super::error::EstimateError;
use super::flash;
use super::load;
use super::objective::Learned;
use super::optimizer::{Optimizer, least_elements, own_matrices, shares};
use crate::arch::{Batch, Forward, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::job::{Objective, OffloadOptimizer, Optim, Train};
use crate::model::{Model, ModelType};
use crate::nn::Kernels;
#[cfg(feature = "verify")]
use crate::nn::{Leaf, Weight};

/// Micro-batches of a step that are run; further ones repeat the last of them.
pub(super) const RECORDED_MICRO_BATCHES: u64 = 3;

/// A parameter of a model that is trained.
#[cfg(feature = "verify")]
pub(crate) struct Part {
    /// Whether it is trained.
    pub(crate) trainable: bool,
    /// Itself.
    pub(crate) tensor: Tensor,
}

/// A training run that is ready to take steps.
pub(crate) struct Training<'a> {
    cx: &'a Context,
    job: &'a Train,
    network: Box<dyn Network>,
    adapted: adapt::Adapted,
    optimizer: Optimizer,
    trainable: Vec<Tensor>,
    /// Bytes of their gradients after the last backward.
    gradient_bytes: u64,
    learned: Learned,
    batch: Batch,
    /// The position ids of a packed batch.
    _positions: Option<Tensor>,
    loss: Option<Tensor>,
    /// The last outputs, where the loop keeps a name for them: they go when the next forward has returned.
    outputs: Option<Outputs>,
}

impl<'a> Training<'a> {
    /// Loads and adapts the model and makes the inputs.
    ///
    /// # Errors
    /// No layer has a name that an adapter is asked for.
    pub(crate) fn new(cx: &'a Context, model: &Model, job: &'a Train) -> Result<Self, EstimateError> {
        let quantization = load::quantization(job.precision, job.double_quant);
        let kernels = if job.use_liger_kernel { Kernels::Liger } else { Kernels::Transformers };
        if job.use_liger_kernel && !has_liger_kernels(model.model_type()) {
            return Err(EstimateError::NoLiger { model_type: model.model_type() });
        }
        flash::check(model, job)?;
        let mut network = load::load(cx, model, job.float_type().dtype(), quantization, kernels);
        if quantization.is_some() {
            adapt::prepare_for_kbit_training(cx, network.as_mut());
        }
        let adapted = adapt::apply(cx, network.as_mut(), model, job.peft.as_ref())?;
        let mut trainable = adapt::trainable(network.as_mut(), &adapted);
        let dtype = job.float_type().dtype();
        let scoring = model.clone().classifying(Some(1));
        let load = |scores: bool| {
            let model = if scores { &scoring } else { model };
            load::load(cx, model, dtype, quantization, kernels)
        };
        let mut learned = Learned::new(cx, network.as_ref(), model, job, &load)?;
        if let Some(value) = learned.value() {
            let whole = adapt::apply(cx, value, &scoring, None)?;
            trainable.extend(adapt::trainable(value, &whole));
        }
        let is_own = own_matrices(job, network.as_mut(), &trainable);
        if is_own.iter().all(|own| !own) && job.optim.is_low_rank() {
            return Err(EstimateError::NoOptimTarget { optim: job.optim });
        }
        let shares = match job.optim {
            Optim::AdamMini => shares(network.as_mut(), head_numel(model), &trainable),
            _ => Vec::new(),
        };
        let optimizer = Optimizer::new(cx, job, shares, trainable.clone(), &is_own);
        if job.offload_gradients || job.offload_optimizer == OffloadOptimizer::Deepspeed {
            cx.offload_gradients(least_elements(job.offload_optimizer));
        }
        cx.ledger().empty_cache();
        let batch = learned.batch(cx, network.as_ref(), job);
        let _positions = job.packing.then(|| cx.input("position_ids", &job.row(), DType::I64));
        let (loss, outputs) = (None, None);
        Ok(Self {
            cx,
            job,
            network,
            adapted,
            optimizer,
            trainable,
            gradient_bytes: 0,
            learned,
            batch,
            _positions,
            loss,
            outputs,
        })
    }

    /// Forward and backward of as many micro-batches as are accumulated (from the fourth on they repeat the third).
    pub(crate) fn forward_and_backward(&mut self) {
        self.learned.prepare(self.cx, self.network.as_ref(), self.run());
        for _ in 0..self.job.gradient_accumulation_steps.min(RECORDED_MICRO_BATCHES) {
            // the last micro-batch's graph goes with its loss, when the next loss takes its name
            let last = self.cx.take_graph();
            let (loss, outputs) = self.forward();
            self.outputs = outputs.filter(|_| self.job.keep_outputs);
            self.loss = Some(loss);
            drop(last);
            self.backward();
        }
        // some get none: a tower's without images, a pooler's that nothing reads
        let stays = |parameter: &&Tensor| !self.cx.offloads_gradient(parameter);
        let held = self.trainable.iter().filter(stays).filter_map(Tensor::grad);
        self.gradient_bytes = held.map(|gradient| gradient.bytes()).sum();
    }

    /// Clipping and the optimizer's step.
    pub(crate) fn update(&mut self) {
        // PPO's trainer has a loop of its own, which does not clip
        if self.job.clips() && self.job.objective != Objective::Ppo {
            clip_grad_norm(self.cx, &self.trainable, self.job.max_grad_norm.unwrap_or(f64::INFINITY));
        }
        self.optimizer.step(self.cx);
    }

    /// `zero_grad`, and the loss goes.
    pub(crate) fn end_step(&mut self) {
        self.optimizer.zero_grad(self.job.zero_grad_set_to_none);
        self.loss = None;
        drop(self.cx.take_graph());
    }

    /// The last micro-batch's loss, until the step ends.
    #[cfg(feature = "verify")]
    pub(crate) const fn loss(&self) -> Option<&Tensor> {
        self.loss.as_ref()
    }

    /// Every parameter, quantised ones as they are held, in order.
    #[cfg(feature = "verify")]
    pub(crate) fn parts(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut push = |tensor: &Tensor| {
            parts.push(Part { trainable: tensor.requires_grad(), tensor: tensor.clone() });
        };
        self.network.leaves(&mut |mut leaf| {
            leaf.dense_parameters().into_iter().for_each(|parameter| push(parameter));
            let Leaf::Linear(linear) = leaf else { return };
            if let Weight::FourBit(layer) = &linear.weight {
                push(&layer.matrix.packed);
                push(&layer.matrix.absmax);
            }
            linear.adapter.iter().flat_map(|adapter| adapter.parameters()).for_each(|parameter| push(parameter));
        });
        parts
    }

    /// Bytes of the gradients, from backward to the optimizer's step.
    pub(super) const fn gradient_bytes(&self) -> u64 {
        self.gradient_bytes
    }

    /// Whether a step keeps nothing for the next but weights and states.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.learned.keeps_nothing()
    }

    /// The optimizer, with the states it keeps.
    pub(super) fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Backpropagates from the loss, divided by the number of micro-batches.
    fn backward(&self) {
        let Some(loss) = &self.loss else { return };
        let _bucket = self.bucket();
        if self.job.gradient_accumulation_steps > 1 {
            #[expect(clippy::cast_precision_loss, reason = "a few micro-batches")]
            let factor = 1.0 / self.job.gradient_accumulation_steps as f64;
            let share = self.cx.within(Category::Logits, || self.cx.mul_scalar(loss, factor));
            self.cx.backward(&share);
        } else {
            self.cx.backward(loss);
        }
    }

    /// What DeepSpeed gathers gradients in during backward (`setup_buckets`, `reduce_bucket_size`).
    fn bucket(&self) -> Option<Tensor> {
        const ELEMENTS: u64 = 500_000_000;
        let cx = self.cx;
        (self.job.offload_optimizer == OffloadOptimizer::Deepspeed).then(|| {
            cx.set_phase(Phase::Backward);
            let layout = Layout::contiguous(&[ELEMENTS]);
            let dtype = self.job.float_type().dtype();
            cx.within(Category::Temporary, || cx.launch(Kernel::Scratch("bucket"), &[], layout, dtype))
        })
    }

    /// How the model is run.
    fn run(&self) -> Forward<'_> {
        Forward {
            implementation: self.job.attn_implementation,
            checkpointing: self.job.gradient_checkpointing,
            checkpoint_every: usize::try_from(self.job.checkpoint_every_n_layers).unwrap_or(usize::MAX),
            packed: self.job.packing,
            input_require_grads: self.job.gradient_checkpointing && self.job.peft.is_some(),
            virtual_tokens: self.adapted.virtual_tokens.as_ref(),
            ..Forward::default()
        }
    }

    fn forward(&self) -> (Tensor, Option<Outputs>) {
        let cx = self.cx;
        cx.set_phase(Phase::Forward);
        let autocast = self.job.mixed_precision.float().map(crate::job::FloatType::dtype);
        cx.with_autocast(autocast, || {
            let (loss, outputs) = self.learned.loss(cx, self.network.as_ref(), &self.batch, self.run());
            (adapt::regularized(cx, loss, &self.adapted), outputs)
        })
    }
}

/// `dim * dim // n_heads`, as Adam-mini reckons a head's share of a query projection.
fn head_numel(model: &Model) -> u64 {
    model.decoder().map_or(1, |decoder| {
        decoder.hidden_size.saturating_mul(decoder.hidden_size) / decoder.attention.num_heads.max(1)
    })
}

/// The model types whose Liger kernels are modelled (`liger_kernel/transformers/monkey_patch.py` has more).
fn has_liger_kernels(model_type: ModelType) -> bool {
    matches!(model_type, ModelType::Llama | ModelType::Mistral | ModelType::Qwen2 | ModelType::Qwen3)
}
