//! `vramplan compare`: ways of fine-tuning a model side by side.

use super::args::CompareArgs;
use super::error::CliError;
use super::text::{bold, gib, grouped, lines, percent, plain, table, width, wrap};
use super::{backend, layer};
use crate::job::ModelRef;
use crate::plan::{self, Choice, Comparison};

pub(super) fn run(args: &CompareArgs) -> Result<String, CliError> {
    let train = layer::train_job(&args.common, &args.train, &args.peft, Default::default())?;
    let model = backend::resolve(&ModelRef::Named(args.model.clone()))?;
    let comparison = plan::compare(&model, &train)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&comparison)? + "\n");
    }
    Ok(text(&comparison, width()))
}

fn text(comparison: &Comparison, width: u16) -> String {
    let name = bold(plain(&comparison.model));
    let mut out = format!("{name} ({} parameters)\n\n", grouped(comparison.parameters));
    let mut rows = table(&["method", "trainable", "%", "GiB", "most of it", "smallest GPU"], width);
    for Choice { name, takes, .. } in &comparison.methods {
        rows.add_row(match takes {
            Some(takes) => [
                format!("{name}{}", if takes.validated { "" } else { "*" }),
                grouped(takes.trainable_parameters),
                percent(takes.trainable_parameters, takes.parameters, 3),
                gib(takes.device_bytes),
                format!("{} {}%", takes.dominated_by, percent(takes.dominated_by_bytes.0, takes.allocated_bytes.0, 0)),
                takes.smallest_gpu.map_or("none".to_owned(), |card| card.name.to_owned()),
            ],
            None => [name.to_string(), "-".into(), "-".into(), "-".into(), "-".into(), "see below".into()],
        });
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
    for Choice { name, when, error, .. } in &comparison.methods {
        let line = match error {
            None => format!("{name}: {when}"),
            Some(error) => format!("{name}: not estimated: {}", plain(error)),
        };
        out.push_str(&(wrap(&line, width, "  ") + "\n"));
    }
    out
}
