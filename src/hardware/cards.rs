//! Cards of the common memory sizes.

use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{Gpu, find};
use crate::units::Bytes;

/// A card and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Card {
    /// What people call it.
    pub name: &'static str,
    /// What its driver reports in all.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
}

/// One card for each common size: what people call it, and its name in the catalogue.
const COMMON: [(&str, &str); 12] = [
    ("RTX 4060 8GB", "rtx-4060"),
    ("RTX 3080 10GB", "rtx-3080-10gb"),
    ("RTX 4070 12GB", "rtx-4070"),
    ("RTX 4080 16GB", "rtx-4080"),
    ("RTX 4090 24GB", "rtx-4090"),
    ("RTX 5090 32GB", "rtx-5090"),
    ("A100 40GB", "a100-sxm4-40gb"),
    ("L40S 48GB", "l40s"),
    ("H100 80GB", "h100-sxm5-80gb"),
    ("RTX PRO 6000 96GB", "rtx-pro-6000-blackwell-ws"),
    ("H200 141GB", "h200-sxm-141gb"),
    ("MI300X 192GB", "mi300x"),
];

/// One card for each common size with its entry of the catalogue, the least memory first.
///
/// ```
/// use vramplan::{Bytes, hardware::common_cards};
///
/// let mut large = common_cards().filter(|(card, _)| card.memory >= Bytes::from_mib(20_000));
/// assert_eq!(large.next().map(|(card, gpu)| (card.name, gpu.slug.as_str())), Some(("RTX 4090 24GB", "rtx-4090")));
/// ```
pub fn common_cards() -> impl Iterator<Item = (Card, &'static Gpu)> {
    COMMON.into_iter().filter_map(|(name, slug)| {
        let gpu = find(slug).ok()?;
        Some((Card { name, memory: gpu.memory() }, gpu))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_every_common_card_with_what_its_driver_reports() {
        assert_eq!(common_cards().count(), COMMON.len());
        assert!(common_cards().is_sorted_by_key(|(card, _)| card.memory));
        assert!(COMMON.iter().all(|(_, slug)| find(slug).is_ok_and(|gpu| gpu.memory_is_reported())));
    }
}
