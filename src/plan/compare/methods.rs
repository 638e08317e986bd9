//! Ways of fine-tuning a model.

use super::{Comparison, choice};
use crate::job::{Bottleneck, Ia3, Lora, Peft, Precision, PrefixTuning, PromptTuning, Train, Workload};
use crate::step::Subject;
use crate::step::{self, EstimateError};

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
    let methods =
        ways.into_iter().map(|(name, when, train)| choice(subject, name, when, Workload::Train(train))).collect();
    Ok(Comparison { schema: "vramplan.compare/1", model: model.name().to_owned(), parameters, methods })
}
