//! Searching for GPUs to serve a model on.

use super::frontier::frontier;
use super::offer::per_million;
use super::serving_rate::{Work, rate_of};
use super::{Constraints, Offer, Plan, Searched};
use crate::hardware::Gpu;
use crate::job::{Job, KvCacheDtype, Serve, Workload};
use crate::plan::fit::Question;
use crate::plan::room::Room;
use crate::serve::Serving;
use crate::step::EstimateError;
use crate::step::Subject;

/// GPUs of one machine that share each layer, where the job does not say how many.
const TENSOR_PARALLEL: [u64; 4] = [1, 2, 4, 8];

/// Searches the GPUs that `serve`'s engine can serve its sequences from, one or several that share each layer (as many as the
/// job says where it says so).
///
/// Rates are those of the sequences that are asked for, not of as many as a card would hold. What is best is then judged as
/// [`Question::fit`](crate::plan::Question::fit) does.
///
/// # Errors
/// The engine is not modelled for the model at all.
///
/// ```
/// use vramplan::{hardware::{self, Prices}, job::Serve, model};
/// use vramplan::plan::{self, Constraints, Goal};
///
/// let constraints = Constraints {
///     goal: Goal::Cost,
///     gpus: vec![hardware::find("l4")?, hardware::find("a100-40g")?, hardware::find("h100")?],
///     prices: Prices::builtin(),
///     most_per_hour: None,
///     most_plans: 4,
/// };
/// let job = Serve { max_model_len: Some(8192), concurrency: 16, ..Serve::default() };
/// let searched = plan::search_serving(&model::resolve("llama-3.1-8b")?, &job, &constraints)?;
/// // 15 GiB of weights and 16 of cache
/// assert!(searched.plans.iter().all(|plan| plan.gpu != "l4" || plan.gpu_count > 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn search_serving<'a>(
    subject: impl Into<Subject<'a>>,
    serve: &Serve,
    constraints: &Constraints<'_>,
) -> Result<Searched, EstimateError> {
    let subject = subject.into();
    let sizes = if serve.tensor_parallel_size == 1 { &TENSOR_PARALLEL[..] } else { &[serve.tensor_parallel_size] };
    let work = Work::of(subject.model);
    let (mut plausible, mut errors, mut jobs_run) = (Vec::new(), Vec::new(), 0);
    for (effort, tensor_parallel_size) in (0..).zip(sizes.iter().copied()) {
        let divided = Serve { tensor_parallel_size, ..serve.clone() };
        let job = Job::serve(subject.model.name(), divided);
        let question = match Question::of(subject, &job) {
            Ok(question) => question,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        jobs_run += 1;
        for gpu in &constraints.gpus {
            plausible.extend(plan(subject, work.as_ref(), &question, gpu, constraints, effort));
        }
    }
    if jobs_run == 0
        && let Some(error) = errors.first()
    {
        return Err(error.clone());
    }
    let candidates = sizes.len() * constraints.gpus.len();
    let (not_estimated, reason) = (errors.len(), errors.first().map(ToString::to_string));
    let plausible_count = plausible.len();
    let plans = frontier(subject, plausible, constraints);
    Ok(Searched { candidates, plausible: plausible_count, jobs_run, not_estimated, reason, plans })
}

/// The job on such cards, where they are paid for and what it holds leaves room.
#[expect(clippy::cast_precision_loss, reason = "a machine has few GPUs")]
fn plan(
    subject: Subject<'_>,
    work: Option<&Work>,
    question: &Question,
    gpu: &Gpu,
    constraints: &Constraints<'_>,
    effort: u32,
) -> Option<Plan> {
    let Workload::Serve(serve) = &question.job().workload else { return None };
    let room = Room::on(gpu);
    let serving: &Serving = question.serving_on(&room)?;
    let price = Offer::cheapest(constraints.prices, gpu, serving.gpu_count);
    let gpus = serving.gpu_count as f64;
    let fp8 = serve.kv_cache_dtype == KvCacheDtype::Fp8 && gpu.compute_capability().is_none_or(|known| known < (8, 9));
    if fp8 || Offer::is_too_dear(price.as_ref(), gpus, constraints.most_per_hour) {
        return None;
    }
    let fit = question.fit(&room);
    if fit.headroom_bytes < 0 {
        return None;
    }
    let rate = work.and_then(|work| rate_of(work, subject.model, serve, serving, gpu));
    let hour = price.as_ref().map(|offer| offer.usd_per_gpu_hour * gpus);
    let cost = |tokens: Option<f64>| hour.and_then(|hour| per_million(hour, tokens));
    let generated = rate.map(|rate| rate.decode_tokens_per_second);
    Some(Plan {
        quality: None,
        gpu: gpu.slug.clone(),
        gpu_count: serving.gpu_count,
        flags: flags(serve, serving),
        device_bytes: fit.device_bytes,
        headroom_bytes: fit.headroom_bytes,
        tokens_per_second: generated,
        usd_per_million_tokens: cost(generated),
        usd_per_million_prompt_tokens: cost(rate.map(|rate| rate.prefill_tokens_per_second)),
        serving: rate,
        price,
        validated: false,
        job: question.job().clone(),
        effort,
    })
}

fn flags(serve: &Serve, serving: &Serving) -> String {
    let mut flags = format!("--serve --max-model-len {} --concurrency {}", serving.max_model_len, serving.concurrency);
    let several = |count: u64| (count > 1).then(|| count.to_string());
    let on = |switch: bool| switch.then(String::new);
    for (flag, value) in [
        ("runtime-version", serve.runtime_version.clone()),
        ("tensor-parallel-size", several(serve.tensor_parallel_size)),
        ("pipeline-parallel-size", several(serve.pipeline_parallel_size)),
        ("enable-expert-parallel", on(serve.enable_expert_parallel)),
        ("enforce-eager", on(serve.enforce_eager)),
        ("kv-cache-dtype", (serve.kv_cache_dtype != KvCacheDtype::Auto).then(|| serve.kv_cache_dtype.to_string())),
        ("gpu-memory-utilization", serve.gpu_memory_utilization.map(|share| share.to_string())),
    ] {
        if let Some(value) = value {
            flags.push_str(format!(" --{flag} {value}").trim_end());
        }
    }
    flags
}
