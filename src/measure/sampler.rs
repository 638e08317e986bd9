//! The thread that asks the driver: if it never answers again, nobody else waits for it.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Event;
use super::tree::{Kin, Tree};
use crate::hardware::Process;
use crate::hardware::nvml::{Use, Watch};
use crate::units::Bytes;

/// What was seen of one GPU at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What all processes hold.
    pub(super) used: Option<Bytes>,
    /// The command's processes on it.
    pub(super) ours: Vec<Process>,
    /// Others' that can be seen from here.
    pub(super) others: Vec<u32>,
    pub(super) problem: Option<String>,
}

pub(super) struct Sampler {
    orders: Option<Sender<Tree>>,
    thread: JoinHandle<()>,
}

impl Sampler {
    pub(super) fn start(interval: Duration, events: Sender<Event>) -> Self {
        let (orders, told) = mpsc::channel();
        let thread = thread::spawn(move || sample(interval, &events, &told));
        Self { orders: Some(orders), thread }
    }

    /// From now on the GPUs are read, and these processes looked for.
    pub(super) fn follow(&self, tree: Tree) {
        if let Some(orders) = &self.orders {
            // a thread that has ended has said why there is nothing to read
            let _ = orders.send(tree);
        }
    }

    /// Ends the readings; whether the driver let go in time.
    pub(super) fn stop(&mut self, grace: Duration) -> bool {
        self.orders = None;
        let asked = Instant::now();
        while !self.thread.is_finished() {
            if asked.elapsed() > grace {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

fn sample(interval: Duration, events: &Sender<Event>, orders: &Receiver<Tree>) {
    let watch = Watch::open();
    let _ = events.send(Event::Opened(Box::new(watch.inventory().clone()), watch.read()));
    let Ok(mut tree) = orders.recv() else { return };
    if watch.inventory().devices.is_empty() {
        return;
    }
    let mut next = Instant::now();
    loop {
        let at = Instant::now();
        let seen = watch.read().into_iter().map(|now| sort(now, &mut tree)).collect();
        if events.send(Event::Reading(at, seen)).is_err() {
            return;
        }
        let now = Instant::now();
        // a reading that took longer than the interval is not made up for
        next = (next + interval).max(now);
        match orders.recv_timeout(next - now) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

/// Whose the processes on a GPU are.
fn sort(now: Use, tree: &mut Tree) -> Seen {
    let mut seen = Seen { used: now.used, problem: now.problem, ..Seen::default() };
    for process in now.processes.unwrap_or_default() {
        match tree.kin(process.pid) {
            Kin::Ours => seen.ours.push(process),
            Kin::Other => seen.others.push(process.pid),
            Kin::Unseen => {}
        }
    }
    seen
}
