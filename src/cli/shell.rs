//! Completions for shells, and manual pages.

use std::path::Path;

use clap::CommandFactory;

use super::args::Cli;
use super::args::showing::{CompletionsArgs, ManArgs};
use super::error::CliError;

pub(super) fn completions(args: &CompletionsArgs) -> Result<String, CliError> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vramplan", &mut out);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The manual page of the program, or those of all its commands into a folder.
pub(super) fn man(args: &ManArgs) -> Result<String, CliError> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(String::from_utf8_lossy(&page).into_owned());
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::WriteFile { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed(folder))?;
    Ok(String::new())
}
