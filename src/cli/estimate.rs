//! `vramplan estimate`: what a job takes.

mod describe;
mod from;
mod report;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::args::{EstimateArgs, Method};
use super::error::CliError;
use super::source::Remarks;
use super::{backend, layer, text};
use crate::formula::Formula;
use crate::job::from::Report;
use crate::job::{Job, JobFile};
use crate::model::Model;
use crate::step::{Estimate, ModelSummary};
use crate::units::Bytes;

/// More than any job file needs, and little enough to hold.
const MAX_JOB_FILE: u64 = 1 << 20;

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    estimate: &'a Estimate,
    #[serde(skip_serializing_if = "Option::is_none")]
    formula: Option<FormulaOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Report>,
}

#[derive(Serialize)]
struct FormulaAlone<'a> {
    schema: &'static str,
    model: &'a ModelSummary,
    formula: FormulaOutput,
}

#[derive(Clone, Copy, Serialize)]
struct FormulaOutput {
    #[serde(flatten)]
    parts: Formula,
    total_bytes: Bytes,
}

pub(super) fn run(args: &EstimateArgs) -> Result<String, CliError> {
    let (file, report, file_gives_precision) = match from::read(args)? {
        Some((file, report)) => {
            let written = report.writes_precision();
            (Some(file), Some(report), written)
        }
        None => match args.job.as_deref().map(read).transpose()? {
            Some((file, written)) => (Some(file), None, written),
            None => (None, None, false),
        },
    };
    let mut job = layer::job(args, file)?;
    job.validate()?;
    let source = backend::find(&job.model, &args.hub)?;
    let precision_given = file_gives_precision || args.common.precision.is_some() || args.train.qlora;
    let remarks = Remarks::on(&source, &mut job, precision_given)?;
    let model = source.model;
    let width = text::width();
    let formula = || -> Result<Formula, CliError> {
        let parameters = backend::count_parameters(&model, None)?.total;
        Ok(Formula::of(&job.workload, parameters, model.hidden_size()))
    };
    if args.method == Method::Formula {
        return formula_alone(args, &job, &model, formula()?, width);
    }
    let mut estimate = backend::estimate(&model, &job, args.timeline)?;
    remarks.add_to(&mut estimate);
    if let Some(report) = &report {
        estimate.basis.validated &= report.is_complete();
    }
    let formula = if args.method == Method::Both { Some(formula()?) } else { None };
    if args.json {
        estimate.basis.notes.extend(report.iter().flat_map(Report::notes));
        let formula = formula.map(FormulaOutput::from);
        return json(&Output { estimate: &estimate, formula, from: report.as_ref() });
    }
    let mut out = describe::heading(&model, &job, defaults_only(args), estimate.model.parameters, width);
    out.push_str(&report::estimate(&estimate, formula.as_ref(), width));
    if let Some(report) = &report {
        out.push_str(&from::section(report, args.verbose, width));
    }
    Ok(out)
}

fn formula_alone(
    args: &EstimateArgs,
    job: &Job,
    model: &Model,
    formula: Formula,
    width: u16,
) -> Result<String, CliError> {
    let peft = describe::peft(job);
    let count = backend::count_parameters(model, peft)?;
    if args.json {
        let summary = backend::summary(model, count);
        return json(&FormulaAlone { schema: "vramplan.formula/1", model: &summary, formula: formula.into() });
    }
    let mut out = describe::heading(model, job, defaults_only(args), count.total, width);
    out.push_str(&report::formula(&formula, width));
    Ok(out)
}

impl From<Formula> for FormulaOutput {
    fn from(parts: Formula) -> Self {
        Self { parts, total_bytes: parts.total() }
    }
}

/// Whether nothing but a model was asked for.
fn defaults_only(args: &EstimateArgs) -> bool {
    args.job.is_none()
        && args.from.is_empty()
        && args.common == Default::default()
        && args.train == Default::default()
        && args.peft == Default::default()
        && args.infer == Default::default()
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// The job file, and whether it says a precision.
fn read(path: &Path) -> Result<(JobFile, bool), CliError> {
    let text = text_of(path, MAX_JOB_FILE, "a job file")?;
    let file = text.parse().map_err(|source| CliError::JobFile { path: path.to_owned(), source })?;
    Ok((file, gives_precision(&text)))
}

/// A file's text, or standard input's for `-`, if it is no longer than `most` bytes.
fn text_of(path: &Path, most: u64, what: &str) -> Result<String, CliError> {
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(most + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(most + 1).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 > most {
        return Err(CliError::Usage(format!("{}: larger than {} MiB; is it {what}?", path.display(), most >> 20)));
    }
    Ok(text)
}

/// Whether a job file that has been read has a `precision`, which [`JobFile`] gives its default otherwise.
fn gives_precision(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let value: Option<serde_json::Value> =
        if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { toml::from_str(text).ok() };
    let tables = ["train", "infer"].map(|table| value.as_ref()?.get(table)?.get("precision"));
    tables.iter().any(Option::is_some)
}
