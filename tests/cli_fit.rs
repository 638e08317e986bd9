//! `fit`, `solve` and `plan` as their users meet them: exit codes, keys, what is said where there is no GPU.

#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;

/// Exit code, standard output, standard error.
fn run(arguments: &str) -> (i32, String, String) {
    run_with(arguments, "")
}

fn run_with(arguments: &str, input: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("vramplan").unwrap();
    let command = command.env_remove("COLUMNS").args(arguments.split_whitespace()).write_stdin(input);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &str, input: &str) -> (i32, Value) {
    let (code, out, error) = run_with(arguments, input);
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")))
}

const TINY: &str = "tinyllama-1.1b";

#[test]
fn the_exit_code_is_the_verdict() {
    let cases = [
        (format!("fit {TINY} --lora --gpu rtx-4090"), 0),
        (format!("fit {TINY} --memory 6GiB --no-suggestions"), 1),
        ("fit no-such-model --gpu rtx-4090".to_owned(), 2),
        (format!("fit {TINY} --gpu rtx-4091"), 2),
        (format!("fit {TINY} --memory lots"), 2),
        (format!("fit {TINY}"), 3),
        (format!("fit {TINY} --gpu apple-m3"), 3),
        (format!("fit {TINY} --tensor-parallel-size 2 --gpu l4"), 3),
        (format!("solve {TINY} --lora --gpu t4 --for batch"), 0),
        (format!("solve {TINY} --memory 2GiB --for batch"), 1),
        (format!("solve {TINY} --memory 20GiB --for rank"), 2),
        (format!("solve {TINY} --memory 20GiB --for batch --step 0"), 2),
        (format!("solve {TINY} --for batch"), 3),
        (format!("plan {TINY} --gpus t4 --quality full --seq 256 --effective-batch 1 --max-price 0.0001"), 1),
        (format!("plan {TINY} --infer"), 3),
        (format!("plan {TINY} --gpus rtx-4091"), 2),
        (format!("plan {TINY} --prices no-such-file.csv"), 2),
    ];
    for (arguments, expected) in cases {
        let (code, out, error) = run(&arguments);
        assert_eq!(code, expected, "{arguments}\n{out}{error}");
        // an error is one line and nothing else, a judgement is on standard output
        let errors = error.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!((out.is_empty(), errors <= 1), (errors == 1, true), "{arguments}");
    }
}

#[test]
fn a_job_is_judged_by_size_as_the_design_says() {
    let job = r#"{"model": "tinyllama-1.1b", "train": {"max_seq_length": 512, "peft": {"type": "lora"}}}"#;
    let (code, fit) = json("fit --job - --memory 24GiB --context 450MiB --json", job);
    assert_eq!((code, fit["verdict"].as_str()), (0, Some("fits")));
    assert_eq!(fit["memory_bytes"], 24_u64 << 30);
    assert_eq!(fit["context_bytes"], 450_u64 << 20);
    let bytes = |key: &str| fit[key].as_i64().unwrap();
    assert_eq!(bytes("headroom_bytes"), bytes("memory_bytes") - bytes("device_bytes"));
    let (code, fit) = json("fit --job - --memory 3000000000 --json", job);
    assert_eq!((code, fit["verdict"].as_str()), (1, Some("does_not_fit")));
    assert!(fit["headroom_bytes"].as_i64().unwrap() < 0);
}

#[test]
fn unknown_has_the_same_keys() {
    let (code, fit) = json("fit tinyllama-1.1b --tensor-parallel-size 2 --memory 24GiB --json", "");
    assert_eq!((code, fit["verdict"].as_str()), (3, Some("unknown")));
    for key in ["device_bytes", "memory_bytes", "headroom_bytes", "reason"] {
        assert!(fit.get(key).is_some(), "{key}");
    }
}

/// A hypothetical machine with eight cards of which two are busy, and a slice of a ninth.
const MACHINE: &str = r#"
[[gpu]]
name = "rtx-4090"
count = 6
[[gpu]]
name = "rtx-4090"
count = 2
used = "20GiB"
"#;

#[test]
fn busy_cards_are_judged_by_what_is_free() {
    let (code, fit) = json("fit tinyllama-1.1b --lora --gpus-from - --json", MACHINE);
    assert_eq!(code, 0);
    let cards = fit["cards"].as_array().unwrap();
    let verdicts: Vec<_> = cards.iter().map(|card| card["verdict"].as_str().unwrap()).collect();
    assert!(verdicts.contains(&"fits") && verdicts.contains(&"does_not_fit"), "{verdicts:?}");
    assert_eq!(fit["in_use_bytes"], 0, "the best of them is on top");
}

#[test]
fn lines_stay_within_eighty_columns_and_without_colour() {
    for arguments in [
        format!("fit {TINY} --memory 6GiB"),
        format!("fit {TINY} --lora --gpu a100-80g"),
        format!("solve {TINY} --qlora --gpu rtx-4090 --for seq --step 128"),
        format!("plan {TINY} --gpus l4,rtx-4090 --effective-batch 4 --seq 512"),
        format!("plan {TINY} --tutorial-table --seq 512"),
    ] {
        let (_, out, _) = run(&arguments);
        assert!(!out.contains('\u{1b}'), "{arguments}");
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{arguments}: {line}");
        }
    }
}
