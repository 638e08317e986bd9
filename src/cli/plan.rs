//! `vramplan plan`: ways to train or serve a model, against prices and rates.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::planning::PlanArgs;
use super::asked::Asked;
use super::error::CliError;
use super::text::{self, bold, gib, grouped, lines, plain, table, wrap};
use super::{Answer, describe, exit, gpus, hub};
use crate::hardware::{self, Gpu};
use crate::job::{Serve, Train, Workload};
use crate::plan::{self, Claim, Constraints, Judgement, Plan, Quality, ROOFLINE, Searched, TrainConstraints};
use crate::units::Bytes;

const SCHEMA: &str = "vramplan.plan/1";

/// Sequences in an optimizer step where the job does not say.
const EFFECTIVE_BATCH: u64 = 16;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a> {
    schema: &'static str,
    model: &'a str,
    goal: plan::Goal,
    /// Of a training job.
    #[serde(skip_serializing_if = "Option::is_none")]
    least_quality: Option<Quality>,
    /// Of a training job: sequences in an optimizer step.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_batch: Option<u64>,
    /// Of a training job.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seq_length: Option<u64>,
    /// Of a serving job: sequences that are to be in the cache at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u64>,
    /// Of a serving job: tokens that each of them has.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_length: Option<u64>,
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
    let prices = gpus::prices(args.prices.as_deref())?;
    let common = Constraints {
        goal: args.goal.into(),
        gpus: named(&args.gpus)?,
        prices: &prices,
        most_per_hour: args.max_price,
        most_plans: args.limit,
    };
    match &asked.job.workload {
        Workload::Train(train) if args.tutorial_table => tutorial(args, &asked, train),
        Workload::Train(train) => training(args, &asked, train, common),
        Workload::Serve(serve) => serving(args, &asked, serve, &common),
        _ => Err(CliError::Unmodelled(
            "plan: training and serving are planned; fit and solve judge inference by generate()".to_owned(),
        )),
    }
}

fn training(args: &PlanArgs, asked: &Asked, train: &Train, common: Constraints<'_>) -> Result<Answer, CliError> {
    let effective_batch = args.effective_batch.unwrap_or(
        match train.per_device_train_batch_size.saturating_mul(train.gradient_accumulation_steps) {
            1 => EFFECTIVE_BATCH,
            batch => batch,
        },
    );
    if effective_batch == 0 || effective_batch > 1 << 16 {
        return Err(CliError::Usage(format!("--effective-batch {effective_batch}: give 1 to 65536 sequences")));
    }
    let least_quality = args.quality.map_or(Quality::Qlora, Into::into);
    let constraints = TrainConstraints { common, least_quality, effective_batch };
    let notice =
        Some(format!("searching methods, optimizers and micro-batches on {} GPUs ...", constraints.common.gpus.len()));
    let searched = hub::announced(notice, || plan::search(asked.subject(), train, &constraints))?;
    let output = Output {
        least_quality: Some(least_quality),
        effective_batch: Some(effective_batch),
        max_seq_length: Some(train.max_seq_length),
        ..Output::of(asked, constraints.common.goal, &searched)
    };
    let batch = format!("{effective_batch} x {} tokens in an optimizer step", train.max_seq_length);
    answer(args.json, &output, &batch, "One GPU each: several are not planned for training in this version.")
}

fn serving(args: &PlanArgs, asked: &Asked, serve: &Serve, common: &Constraints<'_>) -> Result<Answer, CliError> {
    for (given, flag) in [
        (args.quality.is_some(), "--quality"),
        (args.effective_batch.is_some(), "--effective-batch"),
        (args.tutorial_table, "--tutorial-table"),
    ] {
        if given {
            return Err(CliError::Usage(format!("{flag} is for training; leave it out, or leave --serve out")));
        }
    }
    let notice = Some(format!("searching {} GPUs, alone and up to eight of a kind ...", common.gpus.len()));
    let searched = hub::announced(notice, || plan::search_serving(asked.subject(), serve, common))?;
    let length =
        serve.sequence_length.or(serve.max_model_len).unwrap_or_else(|| asked.model().max_position_embeddings());
    let output = Output {
        concurrency: Some(serve.concurrency),
        sequence_length: Some(length),
        ..Output::of(asked, common.goal, &searched)
    };
    let sequences = format!("{} x {length} tokens in the cache", serve.concurrency);
    let own = "Tokens are those generated with all these sequences in the cache, prompts those read before; each at its rate \
               alone. Of a machine with more GPUs a plan pays its share.";
    answer(args.json, &output, &sequences, own)
}

