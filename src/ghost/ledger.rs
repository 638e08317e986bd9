//! The ledger: every charge and release of a run, in order.
//!
//! It records; what the record means (peaks, what was alive then, what a caching allocator would have reserved) is found
//! by playing it: see [`crate::ghost::playback`].

use std::cell::{Cell, RefCell};

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Category {
    /// Parameters, with the scales of quantised ones.
    Weights,
    /// Buffers of the model.
    Buffers,
    /// Gradients of parameters.
    Gradients,
    /// Optimizer states.
    Optimizer,
    /// Outputs of forward operations.
    Activations,
    /// Logits and the loss, with their copies and gradients.
    Logits,
    /// Keys and values.
    KvCache,
    /// Gradients of activations and what an operation needs for a moment.
    Temporary,
    /// cuBLAS workspaces.
    Workspace,
}

impl Category {
    /// How many there are.
    pub const COUNT: usize = 9;
}

/// Part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // their names say it
pub enum Phase {
    Load,
    Forward,
    Backward,
    Clip,
    Optimizer,
    Prefill,
    Decode,
    Score,
}

impl Phase {
    /// The name people and JSON are given.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Clip => "clip",
            Self::Optimizer => "optimizer",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Score => "score",
        }
    }
}

/// Identifies a charge; dense from 0.
pub type ChargeId = u32;

/// One line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Entry {
    /// A tensor of `bytes` (as asked for, not rounded) is created.
    Charge { id: ChargeId, bytes: u64, category: Category },
    /// It is gone.
    Release { id: ChargeId },
    /// What follows belongs to a phase.
    Begin { phase: Phase },
    /// PyTorch's cached free segments are given back (`torch.cuda.empty_cache`).
    EmptyCache,
}

/// Charges beyond this are refused: no tensor of a real job is an exbibyte.
const MAX_CHARGE: u64 = 1 << 60;

/// Records charges and releases.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: RefCell<Vec<Entry>>,
    next: Cell<ChargeId>,
    /// Where each charge stands, counted from the first entry ever.
    places: RefCell<Vec<u32>>,
    taken: Cell<usize>,
    overflow: Cell<bool>,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        let ledger = Self::default();
        ledger.entries.borrow_mut().reserve(1 << 14);
        ledger.places.borrow_mut().reserve(1 << 13);
        ledger
    }

    /// Records a charge.
    pub fn charge(&self, bytes: u64, category: Category) -> ChargeId {
        if bytes > MAX_CHARGE {
            self.overflow.set(true);
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let mut entries = self.entries.borrow_mut();
        self.places
            .borrow_mut()
            .push(u32::try_from(self.taken.get() + entries.len()).expect("a run has fewer than 2^32 entries"));
        entries.push(Entry::Charge { id, bytes: bytes.min(MAX_CHARGE), category });
        id
    }

    /// Records that a charge is gone.
    pub fn release(&self, id: ChargeId) {
        self.entries.borrow_mut().push(Entry::Release { id });
    }

    /// Says what a charge turned out to be for (a gradient on its way that became a parameter's).
    pub fn recategorise(&self, id: ChargeId, to: Category) {
        let place = self.places.borrow()[id as usize] as usize;
        let Some(place) = place.checked_sub(self.taken.get()) else { return };
        if let Some(Entry::Charge { category, .. }) = self.entries.borrow_mut().get_mut(place) {
            *category = to;
        }
    }

    /// What follows belongs to `phase`.
    pub fn begin(&self, phase: Phase) {
        self.entries.borrow_mut().push(Entry::Begin { phase });
    }

    /// Records a call of `torch.cuda.empty_cache`.
    pub fn empty_cache(&self) {
        self.entries.borrow_mut().push(Entry::EmptyCache);
    }

    /// How many entries there are: the place the next one gets.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a charge was too large to be meant.
    pub fn overflowed(&self) -> bool {
        self.overflow.get()
    }

    /// How many charges there were.
    pub fn charges(&self) -> usize {
        self.next.get() as usize
    }

    /// Tells `visit` the entries from the `from`-th on that have not been taken out.
    pub fn visit_from(&self, from: usize, mut visit: impl FnMut(&Entry)) {
        self.entries.borrow().iter().skip(from).for_each(&mut visit);
    }

    /// The entries recorded so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().clone()
    }

    /// Takes the entries out; recording goes on after them.
    pub fn take_entries(&self) -> Vec<Entry> {
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        self.taken.set(self.taken.get() + entries.len());
        entries
    }
}
