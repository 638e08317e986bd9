//! `target_modules` and its like over full module names, held against what PEFT 0.21.2 trains of transformers 5.17's models.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use vramplan::job::{AttnImplementation, Job, Lora, Peft, Train};
use vramplan::model::{self, Model};
use vramplan::step::{count_parameters, estimate};

/// Rows of `tests/truth/module_names.jsonl`: a configuration and, for each selection, how many parameters were trained.
fn rows() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth/module_names.jsonl");
    let text = std::fs::read_to_string(path).expect("recorded counts");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn lora(selection: &Value, r: u64) -> Peft {
    let mut table = json!({"type": "lora", "r": r});
    for (field, value) in selection.as_object().expect("fields") {
        table[field] = value.clone();
    }
    serde_json::from_value(table).expect("a method")
}

#[test]
fn patterns_train_what_peft_trains() {
    let (mut checked, mut refused, mut types, mut wrong) = (0, 0, BTreeSet::new(), Vec::new());
    for row in rows() {
        let id = row["id"].as_str().expect("an id");
        let r = row["r"].as_u64().expect("a rank");
        let head = row["head"].as_str();
        let mut model = model::from_config(id, &row["config"]).expect(id);
        if head == Some("seq-cls") {
            model = model.classifying(Some(2));
        }
        for case in row["cases"].as_array().expect("cases") {
            let trained = case[1].as_u64().expect("a count");
            match count_parameters(&model, Some(&lora(&case[0], r))) {
                Ok(counted) if counted.trainable == trained => checked += 1,
                // whose experts get adapters
                Err(error) if error.to_string().contains("of the experts") => refused += 1,
                Ok(counted) => wrong.push(format!("{id} {}: {} for {trained}", case[0], counted.trainable)),
                Err(error) => wrong.push(format!("{id} {}: {error}", case[0])),
            }
        }
        types.insert(id.to_owned());
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), wrong.len() + checked, wrong.join("\n"));
    assert!(types.len() > 30 && checked > 200, "only {checked} of {} models", types.len());
    assert!(refused < checked / 4, "{refused} were refused");
}

fn llama() -> Model {
    model::resolve("llama-3.2-1b").expect("a card")
}

#[test]
fn what_a_pattern_cannot_reach_is_said() {
    let count = |selection: Value| count_parameters(&llama(), Some(&lora(&selection, 8)));
    let error = |selection: Value| count(selection).expect_err("an error").to_string();
    let unmatched = error(json!({"target_modules": "q_proj"}));
    assert!(
        unmatched.contains("model.layers.0.self_attn.q_proj") && unmatched.contains("q_proj, k_proj"),
        "{unmatched}"
    );
    // PEFT 0.21.2: "Target module LlamaAttention(...) is not supported", and LlamaRMSNorm(...)
    assert!(error(json!({"target_modules": ".*self_attn.*"})).contains("modules inside"));
    assert!(error(json!({"target_modules": r".*\.input_layernorm|.*q_proj"})).contains("no linear layer"));
    // of which PEFT makes adapters that are not modelled
    assert!(error(json!({"target_modules": ["q_proj", "embed_tokens"]})).contains("embedding"));
    let first = count(json!({"target_modules": r"model\.layers\.0\..*_proj"})).expect("a count").trainable;
    let all = count(json!({"target_modules": "all-linear"})).expect("a count").trainable;
    assert_eq!(first * 16, all);
}

#[test]
fn a_saved_adapter_with_a_pattern_is_read() {
    let saved = json!({
        "peft_type": "LORA", "r": 16, "target_modules": r"model\.layers\.\d+\.(?!mlp).*(q|v)_proj",
        "rank_pattern": {"v_proj": 4}, "alpha_pattern": {"v_proj": 8}, "exclude_modules": r".*\.15\..*"
    });
    let peft = Peft::from_adapter_config(&saved).expect("a method");
    let Peft::Lora(Lora { ref rank_pattern, .. }) = peft else { panic!("{peft:?}") };
    assert_eq!(rank_pattern.get("v_proj"), Some(&4));
    // Llama 3.2 1B: 2048 wide, keys and values 512
    let each = 16 * (2048 + 2048) + 4 * (2048 + 512);
    assert_eq!(count_parameters(&llama(), Some(&peft)).expect("a count").trainable, 15 * each);
}

#[test]
fn flash_attention_takes_no_mask_of_squares() {
    let peak = |train: Train| estimate(&llama(), &Job::train("llama-3.2-1b", train)).expect("an estimate");
    let train = |attn_implementation, attention_mask| Train {
        attn_implementation,
        attention_mask,
        max_seq_length: 512,
        per_device_train_batch_size: 2,
        ..Train::default()
    };
    let flash = peak(train(AttnImplementation::FlashAttention2, false));
    let sdpa = peak(train(AttnImplementation::Sdpa, false));
    // the same kernels; a seed and an offset in one tensor of 512 bytes a layer instead of two
    let saved = sdpa.peak.allocated_bytes.0 - flash.peak.allocated_bytes.0;
    assert!(saved <= 16 * 512, "{saved}");
    assert!(!flash.basis.validated);
    // what is unpadded is a copy: more than without, and it grows with the tokens alone
    let padded = |length| {
        let peft = Some(Peft::Lora(Lora::default()));
        let train = Train { max_seq_length: length, peft, ..train(AttnImplementation::FlashAttention2, true) };
        peak(train).peak.allocated_bytes.0
    };
    let [short, middle, long] = [1024, 2048, 3072].map(padded);
    let (first, second) = (middle - short, long - middle);
    assert!(first.abs_diff(second) * 100 < first, "{first} {second}");
}

#[test]
fn flash_attention_is_refused_where_the_package_is_not_modelled() {
    for (name, field) in [("gpt2", ""), ("llama-3.2-1b", "precision = \"fp32\"")] {
        let text = format!("model = \"{name}\"\n[train]\nattn_implementation = \"flash_attention_2\"\n{field}");
        let refused = text
            .parse::<Job>()
            .map_err(|error| error.to_string())
            .and_then(|job| estimate(&model::resolve(name).expect(name), &job).map_err(|error| error.to_string()));
        assert!(
            refused.is_err_and(|error| error.contains("train.attn_implementation") && error.contains("sdpa")),
            "{name}"
        );
    }
}
