//! Searching for a way to train a model: methods, optimizers, micro-batches and GPUs against prices and rates.

mod candidates;
mod roofline;

use std::collections::HashMap;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use self::candidates::Ladder;
use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::{Gpu, Price, Prices};
use crate::job::{Job, Train};
use crate::model::Model;
use crate::step::Subject;
use crate::step::{EstimateError, Recording};
use crate::units::Bytes;

pub use self::candidates::Quality;
pub use self::roofline::ROOFLINE;

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
    /// Plans at most.
    pub most_plans: usize,
}

/// A way to train the model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
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
    fn of(price: &Price, usd_per_gpu_hour: f64) -> Self {
        let Price { cloud, instance_type, snapshot_date, .. } = price.clone();
        Self { usd_per_gpu_hour, cloud, instance_type, snapshot_date }
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

/// Searches the ways to train `model` that are like `train`: its sequence length, head, objective and precision of
/// autocast, by every method of at least the quality that is asked for.
///
/// Every job is recorded once and left out where live tensors alone are more than a card has; what is best of the rest is
/// then judged as [`Question::fit`] does, so that no plan is given that was not played.
///
/// # Errors
/// No job at all can be estimated.
///
/// ```
/// use vramplan::{hardware::{self, Prices}, job::Train, model};
/// use vramplan::plan::{self, Constraints, Goal, Quality};
///
/// let constraints = Constraints {
///     goal: Goal::Cost,
///     least_quality: Quality::Lora,
///     effective_batch: 4,
///     gpus: vec![hardware::find("rtx-4090")?, hardware::find("a100-80g")?],
///     prices: Prices::builtin(),
///     most_per_hour: None,
///     most_plans: 4,
/// };
/// let searched = plan::search(&model::resolve("tinyllama-1.1b")?, &Train::default(), &constraints)?;
/// assert!(searched.plans.iter().any(|plan| plan.quality == Quality::Full));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn search<'a>(
    subject: impl Into<Subject<'a>>,
    train: &Train,
    constraints: &Constraints<'_>,
) -> Result<Searched, EstimateError> {
    let subject = subject.into();
    let model = subject.model;
    let ladders = candidates::ladders(model, train, constraints.least_quality, constraints.effective_batch);
    let offers: Vec<Option<Offer>> = constraints
        .gpus
        .iter()
        .map(|gpu| constraints.prices.of(gpu).first().map(|(price, hour)| Offer::of(price, *hour)))
        .collect();
    let screen = Screen { model, constraints, offers: &offers };
    let screened: Vec<Screened> = ladders.par_iter().map(|ladder| screen.ladder(ladder)).collect();
    let (mut candidates, mut jobs_run, mut errors, mut plausible) = (0, 0, Vec::new(), Vec::new());
    for mut ladder in screened {
        candidates += ladder.looked_at;
        jobs_run += ladder.run;
        errors.append(&mut ladder.errors);
        plausible.append(&mut ladder.plans);
    }
    if jobs_run == 0
        && let Some(error) = errors.first()
    {
        return Err(error.clone());
    }
    let (not_estimated, reason) = (errors.len(), errors.first().map(ToString::to_string));
    let plausible_count = plausible.len();
    let plans = frontier(subject, plausible, constraints);
    Ok(Searched { candidates, plausible: plausible_count, jobs_run, not_estimated, reason, plans })
}

/// What is found of one ladder before anything is played.
#[derive(Default)]
struct Screened {
    looked_at: usize,
    run: usize,
    errors: Vec<EstimateError>,
    plans: Vec<Plan>,
}

struct Screen<'a> {
    model: &'a Model,
    constraints: &'a Constraints<'a>,
    offers: &'a [Option<Offer>],
}

