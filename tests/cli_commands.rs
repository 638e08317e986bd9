//! The command as its users meet it: exit codes, standard output, and one line on standard error.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use serde_json::Value;

fn vramplan(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("vramplan").unwrap();
    command.env_remove("COLUMNS").args(arguments);
    command
}

fn printed(arguments: &[&str]) -> String {
    let output = vramplan(arguments).assert().success().stderr("").get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn errors_are_one_line_and_exit_code_2() {
    let cases: &[(&[&str], &str)] = &[
        (&["estimate"], "no model; name one, as in `vramplan estimate llama-2-7b`, or give a job file that does"),
        (
            &["estimate", "llama-2-7b", "--double-quant"],
            "train.double_quant = true: only 4-bit weights have scales to quantise, not bf16; set precision = \"nf4\" or \
             double_quant = false",
        ),
        (
            &["estimate", "llama-2-7b", "--precision", "nf4"],
            "train.precision = \"nf4\": quantised weights cannot be trained; add [train.peft] type = \"lora\", or use bf16, \
             fp16 or fp32",
        ),
        (
            &["estimate", "llama-2-7b", "--batch", "0"],
            "train.per_device_train_batch_size = 0: give a number from 1 to 1048576",
        ),
        (
            &["estimate", "llama-2-7b", "--batch", "-1"],
            "invalid value '-1' for '--per-device-train-batch-size <N>': give a whole number, such as 4",
        ),
        (
            &["estimate", "llama-2-7b", "--head", "mlm"],
            "invalid value 'mlm' for '--head <HEAD>'; [possible values: causal-lm, seq-cls, seq2seq-lm, image-cls, masked-lm]",
        ),
        (
            &["estimate", "llama-2-7b", "--infer", "--r", "8"],
            "--r: only training has it; remove it, or ask for training",
        ),
        (&["estimate", "--job", "no/such.toml"], "no/such.toml: No such file or directory (os error 2)"),
        (&["params", "llama-2-7b", "--r", "0"], "train.peft.r = 0: give a number from 1 to 65536"),
        (&["models", "zzz"], "no known model's name or type contains `zzz`; `vramplan models` lists all"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'; `--help` lists what there is"),
        (&["estimate", "7b", "--bogus"], "unexpected argument '--bogus' found; `--help` lists what there is"),
        (
            &["estimate", "7b", "--precison", "fp16"],
            "unexpected argument '--precison' found; tip: a similar argument exists: '--precision'",
        ),
        (
            &["estimate", "7b", "--gradient-checkpointing", "true"],
            "unexpected argument 'true' found; write it with =, as in --gradient-checkpointing=true",
        ),
        (
            &["estimate", "7b", "--lora-dropout", "some"],
            "invalid value 'some' for '--lora-dropout <P>': give a number, such as 0.5",
        ),
        (
            &["estimate", "7b", "--seq", "99999999999999999999"],
            "invalid value '99999999999999999999' for '--max-seq-length <N>': no job is that large",
        ),
        (&["estimate", "--job", "/"], "/: Is a directory (os error 21); give a job file, TOML or JSON"),
        (&["params"], "<MODEL> is missing; `--help` shows how to give it"),
        (&["models", "llama", "gpt"], "more than one word to look for; give one, as in `vramplan models llama`"),
    ];
    for (arguments, line) in cases {
        vramplan(arguments).assert().code(2).stdout("").stderr(format!("error: {line}\n"));
    }
}

#[test]
fn an_unknown_model_is_an_error() {
    let output =
        vramplan(&["estimate", "no-such-model-\u{1b}[31m"]).assert().code(2).stdout("").get_output().stderr.clone();
    let text = String::from_utf8(output).unwrap();
    assert!(text.starts_with("error: ") && text.lines().count() == 1 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_job_file_is_read_from_standard_input_as_toml_and_json() {
    let toml = "model = \"llama-2-7b\"\n[train]\nmax_seq_length = 128\n[train.peft]\ntype = \"lora\"\ntarget_modules = [\"q_proj\", \"v_proj\"]";
    let same = r#"{"model": "llama-2-7b", "train": {"max_seq_length": 128,
                   "peft": {"type": "lora", "target_modules": ["q_proj", "v_proj"]}}}"#;
    let answers = [toml, same].map(|job| {
        let assert = vramplan(&["estimate", "--job", "-", "--json"]).write_stdin(job).assert().success().stderr("");
        json(&String::from_utf8(assert.get_output().stdout.clone()).unwrap())
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["model"]["trainable_parameters"], 4_194_304);
}

#[test]
fn a_job_file_on_disk_is_named_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    std::fs::write(&path, "model = \"llama-2-7b\"\n[train]\nr = 8\n").unwrap();
    let line = format!("error: {}: unknown field `train.r`; it belongs in [train.peft]\n", path.display());
    vramplan(&["estimate", "--job"]).arg(&path).assert().code(2).stdout("").stderr(line);
}

#[test]
fn json_has_the_documented_keys() {
    let estimate = json(&printed(&["estimate", "llama-2-7b", "--json"]));
    assert_eq!(estimate["schema"], "vramplan.estimate/1");
    for key in ["model", "peak", "at_peak", "held", "phases", "basis"] {
        assert!(!estimate[key].is_null(), "{key}");
    }
    for key in ["allocated_bytes", "reserved_bytes", "device_bytes"] {
        assert!(estimate["peak"][key].is_u64(), "{key}");
    }
    let parts: u64 = estimate["at_peak"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(estimate["peak"]["allocated_bytes"], parts);
    assert!(estimate.get("timeline").is_none() && estimate.get("formula").is_none());
}

#[test]
fn timeline_and_formula_are_added_where_asked_for() {
    let estimate = json(&printed(&["estimate", "llama-2-7b", "--json", "--timeline", "--method", "both"]));
    assert!(!estimate["timeline"].as_array().unwrap().is_empty());
    assert_eq!(
        keys(&estimate["formula"]),
        ["activations", "gradients", "kv_cache", "optimizer", "total_bytes", "weights"]
    );
    let text = printed(&["estimate", "llama-2-7b", "--timeline", "--method", "both"]);
    assert!(text.contains("└forward─") && text.contains("formula GiB"), "{text}");
}

#[test]
fn the_formula_alone_runs_no_step() {
    let formula = json(&printed(&["estimate", "llama-2-7b", "--json", "--method", "formula", "--precision", "fp32"]));
    assert_eq!(formula["schema"], "vramplan.formula/1");
    assert_eq!(formula["formula"]["weights"], 6_738_415_616_u64 * 4);
    assert!(formula.get("peak").is_none());
}

#[test]
fn parameters_are_counted_with_and_without_adapters() {
    let plain = json(&printed(&["params", "llama-2-7b", "--json"]));
    assert_eq!(
        (&plain["parameters"], &plain["trainable_parameters"]),
        (&6_738_415_616_u64.into(), &6_738_415_616_u64.into())
    );
    let parts: u64 = plain["parts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(parts, 6_738_415_616);
    let lora = printed(&["params", "llama-2-7b", "--r", "8", "--target-modules", "q_proj,v_proj"]);
    assert!(
        lora.contains("trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0622\n"),
        "{lora}"
    );
}

#[test]
fn methods_are_compared_within_the_width_and_as_json() {
    let arguments = ["compare", "gpt2", "--seq", "128"];
    for columns in ["40", "80"] {
        let output = vramplan(&arguments).env("COLUMNS", columns).assert().success().get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        for name in ["full", "LoRA", "QLoRA", "prefix", "prompt", "IA3", "adapter"] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= columns.parse().unwrap(), "{widest} of {columns}: {text}");
    }
    let answer = json(&printed(&[
        "compare",
        "gpt2",
        "--seq",
        "128",
        "--peft",
        "prefix_tuning",
        "--num-virtual-tokens",
        "7",
        "--json",
    ]));
    assert_eq!(answer["schema"], "vramplan.compare/1");
    // 12 layers of keys and values, 768 wide
    assert_eq!(answer["methods"][3]["trainable_parameters"], 7 * 12 * 2 * 768);
}

#[test]
fn what_is_known_of_models_is_there_as_json() {
    let list = json(&printed(&["models", "llama-2", "--json"]));
    let models = list["models"].as_array().unwrap();
    let listed = models.iter().find(|model| model["name"] == "llama-2-7b").unwrap();
    let mut shown = json(&printed(&["models", "show", "meta-llama/Llama-2-7b-hf", "--json"]));
    assert_eq!(shown.as_object_mut().unwrap().remove("schema"), Some("vramplan.model/1".into()));
    assert_eq!(*listed, shown);
    assert_eq!((&shown["parameters"], &shown["hidden_size"]), (&6_738_415_616_u64.into(), &4096.into()));
    assert!(shown["aliases"].as_array().unwrap().contains(&"llama2-7b".into()));
    assert!(!shown["source"].as_str().unwrap().is_empty());
}

#[test]
fn a_folder_with_a_cards_name_is_not_taken_for_the_card() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("gpt2");
    std::fs::create_dir(&mine).unwrap();
    let config = r#"{"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 100}"#;
    std::fs::write(mine.join("config.json"), config).unwrap();
    let mut command = vramplan(&["models", "show", "gpt2", "--json"]);
    let output = command.current_dir(folder.path()).assert().success().get_output().stdout.clone();
    let shown = json(&String::from_utf8(output).unwrap());
    assert_eq!((&shown["hidden_size"], &shown["source"]), (&64.into(), &"gpt2".into()));
    assert_eq!(shown["aliases"], serde_json::json!([]));
}

#[test]
fn models_are_listed_and_shown() {
    assert!(printed(&["models"]).contains("llama-2-7b"));
    assert!(printed(&["models", "LLAMA-2"]).contains("llama-2-7b"));
    let shown = printed(&["models", "show", "llama-2-7b"]);
    assert!(shown.contains("6,738,415,616 parameters") && shown.contains("intermediate_size"), "{shown}");
    assert!(shown.contains("From: ") && shown.contains("Also called: meta-llama/Llama-2-7b-hf"), "{shown}");
}

#[test]
fn nothing_is_coloured_or_wider_than_asked_for_in_a_pipe() {
    let commands: &[&[&str]] = &[
        &["estimate", "gpt2", "--timeline", "--method", "both"],
        &["estimate", "gpt2", "--method", "formula"],
        &["models"],
        &["params", "gpt2"],
    ];
    for (columns, width) in [("40", 40), ("60", 60), ("100", 100)] {
        for command in commands {
            let text = vramplan(command).env("COLUMNS", columns).assert().success();
            let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
            assert!(!text.contains('\u{1b}'));
            for line in text.lines().filter(|line| !line.starts_with("trainable params")) {
                assert!(line.chars().count() <= width, "{line}");
            }
        }
    }
}

#[test]
fn defaults_are_said_to_be_defaults() {
    let said = "No job was given";
    assert!(printed(&["estimate", "llama-2-7b"]).contains(said));
    assert!(!printed(&["estimate", "llama-2-7b", "--batch", "2"]).contains(said));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("vramplan"))
        .args(["estimate", "llama-2-7b", "--json", "--timeline"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let help = printed(&["--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    for command in ["estimate", "compare", "models", "params"] {
        assert!(printed(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    vramplan(&[]).assert().code(2).stdout("");
    assert!(printed(&["--version"]).starts_with("vramplan "));
}

/// A flag that the job file has not, or the other way round, is a mistake in one of them.
#[test]
fn every_field_of_the_job_file_has_its_flag() {
    let help = printed(&["estimate", "--help"]);
    let train = serde_json::to_value(vramplan::job::Train::default()).unwrap();
    for field in keys(&train) {
        let flag = format!("--{}", field.replace('_', "-"));
        assert!(help.contains(&flag), "{flag}");
    }
}

const README: &str = include_str!("../README.md");

/// The README's first command, and what it shows of its answer.
#[test]
fn the_readme_shows_what_is_printed() {
    let command = README.lines().find_map(|line| line.strip_prefix("$ cargo run --release -- ")).unwrap();
    let printed = printed(&command.split(' ').collect::<Vec<_>>());
    let shown = printed.split("Kept throughout").next().unwrap();
    assert!(README.contains(shown), "{shown}");
}

#[test]
fn the_readmes_commands_and_jobs_work() {
    let commands: Vec<&str> = README.lines().filter_map(|line| line.strip_prefix("$ vramplan ")).collect();
    assert!(commands.len() >= 4);
    for command in commands {
        printed(&command.split(' ').collect::<Vec<_>>());
    }
    let jobs = README.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // budgets and inventories are files of their own
    for job in jobs.filter(|job| !["[jobs.", "[[gpu]]"].iter().any(|table| job.contains(table))) {
        vramplan(&["estimate", "--job", "-"]).write_stdin(job).assert().success().stderr("");
    }
}

/// What the README says of `--json` is what comes.
#[test]
fn the_readmes_json_is_the_answers() {
    let command =
        README.lines().find_map(|line| line.strip_prefix("$ vramplan ").filter(|line| line.ends_with("--json")));
    let answer = json(&printed(&command.unwrap().split(' ').collect::<Vec<_>>()));
    for key in ["model", "peak", "held"] {
        let line = README.lines().find(|line| line.starts_with(&format!("  \"{key}\": {{"))).unwrap();
        let said = json(&format!("{{{}}}", line.trim_end_matches(',')));
        assert_eq!(said[key], answer[key]);
    }
}

#[cfg(not(feature = "verify"))]
#[test]
fn verify_says_what_to_build() {
    let expected = predicates::str::contains("build it with `cargo build --release --features verify`");
    vramplan(&["verify"]).assert().code(2).stdout("").stderr(expected);
}

#[cfg(feature = "verify")]
#[test]
fn verify_wants_a_configuration_and_a_device_that_are_there() {
    let said = |arguments: &[&str], text: &'static str| {
        vramplan(arguments).assert().code(2).stdout("").stderr(predicates::str::contains(text));
    };
    said(
        &["verify", "--config", "huge"],
        "no configuration has huge in its name; `vramplan verify` runs and lists all",
    );
    if !cfg!(feature = "cuda") {
        said(&["verify", "--device", "cuda"], "this build has no CUDA; build it with `--features cuda`");
    }
}
