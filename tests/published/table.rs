//! The table a reader sees.

use std::fmt::Write;

use crate::Held;
use crate::row::Notes;

/// Every row with its error, the causes of large ones, and what is left out.
pub(crate) fn of(held: &[Held], notes: &Notes) -> String {
    let mut out = String::from("\nPublished from real GPUs, and predicted (errors in percent of what was published)\n");
    let gib = |bytes: u64| format!("{:.3}", bytes as f64 / f64::from(1 << 30));
    writeln!(out, "{:>10} {:>10} {:>8} {:>10}  {:<16} row", "published", "predicted", "error", "explained", "figure")
        .expect("memory");
    writeln!(out, "{:>10} {:>10} {:>8} {:>10}", "GiB", "GiB", "%", "%").expect("memory");
    for held in held {
        let row = &held.row;
        let explained = if row.causes.is_empty() { String::new() } else { format!("{:+.2}", held.error_explained()) };
        let causes: Vec<_> = row.causes.iter().map(|cause| format!("{} {}", cause.why, cause.how)).collect();
        writeln!(
            out,
            "{:>10} {:>10} {:>+8.2} {:>10}  {:<16} {} ({}; {}){}",
            gib(row.published),
            gib(held.predicted),
            held.error(),
            explained,
            row.figure,
            row.id,
            row.gpu,
            row.versions,
            if causes.is_empty() { String::new() } else { format!("; {}", causes.join("; ")) },
        )
        .expect("memory");
    }
    writeln!(out, "\n{}", summary(held)).expect("memory");
    out.push_str("Why figures differ that do\n");
    for (name, text) in &notes.causes {
        writeln!(out, "  {name}: {text}").expect("memory");
    }
    out.push_str("\nPublished and not predicted\n");
    for left in &notes.left_out {
        writeln!(out, "{:>6} {} ({}): {}", left.rows, left.what, left.source, left.reason).expect("memory");
    }
    out
}

/// Medians and worst, by figure.
fn summary(held: &[Held]) -> String {
    let mut figures: Vec<&str> = held.iter().map(|held| held.row.figure.as_str()).collect();
    figures.sort_unstable();
    figures.dedup();
    let mut out = format!(
        "{:<28} {:>5} {:>8} {:>8} {:>8}  after causes: {:>8} {:>8}\n",
        "figure", "rows", "median", "lowest", "highest", "lowest", "highest"
    );
    for figure in figures {
        let rows: Vec<&Held> = held.iter().filter(|held| held.row.figure == figure).collect();
        let sorted = |of: fn(&Held) -> f64| {
            let mut errors: Vec<f64> = rows.iter().map(|held| of(held)).collect();
            errors.sort_by(f64::total_cmp);
            errors
        };
        let (raw, explained) = (sorted(Held::error), sorted(Held::error_explained));
        let (low, high) = (|errors: &[f64]| errors[0], |errors: &[f64]| errors[errors.len() - 1]);
        writeln!(
            out,
            "{figure:<28} {:>5} {:>+8.2} {:>+8.2} {:>+8.2}                {:>+8.2} {:>+8.2}",
            rows.len(),
            raw[raw.len() / 2],
            low(&raw),
            high(&raw),
            low(&explained),
            high(&explained),
        )
        .expect("memory");
    }
    out
}
