//! Models from the headers of their weights: safetensors, sharded safetensors, GGUF; whatever is in them.

mod headers;

use std::fs;
use std::path::Path;
use std::time::Instant;

use assert_cmd::Command;
use headers::{GgufFile, safetensors, shard};
use serde_json::{Value, json};
use tempfile::TempDir;
use vramplan::model::{Checkpoint, Gguf, QuantMethod, Source};
use vramplan::step::count_parameters;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn vramplan(args: &[&str]) -> (bool, String, String) {
    let output = Command::cargo_bin("vramplan").expect("the binary").args(args).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn json_of(args: &[&str]) -> Value {
    let (success, out, error) = vramplan(args);
    assert!(success, "{error}");
    serde_json::from_str(&out).expect("JSON")
}

/// A Llama of two layers, its config.json and its tensors.
fn small_llama() -> (Value, Vec<(String, Vec<u64>)>) {
    let config = json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    });
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![1000, 64]),
        ("lm_head.weight".to_owned(), vec![1000, 64]),
        ("model.norm.weight".to_owned(), vec![64]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("self_attn.q_proj", vec![64, 64]),
            ("self_attn.k_proj", vec![32, 64]),
            ("self_attn.v_proj", vec![32, 64]),
            ("self_attn.o_proj", vec![64, 64]),
            ("mlp.gate_proj", vec![160, 64]),
            ("mlp.up_proj", vec![160, 64]),
            ("mlp.down_proj", vec![64, 160]),
            ("input_layernorm", vec![64]),
            ("post_attention_layernorm", vec![64]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    (config, tensors)
}

#[test]
fn a_safetensors_file_with_its_config() {
    let folder = folder();
    let (config, tensors) = small_llama();
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    fs::write(folder.path().join("model.safetensors"), safetensors("BF16", 2, &tensors)).expect("written");
    for spec in [folder.path().to_owned(), folder.path().join("model.safetensors")] {
        let source = Source::find(&spec.to_string_lossy()).expect("a model");
        let checkpoint = source.checkpoint.expect("a checkpoint");
        let counted = count_parameters(&source.model, None).expect("a count").total;
        assert_eq!(checkpoint.parameters(), counted);
        assert_eq!(checkpoint.bytes(), 2 * counted);
        let printed = json_of(&["params", "--json", &spec.to_string_lossy()]);
        assert_eq!(printed["stored"]["by_dtype"]["BF16"]["bytes"], 2 * counted);
        assert_eq!(printed["parameters"], counted);
        assert!(printed.get("notes").is_none(), "{printed}");
        let estimate = json_of(&["estimate", "--infer", "--json", &spec.to_string_lossy()]);
        assert_eq!(estimate["basis"]["validated"], true);
    }
}

#[test]
fn a_config_of_another_model_is_noted_with_both_counts() {
    let folder = folder();
    let (mut config, tensors) = small_llama();
    config["num_hidden_layers"] = json!(3);
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let file = folder.path().join("model.safetensors");
    fs::write(&file, safetensors("BF16", 2, &tensors)).expect("written");
    let found: u64 = tensors.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
    let estimate = json_of(&["estimate", "--infer", "--json", &file.to_string_lossy()]);
    let described = estimate["model"]["parameters"].as_u64().expect("a count");
    assert_ne!(described, found);
    let notes = estimate["basis"]["notes"].to_string();
    assert!(
        notes.contains(&format!("holds {found} parameters and the configuration describes {described}")),
        "{notes}"
    );
    assert_eq!(estimate["basis"]["validated"], false);
}

#[test]
fn without_a_config_there_are_counts_and_no_estimate() {
    let folder = folder();
    let (_, tensors) = small_llama();
    let file = folder.path().join("weights.safetensors");
    fs::write(&file, safetensors("F16", 2, &tensors)).expect("written");
    let found: u64 = tensors.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
    for spec in [&file, &folder.path().to_owned()] {
        let printed = json_of(&["params", "--json", &spec.to_string_lossy()]);
        assert_eq!(printed["parameters"], found);
        assert_eq!(printed["stored"]["by_dtype"]["F16"]["bytes"], 2 * found);
        let (success, out, error) = vramplan(&["estimate", &spec.to_string_lossy()]);
        assert!(!success && out.is_empty());
        assert!(error.contains("put the model's config.json beside it"), "{error}");
    }
}

#[test]
fn shards_are_read_from_their_index() {
    let folder = folder();
    let (config, tensors) = small_llama();
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    shard(folder.path(), &tensors, 3);
    let source = Source::find(&folder.path().to_string_lossy()).expect("a model");
    let counted = count_parameters(&source.model, None).expect("a count").total;
    let checkpoint = source.checkpoint.expect("a checkpoint");
    assert_eq!((checkpoint.tensors.len(), checkpoint.parameters()), (tensors.len(), counted));

    let index = folder.path().join("model.safetensors.index.json");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).expect("removed");
    let error = Checkpoint::open(&index).expect_err("a shard is missing").to_string();
    assert!(error.contains("model-00002-of-00003.safetensors"), "{error}");
    // the configuration is enough for an estimate, which says what it did not look at
    let source = Source::find(&folder.path().to_string_lossy()).expect("a model");
    assert!(source.notes.concat().contains("model-00002-of-00003.safetensors"));
}

