//! Arguments of the commands.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::examples::{
    CHECK_EXAMPLES, COMPARE_EXAMPLES, ESTIMATE_EXAMPLES, EXAMPLES, FIT_EXAMPLES, GPUS_EXAMPLES, MODELS_EXAMPLES,
    PARAMS_EXAMPLES, PLAN_EXAMPLES, SHOW_EXAMPLES, SOLVE_EXAMPLES, VERIFY_EXAMPLES,
};
use crate::job::{
    AttnImplementation, ConfigFormat, FloatType, Head, JobError, KvCacheDtype, MixedPrecision, Objective,
    OffloadOptimizer, Optim, Peft, Precision,
};
use crate::plan::{Goal, Quality};
use crate::units::Bytes;

/// How much GPU memory a model needs to train or to serve, and what it is made of at its peak.
#[derive(Debug, Parser)]
#[command(name = "vramplan", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a job without its data and print what it takes
    #[command(after_help = ESTIMATE_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Estimate(Box<EstimateArgs>),
    /// Tell whether a job fits a GPU, and what to change if not; the exit code says it too
    #[command(after_help = FIT_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Fit(Box<FitArgs>),
    /// Check jobs against their GPUs and budgets, as a CI job does; the exit code says it too
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Find the largest batch, sequence, rank or model that fits a GPU, or the smallest GPU
    #[command(after_help = SOLVE_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Solve(Box<SolveArgs>),
    /// Search methods, optimizers, micro-batches and GPUs for the best ways to train a model
    #[command(after_help = PLAN_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Plan(Box<PlanArgs>),
    /// Lay ways of fine-tuning a model side by side
    #[command(after_help = COMPARE_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Compare(Box<CompareArgs>),
    /// List the models that are known by name, or show one
    #[command(after_help = MODELS_EXAMPLES, args_conflicts_with_subcommands = true)]
    Models(ModelsArgs),
    /// List the GPUs that are installed and those that are known, with their memory and what they cost
    #[command(after_help = GPUS_EXAMPLES, next_line_help = true)]
    Gpus(GpusArgs),
    /// Print the JSON Schema of what a command prints, or list them
    Schema(SchemaArgs),
    /// Print a shell's completions
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
    /// Count a model's parameters
    #[command(after_help = PARAMS_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Params(ParamsArgs),
    /// Train small models for real and hold what that takes against what was predicted
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

impl Command {
    /// Whether its exit code is a judgement.
    pub(super) const fn judges(&self) -> bool {
        matches!(self, Self::Fit(_) | Self::Solve(_) | Self::Plan(_) | Self::Check(_) | Self::Verify(_))
    }
}

/// What a job is: a model and what is done with it, from a file, flags or both.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    pub(super) model: Option<String>,
    /// Job file, TOML or JSON; - reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(super) job: Option<PathBuf>,
    /// Training configuration of axolotl, LLaMA-Factory, TRL, transformers, DeepSpeed or accelerate;
    /// may be given more than once: the later goes over the earlier
    #[arg(long, value_name = "FILE|-", conflicts_with = "job")]
    pub(super) from: Vec<PathBuf>,
    /// What the file of --from is, one for each [default: its fields tell]
    #[arg(long, value_name = "FORMAT", requires = "from", value_parser = words::<ConfigFormat>(ConfigFormat::NAMES, ConfigFormat::ALIASES))]
    pub(super) from_format: Vec<ConfigFormat>,
    /// Answer although the configuration has what is not modelled and takes more memory
    #[arg(long, requires = "from")]
    pub(super) partial: bool,
    #[command(flatten)]
    pub(super) hub: HubFlags,
    #[command(flatten)]
    pub(super) common: CommonFlags,
    #[command(flatten)]
    pub(super) train: TrainFlags,
    #[command(flatten)]
    pub(super) peft: PeftFlags,
    #[command(flatten)]
    pub(super) infer: InferFlags,
}

impl JobArgs {
    /// Whether nothing but a model was asked for.
    pub(super) fn is_default(&self) -> bool {
        self.job.is_none()
            && self.from.is_empty()
            && self.common == Default::default()
            && self.train == Default::default()
            && self.peft == Default::default()
            && self.infer == Default::default()
    }
}

