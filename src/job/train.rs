//! Training jobs.

use serde::{Deserialize, Serialize};

use super::{
    AttnImplementation, FloatType, Head, Lora, MixedPrecision, Objective, Optim, Peft, Precision, TargetModules,
};

/// A training job; names and defaults are those of transformers' `TrainingArguments` where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// DPO: tokens at the end of a sequence that are the completion; absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_length: Option<u64>,
    /// Sequences in a micro-batch; pairs of them where the objective compares two.
    pub per_device_train_batch_size: u64,
    /// Tokens in a sequence.
    pub max_seq_length: u64,
    /// Micro-batches in an optimizer step.
    pub gradient_accumulation_steps: u64,
    /// Keep only each layer's input in forward, and run the layer again in backward.
    pub gradient_checkpointing: bool,
    /// The optimizer.
    pub optim: Optim,
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
            per_device_train_batch_size: 1,
            max_seq_length: 2048,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            optim: Optim::AdamwTorch,
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

    /// The head that is asked for and its classes; a reward model's scores one.
    pub fn asked_head(&self) -> (Option<Head>, Option<u64>) {
        match self.objective {
            Objective::Reward => (Some(Head::SeqCls), Some(1)),
            _ => (self.head, self.num_labels),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
