//! Searching for a way to train a model: methods, optimizers, micro-batches and GPUs against prices and rates.

use rayon::prelude::*;

use super::frontier::frontier;
use super::methods::{self, Ladder};
use super::offer::per_million;
use super::{Constraints, Offer, Plan, Quality, Searched, training_rate};
use crate::job::{Job, Train};
use crate::model::Model;
use crate::plan::room::Room;
use crate::step::Subject;
use crate::step::{EstimateError, Recording};
use crate::units::Bytes;

/// What a plan for training must be.
#[derive(Clone, Debug)]
pub struct TrainConstraints<'a> {
    /// What any plan must be.
    pub common: Constraints<'a>,
    /// No less than this.
    pub least_quality: Quality,
    /// Sequences in an optimizer step.
    pub effective_batch: u64,
}

/// Searches the ways to train `model` that are like `train`: its sequence length, head, objective and precision of
/// autocast, by every method of at least the quality that is asked for.
///
/// Every job is recorded once and left out where live tensors alone are more than a card has; what is best of the rest is
/// then judged as [`Question::fit`](crate::plan::Question::fit) does, so that no plan is given that was not played.
///
/// # Errors
/// No job at all can be estimated.
///
/// ```
/// use vramplan::{hardware::{self, Prices}, job::Train, model};
/// use vramplan::plan::{self, Constraints, Goal, Quality, TrainConstraints};
///
/// let common = Constraints {
///     goal: Goal::Cost,
///     gpus: vec![hardware::find("rtx-4090")?, hardware::find("a100-80g")?],
///     prices: Prices::builtin(),
///     most_per_hour: None,
///     most_plans: 4,
/// };
/// let constraints = TrainConstraints { common, least_quality: Quality::Lora, effective_batch: 4 };
/// let searched = plan::search(&model::resolve("tinyllama-1.1b")?, &Train::default(), &constraints)?;
/// assert!(searched.plans.iter().any(|plan| plan.quality == Some(Quality::Full)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn search<'a>(
    subject: impl Into<Subject<'a>>,
    train: &Train,
    wanted: &TrainConstraints<'_>,
) -> Result<Searched, EstimateError> {
    let subject = subject.into();
    let model = subject.model;
    let constraints = &wanted.common;
    let ladders = methods::ladders(model, train, wanted.least_quality, wanted.effective_batch);
    let offers: Vec<Option<Offer>> =
        constraints.gpus.iter().map(|gpu| Offer::cheapest(constraints.prices, gpu, 1)).collect();
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
            let too_dear = Offer::is_too_dear(offer.as_ref(), 1.0, self.constraints.most_per_hour);
            let capacity = Room::on(gpu).capacity(&job);
            if too_dear || capacity < least || !training_rate::computes(train, gpu) {
                continue;
            }
            let speed = training_rate::tokens_per_second(self.model, train, recording.summary(), &held, gpu);
            plans.push(Plan {
                quality: Some(ladder.quality),
                gpu: gpu.slug.clone(),
                gpu_count: 1,
                flags: flags(ladder, train),
                device_bytes: least,
                headroom_bytes: i64::try_from(capacity.saturating_sub(least).0).unwrap_or(i64::MAX),
                tokens_per_second: speed,
                serving: None,
                price: offer.clone(),
                usd_per_million_tokens: offer.as_ref().and_then(|offer| per_million(offer.usd_per_gpu_hour, speed)),
                usd_per_million_prompt_tokens: None,
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
