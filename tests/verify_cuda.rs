//! The program with CUDA in it: without CUDA's libraries, with ones that play a GPU, and on a GPU where there is one.

#[path = "stand_in/mod.rs"]
mod stand_in;

use assert_cmd::Command;
use serde_json::Value;

fn vramplan(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("vramplan").expect("the program");
    command.args(arguments);
    command
}

/// The program, with the stand-in for CUDA's libraries; `old`: with one that lacks a function.
fn with_stand_in(old: bool, arguments: &[&str]) -> Command {
    let mut command = vramplan(arguments);
    command.env("LD_LIBRARY_PATH", stand_in::library("cuda", old));
    command
}

fn has_driver() -> bool {
    ["/dev/nvidiactl", "/dev/dxg"].iter().any(|device| std::path::Path::new(device).exists())
}

/// What it complains of, in one line, and that it knows no answer.
fn unknown(mut command: Command) -> String {
    let output = command.assert().code(3).stdout("").get_output().clone();
    let text = String::from_utf8(output.stderr).expect("text");
    let complaints: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(complaints.len(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    complaints[0].to_owned()
}

#[test]
fn a_missing_driver_is_named_and_all_else_works() {
    vramplan(&["estimate", "gpt2"]).assert().code(0);
    vramplan(&["verify", "--config", "tiny-fp32-nf4-lora"]).assert().code(0);
    if has_driver() {
        eprintln!("not tried: a missing driver; this machine has one");
        return;
    }
    let said = unknown(vramplan(&["verify", "--device", "cuda"]));
    assert!(
        said.starts_with("error: no GPU to measure on: libcuda.so.1 is missing (libcuda.so.1: cannot open"),
        "{said}"
    );
}

#[test]
fn libraries_without_a_gpu_or_of_another_version_are_told() {
    let mut command = with_stand_in(false, &["verify", "--device", "cuda"]);
    // CUDA_ERROR_NO_DEVICE
    command.env("STAND_IN_ERROR", "100");
    assert!(unknown(command).contains("CUDA_ERROR_NO_DEVICE"));
    let said = unknown(with_stand_in(true, &["verify", "--device", "cuda"]));
    assert!(said.contains("libcuda.so.1 has no cuMemPoolTrimTo: it is of another version"), "{said}");
}

#[test]
fn what_candle_asks_cudas_pool_for_is_predicted() {
    let mut command = with_stand_in(false, &["verify", "--device", "cuda", "--config", "medium", "--json"]);
    // nothing is computed, so that nothing is learned
    let output = command.assert().code(1).get_output().clone();
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["gpu"]["name"], "stand-in");
    let runs = answer["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 16);
    for run in runs {
        // candle puts the sizes of what it copies out of order on the GPU for a moment: one granule of the pool
        let difference = run["difference_bytes"].as_i64().expect("bytes");
        assert!((-512..=0).contains(&difference), "{run}");
        assert_eq!(run["memory"]["lasting_bytes"], 0, "{run}");
    }
}

#[test]
fn a_full_gpu_is_told() {
    let mut command = with_stand_in(false, &["verify", "--device", "cuda", "--config", "medium-fp32-dense-full"]);
    command.env("STAND_IN_BYTES", (1_u64 << 30).to_string());
    let said = unknown(command);
    assert!(said.contains("its memory is full: ") && said.contains("choose smaller ones with --config"), "{said}");
}

#[test]
fn a_gpu_holds_what_was_predicted() {
    let output = vramplan(&["verify", "--device", "cuda", "--config", "medium"]).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        eprintln!("not tried, there is no GPU: {said}");
        return;
    }
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}
