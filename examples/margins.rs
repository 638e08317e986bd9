//! Worst errors of every kind of job over the recorded cases, as `data/margins.json` has them.
//!
//! usage: cargo run --release --example margins > data/margins.json

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use vramplan::plan::{Kind, KindErrors};
use vramplan::step::Peak;
use vramplan::truth::{self, Measured, Row};

fn main() -> Result<(), Box<dyn Error>> {
    let mut kinds: BTreeMap<Kind, Vec<(Measured, Peak)>> = BTreeMap::new();
    for file in truth::case_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth"))? {
        for row in Row::parse_all(&std::fs::read_to_string(&file)?)? {
            let (Ok(estimate), Ok(model), Ok(job)) = (row.estimate(), row.case.model(), row.case.job()) else {
                continue;
            };
            if !estimate.basis.validated {
                continue;
            }
            kinds.entry(Kind::of(&model, &job)).or_default().push((row.measured, estimate.peak));
        }
    }
    let errors: Vec<KindErrors> = kinds.into_iter().map(|(kind, cases)| KindErrors::of(kind, &cases)).collect();
    println!("{}", serde_json::to_string_pretty(&errors)?);
    Ok(())
}
