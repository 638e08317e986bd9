//! Ways of storing a model's weights and its cache for inference and serving.

use super::{Comparison, choice};
use crate::job::{FloatType, KvCacheDtype, Precision, Workload};
use crate::step::Subject;
use crate::step::{self, EstimateError};

const HALF: &str = "as most checkpoints are published";
const EIGHT: &str = "half the weights; little is lost";
const FOUR: &str = "a quarter of the weights; measure what your task loses";
const HALF_FP8: &str = "twice the tokens in the cache; needs compute capability 8.9";
const EIGHT_FP8: &str = "both halved";
const FOUR_FP8: &str = "the most sequences for a card's memory";

/// Lays ways of storing `model` side by side, for inference or serving: weights in 16, 8 and 4 bits, and where an engine
/// serves each with the cache in 8 bits too. The rest of `workload` stays as it is.
///
/// # Errors
/// The model's parameters cannot be counted. A way that cannot be estimated says why in its row.
///
/// ```
/// use vramplan::{job::{Serve, Workload}, model, plan};
///
/// let serve = Serve { max_model_len: Some(8192), concurrency: 4, ..Serve::default() };
/// let comparison = plan::compare_storage(&model::resolve("llama-3.1-8b")?, &Workload::Serve(serve))?;
/// let cache = |i: usize| comparison.methods[i].takes.as_ref().map(|takes| takes.kv_cache_bytes.0);
/// // 4 sequences of 8192 tokens, 128 KiB each
/// assert_eq!(comparison.methods[0].name, "bf16");
/// assert_eq!([cache(0), cache(1)], [Some(4 << 30), Some(2 << 30)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare_storage<'a>(subject: impl Into<Subject<'a>>, workload: &Workload) -> Result<Comparison, EstimateError> {
    let Subject { model, doubts, .. } = subject.into();
    // how its files have it is one of the ways
    let subject = Subject::doubted(model, doubts);
    let parameters = step::count_parameters(model, None)?.total;
    let with = |precision, kv_cache_dtype| {
        let mut workload = workload.clone();
        *workload.precision_mut() = precision;
        if let (Workload::Serve(serve), Some(dtype)) = (&mut workload, kv_cache_dtype) {
            serve.kv_cache_dtype = dtype;
        }
        workload
    };
    let half = match workload.precision().float() {
        Some(FloatType::Fp16) => Precision::Fp16,
        _ => Precision::Bf16,
    };
    let fp8 = Some(KvCacheDtype::Fp8);
    let ways = match workload {
        Workload::Serve(_) => vec![
            (half.name(), HALF, with(half, Some(KvCacheDtype::Auto))),
            (with_fp8(half), HALF_FP8, with(half, fp8)),
            ("int8", EIGHT, with(Precision::Int8, Some(KvCacheDtype::Auto))),
            ("int8, fp8 cache", EIGHT_FP8, with(Precision::Int8, fp8)),
            ("int4", FOUR, with(Precision::Int4, Some(KvCacheDtype::Auto))),
            ("int4, fp8 cache", FOUR_FP8, with(Precision::Int4, fp8)),
        ],
        _ => vec![
            (half.name(), HALF, with(half, None)),
            ("int8", EIGHT, with(Precision::Int8, None)),
            ("nf4", FOUR, with(Precision::Nf4, None)),
        ],
    };
    let methods = ways.into_iter().map(|(name, when, workload)| choice(subject, name, when, workload)).collect();
    Ok(Comparison { schema: "vramplan.compare/1", model: model.name().to_owned(), parameters, methods })
}

const fn with_fp8(half: Precision) -> &'static str {
    if matches!(half, Precision::Fp16) { "fp16, fp8 cache" } else { "bf16, fp8 cache" }
}
