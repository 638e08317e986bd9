//! How a model is served, as flags.

use clap::Args;

use super::words::{number, whole, words};
use crate::job::Runtime;

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Serving (vLLM)")]
pub(in crate::cli) struct ServeFlags {
    /// An engine that serves the model; implied by the flags below
    #[arg(long)]
    pub(in crate::cli) serve: bool,
    /// The engine [default: vllm]
    #[arg(long, value_name = "ENGINE", value_parser = words::<Runtime>(Runtime::NAMES, Runtime::ALIASES))]
    pub(in crate::cli) runtime: Option<Runtime>,
    /// The engine's version, such as 0.22 [default: 0.13]
    #[arg(long, value_name = "VERSION")]
    pub(in crate::cli) runtime_version: Option<String>,
    /// Groups of GPUs that layers are dealt out to [default: 1]
    #[arg(long, visible_alias = "pp", value_name = "N", value_parser = whole)]
    pub(in crate::cli) pipeline_parallel_size: Option<u64>,
    /// Experts are dealt out to the GPUs whole
    #[arg(long)]
    pub(in crate::cli) enable_expert_parallel: bool,
    /// No CUDA graphs
    #[arg(long)]
    pub(in crate::cli) enforce_eager: bool,
    /// Tokens of a sequence at most [default: as many positions as the model has]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_model_len: Option<u64>,
    /// Sequences that are to be in the cache at the same time [default: 1]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) concurrency: Option<u64>,
    /// Tokens that each of them has [default: --max-model-len]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) sequence_length: Option<u64>,
    /// Share of a GPU that the engine takes [default: the version's, 0.9 or 0.92]
    #[arg(long, value_name = "SHARE", value_parser = number)]
    pub(in crate::cli) gpu_memory_utilization: Option<f64>,
    /// Sequences of one step at most [default: 256; 1024 on GPUs of 70 GiB and more that are no A100]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_num_seqs: Option<u64>,
    /// Tokens of one step at most [default: 2048; 8192 on GPUs of 70 GiB and more that are no A100]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) max_num_batched_tokens: Option<u64>,
    /// Tokens of a block of the cache [default: 16]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) block_size: Option<u64>,
}

impl ServeFlags {
    /// The first of the flags that was given.
    pub(in crate::cli) fn first(&self) -> Option<&'static str> {
        [
            (self.serve, "--serve"),
            (self.runtime.is_some(), "--runtime"),
            (self.runtime_version.is_some(), "--runtime-version"),
            (self.pipeline_parallel_size.is_some(), "--pipeline-parallel-size"),
            (self.enable_expert_parallel, "--enable-expert-parallel"),
            (self.enforce_eager, "--enforce-eager"),
            (self.max_model_len.is_some(), "--max-model-len"),
            (self.concurrency.is_some(), "--concurrency"),
            (self.sequence_length.is_some(), "--sequence-length"),
            (self.gpu_memory_utilization.is_some(), "--gpu-memory-utilization"),
            (self.max_num_seqs.is_some(), "--max-num-seqs"),
            (self.max_num_batched_tokens.is_some(), "--max-num-batched-tokens"),
            (self.block_size.is_some(), "--block-size"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}
