//! How long questions about cards take: `cargo bench --bench plan`.

#![allow(missing_docs)]

use vramplan::hardware::{self, Prices};
use vramplan::job::{Job, Train};
use vramplan::model::{self, Model};
use vramplan::plan::{self, Constraints, Fit, Goal, Quality, Question, Room, Searched, TrainConstraints};

fn main() {
    divan::main();
}

fn llama() -> Model {
    model::resolve("llama-2-7b").expect("a built-in model")
}

/// 108 jobs, each asked of every GPU there is: 10,000 questions.
fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for seq in (1..=9).map(|i| i * 256) {
        for batch in [1, 2, 4] {
            for peft in ["null", r#"{"type": "lora"}"#, r#"{"type": "lora", "r": 64}"#, r#"{"type": "ia3"}"#] {
                let train =
                    format!(r#"{{"max_seq_length": {seq}, "per_device_train_batch_size": {batch}, "peft": {peft}}}"#);
                jobs.push(format!(r#"{{"model": "tinyllama-1.1b", "train": {train}}}"#).parse().expect("a job"));
            }
        }
    }
    jobs
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn fit_10_000_questions() -> Vec<Fit> {
    let model = model::resolve("tinyllama-1.1b").expect("a built-in model");
    let rooms: Vec<Room> = hardware::by_memory().iter().map(|gpu| Room::on(gpu)).collect();
    let questions = jobs().into_iter().map(|job| Question::of(&model, &job).expect("an estimate"));
    questions
        .flat_map(|question| rooms.iter().map(|room| question.fit(room)).collect::<Vec<_>>())
        .take(10_000)
        .collect()
}

/// One job asked of 10,000 sizes of card.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn fit_10_000_sizes(bencher: divan::Bencher<'_, '_>) {
    let job: Job = r#"{"model": "llama-2-7b", "train": {"peft": {"type": "lora"}}}"#.parse().expect("a job");
    let model = llama();
    bencher.bench_local(|| {
        let question = Question::of(&model, &job).expect("an estimate");
        (0..10_000_u64).map(|i| question.fit(&Room::of(vramplan::Bytes::from_mib(8_000 + 14 * i)))).collect::<Vec<_>>()
    });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn plan_100_000_candidates() -> Searched {
    let common = Constraints {
        goal: Goal::Cost,
        gpus: hardware::by_memory().to_vec(),
        prices: Prices::builtin(),
        most_per_hour: None,
        most_plans: 12,
    };
    let constraints = TrainConstraints { common, least_quality: Quality::Qlora, effective_batch: 64 };
    let searched = plan::search(&llama(), &Train::default(), &constraints).expect("plans");
    assert!(searched.candidates >= 100_000, "{}", searched.candidates);
    searched
}
