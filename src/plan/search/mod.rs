//! Searching for GPUs to run a model on, and ways to do it, against prices and rates.

mod frontier;
mod methods;
mod offer;
mod serving;
mod serving_rate;
mod training;
mod training_rate;

use schemars::JsonSchema;
use serde::Serialize;

use crate::hardware::{Gpu, Prices};
use crate::job::Job;
use crate::units::Bytes;

pub use self::methods::Quality;
pub use self::offer::Offer;
pub use self::serving::search_serving;
pub use self::serving_rate::{Bound, ServingRate, serving_rate};
pub use self::training::{TrainConstraints, search};

/// What is said beside every rate.
pub const ROOFLINE: &str = "approximate: a roofline of the card's dense tensor rate and memory bandwidth; real steps reach a \
                            third to two thirds of it";

/// What plans are ranked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// US dollars for a million tokens, by dated prices and the roofline.
    #[default]
    Cost,
    /// US dollars an hour, by dated prices.
    Price,
    /// Tokens a second, by the roofline.
    Speed,
    /// Memory that is left.
    Headroom,
}

/// What a plan must be.
#[derive(Clone, Debug)]
pub struct Constraints<'a> {
    /// What plans are ranked by.
    pub goal: Goal,
    /// The GPUs to choose from.
    pub gpus: Vec<&'a Gpu>,
    /// What they cost.
    pub prices: &'a Prices,
    /// US dollars an hour at most, for all GPUs of a plan.
    pub most_per_hour: Option<f64>,
    /// Plans at most.
    pub most_plans: usize,
}

/// A way to run the model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Plan {
    /// How much its method can learn; none where nothing is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The GPU's slug.
    pub gpu: String,
    /// GPUs; for training, more than one is not planned in this version.
    pub gpu_count: u64,
    /// The job's flags on the command line.
    pub flags: String,
    /// What each card shows at the peak.
    pub device_bytes: Bytes,
    /// What is left of each card.
    pub headroom_bytes: i64,
    /// At most; see [`ROOFLINE`]. Of a serving job the tokens that are generated, all sequences together.
    pub tokens_per_second: Option<f64>,
    /// The rates that serving has, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingRate>,
    /// The cheapest offer on demand that is known.
    pub price: Option<Offer>,
    /// By that offer and that rate, at least.
    pub usd_per_million_tokens: Option<f64>,
    /// Of prompts that are read, by that offer and the rate of reading, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_prompt_tokens: Option<f64>,
    /// Whether measurements stand behind the estimate.
    pub validated: bool,
    /// The job.
    pub job: Job,
    #[serde(skip)]
    effort: u32,
}

impl Plan {
    /// US dollars an hour, all its GPUs together.
    #[expect(clippy::cast_precision_loss, reason = "a machine has few GPUs")]
    pub fn usd_per_hour(&self) -> Option<f64> {
        self.price.as_ref().map(|offer| offer.usd_per_gpu_hour * self.gpu_count as f64)
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Searched {
    /// Jobs on GPUs that were looked at.
    pub candidates: usize,
    /// Of them, those whose live tensors leave room on the card.
    pub plausible: usize,
    /// Jobs that were run; the others have a larger micro-batch than one that fits no GPU.
    pub jobs_run: usize,
    /// Jobs that could not be estimated, and the first reason.
    pub not_estimated: usize,
    /// The first reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Plans of which none is better than another in quality, price, speed and headroom at once, best first.
    pub plans: Vec<Plan>,
}
