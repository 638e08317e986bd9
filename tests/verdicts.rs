//! Verdicts against real out-of-memory: PyTorch on a simulated GPU of the card's size ran, or raised `OutOfMemoryError`.

use std::error::Error;
use std::path::Path;

use serde::Deserialize;
use vramplan::Bytes;
use vramplan::plan::{Question, Room, Verdict, errors_of, measured};
use vramplan::truth::{self, Case};

/// A case on a card.
#[derive(Deserialize)]
struct OnCard {
    id: String,
    case: Case,
    card_bytes: u64,
    ran_out: bool,
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth");

#[test]
fn nothing_that_fits_runs_out_and_little_that_runs_does_not_fit() -> Result<(), Box<dyn Error>> {
    let (mut wrong, mut refused, mut tight, mut ran, mut all) = (Vec::new(), Vec::new(), 0, 0, 0);
    for line in std::fs::read_to_string(Path::new(FOLDER).join("verdicts.jsonl"))?.lines() {
        let row: OnCard = serde_json::from_str(line)?;
        let question = Question::of(&row.case.model()?, &row.case.job()?)?;
        // the simulated GPU takes nothing for a context
        let fit = question.fit(&Room::of(Bytes(row.card_bytes)).with_context(Bytes::ZERO));
        all += 1;
        ran += usize::from(!row.ran_out);
        let what = format!("{} on {} bytes: {:?}", row.id, row.card_bytes, fit.run);
        match (fit.verdict, row.ran_out) {
            (Verdict::Fits, true) => wrong.push(what),
            (Verdict::DoesNotFit, false) => refused.push(what),
            (Verdict::Tight, _) => tight += 1,
            _ => {}
        }
    }
    println!("{all} cases, {ran} of them ran; {} wrongly refused, {tight} tight", refused.len());
    assert!(wrong.is_empty(), "said to fit and ran out: {wrong:#?}");
    assert!(refused.len() * 100 <= ran * 3, "said not to fit and ran: {refused:#?}");
    // a verdict that is never given is no verdict
    assert!(tight * 10 <= all, "{tight} of {all} too close to tell");
    assert!(ran > 50 && all - ran > 50);
    Ok(())
}

#[test]
fn the_margins_are_those_of_the_recorded_cases() -> Result<(), Box<dyn Error>> {
    let errors = errors_of(truth::all_rows(FOLDER.as_ref())?);
    assert_eq!(errors, measured(), "cargo run --release --example margins > data/margins.json");
    Ok(())
}
