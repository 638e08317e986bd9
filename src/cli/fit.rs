//! `vramplan fit`: whether a job fits a card.

mod report;

use serde::Serialize;

use super::args::{FitArgs, GpuArgs};
use super::asked::Asked;
use super::error::CliError;
use super::{Answer, describe, exit, text};
use crate::plan::{self, Judged, Question, Room, Suggestion, Verdict};
use crate::step::Recording;
use crate::units::Bytes;

/// `vramplan.fit/1`
const SCHEMA: &str = "vramplan.fit/1";

#[derive(Serialize)]
struct Output<'a> {
    schema: &'static str,
    #[serde(flatten)]
    judged: &'a Judged,
    suggestions: &'a [Suggestion],
}

/// What is printed where there is no telling: the same keys as far as they are known.
#[derive(Serialize)]
struct Unknown<'a> {
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
    let room = room(&args.gpu)?;
    let asked = Asked::of(&args.job)?;
    let mut recording = Recording::of(&asked.model, &asked.job)?;
    asked.add_to(recording.basis_mut());
    let question = Question::about(&asked.model, recording)?;
    let judged = Judged::new(&question, &room);
    let fits = judged.fit.verdict == Verdict::Fits;
    let suggestions =
        if fits || args.no_suggestions { Vec::new() } else { plan::suggest(&asked.model, &question, &room) };
    let code = match judged.fit.verdict {
        Verdict::Fits => 0,
        Verdict::Tight if args.allow_tight => 0,
        _ => exit::DOES_NOT_FIT,
    };
    if args.json {
        let output = Output { schema: SCHEMA, judged: &judged, suggestions: &suggestions };
        return Ok(Answer { text: text::json(&output)?, code });
    }
    let width = text::width();
    let mut out = describe::heading(&asked.model, &asked.job, args.job.is_default(), judged.model.parameters, width);
    out.push_str(&report::judged(&judged, width));
    if !fits && !args.no_suggestions {
        out.push_str(&report::suggestions(&suggestions, width));
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

/// The card that is asked about.
fn room(gpu: &GpuArgs) -> Result<Room, CliError> {
    let memory = gpu.memory.ok_or_else(|| CliError::usage("which GPU? give --memory, such as --memory 24GiB"))?;
    let room = Room::of(memory);
    Ok(match gpu.context {
        Some(context) => room.with_context(context),
        None => room,
    })
}
