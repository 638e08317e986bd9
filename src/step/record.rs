//! Runs a job over ghost tensors and keeps the ledger.

use super::error::EstimateError;
use super::infer::Inference;
use super::train::Training;
use crate::ghost::{Context, Entry};
use crate::job::{Infer, Train};
use crate::model::Model;

/// A run as the ledger has it: loading, the first step (or prefill and decoding), a steady step.
pub(super) struct Recorded {
    /// Everything, in order.
    pub(super) entries: Vec<Entry>,
    starts: [usize; 2],
    /// A tensor was too large to be meant.
    pub(super) overflowed: bool,
    /// Bytes of the trainable parameters' gradients.
    pub(super) gradients: u64,
    /// Bytes of optimizer states on the GPU.
    pub(super) optimizer: u64,
    /// Bytes of optimizer states in managed memory.
    pub(super) paged: u64,
}

impl Recorded {
    pub(super) fn load(&self) -> &[Entry] {
        &self.entries[..self.starts[0]]
    }

    pub(super) fn first(&self) -> &[Entry] {
        &self.entries[self.starts[0]..self.starts[1]]
    }

    pub(super) fn steady(&self) -> &[Entry] {
        &self.entries[self.starts[1]..]
    }
}

/// Records loading and two steps.
///
/// # Errors
/// No layer has a name that an adapter is asked for.
pub(super) fn training(model: &Model, job: &Train) -> Result<Recorded, EstimateError> {
    let cx = Context::new();
    let mut training = Training::new(&cx, model, job)?;
    let first = cx.ledger().len();
    training.step();
    let steady = cx.ledger().len();
    training.step();
    Ok(Recorded {
        entries: cx.ledger().take_entries(),
        starts: [first, steady],
        overflowed: cx.ledger().overflowed(),
        gradients: training.gradient_bytes(),
        optimizer: training.optimizer().held_bytes(),
        paged: training.optimizer().paged_bytes(),
    })
}

/// Records loading, the prefill and decoding.
pub(super) fn inference(model: &Model, job: &Infer) -> Recorded {
    let cx = Context::new();
    let inference = Inference::new(&cx, model, job);
    let start = cx.ledger().len();
    inference.run();
    let end = cx.ledger().len();
    Recorded {
        entries: cx.ledger().take_entries(),
        starts: [start, end],
        overflowed: cx.ledger().overflowed(),
        gradients: 0,
        optimizer: 0,
        paged: 0,
    }
}
