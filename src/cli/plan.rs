//! `vramplan plan`: ways to train a model, against prices and rates.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::planning::PlanArgs;
use super::asked::Asked;
use super::error::CliError;
use super::text::{self, bold, gib, grouped, lines, plain, table, wrap};
use super::{Answer, describe, exit, gpus, hub};
use crate::hardware::{self, Gpu};
use crate::job::{Train, Workload};
use crate::plan::{self, Claim, Constraints, Judgement, Plan, Quality, ROOFLINE, Searched};
use crate::units::Bytes;

const SCHEMA: &str = "vramplan.plan/1";

/// Sequences in an optimizer step where the job does not say.
const EFFECTIVE_BATCH: u64 = 16;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a> {
    schema: &'static str,
    model: &'a str,
    goal: plan::Goal,
    least_quality: Quality,
    effective_batch: u64,
    max_seq_length: u64,
    /// What `tokens_per_second` and what follows from it are.
    approximate: &'static str,
    #[serde(flatten)]
    searched: &'a Searched,
    /// What the files that the model comes from leave open.
    notes: &'a [String],
}

#[derive(Serialize, JsonSchema)]
pub(super) struct TableOutput<'a> {
    schema: &'static str,
    model: &'a str,
    max_seq_length: u64,
    claims: &'a [Claim],
}

pub(super) fn run(args: &PlanArgs) -> Result<Answer, CliError> {
    let asked = Asked::of(&args.job)?;
    let Workload::Train(train) = &asked.job.workload else {
        return Err(CliError::Unmodelled(
            "plan: only training is planned in this version; fit and solve judge inference and serving".to_owned(),
        ));
    };
    if args.tutorial_table {
        return tutorial(args, &asked, train);
    }
    let prices = gpus::prices(args.prices.as_deref())?;
    let gpus = named(&args.gpus)?;
    let effective_batch = args.effective_batch.unwrap_or(
        match train.per_device_train_batch_size.saturating_mul(train.gradient_accumulation_steps) {
            1 => EFFECTIVE_BATCH,
            batch => batch,
        },
    );
    if effective_batch == 0 || effective_batch > 1 << 16 {
        return Err(CliError::Usage(format!("--effective-batch {effective_batch}: give 1 to 65536 sequences")));
    }
    let constraints = Constraints {
        goal: args.goal.into(),
        least_quality: args.quality.into(),
        effective_batch,
        gpus,
        prices: &prices,
        most_per_hour: args.max_price,
        most_plans: args.limit,
    };
    let notice =
        Some(format!("searching methods, optimizers and micro-batches on {} GPUs ...", constraints.gpus.len()));
    let searched = hub::announced(notice, || plan::search(asked.subject(), train, &constraints))?;
    let code = if searched.plans.is_empty() { exit::DOES_NOT_FIT } else { 0 };
    if args.json {
        let output = Output {
            schema: SCHEMA,
            model: asked.model().name(),
            goal: constraints.goal,
            least_quality: constraints.least_quality,
            effective_batch,
            max_seq_length: train.max_seq_length,
            approximate: ROOFLINE,
            searched: &searched,
            notes: &asked.doubts.notes,
        };
        return Ok(Answer { text: text::json(&output)?, code });
    }
    let batch = format!("{effective_batch} x {} tokens in an optimizer step", train.max_seq_length);
    let heading = format!("{}: {batch}\n", bold(plain(asked.model().name())));
    let width = text::width();
    let out = heading + &report(&searched, width) + &describe::notes(&asked.doubts.notes, width);
    Ok(Answer { text: out, code })
}

/// The GPUs at hand, or every one a job can be put on.
fn named(names: &[String]) -> Result<Vec<&'static Gpu>, CliError> {
    if names.is_empty() {
        return Ok(hardware::by_memory().to_vec());
    }
    names.iter().map(|name| Ok(hardware::find(name)?)).collect()
}

/// Narrower than this a plan takes two lines.
const NARROW: u16 = 72;

