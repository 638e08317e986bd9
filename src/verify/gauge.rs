//! What measures: the process's allocator, which the program brings, as a library has none.

/// Allocations smaller than this are not counted: shapes, nodes and other bookkeeping, in bytes.
pub const LEAST_COUNTED: u64 = 1024;

/// Allocations of CUDA's stream-ordered pool are rounded up to this many bytes: as its addresses are aligned, and not yet
/// measured; a thousandth of an allocation of half a mebibyte.
pub const POOL_GRANULE: u64 = 512;

/// Counts the bytes that kernels hold.
///
/// Only allocations of [`LEAST_COUNTED`] bytes or more with an alignment of at most 16 count (a product's packing buffers
/// are aligned to more, and their size is the machine's), and only those made while counting is on; they count until they
/// are freed, whenever that is.
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
