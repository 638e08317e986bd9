//! `vramplan measure`: what a command takes, beside what a job was said to take.

mod args;
mod destination;
mod output;
mod report;
mod row;

use std::io::{ErrorKind, Write};
use std::process::ExitStatus;
use std::time::Duration;

pub(super) use args::MeasureArgs;
pub(super) use output::Output;
pub(super) use row::Row;

use self::destination::Destination;
use super::asked::Asked;
use super::error::CliError;
use super::{Answer, complain, exit, files, text};
use crate::measure::Meter;
use crate::step::Estimate;

/// The job to compare with.
struct Expected {
    asked: Asked,
    estimate: Estimate,
}

pub(super) fn run(args: &MeasureArgs) -> Result<Answer, CliError> {
    let expected = expected(args)?;
    // whoever waits hours for a report is told before that there is nowhere to put it
    let report = args.output.as_deref().map(Destination::at).transpose()?;
    args.save.as_deref().map(files::can_be_appended_to).transpose()?;
    let meter = Meter::open(Duration::from_millis(args.interval));
    check_gpus(args, &meter)?;
    let problem = meter.problem(&args.gpu);
    if let Some(problem) = &problem {
        let problem = text::plain(problem);
        if args.require_gpu {
            return Err(CliError::Unmodelled(format!("--require-gpu: {problem}")));
        }
        if report.is_some() || !args.json {
            warn(&format!("no GPU is measured: {problem}"));
        }
    }
    let inventory = meter.inventory().cloned();
    let run = match meter.run(&args.command, &args.gpu) {
        Ok(run) => run,
        Err(error) => return Ok(not_run(args, &error)),
    };
    let code = code(run.status);
    let mut output = Output::of(args, &run, inventory.as_ref(), problem, expected.as_ref());
    if let Some(path) = &args.save {
        output.saved = Some(save(path, &mut output, expected.as_ref()));
    }
    let text = if args.json { text::json(&output)? } else { report::text(&output, expected.as_ref(), text::width()) };
    let written = match report {
        Some(report) => report.write(&text),
        None => print(&text),
    };
    if let Err(error) = written {
        // the command has run, and its code says more than a report that is lost
        complain(&error.to_string());
    }
    Ok(Answer { text: String::new(), code })
}

/// The job of the arguments, estimated before anything runs.
fn expected(args: &MeasureArgs) -> Result<Option<Expected>, CliError> {
    if let Some(flag) = args.reads_input() {
        return Err(CliError::Usage(format!("{flag} -: standard input is the command's; give a file")));
    }
    if !args.has_job() {
        return match &args.save {
            Some(_) => Err(CliError::usage("--save: a line is of a job; name its model, or give --job or --from")),
            None => Ok(None),
        };
    }
    let asked = Asked::of(&args.job)?;
    let estimate = asked.estimate(false)?;
    Ok(Some(Expected { asked, estimate }))
}

/// Whether the driver has the GPUs of `--gpu`, where it says which there are.
fn check_gpus(args: &MeasureArgs, meter: &Meter) -> Result<(), CliError> {
    let devices = meter.inventory().map(|inventory| inventory.devices.as_slice()).unwrap_or_default();
    let has = |index: &u32| devices.iter().any(|device| device.index == Some(*index));
    match args.gpu.iter().find(|index| !has(index)) {
        Some(index) if !devices.is_empty() => {
            let mut known: Vec<String> = devices.iter().filter_map(|device| Some(device.index?.to_string())).collect();
            known.dedup();
            Err(CliError::Usage(format!("--gpu {index}: the driver has no such GPU; it has {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// What is said of a command that did not begin.
fn not_run(args: &MeasureArgs, error: &std::io::Error) -> Answer {
    let program = args.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let code = match error.kind() {
        ErrorKind::NotFound => {
            complain(&format!("{program}: no such command; what comes after -- is run as it is, without a shell"));
            exit::NOT_FOUND
        }
        _ => {
            complain(&format!("{program}: it cannot be run: {error}"));
            exit::CANNOT_RUN
        }
    };
    Answer { text: String::new(), code }
}

/// The command's exit code, as a shell has it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| exit::SIGNAL + signal(status).unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

/// The signal that ended it.
#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// Adds a line to the file; what came of it.
fn save(path: &std::path::Path, output: &mut Output<'_>, expected: Option<&Expected>) -> output::Saved {
    let line = Row::of(output, expected).and_then(|row| serde_json::to_string(&row).map_err(|error| error.to_string()));
    match line.and_then(|line| files::append_line(path, &line).map_err(|error| error.to_string())) {
        Ok(()) => output::Saved { file: path.display().to_string(), problem: None },
        Err(problem) => output::Saved { file: path.display().to_string(), problem: Some(problem) },
    }
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stderr().lock();
    Ok(out.write_all(text.as_bytes())?)
}

fn warn(message: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text::warning(format!("warning: {message}")));
}
