//! A model of PyTorch's CUDA caching allocator (`c10/cuda/CUDACachingAllocator.cpp`, torch 2.11, default settings).
//!
//! Sizes are rounded to 512 bytes; requests up to 1 MiB come from 2 MiB segments, larger ones from 20 MiB segments, those
//! from 10 MiB up from segments of their own in multiples of 2 MiB. The smallest cached block that is large enough is
//! taken (then the lowest address) and split where what remains is worth keeping; neighbours merge when freed.

use super::sorted_set::SortedSet;

/// No device has more (4 PiB); a power of two that leaves room in the key of a free block.
pub const MOST: u64 = 1 << 52;

/// Every block's size is a multiple of this (`kMinBlockSize`).
pub const MIN_BLOCK: u64 = 512;
const SMALL_REQUEST: u64 = 1 << 20;
const SMALL_SEGMENT: u64 = 2 << 20;
const LARGE_SEGMENT: u64 = 20 << 20;
const MIN_OWN_SEGMENT: u64 = 10 << 20;
const SEGMENT_ROUND: u64 = 2 << 20;

const NONE: u32 = u32::MAX;

/// A handle to a live block.
pub type BlockId = u32;

#[derive(Clone, Copy, Debug)]
struct Block {
    size: u64,
    address: u64,
    previous: u32,
    next: u32,
    live: bool,
    small: bool,
}

/// Raised where a request does not fit the device even after every cached segment was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes held by live and unsplittable segments then.
    pub reserved: u64,
}

/// A free block's size, address and number, packed so that they compare as one number.
fn free_key(block: &Block, id: u32) -> u128 {
    key_of_size(block.size) | u128::from(block.address / MIN_BLOCK) << 32 | u128::from(id)
}

/// What the key of every block of at least `size` bytes is not less than.
fn key_of_size(size: u64) -> u128 {
    u128::from(size / MIN_BLOCK) << 84
}

/// The block a key is of.
fn block_of(key: u128) -> u32 {
    u32::try_from(key & u128::from(u32::MAX)).unwrap_or(NONE)
}

/// The allocator's state.
#[derive(Clone, Debug)]
pub struct CachingAllocator {
    blocks: Vec<Block>,
    spare: Vec<u32>,
    /// Free blocks by size, then address: one set for small requests, one for large.
    free: [SortedSet; 2],
    reserved: u64,
    peak_reserved: u64,
    allocated: u64,
    capacity: u64,
    next_address: u64,
}

impl Default for CachingAllocator {
    fn default() -> Self {
        Self::with_capacity(MOST)
    }
}

impl CachingAllocator {
    /// An allocator on a device that can give `capacity` bytes to it, or 4 PiB where that is more.
    pub fn with_capacity(capacity: u64) -> Self {
        Self {
            blocks: Vec::with_capacity(2048),
            spare: Vec::new(),
            free: Default::default(),
            reserved: 0,
            peak_reserved: 0,
            allocated: 0,
            capacity: capacity.min(MOST),
            next_address: 0,
        }
    }

    /// Bytes in live blocks (`torch.cuda.memory_allocated`).
    pub const fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Bytes in segments (`torch.cuda.memory_reserved`).
    pub const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Most bytes there were in segments.
    pub const fn peak_reserved(&self) -> u64 {
        self.peak_reserved
    }

    /// Forgets the peak so far (`torch.cuda.reset_peak_memory_stats`).
    pub fn reset_peak(&mut self) {
        self.peak_reserved = self.reserved;
    }

    /// The size of a live block: what was asked for, rounded, and what was not worth splitting off.
    pub fn size(&self, block: BlockId) -> u64 {
        self.blocks[block as usize].size
    }

    /// Where a live block begins.
    pub fn address(&self, block: BlockId) -> u64 {
        self.blocks[block as usize].address
    }

    /// The least that a request takes.
    pub const fn rounded(bytes: u64) -> u64 {
        let bytes = if bytes == 0 { 1 } else { bytes };
        bytes.saturating_add(MIN_BLOCK - 1) / MIN_BLOCK * MIN_BLOCK
    }

    /// Takes a block for `bytes`.
    ///
    /// # Errors
    /// The device has no room for it, cached segments given back.
    pub fn malloc(&mut self, bytes: u64) -> Result<BlockId, OutOfMemory> {
        let size = Self::rounded(bytes);
        if size > MOST {
            return Err(OutOfMemory { requested: size, reserved: self.reserved });
        }
        let small = size <= SMALL_REQUEST;
        let pool = &mut self.free[usize::from(!small)];
        let id = match pool.take_at_least(key_of_size(size)) {
            Some(key) => block_of(key),
            None => self.new_segment(size, small)?,
        };
        let remaining = self.blocks[id as usize].size - size;
        if if small { remaining >= MIN_BLOCK } else { remaining > SMALL_REQUEST } {
            self.split(id, size);
        }
        let block = &mut self.blocks[id as usize];
        block.live = true;
        self.allocated += block.size;
        Ok(id)
    }

