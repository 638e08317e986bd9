//! Arguments of the commands that tell what something takes or what there is.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::super::examples::SHOW_EXAMPLES;
use super::job::{HubFlags, JobArgs, PeftFlags};

#[derive(Debug, Args)]
pub(in crate::cli) struct EstimateArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    /// List what was made of every field of the configuration
    #[arg(long, requires = "from")]
    pub(in crate::cli) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Plot allocated memory over the step
    #[arg(long)]
    pub(in crate::cli) timeline: bool,
    /// How to estimate: run the step, add up the tutorials' formula, or both side by side
    #[arg(long, value_enum, default_value_t = Method::Step)]
    pub(in crate::cli) method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Method {
    Step,
    Formula,
    Both,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ModelsArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<ModelsCommand>,
    /// Only names and model types that contain this
    pub(in crate::cli) filter: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ModelsCommand {
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
pub(in crate::cli) struct GpusArgs {
    /// Only GPUs whose name, class or architecture contains this
    pub(in crate::cli) filter: Option<String>,
    /// What is installed, in place of this machine's driver: the output of `nvidia-smi -q -x` or `kubectl get nodes
    /// -o json`, or a list in TOML; - reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(in crate::cli) gpus_from: Option<PathBuf>,
    /// Prices of your own, a CSV file; they go over the built-in ones of the same cloud and GPU
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) prices: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ParamsArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    pub(in crate::cli) model: String,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) hub: HubFlags,
    #[command(flatten)]
    pub(in crate::cli) peft: PeftFlags,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// Whose schema: estimate, fit, job ... [default: list them]
    pub(in crate::cli) name: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(in crate::cli) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArgs {
    /// Folder that a page for each command is written to [default: print the program's]
    #[arg(value_name = "FOLDER")]
    pub(in crate::cli) folder: Option<PathBuf>,
}
