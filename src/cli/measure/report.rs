//! What was measured, for people.

use super::super::describe::{self, paragraph};
use super::super::text::{bold, gib, lines, plain, table, warning, wrap};
use super::Expected;
use super::output::{Comparison, Ended, OnGpu, Output, Under};
use crate::measure::{Basis, Point};
use crate::units::Bytes;

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of a curve at most.
const CURVE: usize = 60;

pub(super) fn text(output: &Output<'_>, expected: Option<&Expected>, width: u16) -> String {
    let mut out = format!("\n{}", bold("Measured"));
    out.push_str(&format!(
        ": {}, {:.1} s, {} readings, one every {} ms\n",
        ended(output.ended),
        output.seconds,
        output.readings,
        output.interval_ms
    ));
    if let Some(problem) = &output.problem {
        out.push_str(&(warning(wrap(&format!("No GPU is measured: {}", plain(problem)), width, "  ")) + "\n"));
    } else if output.gpus.is_empty() {
        paragraph(&mut out, "No process of the command was seen on a GPU.", width);
    } else {
        out.push_str(&gpus(&output.gpus, width));
        for gpu in &output.gpus {
            out.push_str(&curve(gpu, output.seconds, width));
        }
        paragraph(&mut out, &basis(&output.gpus), width);
    }
    for gpu in &output.gpus {
        if let Some(problem) = &gpu.problem {
            out.push_str(&(warning(wrap(&format!("{}: {}", label(gpu), plain(problem)), width, "  ")) + "\n"));
        }
    }
    out.push_str(&describe::notes(&output.notes.iter().map(|note| plain(note)).collect::<Vec<_>>(), width));
    if let (Some(comparison), Some(expected)) = (&output.comparison, expected) {
        out.push('\n');
        let job = &expected.asked.job;
        out.push_str(&describe::heading(expected.asked.model(), job, false, comparison.model.parameters, width));
        out.push_str(&compared(comparison, width));
        out.push_str(&describe::basis(&comparison.basis, width));
    }
    if let Some(saved) = &output.saved {
        let file = plain(&saved.file);
        match &saved.problem {
            Some(problem) => {
                let line = format!("Nothing was added to {file}: {}", plain(problem));
                out.push_str(&(warning(wrap(&line, width, "  ")) + "\n"));
            }
            None => paragraph(&mut out, &format!("Added to {file}."), width),
        }
    }
    out
}

fn ended(ended: Ended) -> String {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn label(gpu: &OnGpu) -> String {
    let bare = gpu.name.strip_prefix("NVIDIA ").unwrap_or(&gpu.name);
    gpu.index.map_or_else(|| bare.to_owned(), |index| format!("{index} {bare}"))
}

fn gpus(gpus: &[OnGpu], width: u16) -> String {
    let mut rows = table(&["gpu", "peak GiB", "mean", "at s", "of GiB", "basis"], width);
    for gpu in gpus {
        let basis = match gpu.basis {
            Basis::Processes => "processes",
            Basis::Card => "card",
        };
        rows.add_row([
            label(gpu),
            gib(gpu.peak_bytes),
            gib(gpu.mean_bytes),
            format!("{:.1}", gpu.peak_seconds),
            gpu.total_bytes.map_or_else(|| "?".to_owned(), gib),
            basis.to_owned(),
        ]);
    }
    lines(&rows)
}

/// What was held over time: the most in each slice of it.
fn curve(gpu: &OnGpu, seconds: f64, width: u16) -> String {
    let columns = usize::from(width).saturating_sub(4).min(CURVE);
    let mut bars = vec![Bytes::ZERO; columns];
    for Point { seconds: at, bytes } in &gpu.timeline {
        let bar = &mut bars[column(*at, seconds, columns)];
        *bar = (*bar).max(*bytes);
    }
    // a slice without a reading is as the one before
    for i in 1..columns {
        if !gpu.timeline.iter().any(|point| column(point.seconds, seconds, columns) == i) {
            bars[i] = bars[i - 1];
        }
    }
    let top = u128::from(gpu.peak_bytes.0.max(1));
    let bar = |bytes: Bytes| {
        let eighths = usize::try_from((u128::from(bytes.0) * 8).div_ceil(top)).unwrap_or(8);
        BLOCKS[eighths.min(8)]
    };
    let line: String = bars.into_iter().map(bar).collect();
    format!("  {}\n", line.trim_end())
}

/// The column of a moment.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn column(at: f64, of: f64, columns: usize) -> usize {
    let share = if of > 0.0 { (at / of).clamp(0.0, 1.0) } else { 0.0 };
    ((share * columns as f64) as usize).min(columns.saturating_sub(1))
}

fn basis(gpus: &[OnGpu]) -> String {
    let mut text = String::from("Peaks between readings are missed: at least this was held.");
    if gpus.iter().any(|gpu| gpu.basis == Basis::Processes) {
        text.push_str(
            " processes: what the driver says the command and its descendants hold, the CUDA context included.",
        );
    }
    if gpus.iter().any(|gpu| gpu.basis == Basis::Card) {
        text.push_str(" card: what is used of it less what was used before the command began; others' is in it.");
    }
    text
}

fn compared(comparison: &Comparison, width: u16) -> String {
    let estimated = comparison.estimated;
    let Some(measured) = comparison.measured_bytes else {
        let mut out = String::new();
        paragraph(
            &mut out,
            &format!(
                "Estimated: {} on the card, {} reserved. Nothing was measured to compare it with.",
                estimated.device_bytes, estimated.reserved_bytes
            ),
            width,
        );
        return out;
    };
    let signed = |difference: i64| {
        let sign = if difference < 0 { "-" } else { "+" };
        format!("{sign}{}", gib(Bytes(difference.unsigned_abs())))
    };
    let mut rows = table(&["GiB", "estimated", "measured", "difference", "%"], width);
    let difference = comparison.difference_bytes.unwrap_or_default();
    let percent = comparison.difference_percent.unwrap_or_default();
    rows.add_row([
        "device".to_owned(),
        gib(estimated.device_bytes),
        gib(measured),
        signed(difference),
        format!("{percent:+.2}"),
    ]);
    rows.add_row(["reserved".to_owned(), gib(estimated.reserved_bytes), "-".to_owned(), String::new(), String::new()]);
    let mut out = lines(&rows);
    let size = Bytes(difference.unsigned_abs());
    let line = match comparison.under {
        Some(Under::Estimate) => {
            format!("THE ESTIMATE IS UNDER the measurement: by {size} ({:.2} %).", percent.abs())
        }
        Some(Under::Measurement) => {
            format!("The measurement is under the estimate: by {size} ({:.2} %).", percent.abs())
        }
        _ => "The estimate is what was measured.".to_owned(),
    };
    let line = wrap(&line, width, "  ");
    out.push_str(&if comparison.under == Some(Under::Estimate) { warning(line) } else { line });
    out.push('\n');
    let beside = comparison.beside_reserved_bytes.unwrap_or_default();
    let text = if beside >= 0 {
        format!(
            "The measurement is {} above estimated reserved memory; the CUDA context is in it, for which the estimate has {}.",
            Bytes(beside.unsigned_abs()),
            estimated.device_bytes.saturating_sub(estimated.reserved_bytes)
        )
    } else {
        format!("The measurement is {} below estimated reserved memory.", Bytes(beside.unsigned_abs()))
    };
    paragraph(&mut out, &text, width);
    out
}
