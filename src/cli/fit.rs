//! `vramplan fit`: whether a job fits a card.

mod report;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::judging::FitArgs;
use super::asked::Asked;
use super::error::CliError;
use super::gpu::Card;
use super::{Answer, describe, exit, serving, text};
use crate::hardware;
use crate::plan::{self, Fit, Judged, Question, Room, Rung, Suggestion, Verdict};
use crate::units::Bytes;

/// `vramplan.fit/1`
const SCHEMA: &str = "vramplan.fit/1";

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a> {
    schema: &'static str,
    /// The GPU's slug, where it is one of the catalogue.
    gpu: Option<&'a str>,
    /// What the card is called.
    card: Option<&'a str>,
    #[serde(flatten)]
    judged: &'a Judged,
    suggestions: &'a [Suggestion],
    /// The `vllm serve` line of the job where it fits, of the first suggestion where it does not; absent where vLLM serves
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    serve_line: Option<&'a str>,
    /// The smallest GPU that the job fits as it is, where it does not fit this one.
    smallest_gpu: Option<&'a Rung>,
    /// Every card that was asked about; the keys above are of the best of them.
    cards: Vec<OnCard<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct OnCard<'a> {
    card: Option<&'a str>,
    gpu: Option<&'a str>,
    #[serde(flatten)]
    fit: &'a Fit,
}

impl<'a> OnCard<'a> {
    fn new((card, fit): (&'a Card, &'a Fit)) -> Self {
        Self { card: card.name.as_deref(), gpu: card.gpu.map(|gpu| gpu.slug.as_str()), fit }
    }
}

/// The better, the higher.
const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fits => 3,
        Verdict::Tight => 2,
        Verdict::DoesNotFit => 1,
        Verdict::Unknown => 0,
    }
}

/// What is printed where there is no telling: the same keys as far as they are known.
#[derive(Serialize, JsonSchema)]
pub(super) struct Unknown<'a> {
    schema: &'static str,
    verdict: Verdict,
    device_bytes: Option<Bytes>,
    headroom_bytes: Option<i64>,
    memory_bytes: Option<Bytes>,
    reason: &'a str,
}

pub(super) fn run(args: &FitArgs) -> Result<Answer, CliError> {
    match judge(args) {
        Err(error) if error.is_unknown() => unknown(args, &error),
        judged => judged,
    }
}

fn judge(args: &FitArgs) -> Result<Answer, CliError> {
    let cards = args.gpu.cards()?;
    let asked = Asked::of(&args.job)?;
    let question = Question::of(asked.subject(), &asked.job)?;
    let fits: Vec<Fit> = cards.iter().map(|card| question.fit(&card.room)).collect();
    // the first of those with the best verdict and the most to spare
    let best = (0..cards.len()).rev().max_by_key(|i| (rank(fits[*i].verdict), fits[*i].headroom_bytes)).unwrap_or(0);
    let (card, room) = (&cards[best], cards[best].room);
    let judged = Judged::new(&question, &room);
    let fits_one = judged.fit.verdict == Verdict::Fits;
    let suggestions =
        if fits_one || args.no_suggestions { Vec::new() } else { plan::suggest(asked.subject(), &question, &room) };
    let larger = (!fits_one && !args.no_suggestions)
        .then(|| plan::smallest_gpu(&question, hardware::by_memory(), |gpu| args.gpu.with_context(Room::on(gpu))));
    let runs = if fits_one { Some(&asked.job) } else { suggestions.first().map(|suggestion| &suggestion.job) };
    let serve_line = runs.and_then(serving::line);
    let code = match judged.fit.verdict {
        Verdict::Fits => 0,
        Verdict::Tight if args.allow_tight => 0,
        _ => exit::DOES_NOT_FIT,
    };
    let gpu = card.gpu.map(|gpu| gpu.slug.as_str());
    if args.json {
        let output = Output {
            schema: SCHEMA,
            gpu,
            card: card.name.as_deref(),
            judged: &judged,
            suggestions: &suggestions,
            serve_line: serve_line.as_deref(),
            smallest_gpu: larger.as_ref().and_then(|ladder| ladder.answer.as_ref()),
            cards: cards.iter().zip(&fits).map(OnCard::new).collect(),
        };
        return Ok(Answer { text: text::json(&output)?, code });
    }
    let width = text::width();
    let mut out = describe::heading(asked.model(), &asked.job, args.job.is_default(), judged.model.parameters, width);
    if cards.len() > 1 {
        let names = cards.iter().map(|card| card.name.as_deref().unwrap_or("-"));
        out.push_str(&report::cards(names.zip(&fits), width));
    }
    out.push_str(&report::judged(&judged, card.name.as_deref(), width));
    if !fits_one && !args.no_suggestions {
        out.push_str(&report::suggestions(&suggestions, larger.and_then(|ladder| ladder.answer).as_ref(), width));
    }
    if let Some(line) = serve_line {
        out.push_str(&format!(
            "\n{}\n  {line}\n",
            text::bold(if fits_one { "As a line" } else { "The first of these as a line" })
        ));
    }
    out.push('\n');
    out.push_str(&describe::basis(&judged.basis, width));
    Ok(Answer { text: out, code })
}

fn unknown(args: &FitArgs, error: &CliError) -> Result<Answer, CliError> {
    let reason = error.to_string();
    let text = if args.json {
        text::json(&Unknown {
            schema: SCHEMA,
            verdict: Verdict::Unknown,
            device_bytes: None,
            headroom_bytes: None,
            memory_bytes: args.gpu.memory,
            reason: &reason,
        })?
    } else {
        format!("{}\n", text::wrap(&format!("CANNOT TELL: {}", text::plain(&reason)), text::width(), "  "))
    };
    Ok(Answer { text, code: exit::UNKNOWN })
}
