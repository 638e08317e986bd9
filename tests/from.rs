//! Training configurations of other tools, as people keep them (`tests/from/`).

#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use proptest::prelude::*;
use vramplan::job::from::{self, Effect, FromError, Imported, Source};
use vramplan::job::{
    AttnImplementation, ConfigFormat, FloatType, Lora, MixedPrecision, Optim, Peft, Precision, TargetModules, Train,
};

fn path(name: &str) -> String {
    format!("{}/tests/from/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn source(name: &str) -> Source {
    Source::new(name, std::fs::read_to_string(path(name)).unwrap())
}

fn files(names: &[&str]) -> Imported {
    let sources: Vec<Source> = names.iter().map(|name| source(name)).collect();
    from::import(&sources).unwrap()
}

#[track_caller]
fn text(text: &str) -> Imported {
    from::import(&[Source::new("file", text)]).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    let error: FromError = from::import(&[Source::new("file", text)]).unwrap_err();
    error.to_string()
}

/// The job and the report, one line for each field.
fn golden(imported: &Imported) -> String {
    let report = &imported.report;
    let mut out = format!("{}: {}\n\n", report.format, imported.model.as_deref().unwrap_or("no model"));
    out += &format!("{}\n", toml::to_string(&imported.train).unwrap());
    let line = |at: &from::Place| at.line.map_or_else(String::new, |line| format!(" (line {line})"));
    for field in &report.mapped {
        let place = field.at.as_ref().map_or_else(|| format!(" [{}]", field.default_of.unwrap()), line);
        out += &format!("mapped   {} = {} -> {}{place}\n", field.field, field.value, field.to);
    }
    for field in &report.ignored {
        out += &format!("ignored  {} = {}: {}{}\n", field.field, field.value, field.why, line(&field.at));
    }
    for field in &report.not_modelled {
        let (effect, place) = (field.effect.words(), line(&field.at));
        out += &format!("not modelled  {} = {}, {effect}: {}{place}\n", field.field, field.value, field.why);
    }
    for field in &report.unknown {
        out += &format!("unknown  {} = {}{}\n", field.field, field.value, line(&field.at));
    }
    out
}

#[test]
fn every_example_as_a_job() {
    for names in [
        &["axolotl-qlora.yml"][..],
        &["axolotl-full.yml"],
        &["axolotl-dpo.yml"],
        &["llama-factory-lora.yaml"],
        &["llama-factory-qlora.yaml"],
        &["llama-factory-full.yaml"],
        &["trl-sft.yaml"],
        &["trl-grpo.yaml"],
        &["llama-factory-orpo.yaml"],
        &["deepspeed-offload.json"],
        &["training-arguments.json"],
        &["deepspeed-zero2.json"],
        &["accelerate-deepspeed.yaml"],
        &["training-arguments.json", "deepspeed-zero2.json", "accelerate-one-gpu.yaml"],
    ] {
        let imported = files(names);
        assert!(imported.report.unknown.is_empty(), "{names:?}: {:?}", imported.report.unknown);
        insta::assert_snapshot!(names.join("+"), golden(&imported));
    }
}

/// What the files' tools build from them, by their own sources.
#[test]
fn jobs_are_those_of_the_tools() {
    let qlora = Train {
        precision: Precision::Nf4,
        double_quant: true,
        compute_dtype: FloatType::Bf16,
        mixed_precision: MixedPrecision::Bf16,
        per_device_train_batch_size: 2,
        max_seq_length: 4096,
        gradient_accumulation_steps: 4,
        gradient_checkpointing: true,
        optim: Optim::PagedAdamw,
        peft: Some(Peft::Lora(Lora {
            r: 32,
            lora_alpha: 16.0,
            lora_dropout: 0.05,
            target_modules: Some(TargetModules::AllLinear),
            ..Lora::default()
        })),
        ..Train::default()
    };
    assert_eq!(files(&["axolotl-qlora.yml"]).train, qlora);
    let full = Train {
        precision: Precision::Fp32,
        mixed_precision: MixedPrecision::Bf16,
        gradient_accumulation_steps: 2,
        attention_mask: true,
        ..Train::default()
    };
    assert_eq!(files(&["llama-factory-full.yaml"]).train, full);
    let sft = Train {
        precision: Precision::Nf4,
        mixed_precision: MixedPrecision::Bf16,
        per_device_train_batch_size: 2,
        gradient_checkpointing: true,
        optim: Optim::PagedAdamw8bit,
        attention_mask: true,
        peft: Some(Peft::Lora(Lora {
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: Some(TargetModules::Names(["q_proj", "v_proj"].map(str::to_owned).to_vec())),
            autocast_adapter_dtype: false,
            ..Lora::default()
        })),
        ..Train::default()
    };
    assert_eq!(files(&["trl-sft.yaml"]).train, sft);
}

#[test]
fn complete_files_are_complete() {
    assert!(files(&["llama-factory-full.yaml"]).report.is_complete());
    assert!(files(&["trl-sft.yaml"]).report.is_complete());
    assert!(!files(&["axolotl-qlora.yml"]).report.is_complete());
}

/// A slip of the pen beside an adapter is not taken for a field of no consequence.
#[test]
fn misspelt_fields_are_unknown() {
    for (yaml, field, nearest) in [
        ("base_model: m\nadapter: lora\nlora_r: 8\nlora_target_linear: true\nlora_rnak: 64", "lora_rnak", "lora_r"),
        ("output_dir: o\nmax_length: 8\nuse_peft: true\nlora_rr: 64", "lora_rr", "lora_r"),
        ("finetuning_type: lora\nlora_ranks: 64", "lora_ranks", "lora_rank"),
        ("finetuning_type: lora\nquantization_bits: 4", "quantization_bits", "quantization_bit"),
    ] {
        let report = text(yaml).report;
        assert_eq!(report.unknown.len(), 1, "{yaml}");
        assert_eq!(report.unknown[0].field, field);
        assert_eq!(report.unknown[0].nearest.as_deref(), Some(nearest));
        assert!(!report.is_complete());
    }
}

/// The three accounts and the list of the unknown hold each field of a file once, whatever it is.
#[test]
fn no_field_is_dropped() {
    let yaml = "base_model: m\nlora_r: 8\nadapter: lora\nlora_target_linear: true\nlearning_rate: 1\nliger_rope: true\n\
                micro_batch_sise: 4\nflash_attention: false\nwandb_project:\nbf16: true\n";
    let report = text(yaml).report;
    let fields = report.mapped.iter().filter(|field| field.at.is_some()).map(|field| &field.field);
    let mut fields: Vec<&str> = fields
        .chain(report.ignored.iter().map(|field| &field.field))
        .chain(report.not_modelled.iter().filter(|field| field.at.line.is_some()).map(|field| &field.field))
        .chain(report.unknown.iter().map(|field| &field.field))
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    let mut written: Vec<&str> = yaml.lines().map(|line| line.split(':').next().unwrap()).collect();
    written.sort_unstable();
    assert_eq!(fields, written);
    assert_eq!(report.unknown[0].nearest.as_deref(), Some("micro_batch_size"));
}

#[test]
fn what_adds_memory_is_told_from_what_saves_it() {
    let effects = |yaml: &str| {
        let effect = |field: from::NotModelled| (field.field, field.effect);
        text(yaml).report.not_modelled.into_iter().map(effect).collect::<Vec<_>>()
    };
    let trl = "output_dir: o\nmax_length: 8\nloss_type: nll\n";
    assert_eq!(effects(&format!("{trl}deepspeed: ds.json")), [("deepspeed".to_owned(), Effect::More)]);
    assert_eq!(effects(&format!("{trl}fsdp: full_shard auto_wrap")), [("fsdp".to_owned(), Effect::More)]);
    let liger = format!("{trl}use_liger_kernel: true\n");
    assert!(effects(&liger).is_empty() && text(&liger).train.use_liger_kernel);
    let kto = format!("{liger}desirable_weight: 1.0\n");
    assert_eq!(effects(&kto), [("use_liger_kernel".to_owned(), Effect::Less)]);
    assert_eq!(effects(&format!("{trl}torch_compile: yes")), [("torch_compile".to_owned(), Effect::Either)]);
    assert_eq!(
        effects(&format!("{trl}label_smoothing_factor: 0.1")),
        [("label_smoothing_factor".to_owned(), Effect::More)]
    );
    assert_eq!(
        effects(&format!("{trl}deepspeed: null\nfsdp: ''\ntorch_compile: false\nlabel_smoothing_factor: 0.0")),
        []
    );
    // axolotl leaves norms and embeddings in fp32 without flash attention
    assert_eq!(effects("base_model: m\nsequence_len: 8"), [("attn_implementation".to_owned(), Effect::More)]);
}

#[test]
fn later_files_go_over_earlier_ones_and_a_launcher_over_none() {
    let import = |texts: &[&str]| {
        let sources: Vec<Source> = texts.iter().map(|text| Source::new("file", *text)).collect();
        from::import(&sources).unwrap()
    };
    let arguments = "output_dir: o\nper_device_train_batch_size: 4\n";
    let deepspeed =
        r#"{"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}, "zero_optimization": {"stage": 0}}"#;
    let launcher = "distributed_type: NO\nmixed_precision: fp16\n";
    let both = import(&[arguments, deepspeed]);
    assert_eq!((both.train.per_device_train_batch_size, both.train.precision), (2, Precision::Bf16));
    assert_eq!(both.report.format, "transformers + deepspeed");
    assert!(both.report.ignored.iter().any(|field| field.why == "train_micro_batch_size_per_gpu goes over it"));
    assert_eq!(import(&[deepspeed, arguments]).train.per_device_train_batch_size, 4);
    // `TrainingArguments` say nothing of mixed precision, then bf16
    assert_eq!(import(&[arguments, launcher]).train.mixed_precision, MixedPrecision::Fp16);
    let bf16 = format!("{arguments}bf16: true\n");
    assert_eq!(import(&[&bf16, launcher]).train.mixed_precision, MixedPrecision::Bf16);
    assert_eq!(import(&[launcher, &bf16]).train.mixed_precision, MixedPrecision::Bf16);
}

#[test]
fn defaults_are_the_tools() {
    let arguments = text("output_dir: o").train;
    assert_eq!((arguments.per_device_train_batch_size, arguments.optim), (8, Optim::AdamwTorchFused));
    assert_eq!((arguments.gradient_checkpointing, arguments.mixed_precision), (false, MixedPrecision::No));
    let sft = text("output_dir: o\ndataset_name: d");
    assert_eq!((sft.train.max_seq_length, sft.train.precision), (1024, Precision::Fp32));
    assert_eq!((sft.train.gradient_checkpointing, sft.train.mixed_precision), (true, MixedPrecision::Bf16));
    assert_eq!(text("output_dir: o\nmax_length: 8\nfp16: true").train.mixed_precision, MixedPrecision::Fp16);
    assert_eq!(text("output_dir: o\nmax_length: 8\nbf16: false").train.mixed_precision, MixedPrecision::No);
    let axolotl = text("base_model: m").train;
    assert_eq!((axolotl.max_seq_length, axolotl.per_device_train_batch_size), (512, 1));
    assert_eq!((axolotl.precision, axolotl.gradient_checkpointing), (Precision::Bf16, false));
    let factory = text("model_name_or_path: m\ntemplate: t").train;
    assert_eq!(
        factory.lora().map(|lora| (lora.r, lora.target_modules.clone())),
        Some((8, Some(TargetModules::AllLinear)))
    );
    assert_eq!((factory.max_seq_length, factory.gradient_checkpointing), (2048, true));
    let pure = text("finetuning_type: full\npure_bf16: true\nflash_attn: disabled").train;
    assert_eq!((pure.precision, pure.attn_implementation), (Precision::Bf16, AttnImplementation::Eager));
    // no length is a default that nobody chose
    assert_eq!(text("output_dir: o").unsaid, ["max_seq_length"]);
    assert_eq!(text("output_dir: o\nmax_length: null").unsaid, ["max_seq_length"]);
    let all = ["precision", "per_device_train_batch_size", "max_seq_length"];
    assert_eq!(text("distributed_type: NO").unsaid, all);
}

#[test]
fn a_wrong_file_is_one_line_that_says_where() {
    for (yaml, line) in [
        ("", "file: empty; give a training configuration"),
        ("- a", "file, line 1: not a table of fields; give a training configuration in YAML or JSON"),
        (
            "x: 1",
            "file: no field tells whose configuration it is; add --from-format with one of axolotl, llama-factory, \
                  trl, transformers, deepspeed, accelerate",
        ),
        (
            "base_model: m\nstage: sft",
            "file: it has fields of axolotl and of llama-factory; add --from-format with one of them",
        ),
        (
            "output_dir: o\n\noptim: adamw_tortch",
            "file, line 3: optim = adamw_tortch: no optimizer has this name; did you mean adamw_torch",
        ),
        ("output_dir: o\nbf16: maybe", "file, line 2: bf16 = maybe: give true or false"),
        ("output_dir: o\nbf16: true\nfp16: true", "file, line 2: bf16 = true: fp16 is true too; set one of them"),
        (
            "base_model: m\nmicro_batch_size: [1]",
            "file, line 2: micro_batch_size = [1]: give a whole number, such as 4",
        ),
        (
            "base_model: m\nload_in_4bit: true",
            "file, line 2: load_in_4bit = true: quantised weights cannot be trained; \
                                               add adapter: qlora or lora, or turn it off",
        ),
        (
            "base_model: m\nadapter: qlora",
            "file: adapter = qlora: it takes load_in_4bit: true; add it, or write adapter: lora",
        ),
        (
            "finetuning_type: oft",
            "file, line 1: finetuning_type = oft: this method is not supported yet; give lora or full",
        ),
        (
            "use_cpu: true\nnum_processes: 1",
            "file, line 1: use_cpu = true: the job runs on the CPU and takes no GPU memory",
        ),
        ("base_model: a\nbase_model: b", "file, line 2: `base_model` is there twice; remove one of them"),
    ] {
        assert_eq!(refused(yaml), line);
    }
    assert!(refused("output_dir: o\noptim: lomo").contains("not modelled yet; the nearest that is: "));
    assert!(refused("base_model: [").starts_with("file, line "));
}

#[test]
fn yaml_is_read_as_pyyaml_reads_it() {
    let merged = "defaults: &d {micro_batch_size: 3, sequence_len: 99}\n<<: *d\nsequence_len: 64\nbase_model: m";
    let train = text(merged).train;
    assert_eq!((train.per_device_train_batch_size, train.max_seq_length), (3, 64));
    assert!(text("base_model: m\ngradient_checkpointing: On").train.gradient_checkpointing);
    assert_eq!(text("base_model: m\nsequence_len: 4_096").train.max_seq_length, 4096);
    // JSON's surrogates and tabs
    let json = "{\n\t\"output_dir\": \"\\ud83d\\ude00\",\n\t\"max_steps\": 1\n}";
    assert_eq!(text(json).report.format, "transformers");
}

#[test]
fn hostile_files_are_refused_at_once() {
    let bomb = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        let next = n + 1;
        text + &format!("a{next}: &a{next} [*a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}]\n")
    });
    assert_eq!(text(&(bomb + "base_model: m")).report.unknown.len(), 31);
    let deep = "[".repeat(100_000);
    assert!(refused(&format!("base_model: {deep}")).contains("recursion limit exceeded"));
    let nested = format!("base_model: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(refused(&nested).contains("nested too deeply"));
    let chain =
        (0..100).fold("a0: &a0 [x]\n".to_owned(), |text, n| text + &format!("a{}: &a{} [*a{n}]\n", n + 1, n + 1));
    assert!(refused(&chain).contains("nested too deeply"));
    assert!(refused(&"x".repeat(from::MAX_BYTES + 1)).contains("larger than"));
    let many: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(refused(&many).contains("too many fields"));
    assert!(refused(&format!("base_model: [{}]", "1,".repeat(100_000))).contains("more values than"));
}

