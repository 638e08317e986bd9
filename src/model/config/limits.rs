//! The largest value each field may have: far above any real model, and small enough that no later product overflows.

/// A field's accepted range; the smallest value is one unless a constant says otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) min: u64,
    pub(super) max: u64,
}

const fn up_to(max: u64) -> Limit {
    Limit { min: 1, max }
}

pub(super) const HIDDEN_SIZE: Limit = up_to(1 << 20);
pub(super) const NUM_HIDDEN_LAYERS: Limit = up_to(10_000);
pub(super) const NUM_HEADS: Limit = up_to(1 << 14);
pub(super) const HEAD_DIM: Limit = up_to(1 << 14);
pub(super) const INTERMEDIATE_SIZE: Limit = up_to(1 << 24);
pub(super) const PER_LAYER_WIDTH: Limit = Limit { min: 0, max: 1 << 20 };
pub(super) const TYPE_VOCAB_SIZE: Limit = Limit { min: 0, max: 1 << 24 };
pub(super) const NUM_LABELS: Limit = up_to(1 << 24);
pub(super) const BUCKETS: Limit = up_to(1 << 20);
pub(super) const VOCAB_SIZE: Limit = up_to(1 << 24);
pub(super) const MAX_POSITION_EMBEDDINGS: Limit = up_to(1 << 30);
pub(super) const SLIDING_WINDOW: Limit = up_to(1 << 32);
pub(super) const SLIDING_WINDOW_PATTERN: Limit = up_to(10_000);
pub(super) const MAX_WINDOW_LAYERS: Limit = Limit { min: 0, max: 1 << 32 };
pub(super) const STATE_SIZE: Limit = up_to(1 << 14);
pub(super) const CONV_KERNEL: Limit = up_to(1 << 10);
pub(super) const CHUNK_SIZE: Limit = up_to(1 << 16);
pub(super) const EXPERTS: Limit = Limit { min: 0, max: 1 << 16 };
pub(super) const EXPAND: Limit = up_to(1 << 8);
pub(super) const NUM_LN_IN_PARALLEL_ATTN: Limit = Limit { min: 1, max: 2 };

pub(super) const NUM_EXPERTS: Limit = up_to(1 << 16);
pub(super) const SHARED_EXPERTS: Limit = Limit { min: 0, max: 1 << 12 };
pub(super) const LATENT: Limit = up_to(1 << 20);
pub(super) const LAYER_INDEX: Limit = Limit { min: 0, max: 1 << 32 };

/// The most parameters a model may have: sixteen bytes for each still leave a factor of 2^10 before 2^64.
pub(super) const PARAMETERS: u64 = 1 << 50;

pub(super) const IMAGE_SIZE: Limit = up_to(1 << 16);
pub(super) const STAGE: Limit = up_to(1 << 16);
pub(super) const CHANNELS: Limit = up_to(1 << 12);
