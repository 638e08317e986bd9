//! Arguments of the commands.

pub(super) mod job;
pub(super) mod judging;
pub(super) mod planning;
pub(super) mod serving;
pub(super) mod showing;
pub(super) mod verifying;
pub(super) mod words;

use clap::{Parser, Subcommand};

use self::judging::{CheckArgs, FitArgs, SolveArgs};
use self::planning::{CompareArgs, PlanArgs};
use self::showing::{CompletionsArgs, EstimateArgs, GpusArgs, ManArgs, ModelsArgs, ParamsArgs, SchemaArgs};
use self::verifying::VerifyArgs;
use super::examples::{
    CHECK_EXAMPLES, COMPARE_EXAMPLES, ESTIMATE_EXAMPLES, EXAMPLES, FIT_EXAMPLES, GPUS_EXAMPLES, KV_EXAMPLES,
    MEASURE_EXAMPLES, MODELS_EXAMPLES, PARAMS_EXAMPLES, PLAN_EXAMPLES, SOLVE_EXAMPLES, VERIFY_EXAMPLES,
};
use super::kv::KvArgs;
use super::measure::MeasureArgs;

/// How much GPU memory a model needs to train or to serve, and what it is made of at its peak.
#[derive(Debug, Parser)]
#[command(name = "vramplan", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
pub(in crate::cli) struct Cli {
    #[command(subcommand)]
    pub(in crate::cli) command: Command,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
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
    /// Tell what sequences keep on the card from token to token: keys and values, latents, states
    #[command(after_help = KV_EXAMPLES, next_line_help = true)]
    Kv(KvArgs),
    /// Run a command, measure what its processes hold of the GPUs, and compare that with a job's estimate
    #[command(after_help = MEASURE_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Measure(Box<MeasureArgs>),
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
    /// Train small models for real and hold what that takes against what was predicted
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Count a model's parameters
    #[command(after_help = PARAMS_EXAMPLES, next_line_help = true, allow_negative_numbers = true)]
    Params(ParamsArgs),
}

impl Command {
    /// Whether its exit code is a judgement.
    pub(in crate::cli) const fn judges(&self) -> bool {
        matches!(
            self,
            Self::Fit(_)
                | Self::Kv(_)
                | Self::Solve(_)
                | Self::Plan(_)
                | Self::Check(_)
                | Self::Measure(_)
                | Self::Verify(_)
        )
    }
}
