//! A serving job as a run: what an engine holds, charged as its phases take it.

use super::basis::guessed;
use super::error::EstimateError;
use super::estimate::Basis;
use super::record::Recorded;
use crate::ghost::{Category, ChargeId, Entry, MOST, Phase};
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
    Recorded {
        load: [begin(Phase::Load)].into_iter().chain(load).flatten().collect(),
        first: [begin(Phase::Prefill), cache, step, end, begin(Phase::Decode)].into_iter().flatten().collect(),
        steady: Vec::new(),
        overflowed: serving.held_bytes().0 > MOST,
        gradients: 0,
        optimizer: 0,
        paged: 0,
        host: 0,
    }
}

/// What the figures rest on.
pub(super) fn basis(model: &Model, serving: &Serving) -> Basis {
    let mut notes: Vec<String> = guessed(model).into_iter().chain(serving.notes.iter().cloned()).collect();
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
