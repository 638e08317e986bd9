//! Every recorded case, held against what real PyTorch allocated.
//!
//! `truth/*.jsonl` hold the cases and their measurements (torch 2.11, transformers 5.17, peft 0.21, bitsandbytes 0.50).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use vramplan::Bytes;
use vramplan::ghost::{CUBLAS_WORKSPACE, Phase, PhaseUse, Playback};
use vramplan::model::{ModelType, Support};
use vramplan::step::{Estimate, count_parameters};
use vramplan::truth::{self, Errors, NotEstimable, Row, StepBytes};
use vramplan::units::MIB;

/// The cases that cannot be estimated yet, with the reason that is given.
const NOT_ESTIMATED: [(&str, &str); 9] = [
    ("llama2-7b.fsdp2x2-fp32-mp-gc.b1.s4096", "several GPUs"),
    ("llama2-7b.fsdp2x64-fp32-mp-gc.b1.s4096", "several GPUs"),
    ("llama2-7b.fsdp2x8-bf16-noreshard.b1.s4096", "several GPUs"),
    ("llama2-7b.fsdp2x8-fp32-mp-gc.b1.s4096", "several GPUs"),
    ("llama2-7b.fsdp2x8-fp32-mp.b1.s2048", "several GPUs"),
    ("llama2-7b.tpx2-bf16-gc.b1.s2048", "several GPUs"),
    ("llama2-7b.tpx4-bf16-gc.b1.s2048", "several GPUs"),
    ("llama3-8b.fsdp2x8-fp32-mp-gc.b1.s8192", "several GPUs"),
    ("tinyllama-1.1b.fsdp2x4-bf16.b2.s1024", "several GPUs"),
];

struct Estimated {
    row: Row,
    estimate: Estimate,
    /// Every phase as it was run: loading, the first step, a steady one.
    phases: Vec<PhaseUse>,
}

type Outcome = Result<Estimated, (String, NotEstimable)>;

static OUTCOMES: LazyLock<Vec<Outcome>> = LazyLock::new(|| {
    let rows = rows();
    let next = AtomicUsize::new(0);
    let work = || {
        let rows = std::iter::from_fn(|| rows.get(next.fetch_add(1, Ordering::Relaxed)));
        rows.map(|row| run(row).map_err(|why| (row.id.clone(), why))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("an estimate does not panic")).collect()
    })
});

fn rows() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth");
    let files = truth::case_files(&folder).expect("the folder of recorded cases");
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("a readable file");
            Row::parse_all(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        })
        .collect()
}

fn run(row: &Row) -> Result<Estimated, NotEstimable> {
    let estimate = row.estimate()?;
    let phases = Playback::default().play(&row.record()?).phases().to_vec();
    Ok(Estimated { row: row.clone(), estimate, phases })
}

fn estimated() -> impl Iterator<Item = &'static Estimated> {
    OUTCOMES.iter().filter_map(|outcome| outcome.as_ref().ok())
}

/// Predictions of one kind of figure, and which of them are too far off.
#[derive(Default)]
struct Check {
    errors: Errors,
    offenders: Vec<(f64, String)>,
}

impl Check {
    fn add(&mut self, id: &str, what: &str, predicted: u64, measured: u64, accepted: impl Fn(f64) -> bool) {
        let error = self.errors.add(predicted, measured);
        if !accepted(error) {
            self.offenders.push((error, format!("{predicted:>15} {measured:>15} {error:>+10.4} %  {id} {what}")));
        }
    }

    /// Fails with a table where anything is too far off.
    #[track_caller]
    fn finish(mut self) -> Errors {
        self.offenders.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut table = String::new();
        for (_, line) in &self.offenders {
            writeln!(table, "{line}").expect("memory");
        }
        assert!(
            self.offenders.is_empty(),
            "{} of {}: {}\n{:>15} {:>15} {:>12}  case\n{table}",
            self.offenders.len(),
            self.errors.count(),
            self.errors,
            "predicted",
            "measured",
            "error"
        );
        self.errors
    }
}

