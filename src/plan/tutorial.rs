//! The table of hardware that tutorials copy from each other, held against the run itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::{GpuError, find};
use crate::job::{Job, Lora, MixedPrecision, Peft, Precision, TargetModules, Train};
use crate::step::EstimateError;
use crate::step::Subject;
use crate::units::Bytes;

/// What the table says a method needs for a model of 7 billion parameters: method, GPU, how many.
const CLAIMS: [(&str, &str, u64); 6] = [
    ("full", "a100-80gb", 4),
    ("full", "a100-40gb", 8),
    ("LoRA", "a100-40gb", 1),
    ("LoRA", "rtx-4090", 2),
    ("QLoRA", "rtx-4090", 1),
    ("QLoRA", "rtx-3090", 1),
];

/// A line of the table, judged.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Claim {
    /// `full`, `LoRA` or `QLoRA`
    pub method: &'static str,
    /// The GPU's slug.
    pub gpu: String,
    /// How many of them the table asks for.
    pub gpu_count: u64,
    /// What is to be said of it.
    pub judgement: Judgement,
    /// What was run on one of them.
    pub runs: Vec<ClaimRun>,
}

/// What is to be said of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It runs on what is asked for, in every way that was tried.
    Right,
    /// It runs in some ways that people mean by the method, and not in others.
    Depends,
    /// It does not run.
    Wrong,
    /// One of them is enough, in every way that was tried.
    MoreThanNeeded,
    /// One is enough in some ways; whether several are in the others is not judged in this version.
    OneMayDo,
    /// One is not enough; whether several are is not judged in this version.
    SeveralNotJudged,
}

/// A way to train on one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClaimRun {
    /// What it is, in words.
    pub way: &'static str,
    /// How it fits.
    pub verdict: Verdict,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// What is left of it; negative: what is missing.
    pub headroom_bytes: i64,
}

/// Why the table cannot be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TutorialError {
    /// The model cannot be trained in one of these ways.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// The catalogue has lost a card.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// The table's lines for `model` at one sequence of `tokens`.
///
/// # Errors
/// The model cannot be estimated.
///
/// ```
/// use vramplan::{model, plan::{self, Judgement}};
///
/// let claims = plan::tutorial_table(&model::resolve("llama-2-7b")?, 2048)?;
/// assert_eq!((claims[0].method, claims[0].gpu_count), ("full", 4));
/// assert_eq!(claims[4].judgement, Judgement::Depends); // QLoRA on one RTX 4090: only checkpointed
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tutorial_table<'a>(subject: impl Into<Subject<'a>>, tokens: u64) -> Result<Vec<Claim>, TutorialError> {
    let subject = subject.into();
    let mut claims = Vec::new();
    for (method, name, gpu_count) in CLAIMS {
        let gpu = find(name)?;
        let runs = ways(method, tokens).into_iter().map(|(way, train)| {
            let fit = Question::of(subject, &Job::train(subject.model.name(), train))?.fit(&Room::on(gpu));
            let (verdict, device_bytes, headroom_bytes) = (fit.verdict, fit.device_bytes, fit.headroom_bytes);
            Ok(ClaimRun { way, verdict, device_bytes, headroom_bytes })
        });
        let runs: Vec<ClaimRun> = runs.collect::<Result<_, EstimateError>>()?;
        claims.push(Claim { method, gpu: gpu.slug.clone(), gpu_count, judgement: judge(&runs, gpu_count), runs });
    }
    Ok(claims)
}

fn judge(runs: &[ClaimRun], gpu_count: u64) -> Judgement {
    let fitting = runs.iter().filter(|run| run.verdict == Verdict::Fits).count();
    match (fitting, gpu_count) {
        (0, 1) => Judgement::Wrong,
        (0, _) => Judgement::SeveralNotJudged,
        (all, 1) if all == runs.len() => Judgement::Right,
        (all, _) if all == runs.len() => Judgement::MoreThanNeeded,
        (_, 1) => Judgement::Depends,
        (_, _) => Judgement::OneMayDo,
    }
}

/// What people mean by a method.
fn ways(method: &str, tokens: u64) -> Vec<(&'static str, Train)> {
    let train = Train { max_seq_length: tokens, ..Train::default() };
    let lora = Lora { r: 16, target_modules: Some(TargetModules::AllLinear), ..Lora::default() };
    let adapted = Train { peft: Some(Peft::Lora(lora)), ..train.clone() };
    let packed = Train { precision: Precision::Nf4, double_quant: true, ..adapted.clone() };
    let saved = |train: &Train| Train { gradient_checkpointing: true, ..train.clone() };
    match method {
        "full" => {
            let mixed = Train { precision: Precision::Fp32, mixed_precision: MixedPrecision::Bf16, ..train.clone() };
            vec![("bf16 throughout", train.clone()), ("fp32 weights under bf16 autocast, checkpointed", saved(&mixed))]
        }
        "LoRA" => vec![("bf16 weights, r = 16", adapted.clone()), ("the same, checkpointed", saved(&adapted))],
        _ => vec![("NF4 weights, r = 16", packed.clone()), ("the same, checkpointed", saved(&packed))],
    }
}
