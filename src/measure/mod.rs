//! Runs a command and watches what its processes hold of the GPUs.

mod child;
mod gpu;
mod sampler;
mod series;
#[cfg(unix)]
mod signals;
mod tree;

use std::ffi::OsString;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

pub(crate) use gpu::{Basis, Measured, ProcessPeak};
pub(crate) use series::{Point, seconds};

use crate::hardware::Inventory;
use crate::hardware::nvml::Use;
use gpu::Gpu;
use sampler::Sampler;
use tree::Tree;

/// How long the driver may take to say what there is, before the command begins without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to end its last answer.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether the command has ended, where no signal tells.
const GLANCE: Duration = Duration::from_millis(50);

/// What reaches the thread that waits for the command.
enum Event {
    /// The driver was asked for the first time.
    Opened(Box<Inventory>, Vec<Use>),
    /// A reading of every GPU.
    Reading(Instant, Vec<sampler::Seen>),
    /// A signal to this process that is to be handed on.
    #[cfg_attr(not(unix), allow(dead_code))]
    Signal(i32),
    /// The command may have ended.
    #[cfg_attr(not(unix), allow(dead_code))]
    Woken,
}

/// A driver that has been asked, and a command that has not begun.
pub(crate) struct Meter {
    sampler: Sampler,
    sender: Sender<Event>,
    events: Receiver<Event>,
    opened: Option<Inventory>,
    before: Vec<Use>,
    interval: Duration,
}

/// What was seen of a command that has ended.
pub(crate) struct Run {
    /// How it ended.
    pub(crate) status: ExitStatus,
    pub(crate) lasted: Duration,
    pub(crate) readings: u64,
    /// GPUs that the command used, in the driver's order.
    pub(crate) gpus: Vec<Measured>,
    /// What a reader should know.
    pub(crate) notes: Vec<String>,
}

impl Meter {
    /// Asks the driver what there is.
    pub(crate) fn open(interval: Duration) -> Self {
        let (sender, events) = mpsc::channel();
        let sampler = Sampler::start(interval, sender.clone());
        let mut meter = Self { sampler, sender, events, opened: None, before: Vec::new(), interval };
        if let Ok(Event::Opened(inventory, before)) = meter.events.recv_timeout(PATIENCE) {
            meter.opened = Some(*inventory);
            meter.before = before;
        }
        meter
    }

    /// What the driver told of; `None`: it does not answer.
    pub(crate) const fn inventory(&self) -> Option<&Inventory> {
        self.opened.as_ref()
    }

    /// Why nothing can be measured of the GPUs `only`, all where it is empty; `None`: something can.
    pub(crate) fn problem(&self, only: &[u32]) -> Option<String> {
        let Some(inventory) = &self.opened else {
            return Some(format!("the NVIDIA driver does not answer within {} s", PATIENCE.as_secs()));
        };
        if let Some(problem) = &inventory.problem {
            return Some(problem.clone());
        }
        let mut problems = Vec::new();
        for (_, gpu) in self.gpus(only) {
            match gpu.problem_before() {
                None => return None,
                Some(problem) => problems.push(problem),
            }
        }
        Some(problems.join("; "))
    }

    /// Runs the command to its end, whatever the driver does; `only`: GPUs to look at, all where it is empty.
    ///
    /// # Errors
    /// The command cannot be started.
    pub(crate) fn run(mut self, command: &[OsString], only: &[u32]) -> std::io::Result<Run> {
        let mut child = child::Child::start(command, self.sender.clone())?;
        let begun = Instant::now();
        self.sampler.follow(Tree::of(child.pid(), child.mark().to_owned()));
        let mut gpus = self.gpus(only);
        let mut readings = 0;
        let mut last = begun;
        let status = loop {
            if let Some(status) = child.ended()? {
                break status;
            }
            match self.events.recv_timeout(GLANCE.min(self.interval)) {
                Ok(Event::Opened(inventory, _)) => {
                    self.opened = Some(*inventory);
                    gpus = self.gpus(only);
                }
                Ok(Event::Reading(at, seen)) => {
                    readings += 1;
                    last = at;
                    gpus.iter_mut().for_each(|(place, gpu)| gpu.add(at.duration_since(begun), &seen[*place]));
                }
                Ok(Event::Signal(number)) => child.signal(number),
                Ok(Event::Woken) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        };
        let lasted = begun.elapsed();
        let mut notes = Vec::new();
        if !self.sampler.stop(GRACE) && self.opened.is_some() {
            notes.push(format!(
                "the driver stopped answering {:.1} s after the start: what came later was not measured",
                last.duration_since(begun).as_secs_f64()
            ));
        }
        // readings that came while the command ended
        for event in self.events.try_iter() {
            if let Event::Reading(at, seen) = event {
                readings += 1;
                gpus.iter_mut().for_each(|(place, gpu)| gpu.add(at.duration_since(begun), &seen[*place]));
            }
        }
        let (gpus, mut more) = gpu::settle(gpus.into_iter().map(|(_, gpu)| gpu).collect());
        notes.append(&mut more);
        if !tree::SEES_DESCENDANTS {
            notes.push(
                "on this system only the command's own process is told from others, not what it starts".to_owned(),
            );
        }
        Ok(Run { status, lasted, readings, gpus, notes })
    }

    /// The GPUs to look at, with their places among the readings.
    fn gpus(&self, only: &[u32]) -> Vec<(usize, Gpu)> {
        let devices = self.opened.iter().flat_map(|inventory| &inventory.devices).enumerate();
        let wanted =
            devices.filter(|(_, device)| only.is_empty() || device.index.is_some_and(|index| only.contains(&index)));
        wanted.map(|(place, device)| (place, Gpu::new(device.clone(), self.before.get(place).cloned()))).collect()
    }
}
