//! GPUs to serve a model on, and the rates they are ranked by.

use proptest::prelude::*;
use vramplan::hardware::{self, Gpu, Prices};
use vramplan::job::{KvCacheDtype, Serve};
use vramplan::plan::{self, Bound, Constraints, Goal, Question, Room, ServingRate, Verdict};
use vramplan::{model, serve};

type Failure = Box<dyn std::error::Error>;

fn rate(name: &str, job: &Serve, gpu: &Gpu) -> Result<ServingRate, Failure> {
    let model = model::resolve(name)?;
    let serving = serve::serving(&model, None, job, Room::on(gpu).size)?;
    Ok(plan::serving_rate(&model, job, &serving, gpu).ok_or("no rate")?)
}

fn job(max_model_len: u64, concurrency: u64) -> Serve {
    Serve { max_model_len: Some(max_model_len), concurrency, ..Serve::default() }
}

#[test]
fn every_plan_that_is_given_fits_its_gpus() -> Result<(), Failure> {
    let model = model::resolve("llama-3.1-8b")?;
    for goal in [Goal::Cost, Goal::Price, Goal::Speed, Goal::Headroom] {
        let constraints = Constraints {
            goal,
            gpus: hardware::by_memory().to_vec(),
            prices: Prices::builtin(),
            most_per_hour: Some(4.0),
            most_plans: 6,
        };
        let searched = plan::search_serving(&model, &job(8192, 16), &constraints)?;
        assert!(!searched.plans.is_empty());
        for found in &searched.plans {
            let fit = Question::of(&model, &found.job)?.fit(&Room::on(hardware::find(&found.gpu)?));
            assert_eq!(fit.verdict, Verdict::Fits, "{found:?}");
            assert!(found.usd_per_hour().is_some_and(|hour| hour <= 4.0), "{found:?}");
            let cache = fit.cache.ok_or("an engine has a cache")?;
            assert!(cache.kv_cache_tokens * found.gpu_count >= 16 * 8192, "{found:?} {cache:?}");
        }
        let figure = |plan: &plan::Plan| match goal {
            Goal::Cost => plan.usd_per_million_tokens,
            Goal::Price => plan.usd_per_hour(),
            Goal::Speed => plan.tokens_per_second.map(|rate| -rate),
            Goal::Headroom => None,
        };
        let figures: Vec<f64> = searched.plans.iter().filter_map(figure).collect();
        // two digits decide
        assert!(figures.is_sorted_by(|a, b| *a <= b + b.abs() / 10.0), "{figures:?}");
    }
    Ok(())
}

/// Llama 3.1 8B has 8,030,261,248 parameters (its model card), 525,336,576 of them rows of a table that is looked up in: a
/// token of one short sequence reads the others, 2 bytes each, and an L4 reads 300 GB/s (its data sheet).
#[test]
fn a_token_of_one_sequence_reads_every_weight_once() -> Result<(), Failure> {
    let read = 2.0 * (8_030_261_248.0 - 525_336_576.0);
    let one = rate("llama-3.1-8b", &Serve { sequence_length: Some(1), ..job(8192, 1) }, hardware::find("l4")?)?;
    assert_eq!(one.decode_bound, Bound::Memory);
    assert!((one.milliseconds_per_token / (read / 300e9 * 1e3) - 1.0).abs() < 0.01, "{one:?}");
    Ok(())
}

/// Qwen3 30B A3B is 30.5 billion parameters of which 3.3 are active (its model card): a token reads a tenth of the weights,
/// 64 sequences nearly all of them.
#[test]
fn experts_that_nobody_is_sent_to_are_not_read() -> Result<(), Failure> {
    let gpu = hardware::find("h200")?;
    let bandwidth = gpu.memory_bandwidth_gb_s.ok_or("known")? * 1e6;
    let short = |concurrency| Serve { sequence_length: Some(1), ..job(8192, concurrency) };
    let read = |rate: ServingRate| rate.milliseconds_per_token * bandwidth / 2e9;
    let one = read(rate("qwen3-30b-a3b", &short(1), gpu)?);
    assert!((3.0..3.4).contains(&one), "{one} billion parameters");
    let many = read(rate("qwen3-30b-a3b", &short(64), gpu)?);
    assert!((29.0..30.5).contains(&many), "{many} billion parameters");
    Ok(())
}

#[test]
fn prompts_are_read_as_fast_as_the_card_multiplies() -> Result<(), Failure> {
    let gpu = hardware::find("h100-sxm5-80gb")?;
    let rate = rate("llama-3.1-8b", &job(8192, 1), gpu)?;
    let tensor_rate = gpu.bf16_dense_tflops.ok_or("known")? * 1e12;
    let without_attention = tensor_rate / (2.0 * (8_030_261_248.0 - 525_336_576.0));
    let share = rate.prefill_tokens_per_second / without_attention;
    assert!((0.8..1.0).contains(&share), "{rate:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn more_sequences_are_more_tokens_and_none_of_them_sooner(
        length in 64_u64..8192, concurrency in 1_u64..200, longer in 0_u64..4096, more in 0_u64..200,
    ) {
        let gpu = hardware::find("a100-80g").expect("a GPU");
        let of = |length, concurrency, kv_cache_dtype| {
            let job = Serve { sequence_length: Some(length), kv_cache_dtype, ..job(16_384, concurrency) };
            rate("llama-3.1-8b", &job, gpu).expect("a rate")
        };
        let auto = KvCacheDtype::Auto;
        let one = of(length, concurrency, auto);
        let crowded = of(length, concurrency + more, auto);
        prop_assert!(crowded.decode_tokens_per_second >= one.decode_tokens_per_second * 0.999_999);
        prop_assert!(crowded.milliseconds_per_token >= one.milliseconds_per_token);
        prop_assert!(of(length + longer, concurrency, auto).milliseconds_per_token >= one.milliseconds_per_token);
        prop_assert!(of(length, concurrency, KvCacheDtype::Fp8).milliseconds_per_token <= one.milliseconds_per_token);
    }
}
