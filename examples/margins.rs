//! Errors of every kind of job over the recorded cases, as `data/margins.json` has them.
//!
//! usage: cargo run --release --example margins > data/margins.json

use std::error::Error;
use std::path::Path;

use vramplan::{plan, truth};

fn main() -> Result<(), Box<dyn Error>> {
    let rows = truth::all_rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth"))?;
    println!("{}", serde_json::to_string_pretty(&plan::errors_of(rows))?);
    Ok(())
}