/// Within 0.05 % or a mebibyte.
fn is_held(predicted: u64, measured: u64) -> impl Fn(f64) -> bool {
    move |error| error.abs() <= 0.05 || predicted.abs_diff(measured) <= MIB
}

#[test]
fn nothing_falls_out_silently() {
    assert!(OUTCOMES.len() >= 830, "{} cases", OUTCOMES.len());
    let reasons = OUTCOMES.iter().filter_map(|outcome| outcome.as_ref().err());
    let given: BTreeSet<(&str, &str)> = reasons
        .map(|(id, why)| {
            // what could be done instead is not part of the reason
            (id.as_str(), why.0.split(';').next().and_then(|why| why.split(": the ").next()).unwrap_or(""))
        })
        .collect();
    let expected = BTreeSet::from(NOT_ESTIMATED);
    let unexpected: Vec<_> = given.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&given).collect();
    assert!(unexpected.is_empty() && missing.is_empty(), "not estimated: {unexpected:#?}, estimated now: {missing:#?}");
}

#[test]
fn a_model_type_is_said_to_be_measured_where_it_is() {
    let measured: BTreeSet<&str> = estimated().map(|e| e.estimate.model.model_type.as_str()).collect();
    let said = ModelType::ALL.iter().filter(|known| known.support() == Support::Measured);
    let said: BTreeSet<&str> = said.map(|known| known.as_str()).collect();
    assert_eq!(measured, said);
    let convolves = |e: &Estimated| {
        let model_type = ModelType::ALL.iter().find(|known| known.as_str() == e.estimate.model.model_type);
        model_type.is_some_and(|known| known.takes_images() || *known == ModelType::Whisper)
    };
    for e in estimated() {
        // measured without the images or without the convolutions' workspaces: never called validated
        assert_eq!(e.estimate.basis.validated, !convolves(e), "{}", e.row.id);
    }
}

#[test]
fn what_is_held_between_steps_is_exact() {
    let mut check = Check::default();
    for Estimated { row, estimate, .. } in estimated() {
        let (held, measured) = (&estimate.held, &row.measured);
        let mut add = |what, predicted: Bytes, measured| {
            check.add(&row.id, what, predicted.0, measured, is_held(predicted.0, measured));
        };
        // DoRA's norms are the first product of matrices, so that cuBLAS' workspace is there before the first step
        let workspace = Bytes(if row.case.method.dora { CUBLAS_WORKSPACE } else { 0 });
        // Adagrad's sums are there from the start
        let states = if row.case.optimizer == "adagrad" { held.optimizer } else { Bytes(0) };
        add("loaded", held.weights + held.buffers + workspace + states, measured.loaded);
        add("gradients", held.gradients, measured.held_grads);
        // APOLLO's projections are in objects that what was measured does not look into
        if row.case.optimizer != "apollo-adamw" {
            add("optimizer", held.optimizer, measured.held_optimizer);
        }
    }
    check.finish();
}

#[test]
fn parameters_are_counted_exactly() {
    for Estimated { row, estimate, .. } in estimated() {
        let (id, counted) = (&row.id, &estimate.model);
        assert_eq!(counted.trainable_parameters, row.measured.params_trainable, "{id}: trainable");
        if matches!(row.case.weights.as_str(), "fp32" | "bf16" | "fp16") {
            assert_eq!(counted.parameters, row.measured.params_total, "{id}: all");
        } else {
            // PyTorch counts the bytes of packed weights; the model's own count is held against others in `parameters`
            let model = row.case.model().expect(id);
            let own = count_parameters(&model, None).expect(id).total;
            assert_eq!(counted.parameters, own + row.measured.params_trainable, "{id}: base and adapters");
        }
    }
}

