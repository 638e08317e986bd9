//! `vramplan compare`: ways of fine-tuning a model side by side.

use super::args::planning::CompareArgs;
use super::asked::Asked;
use super::error::CliError;
use super::text::{bold, gib, grouped, lines, percent, plain, table, width, wrap};
use super::{describe, layer};
use crate::job::{Job, Workload};
use crate::plan::{self, Choice, Comparison, Fitting};

pub(super) fn run(args: &CompareArgs) -> Result<String, CliError> {
    let train = layer::train_job(&args.common, &args.train, &args.peft, Default::default())?;
    let precision_given = args.common.precision.is_some();
    let asked = Asked::about(Job::train(args.model.clone(), train), None, precision_given, &args.hub)?;
    let Workload::Train(train) = &asked.job.workload else {
        return Err(CliError::Unmodelled("compare: only ways of training are compared in this version".to_owned()));
    };
    let comparison = plan::compare(asked.subject(), train)?;
    if args.json {
        return super::text::json(&comparison);
    }
    let mut out = text(&comparison, width());
    out.push_str(&describe::notes(&asked.doubts.notes, width()));
    Ok(out)
}

/// Narrower than this the table keeps its numbers and the words go below it.
const NARROW: u16 = 72;

fn text(comparison: &Comparison, width: u16) -> String {
    let name = bold(plain(&comparison.model));
    let mut out = format!("{name} ({} parameters)\n\n", grouped(comparison.parameters));
    let narrow = width < NARROW;
    let header: &[&str] = if narrow {
        &["method", "trainable", "%", "GiB"]
    } else {
        &["method", "trainable", "%", "GiB", "most of it", "smallest GPU"]
    };
    let mut rows = table(header, width);
    for choice in &comparison.methods {
        rows.add_row(cells(choice).into_iter().take(header.len()));
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

fn cells(Choice { name, takes, .. }: &Choice) -> [String; 6] {
    let Some(takes) = takes else {
        return [*name, "-", "-", "-", "-", "see below"].map(str::to_owned);
    };
    [
        format!("{name}{}", if takes.validated { "" } else { "*" }),
        short(takes.trainable_parameters),
        percent(takes.trainable_parameters, takes.parameters, 3),
        gib(takes.device_bytes),
        dominated(takes),
        gpu(takes),
    ]
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
