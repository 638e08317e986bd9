//! What sequences keep, held against transformers' own caches and against published figures.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use vramplan::job::KvCacheDtype;
use vramplan::model::{self, Model};
use vramplan::serve::{KvRequest, kv};

/// One tensor of a cache: its name, its shape and its type.
type Kept = (String, Vec<u64>, String);

/// What a tiny model kept of a prompt (`transformers`, on the CPU, in bfloat16).
#[derive(Deserialize)]
struct Row {
    config: Map<String, Value>,
    batch: u64,
    tokens: u64,
    tensors: Vec<Kept>,
}

fn rows() -> Vec<Row> {
    include_str!("truth/caches.jsonl").lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn bytes((_, shape, dtype): &Kept) -> u64 {
    let element = HashMap::from([("bfloat16", 2), ("float32", 4)])[dtype.as_str()];
    shape.iter().product::<u64>() * element
}

/// Windows of the tiny models; between steps a layer holds one token less.
const WINDOW: u64 = 5;

fn while_a_step_runs(kept: &Kept) -> u64 {
    let is_cut = matches!(kept.0.rsplit('.').next(), Some("keys" | "values")) && kept.1[2] == WINDOW - 1;
    if is_cut { bytes(kept) / (WINDOW - 1) * WINDOW } else { bytes(kept) }
}

#[test]
fn caches_are_transformers_own_to_the_byte() -> Result<(), Box<dyn std::error::Error>> {
    for row in rows() {
        let name = row.config["model_type"].as_str().unwrap_or_default();
        let model = model::from_config(name, &Value::Object(row.config.clone()))?;
        let request = KvRequest {
            context: row.tokens,
            concurrency: row.batch,
            expand_latents: model.expands_latents(),
            ..KvRequest::default()
        };
        let measured: u64 = row.tensors.iter().map(while_a_step_runs).sum();
        assert_eq!(kv(&model, &request)?.total_bytes.0, measured, "{name}");
    }
    assert!(rows().len() >= 40);
    Ok(())
}

fn of(name: &str, context: u64, concurrency: u64, dtype: KvCacheDtype) -> Result<u64, Box<dyn std::error::Error>> {
    let request = KvRequest { context, concurrency, dtype, ..KvRequest::default() };
    Ok(kv(&model::resolve(name)?, &request)?.total_bytes.0)
}

#[test]
fn published_figures() -> Result<(), Box<dyn std::error::Error>> {
    // "Insights into DeepSeek-V3" (arXiv 2505.09343), table 1: kilobytes a token in bf16
    for (name, bytes) in [("deepseek-v3", 70_272), ("qwen2.5-72b", 327_680), ("llama-3.1-405b", 516_096)] {
        assert_eq!(of(name, 1, 1, KvCacheDtype::Auto)?, bytes, "{name}");
    }
    // Jamba (arXiv 2403.19887), table 1: 256K tokens in 16 bits; Jamba's is 4 GB of attention, and its states beside
    let tokens = 256 << 10;
    assert_eq!(of("llama-2-7b", tokens, 1, KvCacheDtype::Fp16)?, 128 << 30);
    assert_eq!(of("mixtral-8x7b", tokens, 1, KvCacheDtype::Fp16)?, 32 << 30);
    let jamba = kv(&model::resolve("jamba-v0.1")?, &KvRequest { context: tokens, ..KvRequest::default() })?;
    assert_eq!(jamba.bytes_per_sequence.0 - jamba.fixed_bytes_per_sequence.0, 4 << 30);
    Ok(())
}

/// Every model that is known by name, with its description.
fn models() -> impl Iterator<Item = Model> {
    model::cards().into_iter().filter_map(|card| model::resolve(&card.name).ok())
}

#[test]
fn more_tokens_sequences_and_bits_never_take_less() {
    let mut answered = 0;
    for model in models() {
        let ask = |request: KvRequest| kv(&model, &request).map(|answer| answer.total_bytes.0);
        let base = KvRequest { context: 1000, concurrency: 3, encoder_tokens: 500, ..KvRequest::default() };
        let Ok(bytes) = ask(base) else { continue };
        answered += 1;
        let more = [
            KvRequest { context: 1001, ..base },
            KvRequest { concurrency: 4, ..base },
            KvRequest { dtype: KvCacheDtype::Fp32, ..base },
            KvRequest { block_size: 16, ..base },
        ];
        let less = [
            KvRequest { dtype: KvCacheDtype::Q8_0, ..base },
            KvRequest { dtype: KvCacheDtype::Fp8, ..base },
            KvRequest { shared_prefix: 800, ..base },
        ];
        assert!(more.into_iter().all(|request| ask(request).is_ok_and(|other| other >= bytes)), "{}", model.name());
        assert!(less.into_iter().all(|request| ask(request).is_ok_and(|other| other <= bytes)), "{}", model.name());
    }
    assert!(answered > 100, "{answered}");
}

#[test]
fn whole_blocks_of_a_shared_prefix_are_stored_once() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3-8b")?;
    let base = KvRequest { context: 1600, concurrency: 10, block_size: 16, ..KvRequest::default() };
    let answer = kv(&model, &KvRequest { shared_prefix: 1000, ..base })?;
    // 62 blocks of 16 tokens are whole
    assert_eq!(answer.shared_bytes.0, 62 * 16 * answer.bytes_per_token.0);
    assert_eq!(answer.total_bytes.0, kv(&model, &base)?.total_bytes.0 - 9 * answer.shared_bytes.0);
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3-8b")?;
    let base = KvRequest::default();
    let refused = [
        (KvRequest { context: 0, ..base }, "context = 0: give 1 to 2^40"),
        (KvRequest { block_size: 0, ..base }, "block_size = 0: give 1 to 2^40"),
        (KvRequest { shared_prefix: 4096, ..base }, "shared_prefix = 4096: it is part of the context of 2048 tokens"),
        (
            KvRequest { context: 1 << 40, concurrency: 1 << 40, ..base },
            "the cache would take more than 2^64 bytes; a smaller context or concurrency is meant",
        ),
    ];
    for (request, message) in refused {
        assert_eq!(kv(&model, &request).expect_err("refused").to_string(), message);
    }
    let bert = kv(&model::resolve("bert-base-uncased")?, &base).expect_err("it does not generate").to_string();
    assert!(bert.contains("does not generate"), "{bert}");
    Ok(())
}