#[derive(Debug, Args)]
pub(super) struct EstimateArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// List what was made of every field of the configuration
    #[arg(long, requires = "from")]
    pub(super) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Plot allocated memory over the step
    #[arg(long)]
    pub(super) timeline: bool,
    /// How to estimate: run the step, add up the tutorials' formula, or both side by side
    #[arg(long, value_enum, default_value_t = Method::Step)]
    pub(super) method: Method,
}

#[derive(Debug, Args)]
pub(super) struct FitArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    #[command(flatten)]
    pub(super) gpu: GpuArgs,
    /// Exit with 0 where it is too close to tell
    #[arg(long)]
    pub(super) allow_tight: bool,
    /// Do not look for what to change where it does not fit
    #[arg(long)]
    pub(super) no_suggestions: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// File of jobs and what each may take
    #[arg(default_value = "vramplan.toml")]
    pub(super) file: PathBuf,
    /// Write a file to start from; what is there is left alone
    #[arg(long, conflicts_with_all = ["update_lock", "locked", "allow_tight", "json", "junit", "markdown", "github"])]
    pub(super) init: bool,
    /// Write what each job takes, and what from, to the lock beside the file
    #[arg(long)]
    pub(super) update_lock: bool,
    /// Exit with 1 where anything differs from the lock
    #[arg(long, conflicts_with = "update_lock")]
    pub(super) locked: bool,
    /// Exit with 0 where it is too close to tell, as allow_tight = true does in the file
    #[arg(long)]
    pub(super) allow_tight: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Write what a pull request's comment says
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// Annotate the file on GitHub, and add to the job's summary [default: where GITHUB_ACTIONS=true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) github: Option<bool>,
    /// Read the Hub's cache alone, as HF_HUB_OFFLINE=1 does
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Debug, Args)]
pub(super) struct SolveArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// What to solve for
    #[arg(long = "for", value_name = "WHAT", value_enum)]
    pub(super) quantity: Solved,
    /// Look at multiples of this alone
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole)]
    pub(super) step: u64,
    /// --for model: of the known models, those whose name or type has this in it
    #[arg(long, value_name = "WORD", default_value = "")]
    pub(super) family: String,
    #[command(flatten)]
    pub(super) gpu: GpuArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Solved {
    /// Sequences of a micro-batch, or served together
    #[value(alias = "concurrency")]
    Batch,
    /// Tokens of a training sequence, or of a prompt
    #[value(alias = "context")]
    Seq,
    /// Rank of the adapters
    Rank,
    /// The smallest GPU of the catalogue
    Gpu,
    /// The largest known model
    Model,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Whose schema: estimate, fit, job ... [default: list them]
    pub(super) name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Folder that a page for each command is written to [default: print the program's]
    #[arg(value_name = "FOLDER")]
    pub(super) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// What plans are ranked by
    #[arg(long, value_enum, default_value_t = GoalName::Cost)]
    pub(super) goal: GoalName,
    /// The least a method may learn
    #[arg(long, value_enum, default_value_t = QualityName::Qlora)]
    pub(super) quality: QualityName,
    /// Sequences in an optimizer step [default: the job's micro-batch times its accumulation, or 16]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) effective_batch: Option<u64>,
    /// GPUs to choose from, by name [default: the catalogue's]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) gpus: Vec<String>,
    /// US dollars an hour at most
    #[arg(long, value_name = "USD", value_parser = number)]
    pub(super) max_price: Option<f64>,
    /// Your own prices, CSV, over those that are built in
    #[arg(long, value_name = "FILE")]
    pub(super) prices: Option<PathBuf>,
    /// Plans shown at most
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(super) limit: usize,
    /// Judge the table of hardware that tutorials give for models of 7 billion parameters
    #[arg(long)]
    pub(super) tutorial_table: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GoalName {
    /// US dollars for a million tokens, approximate
    Cost,
    /// US dollars an hour
    Price,
    /// Tokens a second, approximate
    Speed,
    /// Memory that is left
    Headroom,
}

impl From<GoalName> for Goal {
    fn from(name: GoalName) -> Self {
        match name {
            GoalName::Cost => Self::Cost,
            GoalName::Price => Self::Price,
            GoalName::Speed => Self::Speed,
            GoalName::Headroom => Self::Headroom,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum QualityName {
    /// Every parameter is trained
    Full,
    /// Adapters on the weights as they are
    Lora,
    /// Adapters on 4-bit weights
    Qlora,
}

impl From<QualityName> for Quality {
    fn from(name: QualityName) -> Self {
        match name {
            QualityName::Full => Self::Full,
            QualityName::Lora => Self::Lora,
            QualityName::Qlora => Self::Qlora,
        }
    }
}

/// The card a job is to run on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "GPU")]
pub(super) struct GpuArgs {
    /// GPU of the catalogue, such as rtx-4090 or a100-80g; auto: those this machine's driver tells of, as far as they are free
    #[arg(long, value_name = "NAME|auto", conflicts_with = "memory")]
    pub(super) gpu: Option<String>,
    /// GPUs that `nvidia-smi -q -x`, `kubectl get nodes -o json` or a TOML list tells of; - reads standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "memory")]
    pub(super) gpus_from: Option<PathBuf>,
    /// Memory of the card that a process may have, such as 24GiB
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<Bytes>,
    /// What the CUDA context takes of it [default: 481MiB, and the margin covers up to 712MiB]
    #[arg(long, value_name = "SIZE")]
    pub(super) context: Option<Bytes>,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// A known model's name or Hub id, a config.json or its folder, or a size such as 7b
    pub(super) model: String,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) hub: HubFlags,
    #[command(flatten)]
    pub(super) common: CommonFlags,
    #[command(flatten)]
    pub(super) train: TrainFlags,
    #[command(flatten)]
    pub(super) peft: PeftFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    Step,
    Formula,
    Both,
}

/// How a model is found that is neither a file nor built in.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Hugging Face Hub")]
pub(super) struct HubFlags {
    /// Read the Hub's cache alone, as HF_HUB_OFFLINE=1 does
    #[arg(long)]
    pub(super) offline: bool,
    /// Branch, tag or commit of a Hub id; as org/name@REVISION
    #[arg(long)]
    pub(super) revision: Option<String>,
}

/// Fields that training and inference share.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Model and batch")]
pub(super) struct CommonFlags {
    /// How the base model's weights are stored [default: bf16]
    #[arg(long, value_parser = words::<Precision>(Precision::NAMES, Precision::ALIASES))]
    pub(super) precision: Option<Precision>,
    /// Quantise the scales of 4-bit weights too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) double_quant: Option<bool>,
    /// What quantised weights compute in [default: bf16]
    #[arg(long, value_name = "DTYPE", value_parser = words::<FloatType>(FloatType::NAMES, FloatType::ALIASES))]
    pub(super) compute_dtype: Option<FloatType>,
    /// Attention implementation; flash_attention_2 is the flash-attn package, in training alone [default: sdpa]
    #[arg(long, value_name = "NAME", value_parser = words::<AttnImplementation>(AttnImplementation::NAMES, AttnImplementation::ALIASES))]
    pub(super) attn_implementation: Option<AttnImplementation>,
    /// Sequences in a micro-batch [default: 1]
    #[arg(long = "per-device-train-batch-size", visible_aliases = ["batch", "batch-size"], value_name = "N", value_parser = whole)]
    pub(super) batch: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Training")]
pub(super) struct TrainFlags {
    /// What is learned [default: sft]
    #[arg(long, value_parser = words::<Objective>(Objective::NAMES, Objective::ALIASES))]
    pub(super) objective: Option<Objective>,
    /// DPO, KTO: reference log-probabilities were computed before training
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) precompute_ref_log_probs: Option<bool>,
    /// Tokens at a sequence's end that are the completion; GRPO, PPO: that are generated [default: all, or 512]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) max_completion_length: Option<u64>,
    /// GRPO: completions of each prompt [default: 8]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) num_generations: Option<u64>,
    /// GRPO: micro-batches whose completions are generated together [default: those of an optimizer step]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) steps_per_generation: Option<u64>,
    /// Weight of the KL term; GRPO has a reference model above 0 [default: 0]
    #[arg(long, value_name = "BETA", value_parser = number)]
    pub(super) beta: Option<f64>,
    /// Classes of a seq-cls head [default: as many as the model has, else 2]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) num_labels: Option<u64>,
    /// Tokens in a sequence [default: 2048]
    #[arg(long, visible_aliases = ["seq", "seq-length"], value_name = "N", value_parser = whole)]
    pub(super) max_seq_length: Option<u64>,
    /// Micro-batches in an optimizer step [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) gradient_accumulation_steps: Option<u64>,
    /// Keep only each layer's input in forward, run the layer again in backward
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) gradient_checkpointing: Option<bool>,
    /// Checkpoint every n-th layer alone [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) checkpoint_every_n_layers: Option<u64>,
    /// Sequences are packed into one row (padding-free)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) packing: Option<bool>,
    /// The model is compiled; not yet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) torch_compile: Option<bool>,
    /// Optimizer [default: adamw_torch]
    #[arg(long, value_name = "NAME", value_parser = words::<Optim>(Optim::NAMES, Optim::ALIASES))]
    pub(super) optim: Option<Optim>,
    /// Keep optimizer states on the host: no, torchao or deepspeed [default: no]
    #[arg(long, value_name = "HOW", value_parser = words::<OffloadOptimizer>(OffloadOptimizer::NAMES, OffloadOptimizer::ALIASES))]
    pub(super) offload_optimizer: Option<OffloadOptimizer>,
    /// With --offload-optimizer: gradients leave the GPU too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) offload_gradients: Option<bool>,
    /// Modules whose gradients galore_adamw and apollo_adamw project, or all-linear
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) optim_target_modules: Option<Vec<String>>,
    /// Rank they project to [default: 128]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) optim_rank: Option<u64>,
    /// Liger's kernels: no whole logits, smaller norms, MLPs and rotary embeddings
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) use_liger_kernel: Option<bool>,
    /// Autocast, as TrainingArguments(bf16=True) [default: no]
    #[arg(long, value_name = "DTYPE", value_parser = words::<MixedPrecision>(MixedPrecision::NAMES, MixedPrecision::ALIASES))]
    pub(super) mixed_precision: Option<MixedPrecision>,
    /// Clip gradients to this norm; 0: do not [default: 1.0]
    #[arg(long, value_name = "NORM", value_parser = number)]
    pub(super) max_grad_norm: Option<f64>,
    /// A padding mask is passed to the model
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) attention_mask: Option<bool>,
    /// =false: gradients stay allocated through the next forward [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) zero_grad_set_to_none: Option<bool>,
    /// The loop holds the model's outputs during backward
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) keep_outputs: Option<bool>,
    /// What is put on top of the model [default: what its type has]
    #[arg(long, value_parser = words::<Head>(Head::NAMES, Head::ALIASES))]
    pub(super) head: Option<Head>,
    /// GPUs that share each layer; only 1 yet [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) tensor_parallel_size: Option<u64>,
    /// Short for --precision nf4 --double-quant --lora
    #[arg(long)]
    pub(super) qlora: bool,
}

