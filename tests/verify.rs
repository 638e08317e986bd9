//! The step run for real: what candle holds is what was predicted, and the model learns.

#[path = "../src/counting.rs"]
mod counting;

use std::rc::Rc;
use std::sync::Mutex;

use counting::{Counting, Process};
use vramplan::verify::{self, Configuration, Gauge, Run};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// One test at a time measures the process.
static MEASURING: Mutex<()> = Mutex::new(());

fn configurations(size: &str) -> Vec<Configuration> {
    let all = verify::configurations().expect("the built-in configurations");
    all.into_iter().filter(|configuration| configuration.name.starts_with(size)).collect()
}

fn measured(configuration: &Configuration) -> Run {
    let gauge: Rc<dyn Gauge> = Rc::new(Process(&ALLOCATOR));
    verify::run(configuration, &gauge).unwrap_or_else(|error| panic!("{}: {error}", configuration.name))
}

#[test]
fn what_arrays_hold_is_what_the_ledger_says() {
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
    let _alone = MEASURING.lock().expect("no test that measures panicked");
    for configuration in configurations("tiny") {
        let run = measured(&configuration);
        println!("{run:?}");
        assert_eq!(run.predicted_bytes, run.measured_bytes, "{}", run.name);
        assert!(run.learned(), "{run:?}");
    }
}
