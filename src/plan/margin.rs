//! How far estimates of a kind of job have been off.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{Job, Workload};
use crate::model::Model;
use crate::serve::Serving;
use crate::step::{Estimate, Peak};
use crate::truth::{Measured, Row};
use crate::units::Bytes;

/// Worst errors of reserved memory by kind of job, over the recorded cases of `tests/truth`; the example `margins` prints
/// it and a test holds it against them.
const MEASURED: &str = include_str!("../../data/margins.json");

/// A kind with fewer cases takes the worst errors of all kinds.
const FEW: u64 = 8;

/// What a segment for requests below 10 MiB takes: reserved memory changes by no less.
const SEGMENT: Bytes = Bytes::from_mib(20);

/// Of the kinds that were estimated before they were measured, two were under by 28 % (DeBERTa) and 14 % (Whisper), both
/// mended or marked since, and the others by 3 % at most.
const UNMEASURED_PPM: u64 = 150_000;

/// Of an engine where no log is of the kind.
const UNLOGGED: Bytes = Bytes::from_gib(1);

/// What decides how well a job is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    method: &'static str,
    weights: &'static str,
    model: &'static str,
}

impl Kind {
    /// The kind of `job` on `model`.
    pub fn of(model: &Model, job: &Job) -> Self {
        let (method, precision) = match &job.workload {
            Workload::Infer(infer) => ("inference", infer.precision),
            Workload::Serve(serve) => ("serving", serve.precision),
            Workload::Train(train) if train.peft.is_some() => ("adapters", train.precision),
            Workload::Train(train) => ("full fine-tuning", train.precision),
        };
        let model = match model {
            Model::Decoder(decoder) if decoder.mixer.is_some() => "hybrid",
            Model::Decoder(decoder) if decoder.moe.is_some() => "mixture of experts",
            Model::Decoder(_) => "decoder",
            Model::Encoder(_) => "encoder",
            Model::EncoderDecoder(_) => "encoder-decoder",
            Model::Vision(_) => "vision",
            Model::Listed(_) => "counted",
        };
        Self { method, weights: if precision.is_quantized() { "quantised" } else { "plain" }, model }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} weights, {}", self.method, self.weights, self.model)
    }
}

/// The errors of a kind's recorded cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KindErrors {
    /// The kind, in words.
    pub kind: String,
    /// Cases.
    pub cases: u64,
    /// The worst under-estimate of reserved or allocated memory, in millionths of it.
    pub under_ppm: u64,
    /// The over-estimate that 95 % of the cases do not exceed: to call too little memory tight costs more than it saves.
    pub over_ppm: u64,
}

impl KindErrors {
    /// Of a kind's measured cases with their estimated peaks.
    fn of(kind: Kind, cases: &[(Measured, Peak)]) -> Self {
        let (mut under, mut over) = (0, Vec::new());
        for (measured, peak) in cases {
            let mut most = 0;
            for (measured, estimated) in
                [(measured.peak_reserved, peak.reserved_bytes.0), (measured.peak_allocated, peak.allocated_bytes.0)]
            {
                let ppm = measured.abs_diff(estimated).saturating_mul(1_000_000).div_ceil(measured.max(1));
                let worst = if estimated < measured { &mut under } else { &mut most };
                *worst = ppm.max(*worst);
            }
            over.push(most);
        }
        over.sort_unstable();
        let rank = (over.len() * 95).div_ceil(100).max(1);
        let over_ppm = over.get(rank - 1).copied().unwrap_or(0);
        Self { kind: kind.to_string(), cases: cases.len().try_into().unwrap_or(u64::MAX), under_ppm: under, over_ppm }
    }
}

/// How far estimates of a kind of job have been off, and what that comes to for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Margin {
    /// What the cases are of.
    pub kind: String,
    /// Recorded cases it is taken from; 0: none is of this kind, and the margin is wide.
    pub cases: u64,
    /// How much more than estimated it may take.
    pub under_bytes: Bytes,
    /// How much less.
    pub over_bytes: Bytes,
}

impl Margin {
    /// The margin of `estimate`, which is of `job` on `model`.
    pub fn of(model: &Model, job: &Job, estimate: &Estimate) -> Self {
        let kind = Kind::of(model, job).to_string();
        let reserved = estimate.peak.reserved_bytes;
        let part = |ppm| part(reserved, ppm);
        if !estimate.basis.validated {
            let unknown = Self { kind, cases: 0, under_bytes: Bytes::ZERO, over_bytes: Bytes::ZERO };
            return unknown.unmeasured(reserved);
        }
        let known = measured().iter().find(|errors| errors.kind == kind).filter(|errors| errors.cases >= FEW);
        let (kind, cases, under, over) = match known {
            Some(errors) => (kind, errors.cases, errors.under_ppm, errors.over_ppm),
            None => (
                format!("all kinds, for few are measured of {kind}"),
                measured().iter().map(|errors| errors.cases).sum(),
                measured().iter().map(|errors| errors.under_ppm).max().unwrap_or(UNMEASURED_PPM),
                measured().iter().map(|errors| errors.over_ppm).max().unwrap_or(UNMEASURED_PPM),
            ),
        };
        Self { kind, cases, under_bytes: part(under), over_bytes: part(over) }
    }

    /// The margin of what an engine holds.
    pub(super) fn of_engine(serving: &Serving, validated: bool) -> Self {
        let bytes = if validated { serving.margin_bytes } else { serving.margin_bytes.max(UNLOGGED) };
        Self {
            kind: format!("serving, {} {}", serving.runtime, serving.versions),
            cases: if validated { serving.logs } else { 0 },
            under_bytes: bytes,
            over_bytes: bytes,
        }
    }

    /// The same where no measurement stands behind the estimate.
    #[must_use]
    pub(super) fn unmeasured(&self, reserved: Bytes) -> Self {
        let bytes = part(reserved, UNMEASURED_PPM);
        Self { kind: self.kind.clone(), cases: 0, under_bytes: bytes, over_bytes: bytes }
    }
}

/// The errors of every kind over recorded cases; those that are not validated are left out.
pub fn errors_of(rows: impl IntoIterator<Item = Row>) -> Vec<KindErrors> {
    let mut kinds: BTreeMap<Kind, Vec<(Measured, Peak)>> = BTreeMap::new();
    for row in rows {
        let (Ok(estimate), Ok(model), Ok(job)) = (row.estimate(), row.case.model(), row.case.job()) else { continue };
        if estimate.basis.validated {
            kinds.entry(Kind::of(&model, &job)).or_default().push((row.measured, estimate.peak));
        }
    }
    kinds.into_iter().map(|(kind, cases)| KindErrors::of(kind, &cases)).collect()
}

/// So many millionths of `reserved`, and a segment at least.
fn part(reserved: Bytes, ppm: u64) -> Bytes {
    Bytes((reserved.0 / 1_000_000).saturating_mul(ppm)).max(SEGMENT)
}

/// Worst errors of every kind that has recorded cases.
pub fn measured() -> &'static [KindErrors] {
    static ERRORS: OnceLock<Vec<KindErrors>> = OnceLock::new();
    ERRORS.get_or_init(|| serde_json::from_str(MEASURED).expect("a test reads the same text"))
}