fn vramplan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.args(arguments);
    command
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = vramplan(arguments).assert().success().stderr("").get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn the_estimate_is_that_of_the_job_in_flags() {
    let full = path("llama-factory-full.yaml");
    let from = json(&["estimate", "qwen2.5-0.5b", "--from", &full, "--json"]);
    let flags = json(&[
        "estimate",
        "qwen2.5-0.5b",
        "--json",
        "--precision",
        "fp32",
        "--mixed-precision",
        "bf16",
        "--gradient-accumulation-steps",
        "2",
        "--attention-mask",
    ]);
    assert_eq!(from["peak"], flags["peak"]);
    assert_eq!(from["basis"]["validated"], flags["basis"]["validated"]);
    assert_eq!(from["from"]["format"], "llama-factory");
    assert!(flags.get("from").is_none());
    // flags win
    let over = json(&["estimate", "qwen2.5-0.5b", "--from", &full, "--json", "--seq", "512"]);
    assert!(over["peak"]["allocated_bytes"].as_u64() < from["peak"]["allocated_bytes"].as_u64());
}

#[test]
fn what_is_not_modelled_is_never_called_validated() {
    let answer = json(&["estimate", "llama-2-7b", "--from", &path("axolotl-qlora.yml"), "--json"]);
    assert_eq!(answer["basis"]["validated"], false);
    assert_eq!(answer["from"]["not_modelled"].as_array().unwrap().len(), 2);
    let notes = answer["basis"]["notes"].to_string();
    assert!(notes.contains("attn_implementation = flash_attention_2 is not modelled"), "{notes}");
}

