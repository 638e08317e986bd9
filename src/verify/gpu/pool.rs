//! A GPU as the program brings it: a library that has no unsafe code cannot ask CUDA for its pool's marks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::VerifyError;
use super::super::array::Result;
use super::super::gauge::Gauge;
use super::memory::{Identity, Marks};

/// Opens GPUs.
pub trait Gpu {
    /// The GPU of this number, as CUDA counts them.
    ///
    /// # Errors
    /// [`VerifyError::Gpu`]: CUDA's libraries, its driver or the GPU are missing.
    fn open(&self, ordinal: usize) -> Result<Rc<dyn Pool>>;
}

/// An open GPU, and the stream-ordered pool that all of its arrays are allocated from.
pub trait Pool {
    /// Where candle's tensors go.
    fn device(&self) -> candle_core::Device;
    /// Which GPU it is.
    ///
    /// # Errors
    /// CUDA does not answer.
    fn identity(&self) -> Result<Identity>;
    /// Waits for all that was begun, gives unused memory back to the driver, and lets both high-water marks begin anew. What
    /// is reserved from here on stays reserved.
    ///
    /// # Errors
    /// CUDA does not answer, or something that was begun failed.
    fn begin(&self) -> Result<()>;
    /// Waits for all that was begun, so that what was freed is free.
    ///
    /// # Errors
    /// Something that was begun failed.
    fn settle(&self) -> Result<()>;
    /// The mark of what is used is what is used now.
    ///
    /// # Errors
    /// CUDA does not answer.
    fn reset_used(&self) -> Result<()>;
    /// What the pool holds.
    ///
    /// # Errors
    /// CUDA does not answer.
    fn marks(&self) -> Result<Marks>;
    /// Bytes of the card that are free, and all of them (`cuMemGetInfo`).
    ///
    /// # Errors
    /// CUDA does not answer.
    fn free_and_total(&self) -> Result<(u64, u64)>;
}

/// Measures a pool as an allocator is measured: what lasted from before does not count, nor what is allocated while counting
/// is off.
pub(super) struct PoolGauge {
    pool: Rc<dyn Pool>,
    before: u64,
    peak: Cell<u64>,
    failure: RefCell<Option<VerifyError>>,
}

impl PoolGauge {
    /// Begins to measure.
    pub(super) fn new(pool: Rc<dyn Pool>) -> Result<Self> {
        pool.begin()?;
        let before = pool.marks()?.used;
        Ok(Self { pool, before, peak: Cell::new(0), failure: RefCell::new(None) })
    }

    /// What lasted from before, in bytes.
    pub(super) const fn before(&self) -> u64 {
        self.before
    }

    /// # Errors
    /// The pool did not answer at some time.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn ask<T: Default>(&self, answer: Result<T>) -> T {
        answer.unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    fn keep_highest(&self) {
        let high = self.ask(self.pool.marks()).used_high.saturating_sub(self.before);
        self.peak.set(self.peak.get().max(high));
    }
}

impl Gauge for PoolGauge {
    fn count(&self, on: bool) {
        if on {
            self.ask(self.pool.reset_used());
        } else {
            self.ask(self.pool.settle());
            self.keep_highest();
        }
    }

    fn reset_peak(&self) {
        self.peak.set(self.live());
    }

    fn peak(&self) -> u64 {
        self.peak.get()
    }

    fn live(&self) -> u64 {
        self.ask(self.pool.settle());
        self.ask(self.pool.marks()).used.saturating_sub(self.before)
    }
}
