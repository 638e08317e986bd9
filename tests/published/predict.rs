//! What is predicted for a row.

use serde_json::{Value, json};
use vramplan::job::{Job, Peft, Workload};
use vramplan::model::{self, Source};
use vramplan::step::{Estimate, estimate, stored_weights};

use crate::operation;
use crate::row::Row;

/// The bytes that `row.figure` names.
pub(crate) fn predicted(row: &Row) -> Result<u64, String> {
    if let Some(operation) = &row.operation {
        return operation::peak(operation);
    }
    let source = source(row)?;
    let of = |job: &Job| estimate(&source.model, job).map_err(|e| e.to_string());
    let estimate = || of(&job(row)?);
    let last_token = || of(&at_the_last_token(job(row)?)).and_then(|estimate| phase(&estimate, "decode"));
    let stored = || {
        let quantization = source.quantization.as_ref().ok_or("no quantization_config")?;
        stored_weights(&source.model, quantization).map(|stored| stored.total_bytes)
    };
    match row.figure.as_str() {
        "peak_of_generate" => Ok(of(&one_token(job(row)?))?.peak.allocated_bytes.0.max(last_token()?.0)),
        "weights" => estimate().map(|estimate| estimate.held.weights.0),
        "decode_peak" => Ok(last_token()?.0),
        "backward_end" => phase(&estimate()?, "backward").map(|phase| phase.1),
        "kv_cache" => Ok(of(&at_the_last_token(job(row)?))?.at_peak.kv_cache.0),
        "stored_weights" => stored(),
        "stored_weights_and_kv_cache" => Ok(stored()? + of(&at_the_last_token(job(row)?))?.at_peak.kv_cache.0),
        other => Err(format!("figure `{other}`")),
    }
}

/// The job, decoding one token: prefill takes the same, and thousands of tokens need not be run.
fn one_token(mut job: Job) -> Job {
    if let Workload::Infer(infer) = &mut job.workload {
        infer.max_new_tokens = 1;
    }
    job
}

/// The job's last token: that of a prompt as long as all before it.
fn at_the_last_token(mut job: Job) -> Job {
    if let Workload::Infer(infer) = &mut job.workload {
        infer.prompt_length += infer.max_new_tokens - 1;
        infer.max_new_tokens = 1;
        infer.logits_to_keep = 1;
    }
    job
}

/// A phase's peak and end.
fn phase(estimate: &Estimate, name: &str) -> Result<(u64, u64), String> {
    let phase = estimate.phases.iter().rfind(|phase| phase.name == name).ok_or_else(|| format!("no {name}"))?;
    Ok((phase.peak_bytes.0, phase.end_bytes.0))
}

fn source(row: &Row) -> Result<Source, String> {
    let mut config = match &row.model {
        Value::String(name) => model::card(name).ok_or_else(|| format!("no card `{name}`"))?.config,
        config => config.clone(),
    };
    if let Some(quantization) = &row.quantization_config {
        config["quantization_config"] = quantization.clone();
    }
    Source::from_config(&row.id, &config).map_err(|e| e.to_string())
}

fn job(row: &Row) -> Result<Job, String> {
    let mut table = row.job.clone();
    // the estimate is of the model itself, so that a name is enough
    table["model"] = json!("7b");
    let mut job: Job = table.to_string().parse().map_err(|e: vramplan::job::JobError| e.to_string())?;
    if let (Some(adapter), Workload::Train(train)) = (&row.adapter, &mut job.workload) {
        train.peft = Some(Peft::from_adapter_config(adapter).map_err(|e| e.to_string())?);
    }
    Ok(job)
}
