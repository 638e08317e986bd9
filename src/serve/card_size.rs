//! What engines take for their defaults of a card.

use crate::units::Bytes;

/// What engines take for their defaults of a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CardSize {
    /// Less than 70 GiB, or an A100.
    #[default]
    Small,
    /// More, which gets larger batches.
    Large,
}

impl CardSize {
    /// The size of a card that is no A100 (`EngineArgs.get_batch_defaults`, vllm/engine/arg_utils.py).
    pub const fn of(memory: Bytes) -> Self {
        if memory.0 >= Bytes::from_gib(70).0 { Self::Large } else { Self::Small }
    }
}