#[test]
fn peak_allocated_is_within_two_percent() {
    let mut check = Check::default();
    for Estimated { row, estimate, .. } in estimated() {
        let predicted = estimate.peak.allocated_bytes.0;
        check.add(&row.id, &estimate.peak.phase, predicted, row.measured.peak_allocated, |e| (-1.0..=2.0).contains(&e));
    }
    let errors = check.finish();
    assert!(errors.median() <= 0.2 && errors.percentile(95) <= 1.0, "{errors}");
}

#[test]
fn peak_reserved_is_within_eight_percent() {
    let mut check = Check::default();
    for Estimated { row, estimate, .. } in estimated() {
        let predicted = estimate.peak.reserved_bytes.0;
        check.add(&row.id, "", predicted, row.measured.peak_reserved, |e| e.abs() <= 8.0);
    }
    let errors = check.finish();
    assert!(errors.median() <= 2.0, "{errors}");
}

/// The phases of the n-th step, of which the first begins after loading.
fn step(phases: &[PhaseUse], n: usize) -> &[PhaseUse] {
    let mut steps = phases.split_inclusive(|phase| phase.phase == Phase::Optimizer);
    steps.nth(n).expect("two steps were recorded")
}

#[test]
fn every_phase_of_a_step_is_within_one_percent() {
    let mut check = Check::default();
    for Estimated { row, phases, .. } in estimated() {
        for (n, name, measured) in [(0, "first", row.measured.first), (1, "steady", row.measured.steady)] {
            let Some(measured) = measured else { continue };
            // of several micro-batches the last was measured
            let last = |phase: Phase| step(phases, n).iter().rfind(|used| used.phase == phase);
            let StepBytes { forward_end, forward_peak, backward_end, backward_peak, .. } = measured;
            let StepBytes { clip_peak, optimizer_peak, step_end, .. } = measured;
            for (phase, peak, end) in [
                (Phase::Forward, forward_peak, Some(forward_end)),
                (Phase::Backward, backward_peak, Some(backward_end)),
                (Phase::Clip, clip_peak, None),
                (Phase::Optimizer, optimizer_peak, Some(step_end)),
            ] {
                let Some(used) = last(phase) else {
                    assert!(phase == Phase::Clip && row.case.clip <= 0.0, "{}: no {}", row.id, phase.name());
                    continue;
                };
                let mut add = |what: &str, predicted, measured| {
                    let what = format!("{name} {} {what}", phase.name());
                    check.add(&row.id, &what, predicted, measured, |e| e.abs() <= 1.0);
                };
                add("peak", used.peak, peak);
                if let Some(end) = end {
                    add("end", used.end, end);
                }
            }
        }
    }
    check.finish();
}

#[test]
fn generating_and_scoring_are_within_one_percent() {
    let mut check = Check::default();
    for Estimated { row, phases, .. } in estimated() {
        let Some(steady) = row.measured.steady.filter(|steady| steady.generation_peak > 0) else { continue };
        let peak = |wanted: &[Phase]| {
            let used = step(phases, 1).iter().filter(|used| wanted.contains(&used.phase));
            used.map(|used| used.peak).max().unwrap_or(0)
        };
        let generating = peak(&[Phase::Prefill, Phase::Decode]);
        check.add(&row.id, "generation", generating, steady.generation_peak, |e| e.abs() <= 1.0);
        check.add(&row.id, "score", peak(&[Phase::Score]), steady.score_peak, |e| e.abs() <= 1.0);
    }
    let errors = check.finish();
    assert!(errors.count() >= 10, "{errors}");
}

#[test]
fn prefill_and_decoding_are_within_one_percent() {
    let mut check = Check::default();
    for Estimated { row, estimate, .. } in estimated() {
        if row.case.task != "infer" {
            continue;
        }
        for (name, measured) in [("prefill", row.measured.prefill_peak), ("decode", row.measured.decode_peak)] {
            // what generates nothing has no decoding
            let phase = estimate.phases.iter().find(|phase| phase.name == name);
            let predicted = phase.map_or(0, |phase| phase.peak_bytes.0);
            check.add(&row.id, name, predicted, measured, |e| e.abs() <= 1.0);
        }
    }
    check.finish();
}
