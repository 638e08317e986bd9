//! What a job is, as flags.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::serving::ServeFlags;
use super::words::{number, whole, words};
use crate::job::{
    AttnImplementation, ConfigFormat, FloatType, Head, KvCacheDtype, MixedPrecision, Objective, OffloadOptimizer,
    Optim, Peft, Precision,
};

/// What a job is: a model and what is done with it, from a file, flags or both.
#[derive(Debug, Args)]
pub(in crate::cli) struct JobArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    pub(in crate::cli) model: Option<String>,
    /// Job file, TOML or JSON; - reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(in crate::cli) job: Option<PathBuf>,
    /// Training configuration of axolotl, LLaMA-Factory, TRL, transformers, DeepSpeed or accelerate;
    /// may be given more than once: the later goes over the earlier
    #[arg(long, value_name = "FILE|-", conflicts_with = "job")]
    pub(in crate::cli) from: Vec<PathBuf>,
    /// What the file of --from is, one for each [default: its fields tell]
    #[arg(long, value_name = "FORMAT", requires = "from", value_parser = words::<ConfigFormat>(ConfigFormat::NAMES, ConfigFormat::ALIASES))]
    pub(in crate::cli) from_format: Vec<ConfigFormat>,
    /// A `vllm serve` line, or a file of one, which says the model and how it is served; - reads standard input
    #[arg(long, value_name = "LINE|FILE|-", conflicts_with_all = ["job", "from"])]
    pub(in crate::cli) vllm: Option<String>,
    /// Answer although the configuration has what is not modelled and takes more memory
    #[arg(long, requires = "from")]
    pub(in crate::cli) partial: bool,
    #[command(flatten)]
    pub(in crate::cli) hub: HubFlags,
    #[command(flatten)]
    pub(in crate::cli) common: CommonFlags,
    #[command(flatten)]
    pub(in crate::cli) train: TrainFlags,
    #[command(flatten)]
    pub(in crate::cli) peft: PeftFlags,
    #[command(flatten)]
    pub(in crate::cli) infer: InferFlags,
    #[command(flatten)]
    pub(in crate::cli) serve: ServeFlags,
}

impl JobArgs {
    /// Whether nothing but a model was asked for.
    pub(in crate::cli) fn is_default(&self) -> bool {
        self.job.is_none()
            && self.from.is_empty()
            && self.vllm.is_none()
            && self.common == Default::default()
            && self.train == Default::default()
            && self.peft == Default::default()
            && self.infer == Default::default()
            && self.serve == Default::default()
    }
}

/// How a model is found that is neither a file nor built in.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Hugging Face Hub")]
pub(in crate::cli) struct HubFlags {
    /// Read the Hub's cache alone, as HF_HUB_OFFLINE=1 does
    #[arg(long)]
    pub(in crate::cli) offline: bool,
    /// Branch, tag or commit of a Hub id; as org/name@REVISION
    #[arg(long)]
    pub(in crate::cli) revision: Option<String>,
}