#[test]
fn indices_name_only_files_beside_them() {
    let folder = folder();
    let index = folder.path().join("model.safetensors.index.json");
    for name in ["../secret.safetensors", "/etc/passwd", "", "..", "a/b.safetensors"] {
        fs::write(&index, json!({"weight_map": {"a": name}}).to_string()).expect("written");
        let error = Checkpoint::open(&index).expect_err("not beside it").to_string();
        assert!(error.contains("a file beside it was expected"), "{error}");
    }
}

fn llama_2_7b_gguf() -> GgufFile {
    let mut file = GgufFile::new("llama");
    for (key, value) in [
        ("block_count", 32),
        ("context_length", 4096),
        ("embedding_length", 4096),
        ("feed_forward_length", 11_008),
        ("attention.head_count", 32),
        ("attention.head_count_kv", 32),
        ("rope.dimension_count", 128),
    ] {
        file.u32(&format!("llama.{key}"), value);
    }
    file.texts("tokenizer.ggml.tokens", &vec!["token"; 32_000]);
    // Q4_0 is 2, Q6_K is 14, F32 is 0; the fastest dimension first
    file.tensor("token_embd.weight", &[4096, 32_000], 2);
    file.tensor("output.weight", &[4096, 32_000], 14);
    file.tensor("output_norm.weight", &[4096], 0);
    for layer in 0..32 {
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            file.tensor(&format!("blk.{layer}.{name}.weight"), &[4096, 4096], 2);
        }
        file.tensor(&format!("blk.{layer}.ffn_gate.weight"), &[4096, 11_008], 2);
        file.tensor(&format!("blk.{layer}.ffn_up.weight"), &[4096, 11_008], 2);
        file.tensor(&format!("blk.{layer}.ffn_down.weight"), &[11_008, 4096], 2);
        file.tensor(&format!("blk.{layer}.attn_norm.weight"), &[4096], 0);
        file.tensor(&format!("blk.{layer}.ffn_norm.weight"), &[4096], 0);
    }
    file
}

/// llama.cpp prints `model size = 3.56 GiB (4.54 BPW)` for the Q4_0 of Llama 2 7B.
#[test]
fn llama_2_7b_in_q4_0_has_the_published_size() {
    for version in [2, 3] {
        let bytes = llama_2_7b_gguf().version(version).header();
        let gguf = Gguf::read("llama-2-7b.gguf", &bytes[..], u64::MAX).expect("a header");
        let model = gguf.model("llama-2-7b").expect("a model");
        assert_eq!(model, vramplan::model::resolve("llama-2-7b").expect("a card"));
        let checkpoint = gguf.checkpoint;
        assert_eq!(checkpoint.parameters(), 6_738_415_616);
        #[expect(clippy::cast_precision_loss, reason = "compared with two digits")]
        let (gib, bits) =
            (checkpoint.bytes() as f64 / f64::from(1 << 30), 8.0 * checkpoint.bytes() as f64 / 6_738_415_616.0);
        assert_eq!((format!("{gib:.2}"), format!("{bits:.2}")), ("3.56".to_owned(), "4.54".to_owned()));
    }
}

#[test]
fn a_gguf_is_counted_and_estimated_unpacked() {
    let folder = folder();
    let path = folder.path().join("llama-2-7b.Q4_0.gguf");
    let file = fs::File::create(&path).expect("created");
    let header = llama_2_7b_gguf();
    fs::write(&path, header.header()).expect("written");
    // a sparse file: the weights themselves are never read
    file.set_len(header.header().len() as u64 + header.data_bytes() + 32).expect("grown");
    let spec = path.to_string_lossy();
    let printed = json_of(&["params", "--json", &spec]);
    assert_eq!(printed["parameters"], 6_738_415_616_u64);
    assert_eq!(printed["stored"]["by_dtype"]["Q6_K"]["bytes"], 131_072_000_u64 / 256 * 210);
    assert!(printed.get("notes").is_none(), "{printed}");
    let estimate = json_of(&["estimate", "--infer", "--json", &spec]);
    let named = json_of(&["estimate", "--infer", "--json", "llama-2-7b"]);
    assert_eq!(estimate["peak"], named["peak"]);
    assert_eq!(estimate["basis"]["validated"], false);
    assert!(estimate["basis"]["notes"].to_string().contains("unpacked when loaded"));
}

