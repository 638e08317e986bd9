//! Serving jobs: estimated and judged as engines divide a card.

use proptest::prelude::*;
use vramplan::job::{Job, KvCacheDtype, Precision, Runtime, Serve, Workload};
use vramplan::model::{Quantization, Source};
use vramplan::plan::{self, Quantity, Question, Room, Run, Verdict};
use vramplan::step::{Doubts, Subject};
use vramplan::{Bytes, hardware, model};

fn job(serve: Serve) -> Job {
    Job::serve("llama-3.1-8b", serve)
}

fn asked(serve: Serve, room: &Room) -> Result<plan::Fit, Box<dyn std::error::Error>> {
    Ok(Question::of(&model::resolve("llama-3.1-8b")?, &job(serve))?.fit(room))
}

/// vLLM 0.11.0 on an A100 40GB logged 19.24 GiB and 157,584 tokens for the cache (`tests/truth/engine_pools.jsonl`).
#[test]
fn the_cache_is_what_an_engine_logged() -> Result<(), Box<dyn std::error::Error>> {
    let room = Room { memory_bytes: Bytes::from_mib(40_441), ..Room::of(Bytes::from_gib(40)) };
    let fit = asked(Serve { max_model_len: Some(4096), ..Serve::default() }, &room)?;
    let cache = fit.cache.ok_or("an engine has a cache")?;
    assert_eq!(fit.verdict, Verdict::Fits);
    assert!(cache.kv_cache_tokens.abs_diff(157_584) < 1576, "{cache:?}");
    // 38 sequences of 4096 fit, 39 do not
    for (concurrency, runs) in [(36, true), (40, false)] {
        let serve = Serve { max_model_len: Some(4096), concurrency, ..Serve::default() };
        let fit = asked(serve, &room)?;
        assert_eq!(matches!(fit.run, Run::Completed { .. }), runs, "{concurrency}: {fit:?}");
    }
    Ok(())
}

#[test]
fn an_engine_is_refused_where_others_hold_its_share() -> Result<(), Box<dyn std::error::Error>> {
    let serve = Serve { max_model_len: Some(4096), ..Serve::default() };
    let busy = Room { in_use_bytes: Bytes::from_gib(8), ..Room::on(hardware::find("rtx-4090")?) };
    let fit = asked(serve.clone(), &busy)?;
    assert!(matches!(fit.run, Run::Refused { .. }) && fit.verdict == Verdict::DoesNotFit, "{fit:?}");
    assert_eq!(asked(serve, &Room { in_use_bytes: Bytes::ZERO, ..busy })?.verdict, Verdict::Fits);
    Ok(())
}

#[test]
fn large_cards_get_larger_steps() -> Result<(), Box<dyn std::error::Error>> {
    let question = Question::of(&model::resolve("llama-3.1-8b")?, &job(Serve::default()))?;
    let tokens = |room: &Room| question.fit(room).cache.map(|cache| cache.kv_cache_tokens);
    let same = Room { size: vramplan::serve::CardSize::Small, ..Room::of(Bytes::from_gib(80)) };
    assert!(tokens(&Room::of(Bytes::from_gib(80))) < tokens(&same));
    Ok(())
}

#[test]
fn the_longest_context_is_found_and_suggestions_fit() -> Result<(), Box<dyn std::error::Error>> {
    let (model, room) = (model::resolve("llama-3.1-8b")?, Room::on(hardware::find("rtx-4090")?));
    let asked = job(Serve::default());
    let solution = plan::solve(&model, &asked, &room, Quantity::Seq, 16)?;
    let (answer, next) = (solution.answer.ok_or("some fit")?, solution.next.ok_or("not all fit")?);
    assert_eq!((answer.verdict, next.value), (Verdict::Fits, answer.value + 16));
    let question = Question::of(&model, &asked)?;
    assert_eq!(question.fit(&room).verdict, Verdict::DoesNotFit);
    let suggestions = plan::suggest(&model, &question, &room);
    assert!(!suggestions.is_empty());
    for suggestion in suggestions {
        assert_eq!(Question::of(&model, &suggestion.job)?.fit(&room).verdict, Verdict::Fits, "{suggestion:?}");
    }
    Ok(())
}

