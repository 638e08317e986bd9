//! `vramplan compare`: ways of fine-tuning a model side by side, or of storing it where it is not trained.

use super::args::planning::CompareArgs;
use super::asked::Asked;
use super::describe;
use super::error::CliError;
use super::text::{bold, gib, grouped, lines, percent, plain, table, width, wrap};
use crate::job::Workload;
use crate::plan::{self, Choice, Comparison, Fitting};

pub(super) fn run(args: &CompareArgs) -> Result<String, CliError> {
    let asked = Asked::of(&args.job)?;
    let comparison = match &asked.job.workload {
        Workload::Train(train) => plan::compare(asked.subject(), train)?,
        other => plan::compare_storage(asked.subject(), other)?,
    };
    if args.json {
        return super::text::json(&comparison);
    }
    let trains = matches!(asked.job.workload, Workload::Train(_));
    let mut out = text(&comparison, trains, width());
    out.push_str(&describe::notes(&asked.doubts.notes, width()));
    Ok(out)
}

/// Narrower than this the table keeps its numbers and the words go below it.
const NARROW: u16 = 72;

fn text(comparison: &Comparison, trains: bool, width: u16) -> String {
    let name = bold(plain(&comparison.model));
    let mut out = format!("{name} ({} parameters)\n\n", grouped(comparison.parameters));
    let narrow = width < NARROW;
    let columns: &[Column] = match (trains, narrow) {
        (true, false) => &[TRAINABLE, SHARE, DEVICE, MOST, SMALLEST],
        (true, true) => &[TRAINABLE, SHARE, DEVICE],
        (false, false) => &[WEIGHTS, CACHE, DEVICE, MOST, SMALLEST],
        (false, true) => &[WEIGHTS, CACHE, DEVICE],
    };
    let first = if trains { "method" } else { "stored in" };
    let header: Vec<&str> = [first].into_iter().chain(columns.iter().map(|(name, _)| *name)).collect();
    let mut rows = table(&header, width);
    for choice in &comparison.methods {
        rows.add_row(cells(choice, columns));
    }
    out.push_str(&lines(&rows));
    out.push('\n');
    let legend = "GiB: on the card at the peak, the CUDA context included; most of it: of the allocated bytes. The smallest \
                  GPU is the least of a dozen common cards that holds it.";
    out.push_str(&(wrap(legend, width, "") + "\n"));
    if comparison.methods.iter().flat_map(|choice| &choice.takes).any(|takes| !takes.validated) {
        out.push_str(&(wrap("* no recorded measurement stands behind it.", width, "") + "\n"));
    }
    out.push('\n');
    for choice in &comparison.methods {
        let Choice { name, when, takes, error, .. } = choice;
        let line = match (error, takes) {
            (Some(error), _) => format!("{name}: not estimated: {}", plain(error)),
            (None, Some(takes)) if narrow => format!("{name}: {}; {}; {when}", dominated(takes), gpu(takes)),
            (None, _) => format!("{name}: {when}"),
        };
        out.push_str(&(wrap(&line, width, "  ") + "\n"));
    }
    out
}

/// A column's heading, and what a way has in it.
type Column = (&'static str, fn(&Fitting) -> String);

const TRAINABLE: Column = ("trainable", |takes| short(takes.trainable_parameters));
const SHARE: Column = ("%", |takes| percent(takes.trainable_parameters, takes.parameters, 3));
const DEVICE: Column = ("GiB", |takes| gib(takes.device_bytes));
const MOST: Column = ("most of it", dominated);
const SMALLEST: Column = ("smallest GPU", gpu);
const WEIGHTS: Column = ("weights", |takes| gib(takes.weights_bytes));
const CACHE: Column = ("cache", |takes| gib(takes.kv_cache_bytes));

fn cells(Choice { name, takes, .. }: &Choice, columns: &[Column]) -> Vec<String> {
    let name = format!("{name}{}", if takes.as_ref().is_none_or(|takes| takes.validated) { "" } else { "*" });
    let cell = |(_, cell): &Column| takes.as_ref().map_or_else(|| "-".to_owned(), cell);
    [name].into_iter().chain(columns.iter().map(cell)).collect()
}

fn dominated(takes: &Fitting) -> String {
    format!("{} {}%", takes.dominated_by, percent(takes.dominated_by_bytes.0, takes.allocated_bytes.0, 0))
}

fn gpu(takes: &Fitting) -> String {
    takes.smallest_gpu.map_or("none", |card| card.name).to_owned()
}

/// `4194304` as `4.19 M`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn short(count: u64) -> String {
    let (unit, name) = match count {
        0..1_000 => return count.to_string(),
        1_000..1_000_000 => (1e3, "K"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        _ => (1e9, "B"),
    };
    format!("{:.2} {name}", count as f64 / unit)
}
