//! What the command held of one GPU.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::sampler::Seen;
use super::series::{Point, Series};
use crate::hardware::nvml::Use;
use crate::hardware::{Device, Mig};
use crate::units::Bytes;

/// What a figure is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Basis {
    /// What the driver says that the command's processes hold.
    Processes,
    /// What is used of the card, less what was used before the command began: others' are in it.
    Card,
}

/// The most one process held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ProcessPeak {
    pub(crate) pid: u32,
    #[serde(rename = "peak_bytes")]
    pub(crate) peak: Bytes,
}

/// What the command held of a GPU.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) device: Device,
    pub(crate) basis: Basis,
    pub(crate) peak: Point,
    pub(crate) mean: Bytes,
    /// What was used of the card before, by anybody.
    pub(crate) used_before: Option<Bytes>,
    /// The most that was used of the card, by anybody.
    pub(crate) used_most: Option<Bytes>,
    pub(crate) processes: Vec<ProcessPeak>,
    pub(crate) timeline: Vec<Point>,
    pub(crate) problem: Option<String>,
}

/// A GPU while the command runs.
pub(super) struct Gpu {
    device: Device,
    before: Option<Use>,
    /// By the figures of processes; and by what is used more than before.
    ours: Series,
    card: Series,
    used_most: Option<Bytes>,
    processes: BTreeMap<u32, Option<Bytes>>,
    /// Readings in which a process of the command's had no figure.
    unsaid: u64,
    /// A process that can be seen and is not the command's came to it.
    joined: bool,
    problem: Option<String>,
}

impl Gpu {
    pub(super) fn new(device: Device, before: Option<Use>) -> Self {
        Self {
            device,
            before,
            ours: Series::default(),
            card: Series::default(),
            used_most: None,
            processes: BTreeMap::new(),
            unsaid: 0,
            joined: false,
            problem: None,
        }
    }

    /// Adds what was seen at a moment after the start.
    pub(super) fn add(&mut self, at: Duration, seen: &Seen) {
        if let Some(used) = seen.used {
            self.used_most = self.used_most.max(Some(used));
            if let Some(before) = self.used_before() {
                self.card.add(at, used.saturating_sub(before));
            }
        }
        if seen.problem.is_some() && self.before.as_ref().is_none_or(|before| before.problem.is_none()) {
            self.problem.clone_from(&seen.problem);
        }
        if seen.used.is_none() && seen.ours.is_empty() {
            // it says nothing, which is not that nothing is held
            return;
        }
        for process in &seen.ours {
            let most = self.processes.entry(process.pid).or_default();
            *most = (*most).max(process.used);
        }
        if seen.ours.iter().any(|process| process.used.is_none()) {
            self.unsaid += 1;
        } else {
            self.ours.add(at, seen.ours.iter().filter_map(|process| process.used).sum());
        }
        let was_there = |pid: &u32| {
            let before = self.before.as_ref().and_then(|before| before.processes.as_ref());
            before.is_some_and(|list| list.iter().any(|process| process.pid == *pid))
        };
        self.joined |= seen.others.iter().any(|pid| !was_there(pid));
    }

    fn used_before(&self) -> Option<Bytes> {
        self.before.as_ref()?.used
    }

    /// Why nothing could be read of it before the command began, where nothing could.
    pub(super) fn problem_before(&self) -> Option<String> {
        let before = self.before.as_ref()?;
        if before.used.is_some() || before.processes.is_some() {
            return None;
        }
        let why = before.problem.as_deref().unwrap_or("nothing runs on it itself, for it is cut into slices");
        Some(format!("{}: {why}", self.name()))
    }

    fn name(&self) -> String {
        self.device.index.map_or_else(|| "a GPU".to_owned(), |index| format!("GPU {index}"))
    }

    fn measured(self, basis: Basis) -> Option<Measured> {
        let used_before = self.used_before();
        let series = match basis {
            Basis::Processes => &self.ours,
            Basis::Card => &self.card,
        };
        let peak = series.peak().filter(|peak| peak.bytes > Bytes::ZERO)?;
        let processes = self.processes.iter().filter_map(|(pid, peak)| Some(ProcessPeak { pid: *pid, peak: (*peak)? }));
        Some(Measured {
            basis,
            peak,
            mean: series.mean(),
            used_before,
            used_most: self.used_most,
            processes: processes.collect(),
            timeline: series.points().to_vec(),
            problem: self.problem,
            device: self.device,
        })
    }
}

/// The GPUs that were used, and what a reader should know of the others.
pub(super) fn settle(gpus: Vec<Gpu>) -> (Vec<Measured>, Vec<String>) {
    let seen_anywhere = gpus.iter().any(|gpu| !gpu.processes.is_empty());
    let mut used = Vec::new();
    let mut notes = Vec::new();
    let mut silent = Vec::new();
    for gpu in gpus {
        let name = gpu.name();
        let basis = match (gpu.processes.is_empty(), gpu.unsaid) {
            (false, 0) => Basis::Processes,
            (false, _) if gpu.used_before().is_some() => {
                notes.push(format!(
                    "{name}: the driver does not say what each process holds, so others' memory is in its figure"
                ));
                Basis::Card
            }
            (false, _) => Basis::Processes,
            // in a container the driver may not list what is there, or by numbers from outside
            (true, _)
                if !seen_anywhere && !gpu.joined && gpu.card.peak().is_some_and(|peak| peak.bytes > Bytes::ZERO) =>
            {
                notes.push(format!("{name}: the driver lists no process of the command there, and more was used than before; whoever else began to use it is in its figure"));
                Basis::Card
            }
            (true, _) => {
                match (&gpu.problem, gpu.problem_before()) {
                    (Some(problem), _) => notes.push(format!("{name}: {problem}")),
                    (None, Some(problem)) if gpu.device.mig != Mig::Parent => silent.push(problem),
                    _ => {}
                }
                continue;
            }
        };
        match gpu.measured(basis) {
            Some(measured) => used.push(measured),
            None => notes.push(format!("{name}: a process of the command was on it, and what it held is not known")),
        }
    }
    // what was silent throughout matters where the command may have been on it
    if used.is_empty() {
        notes.append(&mut silent);
    }
    (used, notes)
}
