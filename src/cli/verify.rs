//! `vramplan verify`: small models trained for real, what that took beside what was predicted.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::verifying::VerifyArgs;
use super::error::CliError;
use super::{Answer, Measures};
use crate::verify::{Identity, Run};

#[derive(Serialize, JsonSchema)]
#[cfg_attr(not(feature = "verify"), allow(dead_code))]
pub(super) struct Output {
    schema: &'static str,
    /// Where it ran: `cpu` or `cuda`
    device: &'static str,
    /// The GPU, with `cuda`.
    gpu: Option<Identity>,
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
    use crate::verify::{self, Configuration, DeviceSource, Figure, GpuMemory, Identity, Run, Session, VerifyError};

    /// Numbers that are broken over lines are no use.
    const WIDE: u16 = 116;
    const WIDE_ON_A_GPU: u16 = 136;
    /// As `Cargo.toml` pins it.
    const CANDLE: &str = "0.11.1";

    pub(super) fn run(args: &VerifyArgs, measures: Option<&Measures>) -> Result<Answer, CliError> {
        let Some(measures) = measures else { return Err(CliError::usage(super::NOT_BUILT)) };
        let cuda = args.device == VerifyDevice::Cuda;
        let built_in = if cuda { verify::gpu_configurations() } else { verify::configurations() };
        let mut chosen = built_in.map_err(failed)?;
        if !args.config.is_empty() {
            chosen.retain(|one| args.config.iter().any(|part| one.name.contains(part.as_str())));
        }
        if chosen.is_empty() {
            return Err(CliError::Usage(format!(
                "no configuration has {} in its name; `vramplan verify` runs and lists all",
                args.config.join(" or ")
            )));
        }
        if let Some(path) = &args.save {
            files::can_be_appended_to(path)?;
        }
        let (runs, gpu) = if cuda {
            let Some(gpu) = measures.gpu else {
                return Err(CliError::usage(
                    "this build has no CUDA; build it with `--features cuda`, or use --device cpu",
                ));
            };
            let session = Session::open(gpu, 0).map_err(failed)?;
            (all(args, &chosen, Some(session.gpu()), |one| session.run(one))?, Some(session.gpu().clone()))
        } else {
            verify::warm_up().map_err(failed)?;
            (all(args, &chosen, None, |one| verify::run(one, measures.gauge))?, None)
        };
        let code = if runs.iter().all(|run| run.is_close() && run.learned()) { 0 } else { exit::DOES_NOT_FIT };
        let exact = runs.iter().filter(|run| run.difference_bytes == 0).count();
        let worst_error_percent = runs.iter().map(|run| run.error_percent.abs()).fold(0.0, f64::max);
        if args.json {
            let versions = Versions { vramplan: env!("CARGO_PKG_VERSION"), candle: CANDLE };
            let schema = "vramplan.verify/1";
            let device = if cuda { "cuda" } else { "cpu" };
            let output = Output { schema, device, gpu, versions, runs, exact, worst_error_percent };
            return Ok(Answer { text: text::json(&output)?, code });
        }
        let text = match &gpu {
            Some(gpu) => gpu_page(&runs, gpu, worst_error_percent),
            None => page(&runs, exact, worst_error_percent),
        };
        Ok(Answer { text, code })
    }

    fn failed(error: VerifyError) -> CliError {
        match error {
            VerifyError::Gpu(_) => CliError::NoDevice(error),
            error => CliError::Usage(error.to_string()),
        }
    }

    /// Runs them one after the other; each is kept as it comes.
    fn all(
        args: &VerifyArgs,
        chosen: &[Configuration],
        gpu: Option<&Identity>,
        run: impl Fn(&Configuration) -> Result<Run, VerifyError>,
    ) -> Result<Vec<Run>, CliError> {
        let mut runs = Vec::with_capacity(chosen.len());
        for (at, configuration) in (1..).zip(chosen) {
            // there may be nobody to tell
            let _ = writeln!(anstream::stderr(), "{at}/{} {}", chosen.len(), configuration.name);
            let done = run(configuration).map_err(failed)?;
            if let Some(path) = &args.save {
                files::append_line(path, &verify::row(&done, gpu))?;
            }
            runs.push(done);
        }
        Ok(runs)
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
        let learned = learned(runs);
        format!(
            "{}\n{exact} of {} predicted to the byte, the worst {worst:.3} % off; {learned}\n\
             bytes; ledger: the same step in PyTorch on a GPU, predicted and measured: in candle on this CPU\n",
            lines(&rows),
            runs.len()
        )
    }

    fn gpu_page(runs: &[Run], gpu: &Identity, worst: f64) -> String {
        let header = ["configuration", "predicted", "allocated", "error %", "reserved", "device", "context", "loss"];
        let mut rows = table(&header, width().max(WIDE_ON_A_GPU));
        for run in runs {
            let loss = |loss: Option<&f32>| loss.map_or_else(String::new, |loss| format!("{loss:.3}"));
            let measured = |figure: fn(&GpuMemory) -> Figure| {
                let figure = run.memory.as_ref().and_then(|memory| figure(memory).measured_bytes);
                figure.map_or_else(|| "unknown".to_owned(), grouped)
            };
            rows.add_row([
                run.name.clone(),
                grouped(run.predicted_bytes),
                grouped(run.measured_bytes),
                format!("{:.3}", run.error_percent),
                measured(|memory| memory.reserved),
                measured(|memory| memory.device),
                measured(|memory| memory.context),
                format!("{} -> {}", loss(run.losses.first()), loss(run.losses.last())),
            ]);
        }
        let close = runs.iter().filter(|run| run.is_close()).count();
        let Identity { name, compute_capability, driver_version, cuda_version } = gpu;
        format!(
            "{}\n{close} of {} predicted within 1 %, the worst {worst:.3} % off; {}\n\
             bytes measured on {name} (compute capability {compute_capability}, driver {}, CUDA {cuda_version}); allocated and \
             reserved: marks of CUDA's pool, device: {}, context: the rest of it\n",
            lines(&rows),
            runs.len(),
            learned(runs),
            driver_version.as_deref().unwrap_or("unknown"),
            match runs.iter().find_map(|run| run.memory.as_ref()?.device_source) {
                Some(DeviceSource::Process) => "NVML's figure for this process",
                Some(DeviceSource::Growth) => "what the card's use grew by",
                None => "nobody says",
            },
        )
    }

    fn learned(runs: &[Run]) -> String {
        let wrong: Vec<&str> = runs.iter().filter(|run| !run.learned()).map(|run| run.name.as_str()).collect();
        if wrong.is_empty() {
            "every loss fell, every trained parameter moved, no frozen one did".to_owned()
        } else {
            format!("not trained as they should be: {}", wrong.join(", "))
        }
    }
}