/// Fields that training and inference share.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Model and batch")]
pub(in crate::cli) struct CommonFlags {
    /// How the base model's weights are stored [default: bf16]
    #[arg(long, value_parser = words::<Precision>(Precision::NAMES, Precision::ALIASES))]
    pub(in crate::cli) precision: Option<Precision>,
    /// Quantise the scales of 4-bit weights too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) double_quant: Option<bool>,
    /// What quantised weights compute in [default: bf16]
    #[arg(long, value_name = "DTYPE", value_parser = words::<FloatType>(FloatType::NAMES, FloatType::ALIASES))]
    pub(in crate::cli) compute_dtype: Option<FloatType>,
    /// Attention implementation; flash_attention_2 is the flash-attn package, in training alone [default: sdpa]
    #[arg(long, value_name = "NAME", value_parser = words::<AttnImplementation>(AttnImplementation::NAMES, AttnImplementation::ALIASES))]
    pub(in crate::cli) attn_implementation: Option<AttnImplementation>,
    /// Sequences in a micro-batch [default: 1]
    #[arg(long = "per-device-train-batch-size", visible_aliases = ["batch", "batch-size"], value_name = "N", value_parser = whole)]
    pub(in crate::cli) batch: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Training")]
pub(in crate::cli) struct TrainFlags {
    /// What is learned [default: sft]
    #[arg(long, value_parser = words::<Objective>(Objective::NAMES, Objective::ALIASES))]
    pub(in crate::cli) objective: Option<Objective>,
    /// DPO, KTO: reference log-probabilities were computed before training
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) precompute_ref_log_probs: Option<bool>,
    /// Tokens at a sequence's end that are the completion; GRPO, PPO: that are generated [default: all, or 512]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_completion_length: Option<u64>,
    /// GRPO: completions of each prompt [default: 8]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) num_generations: Option<u64>,
    /// GRPO: micro-batches whose completions are generated together [default: those of an optimizer step]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) steps_per_generation: Option<u64>,
    /// Weight of the KL term; GRPO has a reference model above 0 [default: 0]
    #[arg(long, value_name = "BETA", value_parser = number)]
    pub(in crate::cli) beta: Option<f64>,
    /// Classes of a seq-cls head [default: as many as the model has, else 2]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) num_labels: Option<u64>,
    /// Tokens in a sequence [default: 2048]
    #[arg(long, visible_aliases = ["seq", "seq-length"], value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_seq_length: Option<u64>,
    /// Micro-batches in an optimizer step [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) gradient_accumulation_steps: Option<u64>,
    /// Keep only each layer's input in forward, run the layer again in backward
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) gradient_checkpointing: Option<bool>,
    /// Checkpoint every n-th layer alone [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) checkpoint_every_n_layers: Option<u64>,
    /// Sequences are packed into one row (padding-free)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) packing: Option<bool>,
    /// The model is compiled; not yet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) torch_compile: Option<bool>,
    /// Optimizer [default: adamw_torch]
    #[arg(long, value_name = "NAME", value_parser = words::<Optim>(Optim::NAMES, Optim::ALIASES))]
    pub(in crate::cli) optim: Option<Optim>,
    /// Keep optimizer states on the host: no, torchao or deepspeed [default: no]
    #[arg(long, value_name = "HOW", value_parser = words::<OffloadOptimizer>(OffloadOptimizer::NAMES, OffloadOptimizer::ALIASES))]
    pub(in crate::cli) offload_optimizer: Option<OffloadOptimizer>,
    /// With --offload-optimizer: gradients leave the GPU too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) offload_gradients: Option<bool>,
    /// Modules whose gradients galore_adamw and apollo_adamw project, or all-linear
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(in crate::cli) optim_target_modules: Option<Vec<String>>,
    /// Rank they project to [default: 128]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) optim_rank: Option<u64>,
    /// Liger's kernels: no whole logits, smaller norms, MLPs and rotary embeddings
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) use_liger_kernel: Option<bool>,
    /// Autocast, as TrainingArguments(bf16=True) [default: no]
    #[arg(long, value_name = "DTYPE", value_parser = words::<MixedPrecision>(MixedPrecision::NAMES, MixedPrecision::ALIASES))]
    pub(in crate::cli) mixed_precision: Option<MixedPrecision>,
    /// Clip gradients to this norm; 0: do not [default: 1.0]
    #[arg(long, value_name = "NORM", value_parser = number)]
    pub(in crate::cli) max_grad_norm: Option<f64>,
    /// A padding mask is passed to the model
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) attention_mask: Option<bool>,
    /// =false: gradients stay allocated through the next forward [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) zero_grad_set_to_none: Option<bool>,
    /// The loop holds the model's outputs during backward
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) keep_outputs: Option<bool>,
    /// What is put on top of the model [default: what its type has]
    #[arg(long, value_parser = words::<Head>(Head::NAMES, Head::ALIASES))]
    pub(in crate::cli) head: Option<Head>,
    /// GPUs that share each layer; more than 1 in serving alone yet [default: 1]
    #[arg(long, visible_alias = "tp", value_name = "N", value_parser = whole)]
    pub(in crate::cli) tensor_parallel_size: Option<u64>,
    /// Short for --precision nf4 --double-quant --lora
    #[arg(long)]
    pub(in crate::cli) qlora: bool,
}

/// Any of them asks for a parameter-efficient method: LoRA where neither `--peft` nor a job file says which.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "LoRA and other parameter-efficient methods")]
pub(in crate::cli) struct PeftFlags {
    /// Train LoRA adapters; implied by the flags below
    #[arg(long)]
    pub(in crate::cli) lora: bool,
    /// Train by this method [default: lora]
    #[arg(long, value_name = "METHOD", value_parser = PossibleValuesParser::new(Peft::TYPES))]
    pub(in crate::cli) peft: Option<String>,
    /// Train the adapter an adapter_config.json describes: the file or its folder
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) adapter: Option<PathBuf>,
    /// Rank [default: PEFT's for the method, 8 for LoRA]
    #[arg(long, visible_alias = "lora-r", value_name = "N", value_parser = whole)]
    pub(in crate::cli) r: Option<u64>,
    /// Scale [default: 8]
    #[arg(long, value_name = "ALPHA", value_parser = number)]
    pub(in crate::cli) lora_alpha: Option<f64>,
    /// Dropout before the adapters [default: 0]
    #[arg(long, value_name = "P", value_parser = number)]
    pub(in crate::cli) lora_dropout: Option<f64>,
    /// Modules to adapt, or all-linear [default: PEFT's for the model type]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(in crate::cli) target_modules: Option<Vec<String>>,
    /// Weight-decomposed adapters
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) use_dora: Option<bool>,
    /// Modules trained whole beside the adapters
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(in crate::cli) modules_to_save: Option<Vec<String>>,
    /// AdaLoRA: rank the adapters begin with [default: 12]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) init_r: Option<u64>,
    /// OFT: width of a block [default: 32]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) oft_block_size: Option<u64>,
    /// Prefix and prompt tuning: trained positions [default: 20]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) num_virtual_tokens: Option<u64>,
    /// Prefix tuning: keys and values come through a small network
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) prefix_projection: Option<bool>,
    /// Bottleneck adapters: the model's width over theirs [default: 16]
    #[arg(long, value_name = "FACTOR", value_parser = number)]
    pub(in crate::cli) reduction_factor: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Inference")]
pub(in crate::cli) struct InferFlags {
    /// Inference instead of training; implied by the flags below
    #[arg(long)]
    pub(in crate::cli) infer: bool,
    /// Tokens of each prompt [default: 2048]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) prompt_length: Option<u64>,
    /// Tokens generated after the prompt [default: 8]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_new_tokens: Option<u64>,
    /// Positions whose logits prefill computes; 0: all [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) logits_to_keep: Option<u64>,
    /// How keys and values are stored [default: auto]
    #[arg(long, value_name = "DTYPE", value_parser = words::<KvCacheDtype>(KvCacheDtype::NAMES, KvCacheDtype::ALIASES))]
    pub(in crate::cli) kv_cache_dtype: Option<KvCacheDtype>,
}
