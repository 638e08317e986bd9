//! Temporary storage of CUB's device-wide algorithms, as torch 2.11 (CUDA 13, compute capability 8.x) calls them: tile
//! states and double buffers, each rounded up to 256 bytes. Items a tile were found by asking the library.

use crate::ghost::context::Context;
use crate::ghost::tensor::Tensor;

const ALIGNMENT: u64 = 256;
/// Tile states in front of the first tile (`TILE_STATUS_PADDING`).
const STATUS_PADDING: u64 = 32;
/// Items of 4 bytes a tile scans, and bytes of a tile's state.
const SCAN_4: (u64, u64) = (1920, 8);
/// Items of 8 bytes a tile scans, and bytes of a tile's state.
const SCAN_8: (u64, u64) = (896, 16);
/// The same of `DeviceSelect::UniqueByKey` on 8-byte keys.
const UNIQUE_8: (u64, u64) = (4480, 16);
/// Pairs of 8-byte keys and values a block of the onesweep radix sort takes.
const SORT_TILE: u64 = 4608;
const RADIX_DIGITS: u64 = 256;
/// So many pairs one block sorts, without storage.
const SINGLE_TILE: u64 = 2304;
const KEY_BYTES: u64 = 8;

/// What `AliasTemporaries` asks for: the sum of the parts and room to align the first.
fn aliased(parts: &[u64]) -> u64 {
    parts.iter().map(|part| part.next_multiple_of(ALIGNMENT)).sum::<u64>() + ALIGNMENT - 1
}

fn tiles((tile, state): (u64, u64), items: u64) -> u64 {
    aliased(&[(items.div_ceil(tile) + STATUS_PADDING) * state, 1])
}

/// `DeviceScan` over `items` of `element` bytes.
fn scan(items: u64, element: u64) -> u64 {
    tiles(if element == 8 { SCAN_8 } else { SCAN_4 }, items)
}

/// `DeviceSelect::UniqueByKey`
fn unique(items: u64) -> u64 {
    tiles(UNIQUE_8, items)
}

/// `DeviceRadixSort::SortPairs`: histograms, counters and look-back of every pass, and a second buffer each for keys and
/// values.
fn radix_sort_pairs(items: u64, bits: u64) -> u64 {
    if items <= SINGLE_TILE {
        return 1;
    }
    let passes = bits.div_ceil(RADIX_DIGITS.ilog2().into());
    let histograms = passes * RADIX_DIGITS * KEY_BYTES;
    let look_back = items.div_ceil(SORT_TILE) * RADIX_DIGITS * 4;
    let buffer = if passes > 1 { items * KEY_BYTES } else { 0 };
    aliased(&[histograms, look_back, buffer, buffer, passes * 4])
}

impl Context {
    /// A scan's temporary storage.
    pub(crate) fn scan_scratch(&self, items: u64, element: u64) -> Tensor {
        self.scratch("scan", scan(items, element))
    }

    /// A selection's temporary storage.
    pub(crate) fn unique_scratch(&self, items: u64) -> Tensor {
        self.scratch("unique", unique(items))
    }

    /// A sort's temporary storage, by whole keys.
    pub(crate) fn sort_scratch(&self, items: u64) -> Tensor {
        self.sort_bits_scratch(items, u64::from(u64::BITS))
    }

    /// A sort's temporary storage, by the lowest `bits` of the keys.
    pub(crate) fn sort_bits_scratch(&self, items: u64, bits: u64) -> Tensor {
        self.scratch("sort", radix_sort_pairs(items, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_the_library_asks_for() {
        assert_eq!([512, 16_384, 65_536, 131_072].map(|n| scan(n, 4)), [1023, 1023, 1279, 1535]);
        assert_eq!([512, 14_336, 14_337, 131_072].map(|n| scan(n, 8)), [1279, 1279, 1535, 3583]);
        assert_eq!([3073, 71_680, 71_681, 1 << 20].map(unique), [1279, 1279, 1535, 4863]);
        assert_eq!([3073, 4096, 8192, 1 << 20].map(|n| radix_sort_pairs(n, 64)), [67_583, 83_455, 150_015, 17_027_583]);
    }
}
