//! Files made to hurt their readers, given to the command as a user would: one clear error, soon, in little memory.
//!
//! `cargo test --release --test hostile -- --nocapture` prints what each takes.

#![allow(clippy::unwrap_used)]

mod files;
mod gguf;
mod run;
mod safetensors;
mod text;

use files::Case;

/// What a refusal may take.
const MOST_KIB: u64 = 100_000;
/// Seconds of processor time; an unoptimised build is some tens of times slower.
const MOST_SECONDS: f64 = if cfg!(debug_assertions) { 20.0 } else { 1.0 };

#[track_caller]
fn check(cases: Vec<Case>) {
    let folder = tempfile::tempdir().unwrap();
    let mut out = String::new();
    let mut over = Vec::new();
    for (number, case) in cases.into_iter().enumerate() {
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place).unwrap();
        let ran = run::run(&case, &place);
        let line = format!("{:>8.3} s {:>8} KiB  {}: {}", ran.seconds, ran.peak_kib, case.what, ran.shown());
        let as_expected = if case.is_refused {
            ran.code == Some(2) && ran.output.is_empty() && ran.errors.lines().count() == 1 && ran.errors.len() < 2000
        } else {
            ran.code == Some(0)
        };
        if !as_expected || ran.seconds > MOST_SECONDS || ran.peak_kib > MOST_KIB {
            over.push(line.clone());
        }
        out.push_str(&line);
        out.push('\n');
    }
    println!("{out}");
    assert!(over.is_empty(), "{over:#?}");
}

#[test]
fn safetensors_headers() {
    check(safetensors::cases());
}

#[test]
fn gguf_files() {
    check(gguf::cases());
}

#[test]
fn configurations() {
    check(text::configurations());
}

#[test]
fn job_files() {
    check(text::jobs());
}

#[test]
fn adapter_configurations() {
    check(text::adapters());
}

#[test]
fn inventories() {
    check(text::inventories());
}

#[test]
fn price_tables() {
    check(text::prices());
}