#[test]
fn contradictions_name_the_field() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3.1-8b")?;
    for (table, line) in [
        (
            "max_model_len = 4096\nsequence_length = 8192",
            "serve.sequence_length = 8192: a sequence has max_model_len = 4096 tokens at most; raise that, or lower this",
        ),
        (
            "concurrency = 64\nmax_num_seqs = 32",
            "serve.concurrency = 64: the engine runs max_num_seqs = 32 at most; raise that, or lower this",
        ),
        (
            "tensor_parallel_size = 3",
            "tensor_parallel_size = 3: vLLM: \"Total number of attention heads (32) must be divisible by tensor parallel size \
             (3).\"",
        ),
        (
            "runtime_version = \"0.5.3\"",
            "serve.runtime_version = \"0.5.3\": vLLM 0.9 to 0.33 are modelled; give one of those, such as 0.22.1",
        ),
    ] {
        let job: Job = format!("model = \"llama-3.1-8b\"\n[serve]\n{table}").parse()?;
        assert_eq!(Question::of(&model, &job).err().ok_or(table)?.to_string(), line);
    }
    Ok(())
}

#[test]
fn a_job_file_is_written_as_it_is_read() -> Result<(), Box<dyn std::error::Error>> {
    let text = "model = \"llama-3.1-8b\"\n[serve]\nmax_model_len = 8192\nconcurrency = 4\nkv_cache_dtype = \"fp8\"";
    let job: Job = text.parse()?;
    assert!(matches!(&job.workload, Workload::Serve(serve) if serve.concurrency == 4));
    assert_eq!(serde_json::to_string(&job)?.parse::<Job>()?, job);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn more_never_takes_less(length in 16_u64..8192, concurrency in 1_u64..64, more in 1_u64..64) {
        let model = model::resolve("llama-3.1-8b").expect("a card");
        let reserved = |concurrency, length| {
            let serve = Serve { max_model_len: Some(length), concurrency, ..Serve::default() };
            Question::of(&model, &job(serve)).expect("modelled").estimate().peak.reserved_bytes
        };
        let before = reserved(concurrency, length);
        prop_assert!(reserved(concurrency + more, length) >= before);
        prop_assert!(reserved(concurrency, length + more) >= before);
    }
}

/// What is missing on one GPU is there on two, each with a little more than half.
#[test]
fn several_gpus_are_judged_one_by_one() -> Result<(), Box<dyn std::error::Error>> {
    let room = Room::on(hardware::find("rtx-4090")?);
    let model = model::resolve("qwen2.5-14b")?;
    let on = |serve: Serve| -> Result<plan::Judged, Box<dyn std::error::Error>> {
        let serve = Serve { max_model_len: Some(32_768), ..serve };
        Ok(plan::Judged::new(&Question::of(&model, &Job::serve("qwen2.5-14b", serve))?, &room))
    };
    let [one, two, four, stages] = [(1, 1), (2, 1), (4, 1), (1, 2)].map(|(tensor, pipeline)| {
        on(Serve { tensor_parallel_size: tensor, pipeline_parallel_size: pipeline, ..Serve::default() })
    });
    let (one, two, four, stages) = (one?, two?, four?, stages?);
    assert_eq!([&one, &two, &four, &stages].map(|judged| judged.gpu_count), [1, 2, 4, 2]);
    assert_eq!(
        (one.fit.verdict, two.fit.verdict, four.fit.verdict),
        (Verdict::DoesNotFit, Verdict::Fits, Verdict::Fits)
    );
    let error = one.fit.cache.and_then(|cache| cache.error).ok_or("28 GiB of weights on 24")?;
    assert!(error.starts_with("No available memory for the cache blocks."), "{error}");
    for (judged, gpus) in [(&two, 2), (&four, 4), (&stages, 2)] {
        let each = judged.peak.allocated_bytes.0;
        assert!(each < one.peak.allocated_bytes.0 && each * gpus >= one.peak.allocated_bytes.0, "{judged:?}");
    }
    // no log is of stages
    assert!(two.basis.validated && !stages.basis.validated);
    assert!(two.fit.margin.under_bytes < stages.fit.margin.under_bytes);
    Ok(())
}

