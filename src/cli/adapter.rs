//! `--adapter`: an adapter_config.json in place of the LoRA flags.

use std::path::Path;

use super::error::CliError;
use crate::job::Peft;
use crate::model::file;

/// Those on the Hub are a few kilobytes; a pruned AdaLoRA's, with its ranks, some hundred.
const LIMIT: u64 = 1 << 20;

/// The method that a file, or the adapter_config.json of a folder, is for.
pub(super) fn read(path: &Path) -> Result<Peft, CliError> {
    let path = if path.is_dir() { path.join("adapter_config.json") } else { path.to_owned() };
    let text = file::read_text_up_to(&path, LIMIT)?;
    let config = file::parse_json(&path.display().to_string(), &text)?;
    Peft::from_adapter_config(&config).map_err(|source| CliError::JobFile { path, source })
}
