//! Runs a job over ghost tensors and keeps the ledger.

use super::error::EstimateError;
use super::infer::Inference;
use super::train::Training;
use crate::ghost::{ChargeId, Context, Entry};
use crate::job::{Infer, Precision, Train};
use crate::model::Model;

/// A run as the ledger has it.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Loading.
    pub(super) load: Vec<Entry>,
    /// The first step, or prefill and decoding.
    pub(super) first: Vec<Entry>,
    /// Every step after the first.
    pub(super) steady: Vec<Entry>,
    /// A tensor was too large to be meant.
    pub(super) overflowed: bool,
    /// Bytes of the trainable parameters' gradients.
    pub(super) gradients: u64,
    /// Bytes of optimizer states on the GPU.
    pub(super) optimizer: u64,
    /// Bytes of optimizer states in managed memory.
    pub(super) paged: u64,
    /// Bytes of what the optimizer keeps in the host's memory.
    pub(super) host: u64,
}

/// Records loading, a first and a steady step.
///
/// # Errors
/// No layer has a name that an adapter is asked for.
pub(super) fn training(model: &Model, job: &Train) -> Result<Recorded, EstimateError> {
    let cx = Context::new();
    let mut training = Training::new(&cx, model, job)?;
    let load = cx.ledger().take_entries();
    let (first, steady) = if passes_repeat(job) && training.keeps_nothing() {
        training.forward_and_backward();
        let passes = cx.ledger().take_entries();
        training.update();
        let update = cx.ledger().take_entries();
        training.update();
        let next_update = cx.ledger().take_entries();
        training.end_step();
        let end = cx.ledger().take_entries();
        let repeated = without_lasting(&passes, &next_update, &end);
        ([passes, update, end.clone()].concat(), [repeated, next_update, end].concat())
    } else {
        let mut step = || {
            training.forward_and_backward();
            training.update();
            training.end_step();
            cx.ledger().take_entries()
        };
        (step(), step())
    };
    Ok(Recorded {
        load,
        first,
        steady,
        overflowed: cx.ledger().overflowed(),
        gradients: training.gradient_bytes(),
        optimizer: training.optimizer().held_bytes(),
        paged: training.optimizer().paged_bytes(),
        host: training.optimizer().host_bytes(),
    })
}

/// Whether forward and backward do in every step what they do in the first, but for what they make once and keep: not
/// where a step finds gradients or outputs of the last one, or where layers are prepared by their first use.
fn passes_repeat(job: &Train) -> bool {
    job.zero_grad_set_to_none && !job.keep_outputs && job.precision != Precision::Int8
}

/// The entries of forward and backward without what they make once and keep (cuBLAS' workspaces), and without what they
/// let go of once (a table that the first use replaces).
fn without_lasting(passes: &[Entry], update: &[Entry], end: &[Entry]) -> Vec<Entry> {
    let last = passes.iter().filter_map(charge).max().map_or(0, |id| id as usize + 1);
    let mut made = vec![false; last];
    let mut gone = vec![false; last];
    for id in passes.iter().filter_map(charge) {
        made[id as usize] = true;
    }
    for entry in [passes, update, end].into_iter().flatten() {
        if let Entry::Release { id } = entry
            && let Some(gone) = gone.get_mut(*id as usize)
        {
            *gone = true;
        }
    }
    let repeats = |entry: &&Entry| match entry {
        Entry::Charge { id, .. } => gone[*id as usize],
        Entry::Release { id } => made[*id as usize],
        _ => true,
    };
    passes.iter().filter(repeats).copied().collect()
}

fn charge(entry: &Entry) -> Option<ChargeId> {
    match entry {
        Entry::Charge { id, .. } => Some(*id),
        _ => None,
    }
}

/// Records loading, the prefill and decoding.
pub(super) fn inference(model: &Model, job: &Infer) -> Recorded {
    let cx = Context::new();
    let inference = Inference::new(&cx, model, job);
    let load = cx.ledger().take_entries();
    inference.run();
    Recorded {
        load,
        first: cx.ledger().take_entries(),
        steady: Vec::new(),
        overflowed: cx.ledger().overflowed(),
        gradients: 0,
        optimizer: 0,
        paged: 0,
        host: 0,
    }
}
