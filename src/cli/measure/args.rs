//! Arguments of `vramplan measure`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::super::args::job::JobArgs;

#[derive(Debug, Args)]
pub(in super::super) struct MeasureArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// Milliseconds between two readings; a peak between them is missed
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000), help_heading = "Measuring")]
    pub(super) interval: u64,
    /// Look at this GPU alone, by the driver's number as in nvidia-smi; may be given more than once
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Measuring")]
    pub(super) gpu: Vec<u32>,
    /// Do not run the command where no GPU can be measured: exit with 3
    #[arg(long, help_heading = "Measuring")]
    pub(super) require_gpu: bool,
    /// Write the report to a file instead of standard error
    #[arg(long, value_name = "FILE", help_heading = "Measuring")]
    pub(super) output: Option<PathBuf>,
    /// Add a line to a file (JSON Lines): the job, the GPU, the driver, what was measured and what was estimated;
    /// only where the command ended with 0
    #[arg(long, value_name = "FILE", help_heading = "Measuring")]
    pub(super) save: Option<PathBuf>,
    /// Make the report one JSON object
    #[arg(long, help_heading = "Measuring")]
    pub(super) json: bool,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND", help_heading = "Measuring")]
    pub(super) command: Vec<OsString>,
}

impl MeasureArgs {
    /// Whether a job is described to compare with.
    pub(super) fn has_job(&self) -> bool {
        self.job.model.is_some() || !self.job.is_default()
    }

    /// The flag whose file is standard input, which is the command's.
    pub(super) fn reads_input(&self) -> Option<&'static str> {
        let is_input = |path: &PathBuf| path.as_os_str() == "-";
        if self.job.job.as_ref().is_some_and(is_input) {
            return Some("--job");
        }
        self.job.from.iter().any(is_input).then_some("--from")
    }
}
