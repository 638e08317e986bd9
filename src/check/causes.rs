//! What changed since a lock was written, and why: every change is made by itself, in turn, and the job run again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::changes::changes;
use super::inputs::Figures;
use super::lock::{Lock, Locked};
use crate::plan::difference;
use crate::units::Bytes;

/// How a job differs from the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The job.
    pub job: String,
    /// How.
    #[serde(flatten)]
    pub kind: Kind,
}

/// Ways to differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The lock has no such job.
    Added,
    /// The file has no such job.
    Removed,
    /// Its figures or its inputs are others.
    Changed {
        /// What the card showed.
        device_bytes_before: Bytes,
        /// What it shows now.
        device_bytes: Bytes,
        /// Why, in the order the changes were made; all that changed is in them.
        causes: Vec<Cause>,
        /// What was changed without an effect on the figures.
        without_effect: Vec<String>,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Cause {
    /// What was changed; several, where the job has no answer between them.
    pub what: Vec<String>,
    /// More, or less, that the card shows.
    pub device_bytes: i64,
    /// More, or less, live tensors at the peak.
    pub allocated_bytes: i64,
    /// Of what, the most first.
    pub parts: Vec<PartChange>,
    /// More, or fewer, parameters that are trained.
    pub trainable_parameters: i64,
}

/// More, or less, of a part at the peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartChange {
    /// weights, gradients, optimizer, activations, logits, `kv_cache`, temporary or workspace.
    pub part: String,
    /// How much.
    pub bytes: i64,
}

/// How the jobs of `now` differ from those of the lock, sorted by name; `failed` have no figures now, and are left out.
///
/// ```
/// use std::collections::BTreeMap;
/// use vramplan::check::{Kind, Lock, compare};
///
/// let lock = Lock::default();
/// assert!(compare(&lock, &lock.jobs, &[]).is_empty());
/// ```
pub fn compare(lock: &Lock, now: &BTreeMap<String, Locked>, failed: &[&str]) -> Vec<Difference> {
    let mut names: Vec<&String> = lock.jobs.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let kind = |name: &String| match (lock.jobs.get(name), now.get(name)) {
        (Some(old), Some(new)) => changed(old, new),
        (Some(_), None) if failed.contains(&name.as_str()) => None,
        (Some(_), None) => Some(Kind::Removed),
        (None, _) => Some(Kind::Added),
    };
    names.into_iter().filter_map(|name| Some(Difference { job: name.clone(), kind: kind(name)? })).collect()
}

fn changed(old: &Locked, new: &Locked) -> Option<Kind> {
    let (before, after) = (old.inputs.completed(), new.inputs.completed());
    if (&old.figures, &before) == (&new.figures, &after) {
        return None;
    }
    let mut walk =
        Walk { at: old.figures.clone(), pending: Vec::new(), causes: Vec::new(), without_effect: Vec::new() };
    let version = version(old, new);
    let mut inputs = before.clone();
    let recomputed = inputs.figures();
    if recomputed.is_some() || old.vramplan != new.vramplan {
        walk.step(version.clone(), recomputed);
    }
    for change in changes(&before, &after) {
        change.apply(&mut inputs);
        walk.step(change.what, inputs.figures());
    }
    if walk.at != new.figures {
        if walk.pending.is_empty() {
            walk.pending.push("something that the lock does not record".to_owned());
        }
        let cause = cause(std::mem::take(&mut walk.pending), &walk.at, &new.figures);
        walk.causes.push(cause);
    }
    let Walk { causes, mut without_effect, pending, .. } = walk;
    without_effect.extend(pending);
    without_effect.retain(|what| *what != version);
    Some(Kind::Changed {
        device_bytes_before: old.figures.device_bytes,
        device_bytes: new.figures.device_bytes,
        causes,
        without_effect,
    })
}

fn version(old: &Locked, new: &Locked) -> String {
    if old.vramplan == new.vramplan {
        format!("another build of vramplan {}", new.vramplan)
    } else {
        format!("vramplan {} -> {}", crate::model::one_line(&old.vramplan), new.vramplan)
    }
}

/// From the figures of the lock to those of now.
struct Walk {
    at: Figures,
    /// Changes since the figures that have none of their own.
    pending: Vec<String>,
    causes: Vec<Cause>,
    without_effect: Vec<String>,
}

impl Walk {
    fn step(&mut self, what: String, figures: Option<Figures>) {
        self.pending.push(what);
        let Some(figures) = figures else { return };
        let what = std::mem::take(&mut self.pending);
        if figures == self.at {
            self.without_effect.extend(what);
            return;
        }
        self.causes.push(cause(what, &self.at, &figures));
        self.at = figures;
    }
}

fn cause(what: Vec<String>, before: &Figures, after: &Figures) -> Cause {
    let of = |figures: &Figures, part: &str| figures.at_peak.get(part).copied().unwrap_or_default();
    let mut names: Vec<&String> = before.at_peak.keys().chain(after.at_peak.keys()).collect();
    names.sort();
    names.dedup();
    let parts = names
        .into_iter()
        .map(|part| PartChange { part: part.clone(), bytes: difference(of(after, part), of(before, part)) });
    let mut parts: Vec<PartChange> = parts.filter(|change| change.bytes != 0).collect();
    parts.sort_by_key(|change| std::cmp::Reverse(change.bytes.unsigned_abs()));
    Cause {
        what,
        device_bytes: difference(after.device_bytes, before.device_bytes),
        allocated_bytes: difference(after.allocated_bytes, before.allocated_bytes),
        parts,
        trainable_parameters: difference(Bytes(after.trainable_parameters), Bytes(before.trainable_parameters)),
    }
}
