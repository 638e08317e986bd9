//! How long an estimate takes: `cargo bench`.

use vramplan::job::{Job, Serve};
use vramplan::model::{self, Model};
use vramplan::step;

fn main() {
    divan::main();
}

fn case(name: &str, train: &str) -> (Model, Job) {
    let model = model::resolve(name).expect("a built-in model");
    let job = format!(r#"{{"model": "{name}", "train": {train}}}"#).parse().expect("a job");
    (model, job)
}

/// Named jobs: what the README's first command runs, a smaller adapter, and a full step of 70 billion parameters.
fn cases() -> [(&'static str, &'static str, &'static str); 4] {
    let lora = r#"{"max_seq_length": 2048, "peft": {"type": "lora", "r": 16, "target_modules": "all-linear"}}"#;
    let small = r#"{"max_seq_length": 2048, "peft": {"type": "lora", "r": 8, "target_modules": ["q_proj", "v_proj"]}}"#;
    let full = r#"{"max_seq_length": 2048}"#;
    [
        ("7B LoRA on q and v", "llama-2-7b", small),
        ("7B LoRA on all linear layers", "llama-2-7b", lora),
        ("7B full", "llama-2-7b", full),
        ("70B full", "llama-2-70b", full),
    ]
}

#[divan::bench(args = cases().map(|(name, _, _)| name))]
fn estimate(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (_, model, train) = cases().into_iter().find(|(known, _, _)| *known == name).expect("a case");
    let (model, job) = case(model, train);
    bencher.bench(|| step::estimate(&model, &job));
}

/// An engine on one GPU, on eight, and with the weights of many experts.
#[divan::bench(args = [("llama-3.1-8b", 1), ("llama-3.3-70b", 8), ("qwen3-30b-a3b", 2), ("gemma-3-27b", 2)])]
fn serve(bencher: divan::Bencher<'_, '_>, (name, tensor_parallel_size): (&str, u64)) {
    let model = model::resolve(name).expect("a built-in model");
    let job = Job::serve(name, Serve { tensor_parallel_size, ..Serve::default() });
    bencher.bench(|| step::estimate(&model, &job));
}

#[divan::bench]
fn resolve_a_card() -> Result<Model, model::ModelError> {
    model::resolve("llama-2-7b")
}

#[divan::bench]
fn read_a_job() -> Result<Job, vramplan::job::JobError> {
    r#"{"model": "llama-2-7b", "train": {"max_seq_length": 2048, "peft": {"type": "lora", "r": 16}}}"#.parse()
}
