//! `vllm serve` lines as `fit` and `solve` take and print them.

#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;

fn fit(arguments: &[&str], input: &str) -> (i32, Value) {
    let mut command = Command::cargo_bin("vramplan").unwrap();
    let output = command.args(arguments).arg("--json").write_stdin(input).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}")))
}

/// The line from `docker run`'s end, with what does not matter to memory and what does and is not modelled.
#[test]
fn a_pasted_line_is_judged() {
    let line = "docker run --gpus all -p 8000:8000 vllm/vllm-openai vllm serve meta-llama/Llama-3.1-8B \\\n  \
                -tp 2 --max-model-len=32k --port 8001 --cpu-offload-gb 4";
    let (code, judged) = fit(&["fit", "--vllm", line, "--gpu", "rtx-4090"], "");
    assert_eq!((code, judged["verdict"].as_str()), (0, Some("fits")));
    assert_eq!(judged["gpu_count"], 2);
    assert_eq!(judged["cache"]["max_model_len"], 32_000);
    assert_eq!(judged["basis"]["validated"], false);
    let notes = judged["basis"]["notes"].to_string();
    assert!(notes.contains("--cpu-offload-gb may change what the GPU holds and is not modelled"), "{notes}");
    assert_eq!(
        judged["serve_line"],
        "vllm serve meta-llama/Llama-3.1-8B --tensor-parallel-size 2 --max-model-len 32000"
    );
    let (_, same) = fit(&["fit", "--vllm", "-", "--gpu", "rtx-4090"], line);
    assert_eq!(same, judged);
}

/// What a flag says goes over the line.
#[test]
fn the_line_that_is_printed_works() {
    let line = "vllm serve meta-llama/Llama-3.1-8B";
    let (code, judged) = fit(&["fit", "--vllm", line, "--gpu", "rtx-4090"], "");
    assert_eq!(code, 1);
    let error = judged["cache"]["error"].as_str().unwrap();
    assert!(error.contains("To serve at least one request with the model's max seq len (131072)"), "{error}");
    let printed = judged["serve_line"].as_str().unwrap();
    let (code, _) = fit(&["fit", "--vllm", printed, "--gpu", "rtx-4090"], "");
    assert_eq!(code, 0, "{printed}");
    let longest = judged["cache"]["longest_max_model_len"].to_string();
    let (code, _) = fit(&["fit", "--vllm", line, "--max-model-len", &longest, "--gpu", "rtx-4090"], "");
    assert_eq!(code, 0, "{longest}");
}

#[test]
fn a_line_that_is_none_is_refused() {
    for (line, why) in [
        ("vllm serve", "it names no model; give `vllm serve MODEL ...`"),
        ("ollama run llama3", "give `vllm serve MODEL --flag value ...`"),
        ("vllm serve llama-3.1-8b --max-model-len lots", "--max-model-len = lots: give a whole number"),
    ] {
        let mut command = Command::cargo_bin("vramplan").unwrap();
        let output = command.args(["fit", "--gpu", "l4", "--vllm", line]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(why), "{error}");
    }
}