/// What an engine's log says of its cache.
#[derive(Deserialize)]
struct Logged {
    engine: String,
    model: String,
    kv_cache_dtype: KvCacheDtype,
    tokens: u64,
    /// llama.cpp: of all tokens, as printed.
    kv_mib: Option<f64>,
    /// vLLM: what is given to the cache on each GPU, as printed.
    kv_gib: Option<f64>,
    #[serde(default = "one")]
    tensor_parallel_size: u64,
}

const fn one() -> u64 {
    1
}

/// Tokens in a block of vLLM.
const BLOCK: u64 = 16;

#[test]
#[expect(clippy::cast_precision_loss, reason = "figures that are printed with two digits")]
fn engines_print_what_is_reckoned() -> Result<(), Box<dyn std::error::Error>> {
    let mut checked = [0, 0];
    for line in include_str!("truth/engine_kv.jsonl").lines() {
        let row: Logged = serde_json::from_str(line)?;
        let model = model::resolve(&row.model)?;
        let request = KvRequest { context: row.tokens, dtype: row.kv_cache_dtype, ..KvRequest::default() };
        let answer = kv(&model, &request)?;
        let tokens = answer.bytes_per_sequence.0 - answer.fixed_bytes_per_sequence.0;
        if let Some(printed) = row.kv_mib {
            let reckoned = tokens as f64 / f64::from(1 << 20);
            assert!((reckoned - printed).abs() <= 0.005 + 1e-9, "{line}: {reckoned}");
            checked[0] += 1;
        }
        if let Some(printed) = row.kv_gib {
            let block = (BLOCK * answer.bytes_per_token.0 / row.tensor_parallel_size) as f64;
            let blocks = |gib: f64| (gib * f64::from(1 << 30) / block).floor();
            let found = (row.tokens / BLOCK) as f64;
            let (least, most) = (blocks(printed - 0.005), blocks(printed + 0.005));
            assert!((least..=most).contains(&found), "{} {line}: {least} to {most} blocks", row.engine);
            checked[1] += 1;
        }
    }
    assert!(checked >= [15, 15], "{checked:?}");
    Ok(())
}
