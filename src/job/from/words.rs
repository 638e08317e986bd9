//! Words that several formats share: types, optimizers, attention, modules.

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Got, default};
use super::report::Effect;
use crate::job::{AttnImplementation, FloatType, Lora, Optim, TargetModules};

/// `TrainingArguments(optim=...)` names of transformers 5.17 (`training_args.py`, `OptimizerNames`) and axolotl's own
/// (`utils/schemas/enums.py`), for those that are not modelled.
const OTHER_OPTIMIZERS: &[&str] = &[
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adamw_anyprecision",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "ademamix",
    "adagrad",
    "ademamix_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "lomo",
    "adalomo",
    "grokadamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "stable_adamw",
    "optimi_adamw",
    "ao_adamw_4bit",
    "ao_adamw_8bit",
    "ao_adamw_fp8",
    "adopt_adamw",
    "came_pytorch",
    "muon",
    "dion",
    "sinkgd",
    "flash_adamw",
    "flash_adam",
    "flash_sgd",
    "flash_sgdw",
    "flash_lion",
    "q_galore_adamw8bit",
];

/// The optimizer of a name in `TrainingArguments`.
pub(super) fn optim(draft: &mut Draft, got: &Got<String>) -> Result<(), FromError> {
    let name = got.value.strip_prefix("OptimizerNames.").unwrap_or(&got.value).to_ascii_lowercase();
    let Ok(optim) = name.parse::<Optim>() else {
        let known = Optim::NAMES.iter().chain(Optim::ALIASES.iter().copied().flatten()).copied();
        let nearest = super::nearest(&name, known, 0.0).unwrap_or_default();
        let what = if OTHER_OPTIMIZERS.contains(&name.as_str()) {
            "this optimizer is not modelled yet; the nearest that is:"
        } else {
            "no optimizer has this name; did you mean"
        };
        return Err(got.error(format!("{what} {nearest}")));
    };
    let source = got.to(format!("optim = {optim}"));
    draft.optim.set(Rank::Written, optim, source, &mut draft.report.ignored);
    Ok(())
}

/// The optimizer where nothing is written.
pub(super) fn default_optim(draft: &mut Draft, field: &str, of: &'static str) {
    let optim = Optim::AdamwTorchFused;
    let source = default(field, optim, format!("optim = {optim}"), of);
    draft.optim.set(Rank::Default, optim, source, &mut draft.report.ignored);
}

/// An attention implementation by transformers' name; the flash-attn package is computed as sdpa's kernels, which are
/// modelled for every model.
pub(super) fn attention(draft: &mut Draft, got: &Got<String>) -> Result<(), FromError> {
    let name = got.value.to_ascii_lowercase();
    let exact = match name.as_str() {
        "sdpa" => Some(AttnImplementation::Sdpa),
        "eager" => Some(AttnImplementation::Eager),
        _ => None,
    };
    if exact.is_none() {
        let flash = name.starts_with("flash_attention") || name.contains("flash-attn");
        let other = name.contains('/') || matches!(name.as_str(), "flex_attention" | "xformers" | "sage" | "fp8");
        if !(flash || other) {
            return Err(got.error("give sdpa, eager or flash_attention_2"));
        }
        got.not_modelled(draft, Effect::Either, "computed as sdpa, whose flash kernel keeps the same tensors");
    }
    let implementation = exact.unwrap_or_default();
    let source = got.to(format!("attn_implementation = {implementation}"));
    draft.attention.set(Rank::Written, implementation, source, &mut draft.report.ignored);
    let masks = exact.is_some();
    let source = got.to(format!("attention_mask = {masks}"));
    draft.mask.set(Rank::Written, masks, source, &mut draft.report.ignored);
    Ok(())
}

/// A padding mask, where the attention implementation does not say otherwise.
pub(super) fn default_mask(draft: &mut Draft, of: &'static str) {
    let source = default("attention_mask", "the collator's", "attention_mask = true", of);
    draft.mask.set(Rank::Default, true, source, &mut draft.report.ignored);
}

/// A type by PyTorch's name.
pub(super) fn float(got: &Got<String>) -> Result<FloatType, FromError> {
    let name = got.value.strip_prefix("torch.").unwrap_or(&got.value);
    match name {
        "half" => Ok(FloatType::Fp16),
        "float" => Ok(FloatType::Fp32),
        _ => name.parse().map_err(|_| got.error("give bfloat16, float16 or float32")),
    }
}

/// The modules that get adapters; PEFT takes a lone word for a pattern, as which a plain name would match nothing.
pub(super) fn targets(got: &Got<Vec<String>>, all: &str) -> Result<TargetModules, FromError> {
    match got.value.as_slice() {
        [word] if word == all || word == "all-linear" => Ok(TargetModules::AllLinear),
        // LLaMA-Factory's are always a list
        [word] if all == "all-linear" && !is_name(word) => Ok(TargetModules::Pattern(word.clone())),
        words => match words.iter().find(|word| !is_name(word)) {
            Some(word) => Err(got.error(format!("{word}: not a name; list the modules' names, or give one pattern"))),
            None => Ok(TargetModules::Names(words.to_vec())),
        },
    }
}

/// The adapters' scale.
pub(super) fn alpha(fields: &mut Fields, draft: &mut Draft, lora: &mut Lora) -> Result<(), FromError> {
    if let Some(got) = fields.number("lora_alpha")? {
        lora.lora_alpha = got.value;
        draft.lora_sources.push(got.to(format!("lora_alpha = {}", got.value)));
    }
    Ok(())
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// YAML 1.1's words for truth, which PyYAML reads.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
