//! `vramplan params`: a model's parameters.

use serde::Serialize;

use super::args::ParamsArgs;
use super::backend;
use super::error::CliError;
use super::text::{bold, grouped, lines, percent, plain, table, trainable, width};
use crate::job::{Job, Lora, ModelRef, Peft, Train};
use crate::step::Parameters;

#[derive(Serialize)]
struct Output {
    parameters: u64,
    trainable_parameters: u64,
    parts: Parts,
}

/// The parts alone: their sum stands beside them.
#[derive(Serialize)]
struct Parts {
    embedding: u64,
    attention: u64,
    mlp: u64,
    norms: u64,
    head: u64,
    experts: u64,
    mixer: u64,
    tower: u64,
    other: u64,
    adapters: u64,
}

impl From<Parameters> for Parts {
    fn from(count: Parameters) -> Self {
        let Parameters { embedding, attention, mlp, norms, head, experts, mixer, tower, other, adapters, .. } = count;
        Self { embedding, attention, mlp, norms, head, experts, mixer, tower, other, adapters }
    }
}

pub(super) fn run(args: &ParamsArgs) -> Result<String, CliError> {
    let lora = args.lora.first().is_some().then(|| args.lora.over(Lora::default()));
    let train = Train { peft: lora.clone().map(Peft::Lora), ..Train::default() };
    Job::train(args.model.as_str(), train).validate()?;
    let model = backend::resolve(&ModelRef::Named(args.model.clone()), &args.hub)?;
    let count = backend::count_parameters(&model, lora.as_ref())?;
    if args.json {
        let output = Output { parameters: count.total, trainable_parameters: count.trainable, parts: count.into() };
        return Ok(serde_json::to_string_pretty(&output)? + "\n");
    }
    let mut parts = table(&["part", "parameters", "%"], width());
    for (name, part) in count.named().into_iter().filter(|(_, part)| *part > 0) {
        parts.add_row([name.to_owned(), grouped(part), percent(part, count.total, 1)]);
    }
    parts.add_row(["total".to_owned(), grouped(count.total), "100.0".to_owned()]);
    Ok(format!(
        "{} ({})\n{}\n{}",
        bold(plain(model.name())),
        model.model_type(),
        trainable(count.trainable, count.total),
        lines(&parts)
    ))
}
