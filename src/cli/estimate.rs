//! `vramplan estimate`: what a job takes.

mod report;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::showing::{EstimateArgs, Method};
use super::asked::Asked;
use super::error::CliError;
use super::{backend, describe, from, text};
use crate::formula::Formula;
use crate::job::Job;
use crate::job::from::Report;
use crate::model::Model;
use crate::step::{Estimate, ModelSummary};
use crate::units::Bytes;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a> {
    #[serde(flatten)]
    estimate: &'a Estimate,
    #[serde(skip_serializing_if = "Option::is_none")]
    formula: Option<FormulaOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Report>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct FormulaAlone<'a> {
    schema: &'static str,
    model: &'a ModelSummary,
    formula: FormulaOutput,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
struct FormulaOutput {
    #[serde(flatten)]
    parts: Formula,
    total_bytes: Bytes,
}

pub(super) fn run(args: &EstimateArgs) -> Result<String, CliError> {
    let asked = Asked::of(&args.job)?;
    let (job, model, report) = (&asked.job, asked.model(), asked.report.as_ref());
    let width = text::width();
    let formula = || -> Result<Formula, CliError> {
        let parameters = backend::count_parameters(model, None)?.total;
        Ok(Formula::of(&job.workload, parameters, model.hidden_size()))
    };
    if args.method == Method::Formula {
        return formula_alone(args, job, model, formula()?, width);
    }
    let mut estimate = asked.estimate(args.timeline)?;
    let formula = if args.method == Method::Both { Some(formula()?) } else { None };
    if args.json {
        estimate.basis.notes.extend(report.into_iter().flat_map(Report::notes));
        let formula = formula.map(FormulaOutput::from);
        return text::json(&Output { estimate: &estimate, formula, from: report });
    }
    let mut out = describe::heading(model, job, args.job.is_default(), estimate.model.parameters, width);
    out.push_str(&report::estimate(&estimate, formula.as_ref(), width));
    if let Some(report) = report {
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
    let peft = job.workload.peft();
    let count = backend::count_parameters(model, peft)?;
    if args.json {
        let summary = backend::summary(model, count);
        return text::json(&FormulaAlone { schema: "vramplan.formula/1", model: &summary, formula: formula.into() });
    }
    let mut out = describe::heading(model, job, args.job.is_default(), count.total, width);
    out.push_str(&report::formula(&formula, width));
    Ok(out)
}

impl From<Formula> for FormulaOutput {
    fn from(parts: Formula) -> Self {
        Self { parts, total_bytes: parts.total() }
    }
}
