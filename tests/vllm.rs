//! How vLLM divides a card, held against the logs of engines.

use serde::Deserialize;
use serde_json::Value;
use vramplan::job::Serve;
use vramplan::model::{Model, Quantization};
use vramplan::serve::{
    CardSize, Division, Parallel, VllmError, VllmRequest, VllmVersion, pool, serving, taken, vllm, vllm_weights,
};
use vramplan::{Bytes, model};

/// What an engine was told and logged.
#[derive(Deserialize)]
struct Logged {
    id: String,
    version: Option<String>,
    model: String,
    quantization: Option<Value>,
    tensor_parallel_size: u64,
    /// As PyTorch reports it.
    total_mib: Option<u64>,
    is_a100: bool,
    gpu_memory_utilization: Option<f64>,
    max_num_seqs: Option<u64>,
    max_num_batched_tokens: Option<u64>,
    max_model_len: Option<u64>,
    enforce_eager: bool,
    #[serde(default)]
    pooling: bool,
    #[serde(default)]
    keeps_prefixes_of_states: bool,
    /// `language_model_only`
    #[serde(default)]
    text_only: bool,
    /// Where the card is of the base model, which has others.
    max_position_embeddings: Option<u64>,
    /// "Model loading took", GiB.
    model_load_gib: Option<f64>,
    /// "Available KV cache memory", GiB
    kv_gib: Option<f64>,
    kv_tokens: Option<u64>,
    /// Why weights are not predicted.
    weights_unpredicted: Option<String>,
    /// Why the pool's tokens are not predicted.
    tokens_unpredicted: Option<String>,
}

