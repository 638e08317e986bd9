//! The same on a GPU: what CUDA's pool held, what it took from the driver for it, and what the card shows.

mod memory;
mod pool;
mod sizes;

use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::array::Result;
use super::config::{Configuration, configurations};
use super::gauge::Gauge;
use super::run::{Run, run_on};
use super::shadow::Place;

use memory::Card;
use pool::PoolGauge;

pub use memory::{DeviceSource, Figure, GpuMemory};
pub use pool::{Gpu, Identity, Marks, Pool};
pub use sizes::gpu_configurations;

/// Configurations of the smallest size.
const WARM_UP: usize = 16;

/// What one configuration was predicted to hold on a GPU, and held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GpuRun {
    /// As on a CPU; measured is the pool's mark of what was used.
    #[serde(flatten)]
    pub run: Run,
    /// The GPU.
    pub gpu: Identity,
    /// What each counts that has a count of its own.
    pub memory: GpuMemory,
}

impl GpuRun {
    /// Whether the prediction is within 1 % of what the pool held.
    pub fn is_close(&self) -> bool {
        self.run.error_percent.abs() <= 1.0
    }
}

/// A GPU that configurations are trained on, one after the other.
pub struct Session {
    pool: Rc<dyn Pool>,
    identity: Identity,
    /// The card before this process used it.
    before: Card,
}

impl Session {
    /// Opens the GPU `ordinal`, and uses it in each way once: what CUDA loads for a kernel's first use is no part of what a
    /// step holds.
    ///
    /// # Errors
    /// [`VerifyError::Gpu`](super::VerifyError::Gpu) where there is no such GPU; candle fails.
    pub fn open(gpu: &dyn Gpu, ordinal: usize) -> Result<Self> {
        let before = Card::look();
        let pool = gpu.open(ordinal)?;
        let mut identity = pool.identity()?;
        identity.driver_version.clone_from(&before.driver_version);
        let session = Self { pool, identity, before };
        for configuration in configurations()?.iter().take(WARM_UP) {
            session.run(configuration)?;
        }
        Ok(session)
    }

    /// The GPU.
    pub const fn gpu(&self) -> &Identity {
        &self.identity
    }

    /// Trains `configuration` on the GPU and without data, and tells both.
    ///
    /// The GPU is waited for after every kernel, so that a peak is the order's and not the clock's.
    ///
    /// # Errors
    /// Candle fails, as when the GPU's memory does not do; or as [`run`](super::run()).
    pub fn run(&self, configuration: &Configuration) -> Result<GpuRun> {
        let gauge = Rc::new(PoolGauge::new(Rc::clone(&self.pool))?);
        let shared: Rc<dyn Gauge> = Rc::<PoolGauge>::clone(&gauge);
        let run = run_on(configuration, Place::Gpu, self.pool.device(), &shared)?;
        gauge.check()?;
        let (free, total) = self.pool.free_and_total()?;
        let used = total.saturating_sub(free);
        let memory = GpuMemory::of(&run, &self.pool.marks()?, gauge.before(), used, &self.before, &Card::look());
        Ok(GpuRun { run, gpu: self.identity.clone(), memory })
    }
}
