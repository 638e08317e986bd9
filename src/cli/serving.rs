//! Serving jobs from flags and `vllm serve` lines, and the line that says the same.

use std::path::Path;

use super::args::job::{CommonFlags, InferFlags, JobArgs, TrainFlags};
use super::args::serving::ServeFlags;
use super::asked::text_of;
use super::error::CliError;
use super::layer::{first, set};
use crate::job::{Job, JobFile, ModelRef, Precision, Runtime, Serve, Workload};
use crate::model;
use crate::serve::ServeLine;

/// More than a shell takes.
const LONGEST_LINE: u64 = 128 << 10;

/// `serve` with the flags that were given.
pub(super) fn job(args: &JobArgs, mut serve: Serve) -> Result<Serve, CliError> {
    let InferFlags { kv_cache_dtype, .. } = args.infer;
    let inference = InferFlags { kv_cache_dtype: None, ..args.infer.clone() };
    let training = TrainFlags { tensor_parallel_size: None, ..args.train.clone() };
    if let Some(flag) = training.first().or(args.peft.first()).or(inference.first()) {
        return Err(CliError::Usage(format!("{flag}: serving has it not; remove it, or --serve and its flags")));
    }
    let CommonFlags { precision, double_quant, compute_dtype, attn_implementation, batch } = args.common;
    if let Some(flag) = first(&[
        (double_quant.is_some(), "--double-quant"),
        (attn_implementation.is_some(), "--attn-implementation"),
        (batch.is_some(), "--batch-size"),
    ]) {
        return Err(CliError::Usage(format!("{flag}: serving has it not; --concurrency says how many sequences")));
    }
    let ServeFlags {
        serve: _,
        runtime,
        ref runtime_version,
        pipeline_parallel_size,
        enable_expert_parallel,
        enforce_eager,
        max_model_len,
        concurrency,
        sequence_length,
        gpu_memory_utilization,
        max_num_seqs,
        max_num_batched_tokens,
        block_size,
    } = args.serve;
    set(&mut serve.runtime, runtime);
    set(&mut serve.runtime_version, runtime_version.clone().map(Some));
    set(&mut serve.tensor_parallel_size, args.train.tensor_parallel_size);
    set(&mut serve.pipeline_parallel_size, pipeline_parallel_size);
    serve.enable_expert_parallel |= enable_expert_parallel;
    serve.enforce_eager |= enforce_eager;
    set(&mut serve.precision, precision);
    set(&mut serve.compute_dtype, compute_dtype);
    set(&mut serve.kv_cache_dtype, kv_cache_dtype);
    set(&mut serve.max_model_len, max_model_len.map(Some));
    set(&mut serve.concurrency, concurrency);
    set(&mut serve.sequence_length, sequence_length.map(Some));
    set(&mut serve.gpu_memory_utilization, gpu_memory_utilization.map(Some));
    set(&mut serve.max_num_seqs, max_num_seqs.map(Some));
    set(&mut serve.max_num_batched_tokens, max_num_batched_tokens.map(Some));
    set(&mut serve.block_size, block_size.map(Some));
    Ok(serve)
}

/// The job of a `vllm serve` line, given itself or as a file, and what of it is not modelled.
pub(super) fn read(given: &str) -> Result<(JobFile, Vec<String>), CliError> {
    let path = Path::new(given);
    let is_file = given == "-" || path.is_file();
    let text = if is_file { text_of(path, LONGEST_LINE, "a vllm serve line")? } else { given.to_owned() };
    let line = ServeLine::parse(&text)?;
    let file =
        JobFile { model: Some(ModelRef::Named(line.model.clone())), serve: Some(line.serve()), ..JobFile::default() };
    Ok((file, line.notes))
}

/// The `vllm serve` line of a job, where vLLM is to serve it and a line can say how weights are stored.
pub(super) fn line(job: &Job) -> Option<String> {
    let (Workload::Serve(serve), ModelRef::Named(name)) = (&job.workload, &job.model) else { return None };
    let sayable = !matches!(serve.precision, Precision::Int8 | Precision::Int4);
    (serve.runtime == Runtime::Vllm && sayable).then(|| ServeLine::of(&on_the_hub(name), serve).to_string())
}

/// A known model's Hub id, which vLLM looks for.
fn on_the_hub(name: &str) -> String {
    let card = model::cards().into_iter().find(|card| card.name == name);
    card.and_then(|card| card.aliases.into_iter().find(|alias| alias.contains('/'))).unwrap_or_else(|| name.to_owned())
}