impl Logged {
    fn all() -> Vec<Self> {
        let rows = include_str!("truth/engine_pools.jsonl").lines();
        rows.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    fn model(&self) -> Model {
        let Model::Decoder(mut decoder) = self.whole() else { panic!("{}: no decoder", self.id) };
        if self.text_only {
            decoder.tower_left_out = 0;
            if let Some(tower) = &mut decoder.tower {
                tower.parameters.groups.clear();
            }
        }
        decoder.max_position_embeddings = self.max_position_embeddings.unwrap_or(decoder.max_position_embeddings);
        Model::Decoder(decoder)
    }

    fn whole(&self) -> Model {
        let configs: Value = serde_json::from_str(include_str!("truth/engine_configs.json")).expect("JSON");
        match configs.get(&self.model) {
            Some(config) => model::from_config(&self.model, config),
            None => model::resolve(&self.model),
        }
        .unwrap_or_else(|error| panic!("{}: {error}", self.model))
    }

    fn parallel(&self) -> Parallel {
        Parallel { tensor_parallel_size: self.tensor_parallel_size, ..Parallel::default() }
    }

    fn version(&self) -> Option<VllmVersion> {
        self.version.as_ref()?.parse().ok()
    }

    fn weights(&self) -> Result<Bytes, VllmError> {
        let quantization = self.quantization.as_ref().map(|config| Quantization::from_config(config).expect("known"));
        vllm_weights(&self.model(), self.parallel(), quantization.as_ref())
    }

    fn card(&self, total: Bytes) -> CardSize {
        if self.is_a100 { CardSize::Small } else { CardSize::of(total) }
    }

    /// What it was told, on a card of `total`.
    fn request(&self, version: VllmVersion, total: Bytes) -> VllmRequest {
        let base = VllmRequest::at(version, self.card(total));
        VllmRequest {
            gpu_memory_utilization: self.gpu_memory_utilization.unwrap_or(base.gpu_memory_utilization),
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs.unwrap_or(base.max_num_seqs),
            max_num_batched_tokens: self.max_num_batched_tokens.unwrap_or(base.max_num_batched_tokens),
            parallel: self.parallel(),
            enforce_eager: self.enforce_eager,
            pooling: self.pooling,
            keeps_prefixes_of_states: self.keeps_prefixes_of_states,
            ..base
        }
    }
}

/// In hundredths.
fn off(found: f64, logged: f64) -> f64 {
    (found - logged) / logged * 100.0
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Absolute errors from the least to the worst.
fn sorted(mut errors: Vec<f64>) -> Vec<f64> {
    errors.iter_mut().for_each(|error| *error = error.abs());
    errors.sort_by(f64::total_cmp);
    errors
}

#[test]
fn weights_are_those_of_logs() {
    let mut errors = Vec::new();
    for row in Logged::all() {
        let Some(logged) = row.model_load_gib else { continue };
        if let Some(why) = &row.weights_unpredicted {
            println!("{}: weights not predicted: {why}", row.id);
            continue;
        }
        let found = row.weights().unwrap_or_else(|why| panic!("{}: {why}", row.id));
        let error = off(found.gib(), logged);
        println!("{}: weights {error:+.3} % of {logged} GiB", row.id);
        errors.push(error);
    }
    let errors = sorted(errors);
    println!(
        "{} rows, median {:.3} %, worst {:.3} %",
        errors.len(),
        errors[errors.len() / 2],
        errors[errors.len() - 1]
    );
    assert!(errors.len() >= 20 && errors[errors.len() - 1] <= 1.0, "{errors:?}");
}

#[test]
fn tokens_are_those_of_logs() {
    let mut errors = Vec::new();
    let mut of_the_kind = 0;
    for row in Logged::all() {
        let Some(logged) = row.kv_tokens else { continue };
        if let Some(why) = &row.tokens_unpredicted {
            println!("{}: tokens not predicted: {why}", row.id);
            continue;
        }
        let (Some(version), Some(total)) = (row.version(), row.total_mib) else { panic!("{}: no GPU", row.id) };
        let weights = row.weights().unwrap_or_else(|why| panic!("{}: {why}", row.id));
        let total = Bytes::from_mib(total);
        let request = VllmRequest { weights: Some(weights), ..row.request(version, total) };
        let division = vllm(&row.model(), &request, total).unwrap_or_else(|why| panic!("{}: {why}", row.id));
        let error = off(float(division.cache.kv_cache_tokens), float(logged));
        let plain = VllmRequest { weights: row.quantization.as_ref().map(|_| weights), ..request };
        let validated = taken(&row.model(), &plain).is_ok_and(|taken| taken.validated);
        of_the_kind += u64::from(validated);
        let validated = if validated { " (validated)" } else { "" };
        println!("{}: tokens {error:+.3} % of {logged}{validated}", row.id);
        errors.push(error);
    }
    let errors = sorted(errors);
    let (median, p90) = (errors[errors.len() / 2], errors[errors.len() * 9 / 10]);
    println!("{} rows, median {median:.3} %, p90 {p90:.3} %", errors.len());
    assert!(errors.len() >= 15 && median <= 2.0 && p90 <= 6.0, "{errors:?}");
    let serving = serving(&model::resolve("llama-3.1-8b").expect("a card"), None, &Serve::default(), CardSize::Small);
    assert_eq!(serving.map(|serving| serving.logs), Ok(of_the_kind));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
fn bytes(gib: f64) -> Bytes {
    Bytes((gib * f64::from(1 << 30)) as u64)
}

/// Whatever the GPU, the memory that is left becomes the tokens that are logged, within what its two digits leave open.
#[test]
fn pools_have_the_tokens_of_logs() {
    let mut seen = 0;
    for row in Logged::all() {
        let (Some(logged), Some(gib), Some(version)) = (row.kv_tokens, row.kv_gib, row.version()) else { continue };
        if row.model == "qwen2.5-vl-7b" {
            println!("{}: no configuration of the model is at hand", row.id);
            continue;
        }
        let model = row.model();
        let request = row.request(version, Bytes::from_gib(24));
        let pool = match pool(&model, &request) {
            Ok(pool) => pool,
            Err(why) => {
                println!("{}: {why}", row.id);
                continue;
            }
        };
        let of = |gib: f64| pool.tokens_in(bytes(gib), row.max_model_len.unwrap_or(1), version);
        let (least, most) = (of(gib - 0.005), of(gib + 0.005));
        println!("{}: {least} <= {logged} <= {most}: {}", row.id, (least..=most).contains(&logged));
        seen += usize::from((least..=most).contains(&logged));
    }
    assert!(seen >= 25, "{seen}");
}

/// With the margin to spare.
fn starts(division: &Division) -> bool {
    let needed = division.cache.needed_bytes + division.taken.margin_bytes;
    i128::from(division.cache.kv_cache_bytes) >= i128::from(needed.0)
}

#[test]
fn too_little_says_what_would_do() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("llama-3.1-8b")?;
    let request = VllmRequest { max_model_len: Some(131_072), ..VllmRequest::on(CardSize::Small) };
    let on = |request: &VllmRequest, gib| vllm(&model, request, Bytes::from_gib(gib));
    let division = on(&request, 24)?;
    let longest = division.cache.longest_max_model_len;
    assert!(!starts(&division) && longest < 131_072);
    assert!(starts(&on(&VllmRequest { max_model_len: Some(longest), ..request }, 24)?));
    let small = on(&request, 8)?;
    let error = division.cache.error.expect("too little");
    assert!(error.starts_with("To serve at least one request with the model's max seq len (131072)"), "{error}");
    let none = small.cache.error.as_deref().expect("less");
    assert!(none.starts_with("No available memory for the cache blocks."), "{none}");
    let share = on(&request, 48)?.cache.least_gpu_memory_utilization.expect("48 GiB hold it");
    assert!(starts(&on(&VllmRequest { gpu_memory_utilization: share, ..request }, 48)?));
    assert!(small.cache.kv_cache_bytes < 0 && small.cache.kv_cache_tokens == 0 && !starts(&small));
    Ok(())
}

#[test]
fn without_a_log_of_the_kind_the_margin_is_wide() -> Result<(), Box<dyn std::error::Error>> {
    let request = VllmRequest::on(CardSize::Small);
    let logged = taken(&model::resolve("llama-3.1-8b")?, &request)?;
    let given = VllmRequest { weights: Some(logged.weights_bytes), ..request };
    for unlogged in [taken(&model::resolve("llama-3.1-8b")?, &given)?, taken(&model::resolve("phi-2")?, &request)?] {
        assert!(!unlogged.validated && unlogged.margin_bytes > logged.margin_bytes, "{unlogged:?}");
    }
    assert!(logged.validated);
    Ok(())
}

#[test]
fn what_is_contradictory_or_not_modelled_is_refused() -> Result<(), Box<dyn std::error::Error>> {
    let request = VllmRequest::on(CardSize::Large);
    let refused = taken(&model::resolve("t5-base")?, &request).expect_err("an encoder").to_string();
    assert!(refused.contains("not modelled"), "{refused}");
    let model = model::resolve("llama-3.1-8b")?;
    let three = Parallel { tensor_parallel_size: 3, ..Parallel::default() };
    let refused = taken(&model, &VllmRequest { parallel: three, ..request }).expect_err("32 heads").to_string();
    assert!(refused.contains("Total number of attention heads (32) must be divisible by tensor parallel size (3)."));
    let refused =
        taken(&model, &VllmRequest { gpu_memory_utilization: 1.5, ..request }).expect_err("a share").to_string();
    assert_eq!(refused, "gpu_memory_utilization = 1.5: give a share above 0, 1 at most");
    Ok(())
}

/// Stages have all of the layers between them, and no GPU has less than its share.
#[test]
fn several_gpus_have_the_model_between_them() -> Result<(), Box<dyn std::error::Error>> {
    for name in ["llama-3.1-8b", "qwen3-30b-a3b", "qwen3.5-9b"] {
        let model = model::resolve(name)?;
        let whole = vllm_weights(&model, Parallel::default(), None)?.0;
        for (tp, pp) in [(2, 1), (4, 1), (1, 2), (2, 2), (1, 4)] {
            let parallel = Parallel { tensor_parallel_size: tp, pipeline_parallel_size: pp, ..Parallel::default() };
            let each = vllm_weights(&model, parallel, None)?.0;
            assert!(each < whole && each * parallel.world_size() >= whole, "{name} {tp} {pp}: {each} of {whole}");
        }
    }
    Ok(())
}
