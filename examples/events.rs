//! Prints a case's allocations and releases in order, to be laid beside PyTorch's own.
//!
//! usage: cargo run --example events -- ROWS.jsonl ID

use std::collections::HashMap;
use std::error::Error;

use vramplan::ghost::Entry;
use vramplan::step::record;
use vramplan::truth::Case;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(id)) = (args.next(), args.next()) else {
        return Err("usage: events ROWS.jsonl ID".into());
    };
    for line in std::fs::read_to_string(path)?.lines().filter(|line| !line.trim().is_empty()) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        if row["id"] != id.as_str() {
            continue;
        }
        let case = if row["case"].is_null() { row.clone() } else { row["case"].clone() };
        let case: Case = serde_json::from_value(case)?;
        let recorded = record(&case.model()?, &case.job()?)?;
        let mut sizes = HashMap::new();
        let mut total = 0;
        let mut phase = "load";
        for entry in &recorded {
            match *entry {
                Entry::Charge { id, bytes, category } => {
                    sizes.insert(id, bytes);
                    total += bytes;
                    println!("+\t{bytes}\t{total}\t{phase} {category:?}\t{}", id);
                }
                Entry::Release { id } => {
                    let bytes = sizes[&id];
                    total -= bytes;
                    println!("-\t{bytes}\t{total}\t{phase}\t{id}");
                }
                Entry::Begin { phase: next } => phase = next.name(),
                Entry::EmptyCache => {}
            }
        }
        return Ok(());
    }
    Err(format!("no case {id}").into())
}
