//! Searching for a way to train a model: methods, optimizers, micro-batches and GPUs against prices and rates.

mod candidates;
mod roofline;

use rayon::prelude::*;
use serde::Serialize;

use self::candidates::Ladder;
use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::{Gpu, Price, Prices};
use crate::job::{Job, Train};
use crate::model::Model;
use crate::step::EstimateError;
use crate::units::Bytes;

pub use self::candidates::Quality;
pub use self::roofline::ROOFLINE;

/// What plans are ranked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
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
    /// No less than this.
    pub least_quality: Quality,
    /// Sequences in an optimizer step.
    pub effective_batch: u64,
    /// The GPUs to choose from.
    pub gpus: Vec<&'a Gpu>,
    /// What they cost.
    pub prices: &'a Prices,
    /// US dollars an hour at most.
    pub most_per_hour: Option<f64>,
}

/// A way to train the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// How much its method can learn.
    pub quality: Quality,
    /// The GPU's slug.
    pub gpu: String,
    /// GPUs; more than one is not planned in this version.
    pub gpu_count: u64,
    /// The job's flags on the command line.
    pub flags: String,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// What is left of the card.
    pub headroom_bytes: i64,
    /// At most; see [`ROOFLINE`].
    pub tokens_per_second: Option<f64>,
    /// The cheapest offer on demand that is known.
    pub price: Option<Offer>,
    /// By that offer and that rate, at least.
    pub usd_per_million_tokens: Option<f64>,
    /// Whether measurements stand behind the estimate.
    pub validated: bool,
    /// The job.
    pub job: Job,
    #[serde(skip)]
    effort: u32,
}

