//! Playing a ledger: what was allocated and reserved, when it peaked, and what was alive then.

use super::allocator::{BlockId, CachingAllocator, OutOfMemory};
use super::ledger::{Category, ChargeId, Entry, Phase};

/// Live bytes by category, indexed by `Category as usize`.
pub type Use = [u64; Category::COUNT];

/// What a stretch of a phase came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseUse {
    /// The phase.
    pub phase: Phase,
    /// Most allocated bytes during it.
    pub peak: u64,
    /// Allocated bytes at its end.
    pub end: u64,
}

/// Plays entries against the allocator; can go on with further entries.
#[derive(Clone, Debug, Default)]
pub struct Playback {
    allocator: CachingAllocator,
    blocks: Vec<(BlockId, Category)>,
    live: Use,
    peak: u64,
    at_peak: Use,
    peak_phase: Option<Phase>,
    phases: Vec<PhaseUse>,
    out_of_memory: Option<OutOfMemory>,
    timeline: Option<Vec<(u64, usize)>>,
}

impl Playback {
    /// On a device that can give `capacity` bytes to the allocator.
    pub fn with_capacity(capacity: u64) -> Self {
        Self { allocator: CachingAllocator::with_capacity(capacity), ..Self::default() }
    }

    /// Plays `entries` after what was played before. Stops where memory runs out.
    #[must_use]
    pub fn play(mut self, entries: &[Entry]) -> Self {
        self.run(entries);
        self
    }

    /// As [`Playback::play`], in place.
    pub fn run(&mut self, entries: &[Entry]) {
        if self.out_of_memory.is_some() {
            return;
        }
        for entry in entries {
            match *entry {
                Entry::Charge { id, bytes, category } => {
                    let block = match self.allocator.malloc(bytes) {
                        Ok(block) => block,
                        Err(out_of_memory) => {
                            self.out_of_memory = Some(out_of_memory);
                            return;
                        }
                    };
                    let id = id as usize;
                    if self.blocks.len() <= id {
                        self.blocks.resize(id + 1, (0, Category::Temporary));
                    }
                    self.blocks[id] = (block, category);
                    self.live[category as usize] += self.allocator.size(block);
                    let allocated = self.allocator.allocated();
                    if let Some(phase) = self.phases.last_mut()
                        && allocated > phase.peak
                    {
                        phase.peak = allocated;
                    }
                    if allocated > self.peak {
                        self.peak = allocated;
                        self.at_peak = self.live;
                        self.peak_phase = self.phases.last().map(|p| p.phase);
                    }
                }
                Entry::Release { id } => {
                    let (block, category) = self.blocks[id as usize];
                    self.live[category as usize] -= self.allocator.size(block);
                    self.allocator.free(block);
                }
                Entry::Begin { phase } => {
                    let allocated = self.allocator.allocated();
                    if let Some(last) = self.phases.last_mut() {
                        last.end = allocated;
                    }
                    self.phases.push(PhaseUse { phase, peak: allocated, end: allocated });
                }
                Entry::EmptyCache => self.allocator.empty_cache(),
            }
            if let Some(timeline) = &mut self.timeline {
                timeline.push((self.allocator.allocated(), self.phases.len().saturating_sub(1)));
            }
        }
        if let Some(last) = self.phases.last_mut() {
            last.end = self.allocator.allocated();
        }
    }

    /// Plays again what was just played: a step that leaves as much behind as it found. What it released of before it
    /// is, the next time, what it left behind (a state that each step makes anew).
    ///
    /// Does nothing where the stretch leaves more or less behind than it took away.
    pub fn repeat(&mut self, entries: &[Entry]) {
        if self.out_of_memory.is_some() {
            return;
        }
        let mut charged = vec![false; self.blocks.len()];
        let mut taken: Vec<ChargeId> = Vec::new();
        for entry in entries {
            match *entry {
                Entry::Charge { id, .. } => charged[id as usize] = true,
                Entry::Release { id } if charged[id as usize] => charged[id as usize] = false,
                Entry::Release { id } => taken.push(id),
                _ => {}
            }
        }
        let left: Vec<ChargeId> = (0..).zip(charged).filter_map(|(id, still)| still.then_some(id)).collect();
        if left.len() != taken.len() {
            return;
        }
        for (old, new) in taken.into_iter().zip(left) {
            self.blocks[old as usize] = self.blocks[new as usize];
        }
        self.run(entries);
    }

    /// Whether what is played next goes as it would have gone on from `other`.
    pub fn continues_like(&self, other: &CachingAllocator) -> bool {
        self.allocator.same_free_blocks(other)
    }

    /// The allocator as it stands.
    pub fn allocator(&self) -> &CachingAllocator {
        &self.allocator
    }

    /// Forgets peaks and phases so far: what follows is measured on its own (`reset_peak_memory_stats`).
    pub fn reset_peaks(&mut self) {
        self.peak = self.allocator.allocated();
        self.at_peak = self.live;
        self.peak_phase = None;
        self.phases.clear();
    }

    /// Forgets the phases played after the first `count`.
    pub fn forget_phases_after(&mut self, count: usize) {
        self.phases.truncate(count);
    }

    /// From here on, keeps allocated bytes after every entry.
    pub fn record_timeline(&mut self) {
        self.timeline = Some(Vec::new());
    }

    /// Allocated bytes after each entry since [`Playback::record_timeline`], with an index into [`Playback::phases`].
    pub fn timeline(&self) -> &[(u64, usize)] {
        self.timeline.as_deref().unwrap_or_default()
    }

    /// Allocated bytes now.
    pub fn live(&self) -> u64 {
        self.allocator.allocated()
    }

    /// Allocated bytes now, by category.
    pub fn live_by_category(&self) -> Use {
        self.live
    }

    /// Most allocated bytes.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Allocated bytes by category at the peak.
    pub fn at_peak(&self) -> Use {
        self.at_peak
    }

    /// The phase of the peak.
    pub fn peak_phase(&self) -> Option<Phase> {
        self.peak_phase
    }

    /// Forgets the most reserved bytes so far.
    pub fn reset_reserved(&mut self) {
        self.allocator.reset_peak();
    }

    /// Most reserved bytes.
    pub fn peak_reserved(&self) -> u64 {
        self.allocator.peak_reserved()
    }

    /// The phases played, in order.
    pub fn phases(&self) -> &[PhaseUse] {
        &self.phases
    }

    /// Where memory ran out, if it did.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        self.out_of_memory
    }
}
