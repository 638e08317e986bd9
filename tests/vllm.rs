//! How vLLM divides a card, held against the logs of engines whose card and flags are known.

use serde::Deserialize;
use vramplan::serve::{Division, VllmRequest, vllm};
use vramplan::{Bytes, model};

/// What an engine logged.
#[derive(Deserialize)]
struct Logged {
    model: String,
    total_mib: u64,
    is_a100: bool,
    max_num_seqs: Option<u64>,
    max_model_len: u64,
    /// "Model loading took", GiB; where weights are quantised the reckoning starts from it.
    model_load_gib: f64,
    quantised: bool,
    /// "Available KV cache memory", GiB
    kv_gib: f64,
    kv_tokens: u64,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
fn bytes(gib: f64) -> Bytes {
    Bytes((gib * f64::from(1 << 30)) as u64)
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn weights_and_tokens_are_those_of_logs() -> Result<(), Box<dyn std::error::Error>> {
    let mut errors = Vec::new();
    for line in include_str!("truth/engine_pools.jsonl").lines() {
        let row: Logged = serde_json::from_str(line)?;
        let mut request = VllmRequest::on(Bytes::from_mib(row.total_mib), row.is_a100);
        request.max_model_len = Some(row.max_model_len);
        request.max_num_seqs = row.max_num_seqs.unwrap_or(request.max_num_seqs);
        request.weights = row.quantised.then(|| bytes(row.model_load_gib));
        let division = vllm(&model::resolve(&row.model)?, &request)?;
        let off = |found: f64, logged: f64| (found - logged) / logged * 100.0;
        let weights = off(division.taken.weights_bytes.gib(), row.model_load_gib);
        let tokens = off(division.kv_cache_tokens as f64, row.kv_tokens as f64);
        println!("{}: weights {weights:+.3} %, tokens {tokens:+.3} % ({} GiB logged)", row.model, row.kv_gib);
        assert!(weights.abs() < 0.1 || row.quantised, "{line}: weights {weights} %");
        errors.push(tokens.abs());
        assert!(starts(&division));
        // of quantised weights the log itself says what they take
        assert_eq!(division.taken.validated, !row.quantised, "{line}");
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors.len() >= 6 && errors[errors.len() / 2] <= 1.0 && errors[errors.len() - 1] <= 2.0, "{errors:?}");
    Ok(())
}

/// With the margin to spare.
fn starts(division: &Division) -> bool {
    i128::from(division.kv_cache_bytes) >= i128::from((division.needed_bytes + division.taken.margin_bytes).0)
}

#[test]
fn too_little_says_what_would_do() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3.1-8b")?;
    let request = VllmRequest { max_model_len: Some(131_072), ..VllmRequest::on(Bytes::from_gib(24), false) };
    let division = vllm(&model, &request)?;
    assert!(!starts(&division) && division.longest_max_model_len < 131_072);
    let fits = VllmRequest { max_model_len: Some(division.longest_max_model_len), ..request };
    assert!(starts(&vllm(&model, &fits)?));
    let small = vllm(&model, &VllmRequest { total: Bytes::from_gib(8), ..request })?;
    assert!(small.kv_cache_bytes < 0 && small.kv_cache_tokens == 0 && !starts(&small));
    Ok(())
}

#[test]
fn without_a_log_of_the_kind_the_margin_is_wide() -> Result<(), Box<dyn std::error::Error>> {
    let request = VllmRequest::on(Bytes::from_gib(40), true);
    let logged = vllm(&model::resolve("llama-3.1-8b")?, &request)?;
    let given = VllmRequest { weights: Some(logged.taken.weights_bytes), ..request };
    for unlogged in [vllm(&model::resolve("llama-3.1-8b")?, &given)?, vllm(&model::resolve("phi-2")?, &request)?] {
        assert!(!unlogged.taken.validated && unlogged.taken.margin_bytes > logged.taken.margin_bytes, "{unlogged:?}");
    }
    assert!(logged.taken.validated);
    Ok(())
}

#[test]
fn what_is_not_modelled_is_refused() -> Result<(), Box<dyn std::error::Error>> {
    let request = VllmRequest::on(Bytes::from_gib(80), false);
    for name in ["gemma-3-27b", "deepseek-r1", "jamba-v0.1", "t5-base"] {
        let refused = vllm(&model::resolve(name)?, &request).expect_err(name).to_string();
        assert!(refused.contains("not modelled"), "{refused}");
    }
    let model = model::resolve("llama-3.1-8b")?;
    let refused =
        vllm(&model, &VllmRequest { gpu_memory_utilization: 1.5, ..request }).expect_err("a share").to_string();
    assert_eq!(refused, "gpu_memory_utilization = 1.5: give a share above 0, 1 at most");
    Ok(())
}
