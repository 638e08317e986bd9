//! What measures: the process's allocator, which the program brings, as a library has none.

/// Allocations smaller than this are not counted: shapes, nodes and other bookkeeping, in bytes.
pub const LEAST_COUNTED: u64 = 1024;

/// Numbers are aligned to so many bytes at most. What holds addresses (a thread pool's queues) is aligned to eight, and what
/// products are packed into, whose size is the machine's, to more. Token ids, of eight bytes each, are left out with them.
pub const MOST_ALIGNED: usize = 4;

/// Allocations of CUDA's stream-ordered pool are rounded up to this many bytes: as its addresses are aligned, and not yet
/// measured; a thousandth of an allocation of half a mebibyte.
pub const POOL_GRANULE: u64 = 512;

/// Counts the bytes that kernels hold.
///
/// Only allocations of [`LEAST_COUNTED`] bytes or more with an alignment of at most [`MOST_ALIGNED`] count, and only those
/// made while counting is on; they count until they are freed, whenever that is.
pub trait Gauge {
    /// Counts what is allocated from here on, or does not.
    fn count(&self, on: bool);
    /// The peak is what is alive now.
    fn reset_peak(&self);
    /// The most bytes alive since the peak was reset.
    fn peak(&self) -> u64;
    /// Bytes alive now.
    fn live(&self) -> u64;
}

impl<G: Gauge + ?Sized> Gauge for &G {
    fn count(&self, on: bool) {
        (**self).count(on);
    }

    fn reset_peak(&self) {
        (**self).reset_peak();
    }

    fn peak(&self) -> u64 {
        (**self).peak()
    }

    fn live(&self) -> u64 {
        (**self).live()
    }
}
