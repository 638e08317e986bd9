//! A line of the file that measurements are saved to.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use super::Expected;
use super::output::{Estimated, Output};
use crate::job::Job;
use crate::measure::Basis;
use crate::step::ModelSummary;
use crate::units::Bytes;

/// `vramplan.measurement/1`
const SCHEMA: &str = "vramplan.measurement/1";

/// A measured run of a job. The command is not in it: its arguments may be nobody's business.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Row<'a> {
    schema: &'static str,
    /// Seconds since 1970-01-01, UTC.
    recorded_unix_seconds: u64,
    job: &'a Job,
    model: &'a ModelSummary,
    gpu: RowGpu<'a>,
    driver_version: &'a str,
    measured: RowMeasured,
    estimated: Estimated,
    versions: Versions<'a>,
}

#[derive(Serialize, JsonSchema)]
struct RowGpu<'a> {
    name: &'a str,
    total_bytes: Option<Bytes>,
}

#[derive(Serialize, JsonSchema)]
struct RowMeasured {
    /// The most that the command held of the GPU at a reading.
    device_peak_bytes: Bytes,
    device_mean_bytes: Bytes,
    basis: Basis,
    /// GPUs that the command used; this is the fullest of them.
    gpus: usize,
    seconds: f64,
    interval_ms: u64,
    readings: u64,
}

#[derive(Serialize, JsonSchema)]
struct Versions<'a> {
    vramplan: &'static str,
    /// The libraries whose behaviour the estimate models; those of the command are not known.
    estimated_for: &'a str,
}

impl<'a> Row<'a> {
    /// The line, or why there is none: what was not measured to its end is no measurement.
    pub(super) fn of(output: &'a Output<'_>, expected: Option<&'a Expected>) -> Result<Self, String> {
        if output.ended.exit_code != Some(0) {
            return Err("the command did not end with 0".to_owned());
        }
        let (Some(expected), Some(comparison)) = (expected, &output.comparison) else {
            return Err("no job was given".to_owned());
        };
        let gpu = output.fullest().ok_or("no GPU was measured")?;
        if let Some(problem) = &gpu.problem {
            return Err(format!("the GPU did not answer throughout: {problem}"));
        }
        let driver_version = output.driver_version.as_deref().ok_or("the driver's version is not known")?;
        Ok(Self {
            schema: SCHEMA,
            recorded_unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            job: &expected.asked.job,
            model: &comparison.model,
            gpu: RowGpu { name: &gpu.name, total_bytes: gpu.total_bytes },
            driver_version,
            measured: RowMeasured {
                device_peak_bytes: gpu.peak_bytes,
                device_mean_bytes: gpu.mean_bytes,
                basis: gpu.basis,
                gpus: output.gpus.len(),
                seconds: output.seconds,
                interval_ms: output.interval_ms,
                readings: output.readings,
            },
            estimated: comparison.estimated,
            versions: Versions { vramplan: env!("CARGO_PKG_VERSION"), estimated_for: &comparison.basis.versions },
        })
    }
}
