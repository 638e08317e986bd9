//! A serving job as a run: what an engine holds, charged as its phases take it.

use super::error::EstimateError;
use super::estimate::Basis;
use super::record::Recorded;
use crate::ghost::{Category, ChargeId, Entry, Phase};
use crate::model::{Model, Origin};
use crate::serve::Serving;

/// Loading takes the weights, the cache is there before the first prompt, and a step as large as the profiling run's is
/// room that stays reserved for one.
pub(super) fn recorded(serving: &Serving) -> Recorded {
    let mut next: ChargeId = 0;
    let mut charge = |bytes: crate::Bytes, category| {
        let id = next;
        next += 1;
        (bytes.0 > 0).then_some(Entry::Charge { id, bytes: bytes.0, category })
    };
    let load = [charge(serving.weights_bytes, Category::Weights), charge(serving.other_bytes, Category::Workspace)];
    let cache = charge(serving.kv_cache_bytes, Category::KvCache);
    let step = charge(serving.profile_bytes, Category::Activations);
    let end = step.and_then(|entry| match entry {
        Entry::Charge { id, .. } => Some(Entry::Release { id }),
        _ => None,
    });
    let begin = |phase| Some(Entry::Begin { phase });
    let held = [serving.weights_bytes, serving.other_bytes, serving.kv_cache_bytes, serving.profile_bytes];
    let total = held.iter().try_fold(0_u64, |sum, bytes| sum.checked_add(bytes.0));
    Recorded {
        load: [begin(Phase::Load)].into_iter().chain(load).flatten().collect(),
        first: [begin(Phase::Prefill), cache, step, end, begin(Phase::Decode)].into_iter().flatten().collect(),
        steady: Vec::new(),
        overflowed: total.is_none_or(|total| total > LARGEST),
        gradients: 0,
        optimizer: 0,
        paged: 0,
        host: 0,
    }
}

/// 4 PiB, as for every job.
const LARGEST: u64 = 1 << 52;

/// What the figures rest on.
pub(super) fn basis(model: &Model, serving: &Serving) -> Basis {
    let mut notes = serving.notes.clone();
    if model.origin() == Origin::Guess {
        notes.insert(0, format!("{}: a Llama-shaped guess from a size, not a model that is known", model.name()));
    }
    if serving.gpu_count > 1 {
        notes.push(format!(
            "the figures are of the fullest of {} GPUs, each of which holds as much at most",
            serving.gpu_count
        ));
    }
    Basis {
        runtime: serving.runtime.to_string(),
        versions: serving.versions.clone(),
        validated: serving.validated && model.origin() == Origin::Config,
        notes,
    }
}

/// What keeps an engine from an answer.
impl From<crate::serve::ServeError> for EstimateError {
    fn from(error: crate::serve::ServeError) -> Self {
        match error {
            crate::serve::ServeError::Job(error) => Self::Job(error),
            other => Self::Serve(Box::new(other)),
        }
    }
}
