//! `vramplan verify`: small models trained for real, what that took beside what was predicted.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::verifying::VerifyArgs;
use super::error::CliError;
use super::{Answer, Measures};
use crate::verify::Run;

#[derive(Serialize, JsonSchema)]
#[cfg_attr(not(feature = "verify"), allow(dead_code))]
pub(super) struct Output {
    schema: &'static str,
    /// Where it ran: `cpu`
    device: &'static str,
    /// Versions of this program and of candle.
    versions: Versions,
    runs: Vec<Run>,
    /// Runs that were predicted to the byte.
    exact: usize,
    /// The largest error, in percent.
    worst_error_percent: f64,
}

#[derive(Serialize, JsonSchema)]
#[cfg_attr(not(feature = "verify"), allow(dead_code))]
struct Versions {
    vramplan: &'static str,
    candle: &'static str,
}

/// What this build has not.
const NOT_BUILT: &str = "this build trains nothing; build it with `cargo build --release --features verify`";

#[cfg(not(feature = "verify"))]
pub(super) fn run(_args: &VerifyArgs, _measures: Option<&Measures>) -> Result<Answer, CliError> {
    Err(CliError::usage(NOT_BUILT))
}

#[cfg(feature = "verify")]
pub(super) fn run(args: &VerifyArgs, measures: Option<&Measures>) -> Result<Answer, CliError> {
    carried_out::run(args, measures)
}

#[cfg(feature = "verify")]
mod carried_out {
    use std::io::Write;

    use super::super::args::verifying::{VerifyArgs, VerifyDevice};
    use super::super::error::CliError;
    use super::super::text::{self, grouped, lines, table, width};
    use super::super::{Answer, Measures};
    use super::super::{exit, files};
    use super::{Output, Versions};
    use crate::verify::{self, Run};

    /// Numbers that are broken over lines are no use.
    const WIDE: u16 = 116;
    /// As `Cargo.toml` pins it.
    const CANDLE: &str = "0.11.1";

    pub(super) fn run(args: &VerifyArgs, measures: Option<&Measures>) -> Result<Answer, CliError> {
        if args.device == VerifyDevice::Cuda {
            return Err(CliError::usage(if cfg!(feature = "cuda") {
                "--device cuda is not measured yet; use --device cpu"
            } else {
                "this build has no CUDA; build it with `--features cuda`, or use --device cpu"
            }));
        }
        let Some(gauge) = measures else { return Err(CliError::usage(super::NOT_BUILT)) };
        let failed = |error: verify::VerifyError| CliError::Usage(error.to_string());
        let mut chosen = verify::configurations().map_err(failed)?;
        if !args.config.is_empty() {
            chosen.retain(|one| args.config.iter().any(|part| one.name.contains(part.as_str())));
        }
        if chosen.is_empty() {
            return Err(CliError::Usage(format!(
                "no configuration has {} in its name; `vramplan verify` runs and lists all",
                args.config.join(" or ")
            )));
        }
        verify::warm_up().map_err(failed)?;
        let mut runs = Vec::with_capacity(chosen.len());
        for (at, configuration) in (1..).zip(&chosen) {
            // there may be nobody to tell
            let _ = writeln!(anstream::stderr(), "{at}/{} {}", chosen.len(), configuration.name);
            runs.push(verify::run(configuration, *gauge).map_err(failed)?);
        }
        if let Some(path) = &args.save {
            runs.iter().try_for_each(|run| files::append_line(path, &verify::row(run)))?;
        }
        let code = if runs.iter().all(|run| run.is_close() && run.learned()) { 0 } else { exit::DOES_NOT_FIT };
        let exact = runs.iter().filter(|run| run.difference_bytes == 0).count();
        let worst_error_percent = runs.iter().map(|run| run.error_percent.abs()).fold(0.0, f64::max);
        if args.json {
            let versions = Versions { vramplan: env!("CARGO_PKG_VERSION"), candle: CANDLE };
            let output =
                Output { schema: "vramplan.verify/1", device: "cpu", versions, runs, exact, worst_error_percent };
            return Ok(Answer { text: text::json(&output)?, code });
        }
        Ok(Answer { text: page(&runs, exact, worst_error_percent), code })
    }

    fn page(runs: &[Run], exact: usize, worst: f64) -> String {
        let header = ["configuration", "ledger", "predicted", "measured", "difference", "error %", "loss"];
        let mut rows = table(&header, width().max(WIDE));
        for run in runs {
            let loss = |loss: Option<&f32>| loss.map_or_else(String::new, |loss| format!("{loss:.3}"));
            rows.add_row([
                run.name.clone(),
                grouped(run.ledger_bytes),
                grouped(run.predicted_bytes),
                grouped(run.measured_bytes),
                run.difference_bytes.to_string(),
                format!("{:.3}", run.error_percent),
                format!("{} -> {}", loss(run.losses.first()), loss(run.losses.last())),
            ]);
        }
        let wrong: Vec<&str> = runs.iter().filter(|run| !run.learned()).map(|run| run.name.as_str()).collect();
        let learned = if wrong.is_empty() {
            "every loss fell, every trained parameter moved, no frozen one did".to_owned()
        } else {
            format!("not trained as they should be: {}", wrong.join(", "))
        };
        format!(
            "{}\n{exact} of {} predicted to the byte, the worst {worst:.3} % off; {learned}\n\
             bytes; ledger: the same step in PyTorch on a GPU, predicted and measured: in candle on this CPU\n",
            lines(&rows),
            runs.len()
        )
    }
}