impl Screen<'_> {
    fn ladder(&self, ladder: &Ladder) -> Screened {
        let mut found = Screened::default();
        let gpus = &self.constraints.gpus;
        for (position, train) in ladder.jobs.iter().enumerate() {
            // later micro-batches bring nothing new but gradients that are alive from the start
            let single = Train { gradient_accumulation_steps: 1, ..train.clone() };
            let recording = match Recording::of(self.model, &Job::train(self.model.name(), single)) {
                Ok(recording) => recording,
                Err(error) => {
                    found.errors.push(error);
                    continue;
                }
            };
            found.run += 1;
            found.looked_at += gpus.len();
            let before = found.plans.len();
            self.on_gpus(ladder, train, &recording, &mut found.plans);
            // a larger micro-batch never takes less
            if found.plans.len() == before {
                found.looked_at += (ladder.jobs.len() - position - 1) * gpus.len();
                break;
            }
        }
        found
    }

    /// Adds a plan for every GPU on which live tensors alone leave room.
    fn on_gpus(&self, ladder: &Ladder, train: &Train, recording: &Recording, plans: &mut Vec<Plan>) {
        let least = if train.gradient_accumulation_steps > 1 {
            recording.least_accumulating()
        } else {
            recording.highs().last().map_or(Bytes::ZERO, |high| high.live)
        };
        let (job, held) = (Job::train(self.model.name(), train.clone()), recording.held());
        for (gpu, offer) in self.constraints.gpus.iter().zip(self.offers) {
            let too_dear = self
                .constraints
                .most_per_hour
                .is_some_and(|most| offer.as_ref().is_none_or(|offer| offer.usd_per_gpu_hour > most));
            let capacity = Room::on(gpu).capacity(&job);
            if too_dear || capacity < least || !roofline::computes(train, gpu) {
                continue;
            }
            let speed = roofline::tokens_per_second(self.model, train, recording.summary(), &held, gpu);
            let cost = |offer: &Offer| Some(offer.usd_per_gpu_hour / (speed? * 3600.0) * 1e6);
            plans.push(Plan {
                quality: ladder.quality,
                gpu: gpu.slug.clone(),
                gpu_count: 1,
                flags: flags(ladder, train),
                device_bytes: least,
                headroom_bytes: i64::try_from(capacity.saturating_sub(least).0).unwrap_or(i64::MAX),
                tokens_per_second: speed,
                price: offer.clone(),
                usd_per_million_tokens: offer.as_ref().and_then(cost),
                validated: false,
                job: job.clone(),
                effort: ladder.effort,
            });
        }
    }
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

/// Of plans that may fit, the best that do: each is judged before it is kept, and none is kept that another is better than
/// in every respect.
fn frontier(subject: Subject<'_>, mut plausible: Vec<Plan>, constraints: &Constraints<'_>) -> Vec<Plan> {
    let goal = constraints.goal;
    plausible.sort_by(|a, b| order(a, b, goal));
    let mut questions: HashMap<String, Option<Question>> = HashMap::new();
    let mut kept: Vec<Plan> = Vec::new();
    for plan in plausible {
        let same = |other: &Plan| other.quality == plan.quality && other.gpu == plan.gpu;
        if kept.iter().any(|other| same(other) || dominates(other, &plan, goal)) {
            continue;
        }
        // a job is named by its flags and method
        let key = format!("{} {}", plan.quality.name(), plan.flags);
        let question = questions.entry(key).or_insert_with(|| Question::of(subject, &plan.job).ok());
        let Some(question) = question else { continue };
        let Some(gpu) = constraints.gpus.iter().find(|gpu| gpu.slug == plan.gpu) else { continue };
        let fit = question.fit(&Room::on(gpu));
        if fit.verdict == Verdict::Fits {
            let validated = question.estimate().basis.validated;
            let (device_bytes, headroom_bytes) = (fit.device_bytes, fit.headroom_bytes);
            kept.push(Plan { device_bytes, headroom_bytes, validated, ..plan });
            if kept.len() == constraints.most_plans {
                break;
            }
        }
    }
    let dominated = |plan: &Plan| kept.iter().any(|other| dominates(other, plan, goal));
    let keep: Vec<bool> = kept.iter().map(|plan| !dominated(plan)).collect();
    kept.into_iter().zip(keep).filter_map(|(plan, keep)| keep.then_some(plan)).collect()
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