/// Any of them asks for a parameter-efficient method: LoRA where neither `--peft` nor a job file says which.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "LoRA and other parameter-efficient methods")]
pub(super) struct PeftFlags {
    /// Train LoRA adapters; implied by the flags below
    #[arg(long)]
    pub(super) lora: bool,
    /// Train by this method [default: lora]
    #[arg(long, value_name = "METHOD", value_parser = PossibleValuesParser::new(Peft::TYPES))]
    pub(super) peft: Option<String>,
    /// Train the adapter an adapter_config.json describes: the file or its folder
    #[arg(long, value_name = "PATH")]
    pub(super) adapter: Option<PathBuf>,
    /// Rank [default: PEFT's for the method, 8 for LoRA]
    #[arg(long, visible_alias = "lora-r", value_name = "N", value_parser = whole)]
    pub(super) r: Option<u64>,
    /// Scale [default: 8]
    #[arg(long, value_name = "ALPHA", value_parser = number)]
    pub(super) lora_alpha: Option<f64>,
    /// Dropout before the adapters [default: 0]
    #[arg(long, value_name = "P", value_parser = number)]
    pub(super) lora_dropout: Option<f64>,
    /// Modules to adapt, or all-linear [default: PEFT's for the model type]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) target_modules: Option<Vec<String>>,
    /// Weight-decomposed adapters
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) use_dora: Option<bool>,
    /// Modules trained whole beside the adapters
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) modules_to_save: Option<Vec<String>>,
    /// AdaLoRA: rank the adapters begin with [default: 12]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) init_r: Option<u64>,
    /// OFT: width of a block [default: 32]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) oft_block_size: Option<u64>,
    /// Prefix and prompt tuning: trained positions [default: 20]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) num_virtual_tokens: Option<u64>,
    /// Prefix tuning: keys and values come through a small network
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) prefix_projection: Option<bool>,
    /// Bottleneck adapters: the model's width over theirs [default: 16]
    #[arg(long, value_name = "FACTOR", value_parser = number)]
    pub(super) reduction_factor: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Inference")]