#[test]
fn experts_and_unknown_architectures_are_told_apart() {
    let mut mixtral = llama_2_7b_gguf();
    mixtral.u32("llama.expert_count", 8);
    mixtral.u32("llama.expert_used_count", 2);
    let config = Gguf::read("x", &mixtral.header()[..], u64::MAX).expect("a header").config().expect("a config");
    assert_eq!((&config["model_type"], &config["num_local_experts"]), (&json!("mixtral"), &json!(8)));

    let error = Gguf::read("x", &GgufFile::new("rwkv9").header()[..], u64::MAX).expect("a header").model("x");
    assert!(error.expect_err("unknown").to_string().contains("`rwkv9`"));
}

#[test]
fn a_quantization_config_sets_the_precision_or_says_why_not() {
    let (mut config, _) = small_llama();
    let folder = folder();
    let path = folder.path().join("config.json");
    let mut ask = |quantization: Value, flags: &[&str]| {
        config["quantization_config"] = quantization;
        fs::write(&path, config.to_string()).expect("written");
        let path = path.to_string_lossy().into_owned();
        vramplan(&[&["estimate", "--infer", "--json", path.as_str()], flags].concat())
    };
    let value = |(success, out, error): (bool, String, String)| -> Value {
        assert!(success, "{error}");
        serde_json::from_str(&out).expect("JSON")
    };
    let bnb = json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4",
                     "bnb_4bit_use_double_quant": true, "llm_int8_skip_modules": ["lm_head"]});
    let stored = value(ask(bnb.clone(), &[]));
    let asked = value(ask(bnb, &["--precision", "nf4", "--double-quant"]));
    assert_eq!((&stored["peak"], &stored["basis"]["validated"]), (&asked["peak"], &json!(true)));

    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    let unpacked = value(ask(fp8.clone(), &[]));
    assert_eq!(unpacked["basis"]["validated"], false);
    assert_eq!(unpacked["peak"], value(ask(fp8, &["--precision", "bf16"]))["peak"]);

    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 32});
    let (success, _, error) = ask(gptq.clone(), &[]);
    assert!(!success && error.contains("GPTQ 4 bits") && error.contains("--precision"), "{error}");
    assert!(ask(gptq, &["--precision", "int8"]).0);
    assert!(!ask(json!({"quant_method": "gptq", "bits": 5}), &[]).0);
}

#[test]
fn quantised_weights_are_shown_by_params() {
    let mut config = vramplan::model::card("llama-2-7b").expect("a card").config;
    config["quantization_config"] = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    let folder = folder();
    let path = folder.path().join("config.json");
    fs::write(&path, config.to_string()).expect("written");
    let printed = json_of(&["params", "--json", &path.to_string_lossy()]);
    // TheBloke/Llama-2-7B-GPTQ is published as 3.90 GB
    let total = printed["quantization"]["total_bytes"].as_u64().expect("bytes");
    assert_eq!((total + 5_000_000) / 10_000_000, 389);
    assert_eq!(printed["quantization"]["quantized_layers"], 224);
    let source = Source::find(&path.to_string_lossy()).expect("a model");
    let method = source.quantization.map(|quantization| quantization.method);
    assert_eq!(method, Some(QuantMethod::Gptq { bits: 4, group_size: Some(128) }));
}

#[test]
fn an_adapter_config_is_the_same_as_its_flags() {
    let folder = folder();
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"});
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).expect("written");
    let read = json_of(&["estimate", "--json", "smollm2-135m", "--adapter", &folder.path().to_string_lossy()]);
    let asked = json_of(&["estimate", "--json", "smollm2-135m", "--r", "4", "--target-modules", "q_proj"]);
    assert_eq!(read, asked);
    let (success, _, error) =
        vramplan(&["estimate", "--infer", "smollm2-135m", "--adapter", &folder.path().to_string_lossy()]);
    assert!(!success && error.contains("only training has it"), "{error}");
}

