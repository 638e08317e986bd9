//! Holds estimates against recorded measurements: a line a case, and a summary.
//!
//! usage: cargo run --release --example accuracy [-- [--all] [FILE.jsonl ...]]

use std::error::Error;
use std::path::PathBuf;

use vramplan::step::estimate;
use vramplan::truth::Row;

#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    #[allow(clippy::cast_precision_loss)]
    fn add(&mut self, predicted: u64, measured: u64) -> f64 {
        let error = 100.0 * (predicted as f64 / measured as f64 - 1.0);
        self.0.push(error);
        error
    }

    fn summary(&self) -> String {
        let mut sizes: Vec<f64> = self.0.iter().map(|e| e.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let Some(last) = sizes.last() else { return "no cases".to_owned() };
        let at = |percent: usize| sizes[(sizes.len() * percent / 100).min(sizes.len() - 1)];
        let under = self.0.iter().copied().fold(0.0, f64::min);
        format!(
            "median {:.4} %, p95 {:.3} %, worst {last:.3} %, worst under-estimate {under:.3} % ({} cases)",
            at(50),
            at(95),
            sizes.len()
        )
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth");
        files = std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
        files.sort();
    }
    let (mut allocated, mut reserved, mut loaded) = (Errors::default(), Errors::default(), Errors::default());
    let mut skipped = 0;
    println!("{:>15} {:>9} {:>15} {:>9} {:>9}  case", "allocated", "error %", "reserved", "error %", "loaded %");
    for file in files {
        for line in std::fs::read_to_string(file)?.lines().filter(|line| !line.trim().is_empty()) {
            let row = Row::parse(line)?;
            let predicted = row
                .case
                .model()
                .and_then(|model| Ok((model, row.case.job()?)))
                .map_err(|e| e.to_string())
                .and_then(|(model, job)| estimate(&model, &job).map_err(|e| e.to_string()));
            match predicted {
                Ok(predicted) => {
                    let peak = &predicted.peak;
                    let a = allocated.add(peak.allocated_bytes.0, row.measured.peak_allocated);
                    let r = reserved.add(peak.reserved_bytes.0, row.measured.peak_reserved);
                    let held = predicted.held.weights + predicted.held.buffers;
                    let l = loaded.add(held.0, row.measured.loaded);
                    println!(
                        "{:>15} {a:>+9.4} {:>15} {r:>+9.3} {l:>+9.4}  {}",
                        row.measured.peak_allocated, row.measured.peak_reserved, row.id
                    );
                }
                Err(why) => {
                    skipped += 1;
                    println!("{:>15} {:>9} {:>15} {:>9} {:>9}  {}: {why}", "", "-", "", "-", "-", row.id);
                }
            }
        }
    }
    println!();
    println!("allocated  {}", allocated.summary());
    println!("reserved   {}", reserved.summary());
    println!("loaded     {}", loaded.summary());
    println!("not estimated: {skipped}");
    Ok(())
}
