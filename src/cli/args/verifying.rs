//! Arguments of `vramplan verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "verify"), allow(dead_code))]
pub(in crate::cli) struct VerifyArgs {
    /// Only configurations whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) config: Vec<String>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = VerifyDevice::Cpu)]
    pub(in crate::cli) device: VerifyDevice,
    /// Append what was measured to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) save: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum VerifyDevice {
    /// This machine's processor
    Cpu,
    /// An NVIDIA GPU, in a build with the feature `cuda`; other configurations, of up to several gigabytes
    Cuda,
}
