//! Arguments of the commands that look for a way to train or serve.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::job::{CommonFlags, HubFlags, JobArgs, PeftFlags, TrainFlags};
use super::words::{number, whole};
use crate::plan::{Goal, Quality};

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    /// What plans are ranked by
    #[arg(long, value_enum, default_value_t = GoalName::Cost)]
    pub(in crate::cli) goal: GoalName,
    /// Training: the least a method may learn [default: qlora]
    #[arg(long, value_enum)]
    pub(in crate::cli) quality: Option<QualityName>,
    /// Training: sequences in an optimizer step [default: the job's micro-batch times its accumulation, or 16]
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(in crate::cli) effective_batch: Option<u64>,
    /// GPUs to choose from, by name [default: the catalogue's]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(in crate::cli) gpus: Vec<String>,
    /// US dollars an hour at most, all GPUs of a plan together
    #[arg(long, value_name = "USD", value_parser = number)]
    pub(in crate::cli) max_price: Option<f64>,
    /// Your own prices, CSV, over those that are built in
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) prices: Option<PathBuf>,
    /// Plans shown at most
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(in crate::cli) limit: usize,
    /// Judge the table of hardware that tutorials give for models of 7 billion parameters
    #[arg(long)]
    pub(in crate::cli) tutorial_table: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GoalName {
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
pub(in crate::cli) enum QualityName {
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

#[derive(Debug, Args)]
pub(in crate::cli) struct CompareArgs {
    /// A known model's name or Hub id, a config.json or its folder, or a size such as 7b
    pub(in crate::cli) model: String,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) hub: HubFlags,
    #[command(flatten)]
    pub(in crate::cli) common: CommonFlags,
    #[command(flatten)]
    pub(in crate::cli) train: TrainFlags,
    #[command(flatten)]
    pub(in crate::cli) peft: PeftFlags,
}
