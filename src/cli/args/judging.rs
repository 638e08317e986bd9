//! Arguments of the commands that judge whether jobs fit.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::job::JobArgs;
use super::words::whole;
use crate::units::Bytes;

#[derive(Debug, Args)]
pub(in crate::cli) struct FitArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    #[command(flatten)]
    pub(in crate::cli) gpu: GpuArgs,
    /// Exit with 0 where it is too close to tell
    #[arg(long)]
    pub(in crate::cli) allow_tight: bool,
    /// Do not look for what to change where it does not fit
    #[arg(long)]
    pub(in crate::cli) no_suggestions: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// File of jobs and what each may take
    #[arg(default_value = "vramplan.toml")]
    pub(in crate::cli) file: PathBuf,
    /// Write a file to start from; what is there is left alone
    #[arg(long, conflicts_with_all = ["update_lock", "locked", "allow_tight", "json", "junit", "markdown", "github"])]
    pub(in crate::cli) init: bool,
    /// Write what each job takes, and what from, to the lock beside the file
    #[arg(long)]
    pub(in crate::cli) update_lock: bool,
    /// Exit with 1 where anything differs from the lock
    #[arg(long, conflicts_with = "update_lock")]
    pub(in crate::cli) locked: bool,
    /// Exit with 0 where it is too close to tell, as allow_tight = true does in the file
    #[arg(long)]
    pub(in crate::cli) allow_tight: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) junit: Option<PathBuf>,
    /// Write what a pull request's comment says
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) markdown: Option<PathBuf>,
    /// Annotate the file on GitHub, and add to the job's summary [default: where GITHUB_ACTIONS=true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(in crate::cli) github: Option<bool>,
    /// Read the Hub's cache alone, as HF_HUB_OFFLINE=1 does
    #[arg(long)]
    pub(in crate::cli) offline: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SolveArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    /// What to solve for
    #[arg(long = "for", value_name = "WHAT", value_enum)]
    pub(in crate::cli) quantity: Solved,
    /// Look at multiples of this alone
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole)]
    pub(in crate::cli) step: u64,
    /// --for model: of the known models, those whose name or type has this in it
    #[arg(long, value_name = "WORD", default_value = "")]
    pub(in crate::cli) family: String,
    #[command(flatten)]
    pub(in crate::cli) gpu: GpuArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Solved {
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

/// The card a job is to run on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "GPU")]
pub(in crate::cli) struct GpuArgs {
    /// GPU of the catalogue, such as rtx-4090 or a100-80g; auto: those this machine's driver tells of, as far as they are free
    #[arg(long, value_name = "NAME|auto", conflicts_with = "memory")]
    pub(in crate::cli) gpu: Option<String>,
    /// GPUs that `nvidia-smi -q -x`, `kubectl get nodes -o json` or a TOML list tells of; - reads standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "memory")]
    pub(in crate::cli) gpus_from: Option<PathBuf>,
    /// Memory of the card that a process may have, such as 24GiB
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) memory: Option<Bytes>,
    /// What the CUDA context takes of it [default: 481MiB, and the margin covers up to 712MiB]
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) context: Option<Bytes>,
}
