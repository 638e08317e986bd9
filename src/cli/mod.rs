//! The command line: arguments in, tables or JSON out.

mod adapter;
mod args;
mod asked;
mod backend;
mod check;
mod compare;
mod describe;
mod error;
mod estimate;
mod examples;
mod files;
mod fit;
mod from;
mod gpu;
mod gpus;
mod hub;
mod kv;
mod layer;
mod measure;
mod models;
mod params;
mod plan;
#[cfg(test)]
mod sample;
mod schema;
mod serving;
mod shell;
mod solve;
mod source;
mod text;
mod timeline;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use error::CliError;

/// Exit codes; those of what is not a judgement are 0 and 2.
pub(super) mod exit {
    /// The job does not fit, or it is too close to tell.
    pub(in super::super) const DOES_NOT_FIT: u8 = 1;
    /// Bad usage or input, and every other error.
    pub(in super::super) const USAGE: u8 = 2;
    /// There is no telling.
    pub(in super::super) const UNKNOWN: u8 = 3;
    /// `measure`: the command is there and cannot be run.
    pub(in super::super) const CANNOT_RUN: u8 = 126;
    /// `measure`: there is no such command.
    pub(in super::super) const NOT_FOUND: u8 = 127;
    /// `measure`: added to the number of the signal that ended the command.
    pub(in super::super) const SIGNAL: i32 = 128;
}

/// What a command prints, and the code it exits with.
struct Answer {
    text: String,
    code: u8,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// What the program has that the library cannot have, as it takes unsafe code.
#[cfg(feature = "verify")]
#[derive(Clone, Copy)]
pub struct Measures {
    /// An allocator that counts.
    pub gauge: &'static (dyn crate::verify::Gauge + Sync),
    /// GPUs, in a program that was built with CUDA.
    pub gpu: Option<&'static (dyn crate::verify::Gpu + Sync)>,
}
/// What the program has that the library cannot have: nothing without the feature `verify`.
#[cfg(not(feature = "verify"))]
pub type Measures = std::convert::Infallible;

/// Runs the command that the process's arguments ask for; exit codes are in the help.
pub fn main() -> ExitCode {
    main_measuring(None)
}

/// As [`main`], in a process that can measure itself.
pub fn main_measuring(measures: Option<Measures>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let answer = match run(&cli, measures.as_ref()) {
        Ok(answer) => answer,
        Err(error) => {
            complain(&error.to_string());
            let untold = cli.command.judges() && error.is_unknown();
            return ExitCode::from(if untold { exit::UNKNOWN } else { exit::USAGE });
        }
    };
    match print(&answer.text) {
        // where the reader left, as `head` does, the judgement stands
        Ok(()) => ExitCode::from(answer.code),
        Err(error) if error.is_broken_pipe() => ExitCode::from(answer.code),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(exit::USAGE)
        }
    }
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The whole of what a command prints, so that an error leaves standard output empty.
fn run(cli: &Cli, measures: Option<&Measures>) -> Result<Answer, CliError> {
    Ok(match &cli.command {
        Command::Estimate(args) => estimate::run(args)?.into(),
        Command::Fit(args) => fit::run(args)?,
        Command::Check(args) => check::run(args)?,
        Command::Solve(args) => solve::run(args)?,
        Command::Plan(args) => plan::run(args)?,
        Command::Compare(args) => compare::run(args)?.into(),
        Command::Kv(args) => kv::run(args)?,
        Command::Measure(args) => measure::run(args)?,
        Command::Gpus(args) => gpus::run(args)?.into(),
        Command::Schema(args) => schema::run(args)?.into(),
        Command::Completions(args) => shell::completions(args)?.into(),
        Command::Man(args) => shell::man(args)?.into(),
        Command::Models(args) => models::run(args)?.into(),
        Command::Params(args) => params::run(args)?.into(),
        Command::Verify(args) => verify::run(args, measures)?,
    })
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
            ExitCode::from(exit::USAGE)
        }
        _ => {
            complain(&one_line(error));
            ExitCode::from(exit::USAGE)
        }
    }
}

/// What clap says in several lines, in one that says what to do.
fn one_line(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ErrorKind};
    let context = |kind| error.get(kind).map(ToString::to_string);
    let text = error.to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"));
    let lines: Vec<&str> = lines.collect();
    let line = lines.join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    if text.contains("Usage: vramplan measure ") {
        let how = "the command to run comes after --, as in `vramplan measure llama-2-7b -- python train.py`";
        match error.kind() {
            ErrorKind::MissingRequiredArgument => return format!("no command; {how}"),
            ErrorKind::UnknownArgument if !line.contains("'-") => return format!("{line}; {how}"),
            _ => {}
        }
    }
    match (error.kind(), context(ContextKind::InvalidArg).unwrap_or_default().as_str()) {
        (ErrorKind::MissingRequiredArgument, missing) => format!("{missing} is missing; `--help` shows how to give it"),
        (ErrorKind::UnknownArgument, word @ ("true" | "false")) => {
            format!("unexpected argument '{word}' found; write it with =, as in --gradient-checkpointing={word}")
        }
        (ErrorKind::ArgumentConflict, _) if context(ContextKind::PriorArg).is_some_and(|arg| arg == "[FILTER]") => {
            "more than one word to look for; give one, as in `vramplan models llama`".to_owned()
        }
        (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand, _) if lines.len() == 1 => {
            format!("{line}; `--help` lists what there is")
        }
        _ => line.to_owned(),
    }
}

fn complain(message: &str) {
    let line = text::plain(message);
    let _ = writeln!(anstream::stderr(), "error: {line}");
}
