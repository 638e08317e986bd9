//! Cards of the common memory sizes.

use serde::Serialize;

use crate::units::Bytes;

/// A card and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Card {
    /// What people call it.
    pub name: &'static str,
    /// What its driver reports in all.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
}

/// One card for each common size, by memory as nvidia-smi and rocm-smi report it (transcripts in public repositories, the
/// Spare Cores data dumps and SkyPilot's catalogue, read 2026-11-23).
const CARDS: [Card; 12] = [
    card("RTX 4060 8GB", 8188),
    card("RTX 3080 10GB", 10_240),
    card("RTX 4070 12GB", 12_282),
    card("RTX 4080 16GB", 16_376),
    card("RTX 4090 24GB", 24_564),
    card("RTX 5090 32GB", 32_607),
    card("A100 40GB", 40_960),
    card("L40S 48GB", 46_068),
    card("H100 80GB", 81_559),
    card("RTX PRO 6000 96GB", 97_887),
    card("H200 141GB", 143_771),
    card("MI300X 192GB", 196_592),
];

const fn card(name: &'static str, mib: u64) -> Card {
    Card { name, memory: Bytes::from_mib(mib) }
}

/// The card with the least memory that holds as much; `None`: none of them does.
///
/// ```
/// use vramplan::{Bytes, hardware::smallest_card};
///
/// assert_eq!(smallest_card(Bytes::from_mib(20_000)).map(|card| card.name), Some("RTX 4090 24GB"));
/// ```
pub fn smallest_card(bytes: Bytes) -> Option<Card> {
    CARDS.into_iter().filter(|card| card.memory >= bytes).min_by_key(|card| card.memory)
}
