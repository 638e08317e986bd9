//! `vramplan estimate`: what a job takes.

mod describe;
mod report;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::args::{EstimateArgs, Method};
use super::error::CliError;
use super::{backend, layer, text};
use crate::formula::Formula;
use crate::job::{Job, JobFile};
use crate::model::Model;
use crate::step::{Estimate, ModelSummary};
use crate::units::Bytes;

/// More than any job file needs, and little enough to hold.
const MAX_JOB_FILE: u64 = 16 << 20;

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    estimate: &'a Estimate,
    #[serde(skip_serializing_if = "Option::is_none")]
    formula: Option<FormulaOutput>,
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
    let file = args.job.as_deref().map(read).transpose()?;
    let job = layer::job(args, file)?;
    job.validate()?;
    let model = backend::resolve(&job.model, &args.hub)?;
    let width = text::width();
    let formula = || -> Result<Formula, CliError> {
        let parameters = backend::count_parameters(&model, None)?.total;
        Ok(Formula::of(&job.workload, parameters, model.hidden_size()))
    };
    if args.method == Method::Formula {
        return formula_alone(args, &job, &model, formula()?, width);
    }
    let estimate = backend::estimate(&model, &job, args.timeline)?;
    let formula = if args.method == Method::Both { Some(formula()?) } else { None };
    if args.json {
        return json(&Output { estimate: &estimate, formula: formula.map(FormulaOutput::from) });
    }
    let mut out = describe::heading(&model, &job, defaults_only(args), estimate.model.parameters, width);
    out.push_str(&report::estimate(&estimate, formula.as_ref(), width));
    Ok(out)
}

fn formula_alone(
    args: &EstimateArgs,
    job: &Job,
    model: &Model,
    formula: Formula,
    width: u16,
) -> Result<String, CliError> {
    let lora = describe::lora(job);
    let count = backend::count_parameters(model, lora)?;
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
        && args.common == Default::default()
        && args.train == Default::default()
        && args.lora == Default::default()
        && args.infer == Default::default()
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn read(path: &Path) -> Result<JobFile, CliError> {
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_JOB_FILE + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(MAX_JOB_FILE + 1).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 > MAX_JOB_FILE {
        return Err(CliError::Usage(format!(
            "{}: larger than {} MiB; is it a job file?",
            path.display(),
            MAX_JOB_FILE >> 20
        )));
    }
    text.parse().map_err(|source| CliError::JobFile { path: path.to_owned(), source })
}
