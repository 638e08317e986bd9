//! Holds estimates against recorded measurements: a line a case, and a summary.
//!
//! usage: cargo run --release --example accuracy [-- FILE.jsonl ...]

use std::error::Error;
use std::path::PathBuf;

use vramplan::truth::{Errors, Row};

/// Files of `tests/truth` whose rows are not cases.
const NO_CASES: [&str; 2] = ["optimizer_events.jsonl", "parameters.jsonl"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth");
        files = std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        files.retain(|path| {
            path.extension().is_some_and(|e| e == "jsonl") && !NO_CASES.iter().any(|n| path.ends_with(n))
        });
        files.sort();
    }
    let (mut allocated, mut reserved, mut loaded) = (Errors::default(), Errors::default(), Errors::default());
    let mut skipped = 0;
    println!("{:>15} {:>9} {:>15} {:>9} {:>9}  case", "allocated", "error %", "reserved", "error %", "loaded %");
    for file in files {
        for row in Row::parse_all(&std::fs::read_to_string(&file)?).map_err(|e| format!("{}: {e}", file.display()))? {
            let (measured, id) = (&row.measured, &row.id);
            match row.estimate() {
                Ok(predicted) => {
                    let peak = &predicted.peak;
                    let a = allocated.add(peak.allocated_bytes.0, measured.peak_allocated);
                    let r = reserved.add(peak.reserved_bytes.0, measured.peak_reserved);
                    let held = predicted.held.weights + predicted.held.buffers;
                    let l = loaded.add(held.0, measured.loaded);
                    let (alloc, res) = (measured.peak_allocated, measured.peak_reserved);
                    println!("{alloc:>15} {a:>+9.4} {res:>15} {r:>+9.3} {l:>+9.4}  {id}");
                }
                Err(why) => {
                    skipped += 1;
                    println!("{:>15} {:>9} {:>15} {:>9} {:>9}  {id}: {why}", "", "-", "", "-", "-");
                }
            }
        }
    }
    println!();
    println!("allocated  {allocated}");
    println!("reserved   {reserved}");
    println!("loaded     {loaded}");
    println!("not estimated: {skipped}");
    Ok(())
}
