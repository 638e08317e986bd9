//! What a plan's GPUs cost.

use schemars::JsonSchema;
use serde::Serialize;

use crate::hardware::{Gpu, Prices};

/// What a GPU costs somewhere, at some date.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Offer {
    /// US dollars a GPU and hour.
    pub usd_per_gpu_hour: f64,
    /// Who rents it out.
    pub cloud: String,
    /// Their name for the machine.
    pub instance_type: String,
    /// When that was so.
    pub snapshot_date: String,
}

impl Offer {
    /// The cheapest a GPU and hour, on demand, of machines that have `count` of them.
    pub(super) fn cheapest(prices: &Prices, gpu: &Gpu, count: u64) -> Option<Self> {
        let (price, usd_per_gpu_hour) = prices.of_several(gpu, count).into_iter().next()?;
        Some(Self {
            usd_per_gpu_hour,
            cloud: price.cloud.clone(),
            instance_type: price.instance_type.clone(),
            snapshot_date: price.snapshot_date.clone(),
        })
    }

    /// Whether `gpu_count` of them cost more than may be paid, or nobody knows what they cost.
    pub(super) fn is_too_dear(offer: Option<&Self>, gpu_count: f64, most_per_hour: Option<f64>) -> bool {
        most_per_hour.is_some_and(|most| offer.is_none_or(|offer| offer.usd_per_gpu_hour * gpu_count > most))
    }
}

/// US dollars for a million tokens at `rate` tokens a second.
pub(super) fn per_million(usd_per_hour: f64, rate: Option<f64>) -> Option<f64> {
    Some(usd_per_hour / (rate? * 3600.0) * 1e6)
}