fn report(searched: &Searched, width: u16) -> String {
    let Searched { candidates, plausible, plans, not_estimated, reason, .. } = searched;
    let mut out = wrap(
        &format!(
            "{} candidates (jobs on GPUs); on {} of them live tensors leave room, and the best of these were played.",
            grouped(count(*candidates)),
            grouped(count(*plausible)),
        ),
        width,
        "",
    );
    out.push_str("\n\n");
    if plans.is_empty() {
        out.push_str("Nothing fits these constraints.\n");
    } else {
        let header: &[&str] = if width < NARROW {
            &["GPU", "method", "tokens/s", "$/h"]
        } else {
            &["GPU", "method", "GiB left", "tokens/s", "$/h", "$/M tokens"]
        };
        let mut rows = table(header, width);
        for plan in plans {
            let cells = cells(plan);
            match width < NARROW {
                true => rows.add_row([&cells[0], &cells[1], &cells[3], &cells[4]]),
                false => rows.add_row(&cells),
            };
        }
        out.push_str(&lines(&rows));
        out.push('\n');
        for plan in plans {
            let own = if plan.validated { "" } else { " (not validated)" };
            let priced = plan.price.as_ref().map(|offer| format!("; {}, {}", offer.cloud, offer.snapshot_date));
            let priced = priced.unwrap_or_default();
            let line = format!("{} {}: {}{priced}{own}", plan.gpu, plan.quality.name(), plan.flags);
            out.push_str(&wrap(&line, width, "  "));
            out.push('\n');
        }
    }
    let mut say = |text: &str| out.push_str(&format!("\n{}\n", wrap(text, width, "  ")));
    say(&format!("tokens/s and $/M tokens are {ROOFLINE}."));
    say("Prices are the cheapest known offer on demand at the date shown; --prices reads your own.");
    say("One GPU each: several are not planned in this version.");
    if let Some(reason) = reason {
        say(&format!("{not_estimated} jobs could not be estimated: {}", plain(reason)));
    }
    out
}

fn cells(plan: &Plan) -> [String; 6] {
    let figure = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let headroom = Bytes(u64::try_from(plan.headroom_bytes).unwrap_or(0));
    let offer = plan.price.as_ref();
    [
        plan.gpu.clone(),
        plan.quality.name().to_owned(),
        gib(headroom),
        figure(plan.tokens_per_second, 0),
        figure(offer.map(|offer| offer.usd_per_gpu_hour), 2),
        figure(plan.usd_per_million_tokens, 3),
    ]
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn tutorial(args: &PlanArgs, asked: &Asked, train: &Train) -> Result<Answer, CliError> {
    let claims = plan::tutorial_table(asked.subject(), train.max_seq_length)?;
    if args.json {
        let model = asked.model().name();
        let output =
            TableOutput { schema: "vramplan.table/1", model, max_seq_length: train.max_seq_length, claims: &claims };
        return Ok(text::json(&output)?.into());
    }
    let width = text::width();
    let mut out = format!("{}: one sequence of {} tokens\n\n", bold(plain(asked.model().name())), train.max_seq_length);
    for claim in &claims {
        let judgement = match claim.judgement {
            Judgement::Right => "right",
            Judgement::Depends => "it depends",
            Judgement::Wrong => "wrong",
            Judgement::MoreThanNeeded => "more than needed: one is enough",
            Judgement::OneMayDo => "one may do",
            Judgement::SeveralNotJudged => "one is not enough; several GPUs are not judged in this version",
        };
        out.push_str(&wrap(
            &bold(format!("{}: {} x {}: {judgement}", claim.method, claim.gpu_count, claim.gpu)),
            width,
            "  ",
        ));
        out.push('\n');
        for run in &claim.runs {
            let apart = Bytes(run.headroom_bytes.unsigned_abs());
            let left = if run.headroom_bytes < 0 { "short" } else { "left" };
            let line = format!(
                "  on one, {}: {}, {} on the card, {apart} {left}",
                run.way,
                super::describe::verdict(run.verdict),
                run.device_bytes
            );
            out.push_str(&format!("  {}\n", wrap(&line, width.saturating_sub(2), "    ")));
        }
    }
    Ok(out.into())
}