/// What a GPU costs somewhere, at some date.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    fn of(price: &Price, usd_per_gpu_hour: f64) -> Self {
        let Price { cloud, instance_type, snapshot_date, .. } = price.clone();
        Self { usd_per_gpu_hour, cloud, instance_type, snapshot_date }
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Searched {
    /// Jobs on GPUs that were looked at.
    pub candidates: usize,
    /// Of them, those that fit.
    pub fitting: usize,
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

/// Searches the ways to train `model` that are like `train`: its sequence length, head, objective and precision of
/// autocast, by every method of at least the quality that is asked for.
///
/// # Errors
/// No job at all can be estimated.
pub fn search(model: &Model, train: &Train, constraints: &Constraints<'_>) -> Result<Searched, EstimateError> {
    let ladders = candidates::ladders(train, constraints.least_quality, constraints.effective_batch);
    let offers: Vec<Option<Offer>> = constraints
        .gpus
        .iter()
        .map(|gpu| constraints.prices.of(gpu).first().map(|(price, hour)| Offer::of(price, *hour)))
        .collect();
    let found: Vec<OfLadder> =
        ladders.par_iter().map(|ladder| of_ladder(model, ladder, constraints, &offers)).collect();
    let mut searched =
        Searched { candidates: 0, fitting: 0, jobs_run: 0, not_estimated: 0, reason: None, plans: Vec::new() };
    let mut first_error = None;
    for mut ladder in found {
        searched.candidates += ladder.looked_at;
        searched.jobs_run += ladder.run;
        searched.not_estimated += ladder.errors.len();
        searched.fitting += ladder.plans.len();
        first_error = first_error.or(ladder.errors.into_iter().next());
        searched.plans.append(&mut ladder.plans);
    }
    if searched.jobs_run == 0
        && let Some(error) = first_error
    {
        return Err(error);
    }
    searched.reason = first_error.map(|error| error.to_string());
    searched.plans = frontier(searched.plans, constraints.goal);
    Ok(searched)
}

#[derive(Default)]
struct OfLadder {
    looked_at: usize,
    run: usize,
    errors: Vec<EstimateError>,
    plans: Vec<Plan>,
}

fn of_ladder(model: &Model, ladder: &Ladder, constraints: &Constraints<'_>, offers: &[Option<Offer>]) -> OfLadder {
    let mut found = OfLadder::default();
    for (position, train) in ladder.jobs.iter().enumerate() {
        let job = Job::train(model.name(), train.clone());
        let question = match Question::of(model, &job) {
            Ok(question) => question,
            Err(error) => {
                found.errors.push(error);
                continue;
            }
        };
        found.run += 1;
        found.looked_at += constraints.gpus.len();
        let before = found.plans.len();
        for (gpu, offer) in constraints.gpus.iter().zip(offers) {
            let too_dear =
                constraints.most_per_hour.is_some_and(|most| offer.as_ref().is_none_or(|o| o.usd_per_gpu_hour > most));
            if too_dear || !roofline::computes(train, gpu) {
                continue;
            }
            let fit = question.fit(&Room::on(gpu));
            if fit.verdict != Verdict::Fits {
                continue;
            }
            let speed = roofline::tokens_per_second(model, train, question.estimate(), gpu);
            found.plans.push(Plan {
                quality: ladder.quality,
                gpu: gpu.slug.clone(),
                gpu_count: 1,
                flags: flags(ladder, train),
                device_bytes: fit.device_bytes,
                headroom_bytes: fit.headroom_bytes,
                tokens_per_second: speed,
                price: offer.clone(),
                usd_per_million_tokens: offer
                    .as_ref()
                    .and_then(|offer| Some(offer.usd_per_gpu_hour / (speed? * 3600.0) * 1e6)),
                validated: question.estimate().basis.validated,
                job: job.clone(),
                effort: ladder.effort,
            });
        }
        // a larger micro-batch never takes less
        if found.plans.len() == before {
            found.looked_at += (ladder.jobs.len() - position - 1) * constraints.gpus.len();
            break;
        }
    }
    found
}

fn flags(ladder: &Ladder, train: &Train) -> String {
    let mut flags = ladder.flags.clone();
    flags.push(format!("--batch {}", train.per_device_train_batch_size));
    if train.gradient_accumulation_steps > 1 {
        flags.push(format!("--gradient-accumulation-steps {}", train.gradient_accumulation_steps));
    }
    flags.push(format!("--seq {}", train.max_seq_length));
    flags.join(" ")
}

/// For each quality and GPU the best job, then those that no other is better than in every respect.
fn frontier(mut plans: Vec<Plan>, goal: Goal) -> Vec<Plan> {
    plans.sort_by(|a, b| order(a, b, goal));
    let mut best: Vec<Plan> = Vec::new();
    for plan in plans {
        if !best.iter().any(|better| better.quality == plan.quality && better.gpu == plan.gpu) {
            best.push(plan);
        }
    }
    let dominated = |plan: &Plan| best.iter().any(|other| dominates(other, plan, goal));
    let keep: Vec<bool> = best.iter().map(|plan| !dominated(plan)).collect();
    best.into_iter().zip(keep).filter_map(|(plan, keep)| keep.then_some(plan)).collect()
}

/// Best first; of those as good as each other the one with less effort.
fn order(a: &Plan, b: &Plan, goal: Goal) -> std::cmp::Ordering {
    let least = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
    let figure = |plan: &Plan| match goal {
        Goal::Cost => two_digits(least(plan.usd_per_million_tokens)),
        Goal::Price => least(plan.price.as_ref().map(|offer| offer.usd_per_gpu_hour)),
        Goal::Speed => -two_digits(plan.tokens_per_second.unwrap_or(0.0)),
        #[expect(clippy::cast_precision_loss, reason = "to rank by")]
        Goal::Headroom => -(plan.headroom_bytes as f64),
    };
    let speed = |plan: &Plan| -two_digits(plan.tokens_per_second.unwrap_or(0.0));
    figure(a)
        .total_cmp(&figure(b))
        .then(b.validated.cmp(&a.validated))
        .then(speed(a).total_cmp(&speed(b)))
        .then(a.effort.cmp(&b.effort))
        .then(b.headroom_bytes.cmp(&a.headroom_bytes))
}

/// Rounded to two digits: a roofline tells no more apart.
fn two_digits(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return value;
    }
    let scale = 10_f64.powf(value.log10().floor() - 1.0);
    (value / scale).round() * scale
}

/// Whether `a` is nowhere worse than `b` and somewhere better.
fn dominates(a: &Plan, b: &Plan, goal: Goal) -> bool {
    let price = |plan: &Plan| plan.price.as_ref().map_or(f64::INFINITY, |offer| offer.usd_per_gpu_hour);
    let speed = |plan: &Plan| two_digits(plan.tokens_per_second.unwrap_or(0.0));
    let room = |plan: &Plan| if goal == Goal::Headroom { plan.headroom_bytes } else { 0 };
    let no_worse = a.quality >= b.quality && price(a) <= price(b) && speed(a) >= speed(b) && room(a) >= room(b);
    let better = a.quality > b.quality || price(a) < price(b) || speed(a) > speed(b) || room(a) > room(b);
    no_worse && better
}
