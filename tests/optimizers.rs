//! Clipping and optimizer phases of full fine-tuning, held against what PyTorch measured.

use std::error::Error;

use vramplan::ghost::{Phase, PhaseUse, Playback};
use vramplan::step::{estimate, record};
use vramplan::truth::{Row, StepBytes};
use vramplan::units::Bytes;

/// Full fine-tuning of a small model with every optimizer, in bf16 and in fp32.
const CASES: [&str; 11] = [
    "tinyllama-1.1b.full-bf16.b1.s512",
    "tinyllama-1.1b.full-fp32.b2.s512",
    "tinyllama-1.1b.full-bf16-adamw-fused.b1.s512",
    "tinyllama-1.1b.full-bf16-adamw-loop.b1.s512",
    "tinyllama-1.1b.full-bf16-sgd.b1.s512",
    "tinyllama-1.1b.full-bf16-sgd-momentum.b1.s512",
    "tinyllama-1.1b.full-bf16-adafactor.b1.s512",
    "tinyllama-1.1b.full-bf16-adamw-8bit.b1.s512",
    "tinyllama-1.1b.full-bf16-paged-adamw.b1.s512",
    "tinyllama-1.1b.full-bf16-paged-adamw-8bit.b1.s512",
    "tinyllama-1.1b.full-bf16-lion-8bit.b1.s512",
];

fn rows() -> Result<Vec<Row>, Box<dyn Error>> {
    let rows = include_str!("truth/public.jsonl").lines().map(Row::parse).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<Row> = rows.into_iter().filter(|row| CASES.contains(&row.id.as_str())).collect();
    assert_eq!(rows.len(), CASES.len());
    Ok(rows)
}

/// `clip_peak`, `optimizer_peak` and `step_end` of the n-th step.
fn of_step(phases: &[PhaseUse], step: usize) -> Option<[u64; 3]> {
    let nth = |phase: Phase| phases.iter().filter(|p| p.phase == phase).nth(step);
    Some([nth(Phase::Clip)?.peak, nth(Phase::Optimizer)?.peak, nth(Phase::Optimizer)?.end])
}

fn measured(step: Option<StepBytes>) -> Option<[u64; 3]> {
    step.map(|step| [step.clip_peak, step.optimizer_peak, step.step_end])
}

#[test]
fn peaks_of_clipping_and_updating_are_exact() -> Result<(), Box<dyn Error>> {
    for row in rows()? {
        let entries = record(&row.case.model()?, &row.case.job()?)?;
        let played = Playback::default().play(&entries);
        assert_eq!(of_step(played.phases(), 0), measured(row.measured.first), "{} first step", row.id);
        assert_eq!(of_step(played.phases(), 1), measured(row.measured.steady), "{} steady step", row.id);
    }
    Ok(())
}

#[test]
fn held_states_are_exact() -> Result<(), Box<dyn Error>> {
    for row in rows()? {
        let estimate = estimate(&row.case.model()?, &row.case.job()?)?;
        assert_eq!(estimate.held.optimizer, Bytes(row.measured.held_optimizer), "{}", row.id);
        let whole = match row.case.optimizer.as_str() {
            // two fp32 moments an element, wherever they lie
            "paged-adamw" => estimate.held.optimizer + estimate.held.paged,
            "paged-adamw-8bit" => continue,
            _ => {
                assert_eq!(estimate.held.paged, Bytes(0), "{}", row.id);
                continue;
            }
        };
        assert_eq!(whole, Bytes(8 * row.measured.params_trainable), "{}", row.id);
    }
    Ok(())
}
