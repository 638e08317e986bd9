//! What a model's files say beside its configuration, and what follows for a job.

use schemars::JsonSchema;
use serde::Serialize;

use super::backend;
use super::error::CliError;
use crate::job::{Job, Precision, Workload};
use crate::model::{Checkpoint, QuantMethod, Quantization, Source, TypeTotal};
use crate::step::{self, Doubts, StoredWeights};
use crate::units::Bytes;

/// What is shown of a checkpoint.
#[derive(Serialize, JsonSchema)]
pub(super) struct Stored {
    format: &'static str,
    tensors: usize,
    parameters: u64,
    bytes: u64,
    by_dtype: std::collections::BTreeMap<&'static str, TypeTotal>,
}

impl From<&Checkpoint> for Stored {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            format: checkpoint.format,
            tensors: checkpoint.tensors.len(),
            parameters: checkpoint.parameters(),
            bytes: checkpoint.bytes(),
            by_dtype: checkpoint.by_dtype(),
        }
    }
}

/// What is shown of a `quantization_config`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Quantized {
    pub(super) method: String,
    #[serde(flatten)]
    pub(super) weights: Option<StoredWeights>,
}

impl Quantized {
    /// And why its bytes cannot be told, where they cannot.
    pub(super) fn of(source: &Source) -> Option<(Self, Option<String>)> {
        let quantization = source.quantization.as_ref()?;
        let (weights, why) = match step::stored_weights(&source.model, quantization) {
            Ok(weights) => (Some(weights), None),
            Err(why) => (None, Some(why)),
        };
        Some((Self { method: quantization.name(), weights }, why))
    }
}

/// How a checkpoint and the configuration beside it differ, where they do.
pub(super) fn disagreement(source: &Source) -> Result<Option<String>, CliError> {
    let Some(checkpoint) = &source.checkpoint else { return Ok(None) };
    if let Some(quantization) = &source.quantization {
        let Ok(weights) = step::stored_weights(&source.model, quantization) else { return Ok(None) };
        let (described, found) = (weights.total_bytes, checkpoint.bytes());
        // buffers, and tables that checkpoints keep otherwise
        let close = described.abs_diff(found) <= described / 100;
        return Ok((!close).then(|| {
            format!(
                "{} holds {} and its config.json with quantization_config describes {}",
                checkpoint.name,
                Bytes(found),
                Bytes(described)
            )
        }));
    }
    if !checkpoint.is_unpacked() {
        return Ok(Some(format!(
            "{} holds types that are not floats, and the config.json has no quantization_config to say how they are packed",
            checkpoint.name
        )));
    }
    let described = backend::count_parameters(&source.model, None)?.total;
    let tables = checkpoint.tensors.iter().filter(|tensor| tensor.name.starts_with("rope_"));
    let found = checkpoint.parameters() - tables.map(|tensor| tensor.elements).sum::<u64>();
    // a tied head may be stored all the same
    let head = source.model.vocab_size().saturating_mul(source.model.hidden_size());
    let agrees = found == described || described.checked_add(head) == Some(found);
    Ok((!agrees)
        .then(|| format!("{} holds {found} parameters and the configuration describes {described}", checkpoint.name)))
}

/// What a model's files leave open of a job, whose precision becomes the checkpoint's where it does not say one itself.
///
/// # Errors
/// The checkpoint's weights are stored in a way whose run is not modelled, and the job names no other.
pub(super) fn doubts(source: &Source, job: &mut Job, precision_given: bool) -> Result<Doubts, CliError> {
    let mut doubts = Doubts { notes: source.notes.clone(), doubtful: false };
    if let Some(quantization) = &source.quantization {
        quantized(&mut doubts, source, quantization, job, precision_given)?;
    }
    if let Some(difference) = disagreement(source)? {
        doubts.notes.push(format!("{difference}: the estimate follows the configuration"));
        doubts.doubtful = true;
    }
    let precision = job.workload.precision();
    if let Some(checkpoint) = source.checkpoint.as_ref().filter(|checkpoint| checkpoint.format == "GGUF") {
        let types: Vec<&str> = checkpoint.by_dtype().into_keys().collect();
        doubts.notes.push(format!(
                "the file's {} ({}) are not estimated as they are: weights are taken to be {precision}, unpacked when loaded, \
                 as transformers does where it has no kernel for them; llama.cpp is not modelled",
                Bytes(checkpoint.bytes()),
                types.join(", ")
            ));
        doubts.doubtful = true;
    } else if let Some(checkpoint) = &source.checkpoint
        && source.quantization.is_none()
        && !precision_given
    {
        let largest = checkpoint.by_dtype().into_iter().max_by_key(|(_, total)| total.bytes);
        if let Some((name, _)) =
            largest.filter(|(name, _)| name.to_lowercase() != precision.to_string().replace("fp", "f"))
        {
            doubts.notes.push(format!(
                "the checkpoint is mostly {name}, and weights are taken to be {precision}; --precision says otherwise"
            ));
        }
    }
    Ok(doubts)
}

/// What a checkpoint's quantisation leaves open.
fn quantized(
    doubts: &mut Doubts,
    source: &Source,
    quantization: &Quantization,
    job: &mut Job,
    precision_given: bool,
) -> Result<(), CliError> {
    let name = quantization.name();
    if let (Workload::Serve(_), false) = (&job.workload, precision_given) {
        doubts.notes.push(format!("weights are held as the checkpoint stores them: {name}"));
        return Ok(());
    }
    if precision_given {
        let precision = job.workload.precision();
        doubts.notes.push(format!("the checkpoint is stored as {name}; the job's {precision} is estimated instead"));
        return Ok(());
    }
    match &quantization.method {
        QuantMethod::Bnb4bit { nf4, double_quant } => {
            *job.workload.precision_mut() = if *nf4 { Precision::Nf4 } else { Precision::Fp4 };
            job.workload.set_double_quant(*double_quant);
        }
        QuantMethod::Bnb8bit => *job.workload.precision_mut() = Precision::Int8,
        QuantMethod::Fp8 { .. } | QuantMethod::Mxfp4 | QuantMethod::CompressedTensors(_) => {
            let precision = job.workload.precision();
            let stored = step::stored_weights(&source.model, quantization).ok();
            let stored = stored.map_or_else(String::new, |weights| format!(" ({})", Bytes(weights.total_bytes)));
            doubts.notes.push(format!(
                "the checkpoint is stored as {name}{stored}; its weights are taken to be unpacked to {precision}, as \
                     transformers does where it has no kernels for them. With such kernels weights take less"
            ));
            doubts.doubtful = true;
            return Ok(());
        }
        _ => {
            return Err(CliError::Usage(format!(
                "{}: its weights are stored as {name}, and how such layers run is not modelled; `vramplan params` says \
                     what the weights take, and --precision (nf4, int8, bf16 ...) estimates the model in that precision",
                source.model.name()
            )));
        }
    }
    if quantization.not_converted.iter().any(|pattern| pattern != "lm_head") {
        doubts.notes.push(format!(
            "the checkpoint leaves more than the head unquantised ({}); the estimate does not",
            quantization.not_converted.join(", ")
        ));
        doubts.doubtful = true;
    }
    Ok(())
}
