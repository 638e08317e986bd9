//! Training jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AttnImplementation, FloatType, Head, Lora, MixedPrecision, Objective, OffloadOptimizer, Optim, Peft, Precision,
    TargetModules,
};

/// A training job; names and defaults are those of transformers' `TrainingArguments` where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// How the base model's weights are stored.
    pub precision: Precision,
    /// 4-bit weights: quantise their scales too (`bnb_4bit_use_double_quant`).
    pub double_quant: bool,
    /// What quantised weights compute in, and the type of what is not quantised.
    pub compute_dtype: FloatType,
    /// Autocast.
    pub mixed_precision: MixedPrecision,
    /// What is put on top of the model; `None`: what its model type has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Classes of a `seq-cls` head; `None`: as many as the model's config says, or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_labels: Option<u64>,
    /// What is learned.
    pub objective: Objective,
    /// DPO: reference log-probabilities were computed before training (no reference model, no second forward).
    pub precompute_ref_log_probs: bool,
    /// DPO, KTO: tokens at the end of a sequence that are the completion; absent: all of them. GRPO, PPO: tokens that are
    /// generated; absent: 512, TRL's default, or half of `max_seq_length` where that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_length: Option<u64>,
    /// GRPO: completions of each prompt.
    pub num_generations: u64,
    /// GRPO: micro-batches whose completions are generated together; absent: those of an optimizer step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_generation: Option<u64>,
    /// Weight of the KL term, or of the preference; GRPO needs a reference model only where it is above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// Sequences in a micro-batch; pairs of them where the objective compares two.
    pub per_device_train_batch_size: u64,
    /// Tokens in a sequence.
    pub max_seq_length: u64,
    /// Micro-batches in an optimizer step.
    pub gradient_accumulation_steps: u64,
    /// Keep only each layer's input in forward, and run the layer again in backward.
    pub gradient_checkpointing: bool,
    /// Gradient checkpointing of every n-th layer alone, the first among them.
    pub checkpoint_every_n_layers: u64,
    /// Sequences are packed into one row, `per_device_train_batch_size * max_seq_length` tokens long, that attention does
    /// not cross (padding-free).
    pub packing: bool,
    /// The model is compiled (`torch.compile`).
    pub torch_compile: bool,
    /// The optimizer.
    pub optim: Optim,
    /// Where optimizer states are and the step is taken.
    pub offload_optimizer: OffloadOptimizer,
    /// With `offload_optimizer`: gradients leave the GPU as soon as they are there.
    pub offload_gradients: bool,
    /// Liger's kernels in place of transformers' (`use_liger_kernel`): RMSNorm, SwiGLU, rotary embedding, and a cross entropy
    /// that never holds all logits.
    pub use_liger_kernel: bool,
    /// The modules whose gradients GaLore and APOLLO project: parts of their paths, or `all-linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optim_target_modules: Option<TargetModules>,
    /// The rank they project to (`rank` in `optim_args`).
    pub optim_rank: u64,
    /// Gradients are clipped to this norm; 0 or absent (JSON `null`): no clipping.
    pub max_grad_norm: Option<f64>,
    /// The attention implementation.
    pub attn_implementation: AttnImplementation,
    /// A padding mask is passed to the model.
    pub attention_mask: bool,
    /// Gradients are freed after the optimizer step; false: they stay, filled with zeros.
    pub zero_grad_set_to_none: bool,
    /// The loop holds the model's outputs during backward; the Trainer does not.
    pub keep_outputs: bool,
    /// GPUs that share each layer.
    pub tensor_parallel_size: u64,
    /// Sharding over data-parallel GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsdp: Option<Fsdp>,
    /// Parameter-efficient method; `None`: full fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peft: Option<Peft>,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            precision: Precision::Bf16,
            double_quant: false,
            compute_dtype: FloatType::Bf16,
            mixed_precision: MixedPrecision::No,
            head: None,
            num_labels: None,
            objective: Objective::Sft,
            precompute_ref_log_probs: false,
            max_completion_length: None,
            num_generations: 8,
            steps_per_generation: None,
            beta: None,
            per_device_train_batch_size: 1,
            max_seq_length: 2048,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            checkpoint_every_n_layers: 1,
            packing: false,
            torch_compile: false,
            optim: Optim::AdamwTorch,
            offload_optimizer: OffloadOptimizer::No,
            offload_gradients: false,
            use_liger_kernel: false,
            optim_target_modules: None,
            optim_rank: 128,
            max_grad_norm: Some(1.0),
            attn_implementation: AttnImplementation::Sdpa,
            attention_mask: false,
            zero_grad_set_to_none: true,
            keep_outputs: false,
            tensor_parallel_size: 1,
            fsdp: None,
            peft: None,
        }
    }
}

