//! Serving jobs: estimated and judged as engines divide a card.

use proptest::prelude::*;
use vramplan::job::{Job, Serve, Workload};
use vramplan::plan::{self, Quantity, Question, Room, Run, Verdict};
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
