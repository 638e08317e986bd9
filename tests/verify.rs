//! The step run for real: what candle holds is what was predicted, and the model learns.

#[path = "../src/counting.rs"]
mod counting;

use std::sync::{Mutex, MutexGuard};

use counting::Counting;
use vramplan::verify::{self, Configuration, Run};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// What one test does the other would count.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn configurations(size: &str) -> Vec<Configuration> {
    let all = verify::configurations().expect("the built-in configurations");
    all.into_iter().filter(|configuration| configuration.name.starts_with(size)).collect()
}

fn measured(configuration: &Configuration) -> Run {
    verify::run(configuration, &ALLOCATOR).unwrap_or_else(|error| panic!("{}: {error}", configuration.name))
}

#[test]
fn what_arrays_hold_is_what_the_ledger_says() {
    let _alone = alone();
    let failures: Vec<String> = verify::configurations()
        .expect("the built-in configurations")
        .iter()
        .filter_map(|configuration| {
            verify::predict(configuration).err().map(|error| format!("{}: {error}", configuration.name))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn candle_holds_what_was_predicted_and_learns() {
    let _alone = alone();
    verify::warm_up().expect("a step");
    for configuration in configurations("tiny") {
        let run = measured(&configuration);
        println!("{run:?}");
        assert_eq!(run.predicted_bytes, run.measured_bytes, "{}", run.name);
        assert!(run.learned(), "{run:?}");
    }
}
