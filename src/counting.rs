//! The process's allocator, which counts what kernels hold when it is asked to. It is part of the program and of its tests:
//! a library has no allocator.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use vramplan::verify::{Gauge, LEAST_COUNTED, MOST_ALIGNED};

/// Allocations that are counted at a time, at most.
const PLACES: usize = 1 << 16;
/// A place whose allocation was freed; a place that never had one is 0.
const FREED: usize = 1;

/// Counts allocations and passes them on to the system's allocator.
pub(crate) struct Counting {
    /// Whether what is allocated now counts.
    on: AtomicBool,
    /// Whether anything was ever counted: till then it costs nothing.
    used: AtomicBool,
    live: AtomicU64,
    peak: AtomicU64,
    /// Where what counts lies.
    places: [AtomicUsize; PLACES],
}

impl Counting {
    pub(crate) const fn new() -> Self {
        Self {
            on: AtomicBool::new(false),
            used: AtomicBool::new(false),
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            places: [const { AtomicUsize::new(0) }; PLACES],
        }
    }

    fn counts(layout: Layout) -> bool {
        layout.size() as u64 >= LEAST_COUNTED && layout.align() <= MOST_ALIGNED
    }

    /// Places an address may be kept at, in the order they are tried.
    fn probe(&self, address: usize) -> impl Iterator<Item = &AtomicUsize> {
        let first = (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..PLACES).map(move |step| &self.places[(first + step) % PLACES])
    }

    fn made(&self, address: usize, layout: Layout) {
        if address == 0 || !self.on.load(Relaxed) || !Self::counts(layout) {
            return;
        }
        let free = |place: &&AtomicUsize| {
            [0, FREED].into_iter().any(|old| place.compare_exchange(old, address, Relaxed, Relaxed).is_ok())
        };
        if self.probe(address).find(free).is_some() {
            let live = self.live.fetch_add(layout.size() as u64, Relaxed) + layout.size() as u64;
            self.peak.fetch_max(live, Relaxed);
        }
    }

    fn freed(&self, address: usize, layout: Layout) {
        if !self.used.load(Relaxed) || !Self::counts(layout) {
            return;
        }
        for place in self.probe(address) {
            match place.load(Relaxed) {
                0 => return,
                own if own == address => {
                    place.store(FREED, Relaxed);
                    self.live.fetch_sub(layout.size() as u64, Relaxed);
                    return;
                }
                _ => {}
            }
        }
    }
}

impl Gauge for Counting {
    fn count(&self, on: bool) {
        self.used.store(true, Relaxed);
        self.on.store(on, Relaxed);
    }

    fn reset_peak(&self) {
        self.peak.store(self.live.load(Relaxed), Relaxed);
    }

    fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }
}

// SAFETY: every call is the system allocator's, with what it was given; counting touches nothing but atomics of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let made = unsafe { System.alloc(layout) };
        self.made(made.addr(), layout);
        made
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let made = unsafe { System.alloc_zeroed(layout) };
        self.made(made.addr(), layout);
        made
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.freed(at.addr(), layout);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.freed(at.addr(), layout);
        // SAFETY: as the caller promises.
        let made = unsafe { System.realloc(at, layout, size) };
        if let Ok(new) = Layout::from_size_align(size, layout.align()) {
            self.made(made.addr(), new);
        }
        made
    }
}
