//! The command line: arguments in, tables or JSON out.

mod args;
mod backend;
mod error;
mod estimate;
mod layer;
mod models;
mod params;
#[cfg(test)]
mod sample;
mod text;
mod timeline;

use std::io::Write;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use error::CliError;

/// Exit code of bad usage or input, and of every other error.
const USAGE: u8 = 2;

/// Runs the command that the process's arguments ask for; exit codes are in the help.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let printed = run(&cli).and_then(|text| {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// The whole of what a command prints, so that an error leaves standard output empty.
fn run(cli: &Cli) -> Result<String, CliError> {
    match &cli.command {
        Command::Estimate(args) => estimate::run(args),
        Command::Models(args) => models::run(args),
        Command::Params(args) => params::run(args),
    }
}

/// Prints help where it was asked for, and one line where arguments were wrong.
fn refuse(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            // The reader may have left; there is nobody to tell.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        _ => {
            let text = error.to_string();
            let lines = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
            let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
            complain(line.strip_prefix("error: ").unwrap_or(&line));
            ExitCode::from(USAGE)
        }
    }
}

fn complain(message: &str) {
    let line = text::plain(message);
    let _ = writeln!(anstream::stderr(), "error: {line}");
}
