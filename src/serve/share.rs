//! What the share of a card is of that an engine is told to take.

use crate::units::Bytes;

/// What an engine's share is of, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareOf {
    /// Of the card, for all that PyTorch holds; where less is free the engine does not start.
    Card,
    /// Of what is free when it starts, for weights and cache.
    Free,
    /// Of the card, for all that is on it; what others hold is taken off the cache.
    CardWithOthers,
    /// Of what the rest leaves free, for the cache alone.
    Rest,
}

impl ShareOf {
    /// What weights, a step and the cache can have of a card with `total` bytes as PyTorch reports them, of which `free` are
    /// left to a process that has its context; `taken`: what it needs before there is a cache.
    pub(crate) fn capacity(self, share: f64, total: Bytes, free: Bytes, taken: Bytes) -> Bytes {
        match self {
            Self::Card => total.share(share),
            Self::Free => free.share(share),
            Self::CardWithOthers => free.saturating_sub(total.saturating_sub(total.share(share))),
            Self::Rest => taken.min(free) + free.saturating_sub(taken).share(share),
        }
    }
}