/// vLLM logged 9.3795 GiB for Qwen2.5 14B in AWQ (`tests/truth/engine_pools.jsonl`), and 27.6 GiB in 16 bits.
#[test]
fn weights_are_held_as_files_store_them() -> Result<(), Box<dyn std::error::Error>> {
    let card = model::resolve("qwen2.5-14b")?;
    let config = serde_json::json!({"quant_method": "awq", "bits": 4, "group_size": 128});
    let mut source = Source::find("qwen2.5-14b")?;
    source.quantization = Some(Quantization::from_config(&config)?);
    let doubts = Doubts::default();
    let job = Job::serve("qwen2.5-14b", Serve { max_model_len: Some(8192), ..Serve::default() });
    let stored = Question::of(Subject::stored(&source, &doubts), &job)?;
    let weights = stored.serving().ok_or("an engine")?.weights_bytes.gib();
    assert!((weights - 9.3795).abs() < 0.094, "{weights}");
    assert!(!stored.estimate().basis.validated);
    let plain = Question::of(&card, &job)?;
    assert!((plain.serving().ok_or("an engine")?.weights_bytes.gib() - 27.5916).abs() < 0.276);
    let int4 = Job::serve("qwen2.5-14b", Serve { precision: Precision::Int4, ..Serve::default() });
    let int4 = Question::of(&card, &int4)?.serving().ok_or("an engine")?.weights_bytes.gib();
    assert!((int4 - weights).abs() < 0.5, "{int4}");
    Ok(())
}

/// `gpu_memory_utilization` is 0.92 from 0.20 on, and what CUDA graphs take is counted in it.
#[test]
fn a_version_has_its_defaults() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3.1-8b")?;
    let at = |version: &str| Serve { runtime_version: Some(version.to_owned()), ..Serve::default() };
    let (old, new) = (Question::of(&model, &job(at("0.11.0")))?, Question::of(&model, &job(at("0.22.1")))?);
    let (old, new) = (old.serving().ok_or("old")?.clone(), new.serving().ok_or("new")?.clone());
    assert_eq!((old.share, new.share), (Some(0.9), Some(0.92)));
    assert!(old.beside_bytes > Bytes::ZERO && new.beside_bytes == Bytes::ZERO);
    assert!(old.validated && !new.validated && new.margin_bytes > old.margin_bytes);
    Ok(())
}

#[test]
fn cards_without_a_type_are_told_of() -> Result<(), Box<dyn std::error::Error>> {
    let serve = Serve { max_model_len: Some(4096), kv_cache_dtype: KvCacheDtype::Fp8, ..Serve::default() };
    let notes = |gpu: &str| -> Result<String, Box<dyn std::error::Error>> {
        Ok(asked(serve.clone(), &Room::on(hardware::find(gpu)?))?.notes.join("\n"))
    };
    assert!(notes("rtx-3090")?.contains("fp8e4nv not supported in this architecture"));
    assert!(notes("t4")?.contains("Falling back to torch.float16"));
    assert_eq!(notes("rtx-4090")?, "");
    Ok(())
}

/// What is documented: SGLang's share is of what is free before loading, TensorRT-LLM's of what the model leaves free for the
/// cache alone, TGI's of the card, a tenth of which it keeps.
#[test]
fn other_engines_divide_a_card_as_their_knob_is_documented() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3.1-8b")?;
    let room = Room::on(hardware::find("h100-sxm5-80gb")?);
    let fit = |runtime, gpu_memory_utilization| {
        let serve = Serve { runtime, gpu_memory_utilization, max_model_len: Some(8192), ..Serve::default() };
        Ok::<_, Box<dyn std::error::Error>>(Question::of(&model, &job(serve))?.fit(&room))
    };
    let (usable, free) = (room.usable(), room.usable().saturating_sub(room.context_bytes));
    assert_eq!(fit(Runtime::Sglang, Some(0.5))?.capacity_bytes, free.share(0.5));
    assert_eq!(fit(Runtime::Tgi, None)?.capacity_bytes, free.saturating_sub(usable.saturating_sub(usable.share(0.9))));
    let half = fit(Runtime::TensorRtLlm, Some(0.5))?.cache.ok_or("a cache")?.kv_cache_bytes;
    let whole = fit(Runtime::TensorRtLlm, Some(1.0))?.cache.ok_or("a cache")?.kv_cache_bytes;
    assert!(whole.abs_diff(2 * half) < 4, "{half} {whole}");
    for runtime in [Runtime::Sglang, Runtime::Tgi, Runtime::TensorRtLlm] {
        let question = Question::of(&model, &job(Serve { runtime, max_model_len: Some(8192), ..Serve::default() }))?;
        assert!(!question.estimate().basis.validated);
        let windows = Job::serve("gemma-3-27b", Serve { runtime, ..Serve::default() });
        assert!(Question::of(&model::resolve("gemma-3-27b")?, &windows).is_err(), "{runtime}");
    }
    Ok(())
}
