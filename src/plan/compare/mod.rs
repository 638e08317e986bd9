//! Ways of running one model, side by side.

mod methods;
mod storage;

use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::{Card, common_cards};
use crate::job::{Job, ModelRef, Workload};
use crate::step::Estimate;
use crate::step::Subject;
use crate::units::Bytes;

pub use self::methods::compare;
pub use self::storage::compare_storage;

/// A model's ways of being run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Comparison {
    /// `vramplan.compare/1`
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// Its parameters.
    pub parameters: u64,
    /// Every way, estimated or not.
    pub methods: Vec<Choice>,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Choice {
    /// What it is called.
    pub name: &'static str,
    /// When to use it.
    pub when: &'static str,
    /// What it takes, where that can be estimated.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Fitting>,
    /// Why it cannot be estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What it takes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Fitting {
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// All of them, those that are added included.
    pub parameters: u64,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// Live tensors at the peak.
    pub allocated_bytes: Bytes,
    /// What weights are of that.
    pub weights_bytes: Bytes,
    /// What keys and values are of it.
    pub kv_cache_bytes: Bytes,
    /// The largest part of the allocated peak.
    pub dominated_by: &'static str,
    /// Its bytes.
    pub dominated_by_bytes: Bytes,
    /// The common card with the least memory that it fits, as `fit` judges; `None`: it fits none of them.
    pub smallest_gpu: Option<Card>,
    /// Whether measurements stand behind the estimate.
    pub validated: bool,
}

fn choice(subject: Subject<'_>, name: &'static str, when: &'static str, workload: Workload) -> Choice {
    let job = Job { model: ModelRef::Named(subject.model.name().to_owned()), workload };
    match Question::of(subject, &job) {
        Ok(question) => Choice { name, when, takes: Some(Fitting::of(&question)), error: None },
        Err(error) => Choice { name, when, takes: None, error: Some(error.to_string()) },
    }
}

impl Fitting {
    fn of(question: &Question) -> Self {
        let estimate: &Estimate = question.estimate();
        let fits = |(card, gpu): (Card, _)| (question.fit(&Room::on(gpu)).verdict == Verdict::Fits).then_some(card);
        let parts = estimate.at_peak.named();
        let largest = parts.into_iter().max_by_key(|(_, bytes)| *bytes);
        let (dominated_by, dominated_by_bytes) = largest.unwrap_or(("weights", Bytes::ZERO));
        Self {
            trainable_parameters: estimate.model.trainable_parameters,
            parameters: estimate.model.parameters,
            device_bytes: estimate.peak.device_bytes,
            allocated_bytes: estimate.peak.allocated_bytes,
            weights_bytes: estimate.at_peak.weights,
            kv_cache_bytes: estimate.at_peak.kv_cache,
            dominated_by,
            dominated_by_bytes,
            smallest_gpu: common_cards().find_map(fits),
            validated: estimate.basis.validated,
        }
    }
}