pub(super) struct InferFlags {
    /// Inference instead of training; implied by the flags below
    #[arg(long)]
    pub(super) infer: bool,
    /// Tokens of each prompt [default: 2048]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) prompt_length: Option<u64>,
    /// Tokens generated after the prompt [default: 8]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) max_new_tokens: Option<u64>,
    /// Positions whose logits prefill computes; 0: all [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(super) logits_to_keep: Option<u64>,
    /// How keys and values are stored [default: auto]
    #[arg(long, value_name = "DTYPE", value_parser = words::<KvCacheDtype>(KvCacheDtype::NAMES, KvCacheDtype::ALIASES))]
    pub(super) kv_cache_dtype: Option<KvCacheDtype>,
}

#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    pub(super) command: Option<ModelsCommand>,
    /// Only names and model types that contain this
    pub(super) filter: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Show what is known of one model, and where that comes from
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
        model: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        hub: HubFlags,
    },
}

#[derive(Debug, Args)]
pub(super) struct GpusArgs {
    /// Only GPUs whose name, class or architecture contains this
    pub(super) filter: Option<String>,
    /// What is installed, in place of this machine's driver: the output of `nvidia-smi -q -x` or `kubectl get nodes
    /// -o json`, or a list in TOML; - reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(super) gpus_from: Option<PathBuf>,
    /// Prices of your own, a CSV file; they go over the built-in ones of the same cloud and GPU
    #[arg(long, value_name = "FILE")]
    pub(super) prices: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ParamsArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    pub(super) model: String,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) hub: HubFlags,
    #[command(flatten)]
    pub(super) peft: PeftFlags,
}

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "verify"), allow(dead_code))]
pub(super) struct VerifyArgs {
    /// Only configurations whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(super) config: Vec<String>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = VerifyDevice::Cpu)]
    pub(super) device: VerifyDevice,
    /// Append what was measured to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(super) save: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum VerifyDevice {
    /// This machine's processor
    Cpu,
    /// An NVIDIA GPU, in a build with the feature `cuda`; other configurations, of up to several gigabytes
    Cuda,
}

/// Reads one of `names` or their other spellings, and lists the names in the help.
fn words<T>(
    names: &'static [&'static str],
    aliases: &'static [&'static [&'static str]],
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = JobError> + Clone + Send + Sync + 'static,
{
    let values = names.iter().zip(aliases).map(|(name, aliases)| PossibleValue::new(*name).aliases(*aliases));
    PossibleValuesParser::new(values).try_map(|word| word.parse::<T>())
}

/// Reads a whole number; whether it is in range is for the job to say.
fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow => "no job is that large".to_owned(),
        _ => "give a whole number, such as 4".to_owned(),
    })
}

/// Reads a number; its range, too, is for the job.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "give a number, such as 0.5".to_owned())
}
