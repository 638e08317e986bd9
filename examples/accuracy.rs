//! Holds estimates against recorded measurements: a line a case, and a summary.
//!
//! usage: cargo run --release --example accuracy [-- [--json] [FILE.jsonl ...]]

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vramplan::truth::{self, Errors, Row};

/// The three figures of a case.
const FIGURES: [&str; 3] = ["allocated", "reserved", "loaded"];

#[derive(Default)]
struct Summary {
    errors: [Errors; 3],
    not_estimated: usize,
}

impl Summary {
    fn text(&self) -> String {
        let lines = FIGURES.iter().zip(&self.errors).map(|(figure, errors)| format!("  {figure:<10} {errors}\n"));
        lines.chain([format!("  not estimated: {}\n", self.not_estimated)]).collect()
    }

    fn json(&self) -> Value {
        let of = |errors: &Errors| {
            json!({
                "cases": errors.count(), "median_percent": errors.median(), "p95_percent": errors.percentile(95),
                "worst_percent": errors.worst(), "worst_under_percent": errors.worst_under(),
            })
        };
        let [allocated, reserved, loaded] = self.errors.each_ref().map(of);
        json!({"allocated": allocated, "reserved": reserved, "loaded": loaded, "not_estimated": self.not_estimated})
    }
}

/// Adds a case to the summaries; returns it for the reader.
fn hold(row: &Row, summaries: [&mut Summary; 2]) -> (String, Value) {
    let measured = [row.measured.peak_allocated, row.measured.peak_reserved, row.measured.loaded];
    match row.estimate() {
        Ok(estimate) => {
            let loaded = estimate.held.weights + estimate.held.buffers;
            let predicted = [estimate.peak.allocated_bytes.0, estimate.peak.reserved_bytes.0, loaded.0];
            let mut percent = [0.0; 3];
            for summary in summaries {
                for (i, errors) in summary.errors.iter_mut().enumerate() {
                    percent[i] = errors.add(predicted[i], measured[i]);
                }
            }
            let text = format!("{:>+10.4} {:>+10.3} {:>+10.4}  {}", percent[0], percent[1], percent[2], row.id);
            let json = json!({
                "id": row.id,
                "predicted_bytes": predicted,
                "measured_bytes": measured,
                "error_percent": percent,
            });
            (text, json)
        }
        Err(why) => {
            summaries.into_iter().for_each(|summary| summary.not_estimated += 1);
            let text = format!("{:>10} {:>10} {:>10}  {}: {why}", "-", "-", "-", row.id);
            (text, json!({"id": row.id, "not_estimated": why.to_string()}))
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (options, mut files): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--json");
    let as_json = !options.is_empty();
    let files: Vec<PathBuf> = if files.is_empty() {
        truth::case_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth"))?
    } else {
        files.drain(..).map(PathBuf::from).collect()
    };
    let mut overall = Summary::default();
    let (mut cases, mut per_file) = (Vec::new(), Vec::new());
    if !as_json {
        println!("{:>10} {:>10} {:>10}  case (errors in percent)", FIGURES[0], FIGURES[1], FIGURES[2]);
    }
    for file in files {
        let mut summary = Summary::default();
        for row in Row::parse_all(&std::fs::read_to_string(&file)?)? {
            let (text, json) = hold(&row, [&mut summary, &mut overall]);
            if as_json {
                cases.push(json);
            } else {
                println!("{text}");
            }
        }
        per_file.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), summary));
    }
    if as_json {
        let files: serde_json::Map<_, _> = per_file.iter().map(|(name, s)| (name.clone(), s.json())).collect();
        println!("{}", json!({"figures": FIGURES, "cases": cases, "files": files, "overall": overall.json()}));
        return Ok(());
    }
    for (name, summary) in &per_file {
        print!("\n{name}\n{}", summary.text());
    }
    print!("\noverall\n{}", overall.text());
    Ok(())
}
