//! `vramplan plan`: ways to train a model, against prices and rates.

use std::fs::File;
use std::path::Path;

use serde::Serialize;

use super::args::PlanArgs;
use super::asked::Asked;
use super::error::CliError;
use super::text::{self, bold, gib, grouped, lines, plain, table, wrap};
use super::{Answer, exit, hub};
use crate::hardware::{self, Gpu, Prices};
use crate::job::{Train, Workload};
use crate::plan::{self, Claim, Constraints, Judgement, Plan, Quality, ROOFLINE, Searched};
use crate::units::Bytes;

const SCHEMA: &str = "vramplan.plan/1";

/// Sequences in an optimizer step where the job does not say.
const EFFECTIVE_BATCH: u64 = 16;

#[derive(Serialize)]
struct Output<'a> {
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
}

#[derive(Serialize)]
struct TableOutput<'a> {
    schema: &'static str,
    model: &'a str,
    max_seq_length: u64,
    claims: &'a [Claim],
}

pub(super) fn run(args: &PlanArgs) -> Result<Answer, CliError> {
    let asked = Asked::of(&args.job)?;
    let Workload::Train(train) = &asked.job.workload else {
        return Err(CliError::Unmodelled(
            "plan: only training is planned in this version; fit and solve judge inference".to_owned(),
        ));
    };
    if args.tutorial_table {
        return tutorial(args, &asked, train);
    }
    let prices = prices(args.prices.as_deref())?;
    let gpus = gpus(&args.gpus)?;
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
    };
    let notice =
        Some(format!("searching methods, optimizers and micro-batches on {} GPUs ...", constraints.gpus.len()));
    let mut searched = hub::announced(notice, || plan::search(&asked.model, train, &constraints))?;
    let code = if searched.plans.is_empty() { exit::DOES_NOT_FIT } else { 0 };
    searched.plans.truncate(args.limit);
    if args.json {
        let output = Output {
            schema: SCHEMA,
            model: asked.model.name(),
            goal: constraints.goal,
            least_quality: constraints.least_quality,
            effective_batch,
            max_seq_length: train.max_seq_length,
            approximate: ROOFLINE,
            searched: &searched,
        };
        return Ok(Answer { text: text::json(&output)?, code });
    }
    let batch = format!("{effective_batch} x {} tokens in an optimizer step", train.max_seq_length);
    let heading = format!("{}: {batch}\n", bold(plain(asked.model.name())));
    Ok(Answer { text: heading + &report(&searched, text::width()), code })
}

/// The user's prices over those that are built in.
fn prices(path: Option<&Path>) -> Result<Prices, CliError> {
    let Some(path) = path else { return Ok(Prices::builtin().clone()) };
    let file = File::open(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    let own = Prices::from_csv(file).map_err(|source| CliError::Prices { path: path.to_owned(), source })?;
    Ok(own.over(Prices::builtin()))
}

/// The GPUs at hand, or every one a job can be put on.
fn gpus(names: &[String]) -> Result<Vec<&'static Gpu>, CliError> {
    if names.is_empty() {
        return Ok(hardware::by_memory().to_vec());
    }
    names.iter().map(|name| Ok(hardware::find(name)?)).collect()
}

/// Narrower than this a plan takes two lines.
const NARROW: u16 = 72;

fn report(searched: &Searched, width: u16) -> String {
    let Searched { candidates, fitting, jobs_run, plans, not_estimated, reason, .. } = searched;
    let mut out = wrap(
        &format!(
            "{} candidates (jobs on GPUs), {} of them fit; {} jobs were run without data.",
            grouped(count(*candidates)),
            grouped(count(*fitting)),
            grouped(count(*jobs_run))
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
            &["GPU", "method", "GiB left", "tokens/s", "$/h", "$/M tokens", "priced"]
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
            out.push_str(&wrap(&format!("{} {}: {}{own}", plan.gpu, plan.quality.name(), plan.flags), width, "  "));
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

fn cells(plan: &Plan) -> [String; 7] {
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
        offer.map_or_else(|| "-".to_owned(), |offer| format!("{} {}", offer.cloud, offer.snapshot_date)),
    ]
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn tutorial(args: &PlanArgs, asked: &Asked, train: &Train) -> Result<Answer, CliError> {
    let claims = plan::tutorial_table(&asked.model, train.max_seq_length)?;
    if args.json {
        let model = asked.model.name();
        let output =
            TableOutput { schema: "vramplan.table/1", model, max_seq_length: train.max_seq_length, claims: &claims };
        return Ok(text::json(&output)?.into());
    }
    let width = text::width();
    let mut out = format!("{}: one sequence of {} tokens\n\n", bold(plain(asked.model.name())), train.max_seq_length);
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