#[test]
fn figures_that_say_too_little_are_for_those_who_ask() {
    let dpo = path("llama-factory-orpo.yaml");
    let line = format!(
        "error: {dpo}, line 2: stage = dpo: LLaMA-Factory's own trainer holds all logits, in fp32; it is modelled as \
         TRL's; the figures would say too little; add --partial to see them\n"
    );
    vramplan(&["estimate", "llama-3-8b", "--from", &dpo]).assert().code(2).stdout("").stderr(line);
    let output = vramplan(&["estimate", "llama-3-8b", "--from", &dpo, "--partial"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("NOT VALIDATED") && text.contains("takes more"), "{text}");
}

#[test]
fn files_are_layered_and_named_where_they_are_wrong() {
    let (arguments, deepspeed) = (path("training-arguments.json"), path("deepspeed-zero2.json"));
    let both = ["estimate", "llama-3.2-1b", "--from", &arguments, "--from", &deepspeed];
    let line = format!("error: {deepspeed}: a file like it does not say all that a job needs; add --max-seq-length\n");
    vramplan(&both).assert().code(2).stdout("").stderr(line);
    let mut more = both.to_vec();
    more.extend(["--max-seq-length", "512", "--partial", "--verbose"]);
    let output = vramplan(&more).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("From transformers + deepspeed") && text.contains("In the job:"), "{text}");
    let formats = ["estimate", "7b", "--from", &arguments, "--from", &deepspeed, "--from-format", "deepspeed"];
    let line = "error: --from-format: 1 for 2 files; give one for each --from, or none\n";
    vramplan(&formats).assert().code(2).stdout("").stderr(line);
    let infer = ["estimate", "7b", "--infer", "--from", &arguments];
    let line = "error: --from reads training configurations; remove it, or the flags of inference\n";
    vramplan(&infer).assert().code(2).stdout("").stderr(line);
}

