//! Ways of fine-tuning one model, side by side.

use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::{Card, common_cards};
use crate::job::{Bottleneck, Ia3, Job, Lora, Peft, Precision, PrefixTuning, PromptTuning, Train};
use crate::step::Subject;
use crate::step::{self, Estimate, EstimateError};
use crate::units::Bytes;

/// A model's ways of being fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Comparison {
    /// `vramplan.compare/1`
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// Its parameters.
    pub parameters: u64,
    /// Every way, estimated or not.
    pub methods: Vec<Choice>,
}

/// One way of fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Choice {
    /// What it is called.
    pub name: &'static str,
    /// When to use it.
    pub when: &'static str,
    /// What it takes, where that can be estimated.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Fitting>,
    /// Why it cannot be estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a way of fine-tuning takes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Fitting {
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// All of them, those that are added included.
    pub parameters: u64,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// Live tensors at the peak.
    pub allocated_bytes: Bytes,
    /// The largest part of the allocated peak.
    pub dominated_by: &'static str,
    /// Its bytes.
    pub dominated_by_bytes: Bytes,
    /// The common card with the least memory that it fits, as `fit` judges; `None`: it fits none of them.
    pub smallest_gpu: Option<Card>,
    /// Whether measurements stand behind the estimate.
    pub validated: bool,
}

/// When to use which; careful: how well a method learns depends on the task.
const FULL: &str = "most to learn and the memory for it; every parameter changes";
const LORA: &str = "the usual first choice; adapters can be merged into the weights";
const QLORA: &str = "LoRA where the weights themselves are too large; slower steps";
const PREFIX: &str = "the model must stay as it is; takes cache and context at inference";
const PROMPT: &str = "fewest parameters, many tasks on one served model; large models";
const IA3: &str = "few examples, tiny checkpoints; scales can be merged";
const ADAPTER: &str = "tasks kept apart or combined; layers stay in the model at inference";

/// Lays full fine-tuning, LoRA, QLoRA, prefix tuning, prompt tuning, IA³ and bottleneck adapters on `model` side by side:
/// `train` with each method in turn, where it has that method's settings with those.
///
/// # Errors
/// The model's parameters cannot be counted. A method that cannot be estimated says why in its row.
///
/// ```
/// use vramplan::{job::Train, model, plan};
///
/// let train = Train { max_seq_length: 512, ..Train::default() };
/// let comparison = plan::compare(&model::resolve("llama-2-7b")?, &train)?;
/// let trainable = |i: usize| comparison.methods[i].takes.as_ref().map(|takes| takes.trainable_parameters);
/// assert_eq!([trainable(0), trainable(1)], [Some(6_738_415_616), Some(4_194_304)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare<'a>(subject: impl Into<Subject<'a>>, train: &Train) -> Result<Comparison, EstimateError> {
    let subject = subject.into();
    let model = subject.model;
    let parameters = step::count_parameters(model, None)?.total;
    let asked = |default: Peft| match &train.peft {
        Some(peft) if peft.type_name() == default.type_name() => peft.clone(),
        _ => default,
    };
    let with = |peft: Option<Peft>| Train { peft, ..train.clone() };
    let lora = asked(Peft::Lora(Lora::default()));
    let quantized = Train { precision: Precision::Nf4, double_quant: true, ..with(Some(lora.clone())) };
    let ways = [
        ("full", FULL, with(None)),
        ("LoRA", LORA, with(Some(lora))),
        ("QLoRA", QLORA, quantized),
        ("prefix", PREFIX, with(Some(asked(Peft::PrefixTuning(PrefixTuning::default()))))),
        ("prompt", PROMPT, with(Some(asked(Peft::PromptTuning(PromptTuning::default()))))),
        ("IA3", IA3, with(Some(asked(Peft::Ia3(Ia3::default()))))),
        ("adapter", ADAPTER, with(Some(asked(Peft::Adapter(Bottleneck::default()))))),
    ];
    let methods = ways.into_iter().map(|(name, when, train)| choice(subject, name, when, train)).collect();
    Ok(Comparison { schema: "vramplan.compare/1", model: model.name().to_owned(), parameters, methods })
}

fn choice(subject: Subject<'_>, name: &'static str, when: &'static str, train: Train) -> Choice {
    match Question::of(subject, &Job::train(subject.model.name(), train)) {
        Ok(question) => Choice { name, when, takes: Some(Fitting::of(&question)), error: None },
        Err(error) => Choice { name, when, takes: None, error: Some(error.to_string()) },
    }
}

impl Fitting {
    fn of(question: &Question) -> Self {
        let estimate: &Estimate = question.estimate();
        let fits = |(card, gpu): (Card, _)| (question.fit(&Room::on(gpu)).verdict == Verdict::Fits).then_some(card);
        let parts = estimate.at_peak.named();
        let largest = parts.into_iter().max_by_key(|(_, bytes)| *bytes);
        let (dominated_by, dominated_by_bytes) = largest.unwrap_or(("weights", Bytes::ZERO));
        Self {
            trainable_parameters: estimate.model.trainable_parameters,
            parameters: estimate.model.parameters,
            device_bytes: estimate.peak.device_bytes,
            allocated_bytes: estimate.peak.allocated_bytes,
            dominated_by,
            dominated_by_bytes,
            smallest_gpu: common_cards().find_map(fits),
            validated: estimate.basis.validated,
        }
    }
}