/// Within a second, in one line.
fn refused(path: &Path) -> String {
    let start = Instant::now();
    let (success, out, error) = vramplan(&["params", &path.to_string_lossy()]);
    assert!(start.elapsed().as_secs_f64() < 1.0, "{} took {:?}", path.display(), start.elapsed());
    assert!(!success && out.is_empty(), "{} was read: {out}", path.display());
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn hostile_safetensors_are_refused() {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "too few"),
        (vec![1, 2, 3], "too few"),
        ((1_u64 << 63).to_le_bytes().to_vec(), "9223372036854775808"),
        (u64::MAX.to_le_bytes().to_vec(), "18446744073709551615"),
        (1000_u64.to_le_bytes().to_vec(), "too few"),
        (header("{"), "EOF"),
        (header("[]"), "expected an object"),
        (header("{\"a\": NaN}"), "expected"),
        (header(&nested), "a"),
        (header(&format!("{{\"a\":{tensor},\"a\":{tensor}}}")), "given twice"),
        (header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#), "offset"),
        (
            [
                header(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                ),
                vec![0; 12],
            ]
            .concat(),
            "offset",
        ),
        (header(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#), "more elements"),
        (header(r#"{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}"#), "more elements"),
        (header(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#), "`a`"),
        (header(r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#), "F33"),
        (header(&format!("{{\"a\":{tensor}}}")), "cut short"),
        ([header(&format!("{{\"a\":{tensor}}}")), vec![0; 5]].concat(), "follow its last tensor"),
        (header("{\"a\":\"\\ud800\"}"), "a"),
        ([&8_u64.to_le_bytes()[..], &[0xff; 8]].concat(), "its header"),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, &bytes).expect("written");
        let error = refused(&path);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_hundred_megabytes_of_json_are_not_read() {
    let folder = folder();
    for name in ["config.json", "model.safetensors.index.json", "model.safetensors"] {
        let path = folder.path().join(name);
        let mut bytes = vec![b' '; 100_000_000];
        bytes[..8].copy_from_slice(&99_999_992_u64.to_le_bytes());
        fs::write(&path, &bytes).expect("written");
        refused(&path);
        fs::remove_file(&path).expect("removed");
    }
    let path = folder.path().join("adapter_config.json");
    fs::write(&path, vec![b'['; 100_000_000]).expect("written");
    let (success, _, _) = vramplan(&["estimate", "smollm2-135m", "--adapter", &path.to_string_lossy()]);
    assert!(!success);
}

#[test]
fn hostile_ggufs_are_refused() {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    let whole = llama_2_7b_gguf().header();
    let start = |version: u32, tensors: u64, entries: u64| {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    let mut twice = GgufFile::new("llama");
    twice.u32("llama.block_count", 1);
    twice.u32("llama.block_count", 2);
    let mut same = GgufFile::new("llama");
    same.tensor("a", &[32], 0);
    same.tensor("a", &[32], 0);
    let mut ragged = GgufFile::new("llama");
    ragged.tensor("a", &[33], 2);
    let mut huge = GgufFile::new("llama");
    huge.tensor("a", &[1 << 40, 1 << 40], 0);
    let mut unknown = GgufFile::new("llama");
    unknown.tensor("a", &[32], 99);
    let key = [&1_u64.to_le_bytes()[..], b"a"].concat();
    let nested = [start(3, 0, 1), key.clone(), 9_u32.to_le_bytes().to_vec()].concat();
    let deeper = [9_u32.to_le_bytes().to_vec(), (1_u64 << 40).to_le_bytes().to_vec()].concat().repeat(10_000);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "cut short"),
        (b"GGUX".to_vec(), "GGUF"),
        ([&b"GGUF"[..], &3_u32.to_be_bytes(), &[0; 16]].concat(), "big-endian"),
        (start(1, 0, 0), "version 1"),
        (start(70_000, 0, 0), "version 70000"),
        (start(3, 1 << 63, 0), "tensors"),
        (start(3, 0, u64::MAX), "metadata entries"),
        ([start(3, 0, 1), (1_u64 << 63).to_le_bytes().to_vec()].concat(), "a name of"),
        (
            [start(3, 0, 1), key.clone(), 8_u32.to_le_bytes().to_vec(), (1_u64 << 63).to_le_bytes().to_vec()].concat(),
            "cut short",
        ),
        (
            [
                start(3, 0, 1),
                key.clone(),
                9_u32.to_le_bytes().to_vec(),
                8_u32.to_le_bytes().to_vec(),
                u64::MAX.to_le_bytes().to_vec(),
            ]
            .concat(),
            "cut short",
        ),
        ([nested, deeper].concat(), "nested deeper"),
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (whole, "cut short"),
        (twice.header(), "given twice"),
        (same.header(), "listed twice"),
        (ragged.header(), "no whole blocks"),
        (huge.header(), "more"),
        (unknown.header(), "ggml type 99"),
    ];
    for (mut bytes, expected) in cases {
        if matches!(expected, "listed twice") {
            bytes.resize(bytes.len() + 1024, 0);
        }
        fs::write(&path, &bytes).expect("written");
        let error = refused(&path);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
