//! `vramplan solve`: the largest value that fits.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::judging::{SolveArgs, Solved};
use super::asked::Asked;
use super::error::CliError;
use super::text::{self, bold, gib, lines, table, wrap};
use super::{Answer, describe, exit, serving};
use crate::hardware;
use crate::model::{self, Model};
use crate::plan::{self, Ladder, Quantity, Question, Rung, Solution, Tried, Verdict};
use crate::units::Bytes;

const SCHEMA: &str = "vramplan.solve/1";

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a, T> {
    schema: &'static str,
    model: &'a str,
    #[serde(flatten)]
    solution: &'a T,
    /// What the files that the model and the job come from leave open.
    notes: &'a [String],
    /// The `vllm serve` line of the answer; absent where vLLM serves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    serve_line: Option<&'a str>,
}

/// A line of the table.
struct Line {
    value: String,
    verdict: Verdict,
    device: Bytes,
    headroom: i64,
}

/// What is told of a solution.
struct Told {
    headline: String,
    lines: Vec<Line>,
    notes: Vec<String>,
    /// The `vllm serve` line of the answer.
    line: Option<String>,
    solved: bool,
}

pub(super) fn run(args: &SolveArgs) -> Result<Answer, CliError> {
    let asked = Asked::of(&args.job)?;
    let (told, json) = match args.quantity {
        Solved::Gpu => {
            let question = Question::of(asked.subject(), &asked.job)?;
            let ladder =
                plan::smallest_gpu(&question, hardware::by_memory(), |gpu| args.gpu.with_context(plan::Room::on(gpu)));
            (of_ladder(&ladder, "smallest GPU"), output(&asked, &ladder, None)?)
        }
        Solved::Model => {
            let ladder =
                plan::largest_model(family(&args.family)?, &asked.job, &asked.doubts, &args.gpu.roomiest()?.room);
            (of_ladder(&ladder, "largest model"), output(&asked, &ladder, None)?)
        }
        Solved::Batch => field(args, &asked, Quantity::Batch)?,
        Solved::Seq => field(args, &asked, Quantity::Seq)?,
        Solved::Rank => field(args, &asked, Quantity::Rank)?,
    };
    let code = if told.solved { 0 } else { exit::DOES_NOT_FIT };
    if args.json {
        return Ok(Answer { text: json, code });
    }
    let width = text::width();
    let mut out = String::new();
    if args.quantity != Solved::Model {
        let parameters = super::backend::count_parameters(asked.model(), asked.job.workload.peft())?.total;
        out.push_str(&describe::heading(asked.model(), &asked.job, args.job.is_default(), parameters, width));
    }
    out.push_str(&report(&told, width));
    out.push_str(&describe::notes(&asked.doubts.notes, width));
    Ok(Answer { text: out, code })
}

fn field(args: &SolveArgs, asked: &Asked, quantity: Quantity) -> Result<(Told, String), CliError> {
    let room = args.gpu.roomiest()?.room;
    let solution = plan::solve(asked.subject(), &asked.job, &room, quantity, args.step)?;
    let solved = solution.answer.as_ref().map(|answer| quantity.set(&asked.job, answer.value));
    let line = solved.as_ref().and_then(serving::line);
    let json = output(asked, &solution, line.as_deref())?;
    let mut told = of_solution(&solution);
    told.line = line;
    Ok((told, json))
}

fn output<T: Serialize>(asked: &Asked, solution: &T, serve_line: Option<&str>) -> Result<String, CliError> {
    text::json(&Output {
        schema: SCHEMA,
        model: asked.model().name(),
        solution,
        notes: &asked.doubts.notes,
        serve_line,
    })
}

/// The known models whose name or type has `filter` in it.
fn family(filter: &str) -> Result<Vec<(Model, u64)>, CliError> {
    let wanted = filter.to_lowercase();
    let of_family =
        |card: &model::CardSummary| card.name.contains(&wanted) || card.model_type.as_str().contains(&wanted);
    let cards: Vec<_> = model::cards().into_iter().filter(of_family).collect();
    if cards.is_empty() {
        return Err(CliError::Usage(format!(
            "--family {filter}: no known model's name or type contains it; `vramplan models` lists them"
        )));
    }
    cards.into_iter().map(|card| Ok((model::resolve(&card.name)?, card.parameters))).collect()
}

fn of_solution(solution: &Solution) -> Told {
    let Solution { quantity, field, answer, next, bound, validated } = solution;
    let headline = match answer {
        Some(answer) => format!("Largest {quantity} that fits: {field} = {}", answer.value),
        None => format!("No {quantity} fits"),
    };
    let line = |Tried { value, verdict, device_bytes, headroom_bytes }: &Tried| Line {
        value: value.to_string(),
        verdict: *verdict,
        device: *device_bytes,
        headroom: *headroom_bytes,
    };
    let mut notes: Vec<String> = bound.iter().map(|bound| format!("Nothing larger was judged: {bound}.")).collect();
    if !validated {
        notes.push(NOT_VALIDATED.to_owned());
    }
    Told { headline, lines: answer.iter().chain(next).map(line).collect(), notes, line: None, solved: answer.is_some() }
}

const NOT_VALIDATED: &str = "NOT VALIDATED: no measurement of this kind of job stands behind all of these figures.";

fn of_ladder(ladder: &Ladder, what: &str) -> Told {
    let headline = match &ladder.answer {
        Some(answer) => format!("The {what} that fits: {}", answer.value),
        None => format!("No {} fits", ladder.quantity),
    };
    let line = |rung: &Rung| Line {
        value: rung.value.clone(),
        verdict: rung.verdict,
        device: rung.device_bytes,
        headroom: rung.headroom_bytes,
    };
    let tried = ladder.answer.iter().chain(&ladder.next);
    let mut notes = Vec::new();
    if tried.clone().any(|rung| !rung.validated) {
        notes.push(NOT_VALIDATED.to_owned());
    }
    if !ladder.skipped.is_empty() {
        notes.push(format!("Not estimated: {}.", ladder.skipped.join("; ")));
    }
    Told { headline, lines: tried.map(line).collect(), notes, line: None, solved: ladder.answer.is_some() }
}

fn report(told: &Told, width: u16) -> String {
    let mut out = format!("\n{}\n", bold(&told.headline));
    let mut rows = table(&["value", "verdict", "GiB on the card", "GiB left"], width);
    for Line { value, verdict, device, headroom } in &told.lines {
        let left = gib(Bytes(headroom.unsigned_abs()));
        let sign = if *headroom < 0 { "-" } else { "" };
        rows.add_row([value.clone(), describe::verdict(*verdict).to_owned(), gib(*device), format!("{sign}{left}")]);
    }
    out.push_str(&lines(&rows));
    if let Some(line) = &told.line {
        out.push_str(&format!("\n{}\n  {line}\n", bold("As a line")));
    }
    for note in &told.notes {
        out.push_str(&format!("\n{}\n", wrap(note, width, "  ")));
    }
    out
}
