//! The caching allocator, held against PyTorch's: `truth/allocator.jsonl` was recorded with torch 2.11, tensors of random
//! sizes made and dropped in random order.

use proptest::prelude::*;
use serde::Deserialize;
use vramplan::ghost::{BlockId, CachingAllocator, MIN_BLOCK};

#[derive(Deserialize)]
struct Recorded {
    /// Bytes of a tensor that is made; -1-i: the i-th live one goes; 0: the cache is emptied.
    steps: Vec<i64>,
    /// `torch.cuda.memory_allocated()` after each.
    allocated: Vec<u64>,
    /// `torch.cuda.memory_reserved()` after each.
    reserved: Vec<u64>,
}

#[test]
fn it_allocates_and_reserves_as_pytorch_does() {
    for (number, line) in include_str!("truth/allocator.jsonl").lines().enumerate() {
        let recorded: Recorded = serde_json::from_str(line).expect("a recorded run");
        let mut allocator = CachingAllocator::default();
        let mut live: Vec<BlockId> = Vec::new();
        for (i, &step) in recorded.steps.iter().enumerate() {
            match u64::try_from(step) {
                Ok(0) => allocator.empty_cache(),
                Ok(bytes) => live.push(allocator.malloc(bytes).expect("room")),
                Err(_) => allocator.free(live.remove(usize::try_from(-1 - step).expect("a place"))),
            }
            let now = (allocator.allocated(), allocator.reserved());
            assert_eq!(now, (recorded.allocated[i], recorded.reserved[i]), "run {number}, step {i}: {step}");
        }
    }
}

/// Sizes of every kind: of small blocks, of shared large segments, of segments of their own.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..5000, 1_u64..(2 << 20), (1_u64 << 20)..(12 << 20), (10_u64 << 20)..(80 << 20)]
}

#[derive(Clone, Debug)]
enum Step {
    Malloc(u64),
    Free(prop::sample::Index),
    EmptyCache,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => size().prop_map(Step::Malloc),
        8 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => Just(Step::EmptyCache),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_never_overlap_and_everything_can_be_given_back(steps in steps()) {
        let mut allocator = CachingAllocator::default();
        let mut live: Vec<BlockId> = Vec::new();
        for step in steps {
            match step {
                Step::Malloc(bytes) => {
                    let block = allocator.malloc(bytes).expect("room");
                    let size = allocator.size(block);
                    prop_assert!(size >= bytes && size % MIN_BLOCK == 0);
                    // what is left over is split off, but for up to a mebibyte of a large block
                    prop_assert!(size < bytes + MIN_BLOCK || (bytes > (1 << 20) - MIN_BLOCK && size <= bytes + (1 << 20) + MIN_BLOCK));
                    live.push(block);
                }
                Step::Free(which) if !live.is_empty() => allocator.free(live.swap_remove(which.index(live.len()))),
                Step::Free(_) => {}
                Step::EmptyCache => allocator.empty_cache(),
            }
            let mut places: Vec<(u64, u64)> = live.iter().map(|&b| (allocator.address(b), allocator.size(b))).collect();
            places.sort_unstable();
            prop_assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{places:?}");
            prop_assert_eq!(allocator.allocated(), places.iter().map(|(_, size)| size).sum::<u64>());
            prop_assert!(allocator.allocated() <= allocator.reserved() && allocator.reserved() <= allocator.peak_reserved());
        }
        live.into_iter().for_each(|block| allocator.free(block));
        allocator.empty_cache();
        prop_assert_eq!((allocator.allocated(), allocator.reserved()), (0, 0));
    }
}