    fn new_segment(&mut self, size: u64, small: bool) -> Result<u32, OutOfMemory> {
        let segment = if small {
            SMALL_SEGMENT
        } else if size < MIN_OWN_SEGMENT {
            LARGE_SEGMENT
        } else {
            size.next_multiple_of(SEGMENT_ROUND)
        };
        if self.reserved.saturating_add(segment) > self.capacity {
            self.empty_cache();
            if self.reserved.saturating_add(segment) > self.capacity {
                return Err(OutOfMemory { requested: size, reserved: self.reserved });
            }
        }
        self.reserved += segment;
        self.peak_reserved = self.peak_reserved.max(self.reserved);
        let address = self.next_address;
        // cudaMalloc never returns neighbouring ranges that the allocator could merge
        self.next_address += segment + SEGMENT_ROUND;
        Ok(self.add(Block { size: segment, address, previous: NONE, next: NONE, live: false, small }))
    }

    fn add(&mut self, block: Block) -> u32 {
        if let Some(id) = self.spare.pop() {
            self.blocks[id as usize] = block;
            return id;
        }
        self.blocks.push(block);
        u32::try_from(self.blocks.len() - 1).expect("fewer than 2^32 blocks")
    }

    fn split(&mut self, id: u32, size: u64) {
        let block = self.blocks[id as usize];
        let rest = self.add(Block {
            size: block.size - size,
            address: block.address + size,
            previous: id,
            next: block.next,
            live: false,
            small: block.small,
        });
        if block.next != NONE {
            self.blocks[block.next as usize].previous = rest;
        }
        self.blocks[id as usize].size = size;
        self.blocks[id as usize].next = rest;
        self.put_free(rest);
    }

    fn put_free(&mut self, id: u32) {
        let block = &self.blocks[id as usize];
        self.free[usize::from(!block.small)].insert(free_key(block, id));
    }

    fn take_free(&mut self, id: u32) {
        let block = &self.blocks[id as usize];
        self.free[usize::from(!block.small)].remove(free_key(block, id));
    }

    /// Gives a block back to the cache.
    pub fn free(&mut self, id: BlockId) {
        let mut block = self.blocks[id as usize];
        self.allocated -= block.size;
        block.live = false;
        if block.previous != NONE && !self.blocks[block.previous as usize].live {
            let previous = block.previous;
            self.take_free(previous);
            let merged = self.blocks[previous as usize];
            block.size += merged.size;
            block.address = merged.address;
            block.previous = merged.previous;
            if merged.previous != NONE {
                self.blocks[merged.previous as usize].next = id;
            }
            self.spare.push(previous);
        }
        if block.next != NONE && !self.blocks[block.next as usize].live {
            let next = block.next;
            self.take_free(next);
            let merged = self.blocks[next as usize];
            block.size += merged.size;
            block.next = merged.next;
            if merged.next != NONE {
                self.blocks[merged.next as usize].previous = id;
            }
            self.spare.push(next);
        }
        self.blocks[id as usize] = block;
        self.put_free(id);
    }

    /// Gives every wholly free segment back to the device.
    pub fn empty_cache(&mut self) {
        for pool in &mut self.free {
            pool.retain(|key| {
                let block = self.blocks[block_of(key) as usize];
                let whole = block.previous == NONE && block.next == NONE;
                if whole {
                    self.reserved -= block.size;
                    self.spare.push(block_of(key));
                }
                !whole
            });
        }
    }

    /// Whether the same blocks are free as in another state: then what is asked of both next is answered alike.
    pub fn same_free_blocks(&self, other: &Self) -> bool {
        // a block's number does not matter, only where it is
        let places = |set: &SortedSet| set.iter().map(|key| key >> 32).collect::<Vec<_>>();
        self.next_address == other.next_address
            && self.free.iter().zip(&other.free).all(|(a, b)| places(a) == places(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_requests_come_from_segments_of_their_own_size() {
        let mut a = CachingAllocator::default();
        let one = a.malloc(1).unwrap_or(NONE);
        assert_eq!((a.size(one), a.allocated(), a.reserved()), (512, 512, 2 << 20));
        let _large = a.malloc((1 << 20) + 1).unwrap_or(NONE);
        assert_eq!(a.reserved(), 22 << 20);
        // what a 22 MiB segment has left over 21 MiB is not worth splitting off
        let own = a.malloc((21 << 20) + 1).unwrap_or(NONE);
        assert_eq!((a.size(own), a.reserved()), (22 << 20, 44 << 20));
    }

    #[test]
    fn freed_neighbours_merge_and_a_whole_segment_can_be_given_back() {
        let mut a = CachingAllocator::default();
        let ids: Vec<_> = (0..4).map(|_| a.malloc(4 << 20).unwrap_or(NONE)).collect();
        assert_eq!(a.reserved(), 20 << 20);
        for id in ids {
            a.free(id);
        }
        a.empty_cache();
        assert_eq!((a.allocated(), a.reserved(), a.peak_reserved()), (0, 0, 20 << 20));
    }

    #[test]
    fn cached_segments_are_given_back_before_memory_runs_out() {
        let mut a = CachingAllocator::with_capacity(40 << 20);
        let x = a.malloc(30 << 20).unwrap_or(NONE);
        assert_eq!(a.malloc(12 << 20), Err(OutOfMemory { requested: 12 << 20, reserved: 30 << 20 }));
        a.free(x);
        assert!(a.malloc(32 << 20).is_ok());
        assert_eq!(a.reserved(), 32 << 20);
    }
}