impl Train {
    /// Its LoRA settings, where it trains LoRA adapters.
    pub const fn lora(&self) -> Option<&Lora> {
        match &self.peft {
            Some(Peft::Lora(lora)) => Some(lora),
            _ => None,
        }
    }

    /// The head that is asked for and its classes; a reward model's scores one, and embeddings are the base model's alone.
    pub fn asked_head(&self) -> (Option<Head>, Option<u64>) {
        match self.objective {
            Objective::Reward => (Some(Head::SeqCls), Some(1)),
            Objective::Embedding => (Some(Head::SeqCls), Some(0)),
            _ => (self.head, self.num_labels),
        }
    }

    /// Rows of a micro-batch and tokens of each.
    pub const fn row(&self) -> [u64; 2] {
        let (batch, length) = (self.per_device_train_batch_size, self.max_seq_length);
        if self.packing { [1, batch.saturating_mul(length)] } else { [batch, length] }
    }

    /// Tokens of a sequence that are generated or that count, at its end.
    pub fn completion_length(&self) -> u64 {
        /// `GRPOConfig.max_completion_length`
        const GENERATED: u64 = 512;
        self.max_completion_length.unwrap_or(match self.objective {
            Objective::Grpo | Objective::Ppo => GENERATED.min(self.max_seq_length / 2),
            _ => self.max_seq_length,
        })
    }

    /// Micro-batches whose completions are generated together.
    pub fn micro_batches_generated(&self) -> u64 {
        self.steps_per_generation.unwrap_or(self.gradient_accumulation_steps)
    }

    /// Whether log-probabilities are compared with those of a model that is not trained.
    pub fn has_reference(&self) -> bool {
        match self.objective {
            Objective::Dpo | Objective::Kto => !self.precompute_ref_log_probs,
            Objective::Grpo => self.beta.is_some_and(|beta| beta > 0.0),
            Objective::Ppo => true,
            _ => false,
        }
    }

    /// The type weights outside quantised layers are held and computed in, autocast aside.
    pub fn float_type(&self) -> FloatType {
        self.precision.float().unwrap_or(self.compute_dtype)
    }

    /// Whether gradients are clipped.
    pub fn clips(&self) -> bool {
        self.max_grad_norm.is_some_and(|norm| norm > 0.0)
    }
}

/// Fully sharded data parallelism (FSDP2's `fully_shard`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fsdp {
    /// GPUs the model is sharded over.
    pub world_size: u64,
    /// `MixedPrecisionPolicy(param_dtype)`: what gathered parameters compute in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param_dtype: Option<FloatType>,
    /// `MixedPrecisionPolicy(reduce_dtype)`: what gradients are reduced in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_dtype: Option<FloatType>,
    /// Gathered parameters are freed after forward and gathered again in backward.
    pub reshard_after_forward: bool,
}

impl Default for Fsdp {
    fn default() -> Self {
        Self { world_size: 1, param_dtype: None, reduce_dtype: None, reshard_after_forward: true }
    }
}