#[test]
fn a_format_can_be_named() {
    let named = Source { format: Some(ConfigFormat::Axolotl), ..Source::new("file", "base_model: m\nstage: sft") };
    let imported = from::import(&[named]).unwrap();
    assert_eq!(imported.report.unknown[0].field, "stage");
    let yaml = "base_model: llama-3.2-1b\nsequence_len: 64\nattn_implementation: flash_attention_2\n";
    vramplan(&["estimate", "--from", "-", "--from-format", "axolotl"]).write_stdin(yaml).assert().success();
}

/// Fields that are read, with values of every kind.
fn configuration() -> impl Strategy<Value = String> {
    let names = [
        "base_model",
        "adapter",
        "load_in_4bit",
        "load_in_8bit",
        "lora_r",
        "lora_target_modules",
        "lora_target_linear",
        "sequence_len",
        "micro_batch_size",
        "bf16",
        "fp16",
        "optimizer",
        "gradient_checkpointing",
        "attn_implementation",
        "flash_attention",
        "sample_packing",
        "plugins",
        "bnb_config_kwargs",
        "model_name_or_path",
        "finetuning_type",
        "stage",
        "lora_rank",
        "lora_target",
        "quantization_bit",
        "cutoff_len",
        "flash_attn",
        "pure_bf16",
        "optim",
        "max_grad_norm",
        "per_device_train_batch_size",
        "gradient_checkpointing_kwargs",
        "fsdp",
        "deepspeed",
        "max_length",
        "packing",
        "dtype",
        "use_peft",
        "model_init_kwargs",
        "loss_type",
        "zero_optimization",
        "train_batch_size",
        "optimizer",
        "gradient_clipping",
        "train_micro_batch_size_per_gpu",
        "distributed_type",
        "mixed_precision",
        "num_processes",
        "deepspeed_config",
        "fsdp_config",
    ];
    let values = [
        "true",
        "false",
        "auto",
        "null",
        "",
        "0",
        "1",
        "-1",
        "4",
        "1e9",
        "1e400",
        "nan",
        "99999999999999999999",
        "lora",
        "qlora",
        "full",
        "freeze",
        "all",
        "sdpa",
        "flash_attention_2",
        "bf16",
        "no",
        "FSDP",
        "adamw_torch",
        "'{\"use_reentrant\": true}'",
        "{stage: 3, enabled: true}",
        "{type: AdamW}",
        "[q_proj, v_proj]",
        "[]",
        "{}",
        "'{'",
        "[[1]]",
        "{a: {b: c}}",
        "\"\\u0000\"",
    ];
    let field = (prop::sample::select(names.to_vec()), prop::sample::select(values.to_vec()));
    prop::collection::btree_map(field.clone().prop_map(|(name, _)| name), field.prop_map(|(_, value)| value), 0..12)
        .prop_map(|fields| fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect())
}

proptest! {
    #[test]
    fn any_text_is_a_job_or_one_line(text in ".{0,200}", format in 0..ConfigFormat::NAMES.len()) {
        check(&text, ConfigFormat::NAMES[format].parse().unwrap())?;
    }

    #[test]
    fn any_configuration_is_a_job_or_one_line(text in configuration(), format in 0..ConfigFormat::NAMES.len()) {
        check(&text, ConfigFormat::NAMES[format].parse().unwrap())?;
    }
}

fn check(text: &str, format: ConfigFormat) -> Result<(), TestCaseError> {
    for format in [None, Some(format)] {
        match from::import(&[Source { format, ..Source::new("file", text) }]) {
            // what the job itself refuses is refused by it, and not by a panic
            Ok(imported) => drop(imported.train.validate()),
            Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
        }
    }
    Ok(())
}
