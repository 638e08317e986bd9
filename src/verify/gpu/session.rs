//! Configurations trained on one GPU.

use std::rc::Rc;

use super::super::VerifyError;
use super::super::array::Result;
use super::super::config::{Configuration, configurations};
use super::super::gauge::Gauge;
use super::super::report::Run;
use super::super::run;
use super::card::{Card, Held, figures};
use super::memory::Identity;
use super::pool::{Gpu, Pool, PoolGauge};

/// Configurations of the smallest size.
const WARM_UP: usize = 16;

/// A GPU that configurations are trained on, one after the other.
pub struct Session {
    pool: Rc<dyn Pool>,
    identity: Identity,
    /// The card before this process used it.
    before: Card,
    /// What nobody's allocations took of it when it was opened.
    at_start: Option<u64>,
}

impl Session {
    /// Opens the GPU `ordinal`, and uses it in each way once: what CUDA loads for a kernel's first use is no part of what a
    /// step holds.
    ///
    /// # Errors
    /// [`VerifyError::Gpu`] where there is no such GPU; candle fails.
    pub fn open(gpu: &dyn Gpu, ordinal: usize) -> Result<Self> {
        let before = Card::look();
        let pool = gpu.open(ordinal)?;
        let mut identity = pool.identity()?;
        identity.driver_version.clone_from(&before.driver_version);
        let at_start = held(&*pool, &before)?.context;
        let session = Self { pool, identity, before, at_start };
        for configuration in configurations()?.iter().take(WARM_UP) {
            session.run(configuration)?;
        }
        Ok(session)
    }

    /// The GPU.
    pub const fn gpu(&self) -> &Identity {
        &self.identity
    }

    /// Trains `configuration` on the GPU and without data, and tells both; measured is what the pool held at its most.
    ///
    /// The GPU is waited for after every kernel, so that a peak is the order's and not the clock's.
    ///
    /// # Errors
    /// [`VerifyError::Gpu`] where the GPU's memory does not do; candle fails; or as [`run`](super::super::run()).
    pub fn run(&self, configuration: &Configuration) -> Result<Run> {
        let gauge = Rc::new(PoolGauge::new(Rc::clone(&self.pool))?);
        let shared: Rc<dyn Gauge> = Rc::<PoolGauge>::clone(&gauge);
        let mut run = run::run_on_gpu(configuration, self.pool.device(), shared).map_err(|error| self.full(error))?;
        gauge.check()?;
        let held = held(&*self.pool, &self.before)?;
        run.memory = Some(figures(&run, &self.pool.marks()?, gauge.before(), &held, self.at_start));
        Ok(run)
    }

    /// What CUDA says of a full GPU, with how full it is.
    fn full(&self, error: VerifyError) -> VerifyError {
        match (error, self.pool.free_and_total()) {
            (VerifyError::Candle(text), Ok((free, total))) if text.contains("OUT_OF_MEMORY") => {
                VerifyError::Gpu(format!(
                    "its memory is full: {free} of {total} bytes are free, and more was asked for ({text}); stop what else runs on \
                 it, or choose smaller ones with --config"
                ))
            }
            (error, _) => error,
        }
    }
}

fn held(pool: &dyn Pool, before: &Card) -> Result<Held> {
    let (free, total) = pool.free_and_total()?;
    Ok(Held::now(before, total.saturating_sub(free), pool.marks()?.reserved))
}
