//! What commands print is what their schemas say, and nothing that they do not say.

#![allow(clippy::unwrap_used)]

mod closed;

use assert_cmd::Command;
use closed::{closed, committed, holds};
use serde_json::{Value, json};

fn vramplan(arguments: &str) -> String {
    let mut command = Command::cargo_bin("vramplan").unwrap();
    // a judgement may be any exit code but that of bad usage
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.code().is_some_and(|code| code != 2), "{arguments}: {error}");
    text
}

#[test]
fn the_committed_schemas_are_what_is_printed() {
    let listed = vramplan("schema");
    let names: Vec<&str> = listed.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 14, "{listed}");
    for name in &names {
        let printed = vramplan(&format!("schema {name}"));
        let file = std::fs::read_to_string(committed(name)).unwrap_or_default();
        assert_eq!(file, printed, "vramplan schema {name} > schemas/{name}.json");
    }
    assert_eq!(std::fs::read_dir(committed("").parent().unwrap()).unwrap().count(), names.len());
}

#[test]
fn what_is_printed_is_what_the_schemas_say() {
    let tiny = "tinyllama-1.1b";
    holds("estimate", &vramplan(&format!("estimate {tiny} --lora --timeline --method both --json")));
    holds("estimate", &vramplan(&format!("estimate {tiny} --infer --json")));
    holds("formula", &vramplan("estimate 7b --method formula --json"));
    holds("compare", &vramplan(&format!("compare {tiny} --seq 256 --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --lora --gpu rtx-4090 --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --memory 9GiB --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --tensor-parallel-size 2 --gpu l4 --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --lora --gpus-from tests/inventories/nvidia-smi.xml --json")));
    holds("solve", &vramplan(&format!("solve {tiny} --qlora --gpu t4 --for seq --step 512 --json")));
    holds("solve", &vramplan(&format!("solve {tiny} --qlora --for gpu --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --serve --tp 2 --gpu l4 --json")));
    holds("fit", &vramplan(&format!("fit {tiny} --serve --memory 2GiB --json")));
    holds("solve", &vramplan(&format!("solve {tiny} --serve --for seq --step 512 --gpu t4 --json")));
    holds("plan", &vramplan(&format!("plan {tiny} --gpus l4,rtx-4090 --effective-batch 2 --seq 256 --json")));
    holds("table", &vramplan(&format!("plan {tiny} --tutorial-table --seq 256 --json")));
    #[cfg(feature = "verify")]
    holds("verify", &vramplan("verify --config tiny-fp32-dense-lora-ga2 --json"));
    holds("gpus", &vramplan("gpus --gpus-from tests/inventories/nodes.json --json"));
    holds("gpus", &vramplan("gpus 4090 --json"));
    holds("params", &vramplan(&format!("params {tiny} --lora --json")));
    holds("models", &vramplan("models llama --json"));
    holds("model", &vramplan(&format!("models show {tiny} --json")));
}

#[test]
fn budgets_and_their_lock_are_what_the_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vramplan.toml");
    std::fs::write(
        &file,
        "[jobs.a]\nmodel = \"tinyllama-1.1b\"\ngpu = \"rtx-4090\"\n[jobs.a.train]\nmax_seq_length = 256\n\
         [jobs.b]\nmodel = \"tinyllama-1.1b\"\nbudget = \"1GiB\"\n[jobs.b.infer]\n",
    )
    .unwrap();
    let file = file.display().to_string();
    holds("check", &vramplan(&format!("check {file} --update-lock --json")));
    let changed = std::fs::read_to_string(&file).unwrap().replace("256", "512");
    std::fs::write(&file, changed).unwrap();
    holds("check", &vramplan(&format!("check {file} --json")));
    let lock: Value = toml_or_json(&std::fs::read_to_string(folder.path().join("vramplan.lock")).unwrap());
    holds("lock", &lock.to_string());
}

fn toml_or_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| toml::from_str(text).unwrap())
}

#[test]
fn job_files_are_what_their_schema_says() {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(committed("job")).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let job = |text: &str| toml::from_str::<Value>(text).unwrap();
    for good in [
        "model = \"llama-2-7b\"\n[train]\nprecision = \"nf4\"\n[train.peft]\ntype = \"lora\"\nr = 16\ntarget_modules = \"all-linear\"",
        "[model]\nconfig = { model_type = \"llama\" }\n[infer]\nbatch_size = 2",
    ] {
        assert!(
            validator.is_valid(&job(good)),
            "{good}: {:?}",
            validator.iter_errors(&job(good)).map(|e| e.to_string()).collect::<Vec<_>>()
        );
    }
    for bad in
        ["model = \"m\"\n[train]\nprecison = \"nf4\"", "model = \"m\"\n[train]\noptim = \"adam\"", "modle = \"m\""]
    {
        assert!(!validator.is_valid(&job(bad)), "{bad}");
    }
}

#[test]
fn a_key_that_is_not_planned_is_rejected() {
    let schema = closed(serde_json::from_str(&std::fs::read_to_string(committed("fit")).unwrap()).unwrap());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut value: Value = serde_json::from_str(&vramplan("fit tinyllama-1.1b --lora --gpu l4 --json")).unwrap();
    assert!(validator.is_valid(&value));
    value["peak"]["more"] = json!(1);
    assert!(!validator.is_valid(&value));
    value["peak"].as_object_mut().unwrap().remove("more");
    value["more"] = json!(1);
    assert!(!validator.is_valid(&value));
}

#[test]
fn completions_and_manual_pages() {
    for (shell, word) in [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete -c vramplan")] {
        assert!(vramplan(&format!("completions {shell}")).contains(word), "{shell}");
    }
    assert!(vramplan("man").contains(".TH vramplan 1"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(vramplan(&format!("man {}", folder.path().display())), "");
    assert!(std::fs::read_to_string(folder.path().join("vramplan-fit.1")).unwrap().contains(r"nvidia\-smi"));
}
