//! Of plans that may fit, those worth showing.

use std::collections::HashMap;

use super::{Constraints, Goal, Plan, Quality};
use crate::plan::fit::{Question, Verdict};
use crate::plan::room::Room;
use crate::step::Subject;

/// Of plans that may fit, the best that do: each is judged before it is kept, and none is kept that another is better than
/// in every respect.
pub(super) fn frontier(subject: Subject<'_>, mut plausible: Vec<Plan>, constraints: &Constraints<'_>) -> Vec<Plan> {
    let goal = constraints.goal;
    plausible.sort_by(|a, b| order(a, b, goal));
    let mut questions: HashMap<String, Option<Question>> = HashMap::new();
    let mut kept: Vec<Plan> = Vec::new();
    for plan in plausible {
        let way = |plan: &Plan| (plan.quality, plan.gpu.clone(), plan.gpu_count);
        let same = |other: &Plan| way(other) == way(&plan);
        if kept.iter().any(|other| same(other) || dominates(other, &plan, goal)) {
            continue;
        }
        // a job is named by its flags and method
        let key = format!("{} {}", plan.quality.map_or("", Quality::name), plan.flags);
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
        Goal::Price => least(plan.usd_per_hour()),
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
    let price = |plan: &Plan| plan.usd_per_hour().unwrap_or(f64::INFINITY);
    let speed = |plan: &Plan| two_digits(plan.tokens_per_second.unwrap_or(0.0));
    let room = |plan: &Plan| if goal == Goal::Headroom { plan.headroom_bytes } else { 0 };
    let no_worse = a.quality >= b.quality && price(a) <= price(b) && speed(a) >= speed(b) && room(a) >= room(b);
    let better = a.quality > b.quality || price(a) < price(b) || speed(a) > speed(b) || room(a) > room(b);
    no_worse && better
}
