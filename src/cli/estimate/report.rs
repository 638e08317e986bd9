//! An estimate as text.

use super::super::describe::{basis, paragraph};
use super::super::text::{bold, gib, lines, percent, table, trainable, wrap};
use super::super::timeline;
use super::backend::CONTEXT_SOURCE;
use crate::formula::Formula;
use crate::step::{Estimate, Held};
use crate::units::{Bytes, MIB};

pub(super) fn estimate(estimate: &Estimate, formula: Option<&Formula>, width: u16) -> String {
    let summary = &estimate.model;
    let peak = &estimate.peak;
    let mut out = String::new();
    if summary.trainable_parameters > 0 {
        out.push_str(&trainable(summary.trainable_parameters, summary.parameters));
        out.push('\n');
    }
    out.push_str(&format!("\n{} {}\n", bold(format!("Peak {} allocated", peak.allocated_bytes)), within(&peak.phase)));
    out.push_str(&parts(estimate, formula, width));
    if let Some(formula) = formula {
        paragraph(&mut out, &against(formula, peak.allocated_bytes), width);
    }
    out.push('\n');
    let context = peak.device_bytes.saturating_sub(peak.reserved_bytes);
    for (name, bytes, meaning) in [
        ("allocated", peak.allocated_bytes, "live tensors".to_owned()),
        ("reserved", peak.reserved_bytes, "held by PyTorch's caching allocator".to_owned()),
        (
            "device",
            peak.device_bytes,
            format!("reserved and the CUDA context: {} MiB, {CONTEXT_SOURCE}", context.0 / MIB),
        ),
    ] {
        let line = format!("{name:<9} {:>11}  {meaning}", bytes.to_string());
        out.push_str(&hanging(&line, width));
    }
    paragraph(&mut out, &held(&estimate.held), width);
    if let Some(points) = &estimate.timeline {
        out.push('\n');
        out.push_str(&timeline::plot(points, &estimate.phases, width));
    }
    out.push('\n');
    out.push_str(&basis(&estimate.basis, width));
    out
}

/// The formula alone.
pub(super) fn formula(formula: &Formula, width: u16) -> String {
    let total = formula.total();
    let mut parts = table(&["tutorials' formula", "GB", "GiB", "%"], width);
    for (name, bytes) in formula.named().into_iter().filter(|(_, bytes)| *bytes > Bytes::ZERO) {
        parts.add_row([name.to_owned(), gb(bytes), gib(bytes), percent(bytes.0, total.0, 1)]);
    }
    parts.add_row(["total".to_owned(), gb(total), gib(total), "100.0".to_owned()]);
    let mut out = format!("\n{}", lines(&parts));
    paragraph(&mut out, CAVEAT, width);
    out
}

const CAVEAT: &str = "The formula adds up bytes per parameter, assumes Adam and lets LoRA train 0.1 % of the model; it knows \
                      nothing of logits, of attention or of when things are alive. `--method step` does.";

fn parts(estimate: &Estimate, formula: Option<&Formula>, width: u16) -> String {
    let total = estimate.at_peak.total();
    let by_formula = |name: &str| {
        let parts = formula?.named();
        parts.into_iter().find(|(part, _)| *part == name).map(|(_, bytes)| bytes).filter(|bytes| *bytes > Bytes::ZERO)
    };
    let header: &[&str] = match formula {
        Some(_) => &["at the peak", "GiB", "%", "formula GiB"],
        None => &["at the peak", "GiB", "%"],
    };
    let mut rows = table(header, width);
    let mut add = |name: &str, bytes: Bytes, formula_bytes: Option<Bytes>| {
        let mut row = vec![name.to_owned(), gib(bytes), percent(bytes.0, total.0, 1)];
        if formula.is_some() {
            row.push(formula_bytes.map_or_else(|| "-".to_owned(), gib));
        }
        rows.add_row(row);
    };
    for (name, bytes) in estimate.at_peak.named() {
        let other = by_formula(name);
        if bytes > Bytes::ZERO || other.is_some() {
            add(name, bytes, other);
        }
    }
    add("total", total, formula.map(Formula::total));
    lines(&rows)
}

fn against(formula: &Formula, allocated: Bytes) -> String {
    let total = formula.total();
    let (way, apart) = if total > allocated {
        ("above", total.saturating_sub(allocated))
    } else {
        ("below", allocated.saturating_sub(total))
    };
    let share = percent(apart.0, allocated.0, 0);
    format!("The tutorials' formula says {} GB ({total}): {share} % {way} the step's peak.", gb(total))
}

fn within(phase: &str) -> String {
    match phase {
        "load" => "while loading".to_owned(),
        "clip" => "while clipping gradients".to_owned(),
        "optimizer" => "in the optimizer step".to_owned(),
        other => format!("in {other}"),
    }
}

/// What the step keeps; buffers are named where they can be seen.
fn held(held: &Held) -> String {
    let parts = [("weights", held.weights), ("buffers", held.buffers), ("optimizer", held.optimizer)];
    let named = parts.iter().filter(|(_, bytes)| bytes.0 >= MIB).map(|(name, bytes)| format!("{name} {bytes}"));
    let mut text = format!("Kept throughout: {}", named.collect::<Vec<_>>().join(", "));
    if held.gradients > Bytes::ZERO {
        text.push_str(&format!("; from backward on: gradients {}", held.gradients));
    }
    if held.paged > Bytes::ZERO {
        text.push_str(&format!("; in managed memory, perhaps on the host: optimizer {}", held.paged));
    }
    if held.host > Bytes::ZERO {
        text.push_str(&format!("; in the host's memory: {}", held.host));
    }
    text + "."
}

fn gb(bytes: Bytes) -> String {
    format!("{:.2}", bytes.gb())
}

/// A line `name  size  meaning` whose meaning continues under itself; `wrap` alone would close up the columns.
fn hanging(line: &str, width: u16) -> String {
    const INDENT: usize = 23;
    let (columns, meaning) = line.split_at(INDENT.min(line.len()));
    let meaning = wrap(meaning, width.saturating_sub(23), "");
    format!("{columns}{}\n", meaning.replace('\n', &format!("\n{}", " ".repeat(INDENT))))
}