impl<'a> Output<'a> {
    fn of(asked: &'a Asked, goal: plan::Goal, searched: &'a Searched) -> Self {
        Self {
            schema: SCHEMA,
            model: asked.model().name(),
            goal,
            least_quality: None,
            effective_batch: None,
            max_seq_length: None,
            concurrency: None,
            sequence_length: None,
            approximate: ROOFLINE,
            searched,
            notes: &asked.doubts.notes,
        }
    }
}

fn answer(json: bool, output: &Output<'_>, size: &str, own: &str) -> Result<Answer, CliError> {
    let code = if output.searched.plans.is_empty() { exit::DOES_NOT_FIT } else { 0 };
    if json {
        return Ok(Answer { text: text::json(output)?, code });
    }
    let width = text::width();
    let heading = format!("{}: {size}\n", bold(plain(output.model)));
    let text = heading + &report(output.searched, width, own) + &describe::notes(output.notes, width);
    Ok(Answer { text, code })
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

fn report(searched: &Searched, width: u16, own: &str) -> String {
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
        let trains = plans.iter().any(|plan| plan.quality.is_some());
        let columns: &[Column] = match (trains, width < NARROW) {
            (true, false) => &[GPU, METHOD, LEFT, RATE, HOUR, MILLION],
            (true, true) => &[GPU, METHOD, RATE, HOUR],
            (false, false) => &[GPU, LEFT, RATE, HOUR, MILLION, PROMPTS],
            (false, true) => &[GPU, RATE, HOUR, MILLION],
        };
        let mut rows = table(&columns.iter().map(|(name, _)| *name).collect::<Vec<_>>(), width);
        for plan in plans {
            rows.add_row(columns.iter().map(|(_, cell)| cell(plan)));
        }
        out.push_str(&lines(&rows));
        out.push('\n');
        for plan in plans {
            let own = if plan.validated { "" } else { " (not validated)" };
            let priced = plan.price.as_ref().map(|offer| format!("; {}, {}", offer.cloud, offer.snapshot_date));
            let priced = priced.unwrap_or_default();
            let name = plan.quality.map_or_else(String::new, |quality| format!(" {}", quality.name()));
            let line = format!("{}{name}: {}{priced}{own}", gpu(plan), plan.flags);
            out.push_str(&wrap(&line, width, "  "));
            out.push('\n');
        }
    }
    let mut say = |text: &str| out.push_str(&format!("\n{}\n", wrap(text, width, "  ")));
    say(&format!("tokens/s and $/M tokens are {ROOFLINE}."));
    say("Prices are the cheapest known offer on demand at the date shown; --prices reads your own.");
    say(own);
    if let Some(reason) = reason {
        say(&format!("{not_estimated} jobs could not be estimated: {}", plain(reason)));
    }
    out
}

/// A column's heading, and what a plan has in it.
type Column = (&'static str, fn(&Plan) -> String);

const GPU: Column = ("GPU", gpu);
const METHOD: Column = ("method", |plan| plan.quality.map_or("", Quality::name).to_owned());
const LEFT: Column = ("GiB left", |plan| gib(Bytes(u64::try_from(plan.headroom_bytes).unwrap_or(0))));
const RATE: Column = ("tokens/s", |plan| figure(plan.tokens_per_second, 0));
const HOUR: Column = ("$/h", |plan| figure(plan.usd_per_hour(), 2));
const MILLION: Column = ("$/M tokens", |plan| figure(plan.usd_per_million_tokens, 3));
const PROMPTS: Column = ("$/M prompts", |plan| figure(plan.usd_per_million_prompt_tokens, 4));

fn gpu(plan: &Plan) -> String {
    match plan.gpu_count {
        1 => plan.gpu.clone(),
        several => format!("{several} x {}", plan.gpu),
    }
}

fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
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
