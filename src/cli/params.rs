//! `vramplan params`: a model's parameters.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::showing::ParamsArgs;
use super::error::CliError;
use super::text::{bold, grouped, lines, percent, plain, table, trainable, width, wrap};
use super::{backend, source};
use crate::job::{Job, ModelRef, Train};
use crate::model::Checkpoint;
use crate::step::Parameters;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    schema: &'static str,
    parameters: u64,
    trainable_parameters: u64,
    parts: Parts,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<source::Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<source::Quantized>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// The parts alone: their sum stands beside them.
#[derive(Default, Serialize, JsonSchema)]
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
    let peft = args.peft.first().map(|_| args.peft.over(None, false)).transpose()?;
    let train = Train { peft: peft.clone(), ..Train::default() };
    Job::train(args.model.as_str(), train).validate()?;
    let source = match backend::find(&ModelRef::Named(args.model.clone()), &args.hub) {
        Ok(source) => source,
        Err(error) => return header_alone(args, error),
    };
    let count = backend::count_parameters(&source.model, peft.as_ref())?;
    let mut notes = source.notes.clone();
    notes.extend(source::disagreement(&source)?);
    let (quantization, why) = source::Quantized::of(&source).unzip();
    notes.extend(why.flatten().map(|why| format!("what the quantised weights take is not counted: {why}")));
    if args.json {
        return json(&Output {
            schema: "vramplan.params/1",
            parameters: count.total,
            trainable_parameters: count.trainable,
            parts: count.into(),
            stored: source.checkpoint.as_ref().map(source::Stored::from),
            quantization,
            notes,
        });
    }
    let mut parts = table(&["part", "parameters", "%"], width());
    for (name, part) in count.named().into_iter().filter(|(_, part)| *part > 0) {
        parts.add_row([name.to_owned(), grouped(part), percent(part, count.total, 1)]);
    }
    parts.add_row(["total".to_owned(), grouped(count.total), "100.0".to_owned()]);
    let mut out = format!(
        "{} ({})\n{}\n{}",
        bold(plain(source.model.name())),
        source.model.model_type(),
        trainable(count.trainable, count.total),
        lines(&parts)
    );
    out.extend(source.checkpoint.as_ref().map(stored));
    out.extend(quantization.as_ref().map(quantized));
    out.extend(notes.iter().map(|note| wrap(&format!("- {}", plain(note)), width(), "  ") + "\n"));
    Ok(out)
}

/// What a checkpoint holds whose model is not known; `error`: why it is not.
fn header_alone(args: &ParamsArgs, error: CliError) -> Result<String, CliError> {
    let (CliError::Model(reason), path) = (&error, Path::new(&args.model)) else { return Err(error) };
    let checkpoint = if Checkpoint::is_named_like_one(path) {
        Some(path.to_owned())
    } else if path.is_dir() && !path.join("config.json").exists() {
        Checkpoint::find(path)
    } else {
        None
    };
    // where the header itself is malformed there is nothing to show
    let Some(Ok(checkpoint)) = checkpoint.map(|path| Checkpoint::open(&path)) else { return Err(error) };
    if args.peft.first().is_some() {
        return Err(error);
    }
    let parameters = checkpoint.parameters();
    let notes = vec![reason.to_string()];
    if args.json {
        return json(&Output {
            schema: "vramplan.params/1",
            parameters,
            trainable_parameters: parameters,
            parts: Parts { other: parameters, ..Parts::default() },
            stored: Some(source::Stored::from(&checkpoint)),
            quantization: None,
            notes,
        });
    }
    let mut out =
        format!("{}\n{} parameters\n{}", bold(plain(&checkpoint.name)), grouped(parameters), stored(&checkpoint));
    out.extend(notes.iter().map(|note| wrap(&format!("- {}", plain(note)), width(), "  ") + "\n"));
    Ok(out)
}

/// The types of a checkpoint's tensors.
fn stored(checkpoint: &Checkpoint) -> String {
    let mut types = table(&["stored as", "tensors", "values", "bytes", "%"], width());
    let total = checkpoint.bytes();
    for (name, sum) in checkpoint.by_dtype() {
        let row = [grouped(sum.tensors), grouped(sum.elements), grouped(sum.bytes), percent(sum.bytes, total, 1)];
        types.add_row([name.to_owned()].into_iter().chain(row));
    }
    let tensors = grouped(checkpoint.tensors.len() as u64);
    types.add_row(["total".to_owned(), tensors, grouped(checkpoint.parameters()), grouped(total), "100.0".to_owned()]);
    format!("\n{} ({})\n{}", plain(&checkpoint.name), checkpoint.format, lines(&types))
}

/// What a `quantization_config` makes of the weights.
fn quantized(quantized: &source::Quantized) -> String {
    let Some(weights) = quantized.weights else { return format!("\n{}\n", plain(&quantized.method)) };
    let mut rows = table(&["weights", "bytes", "%"], width());
    for (name, bytes) in [
        ("packed", weights.packed_bytes),
        ("scales", weights.scales_bytes),
        ("zero points", weights.zeros_bytes),
        ("indices", weights.indices_bytes),
        ("not quantised, 16 bits", weights.dense_bytes),
        ("total", weights.total_bytes),
    ] {
        if bytes > 0 {
            rows.add_row([name.to_owned(), grouped(bytes), percent(bytes, weights.total_bytes, 1)]);
        }
    }
    let layers = grouped(weights.quantized_layers);
    format!("\n{}, {layers} layers\n{}", plain(&quantized.method), lines(&rows))
}

fn json(output: &Output) -> Result<String, CliError> {
    super::text::json(output)
}
