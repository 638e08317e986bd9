//! What PEFT makes of `target_modules` that name experts, which transformers 5 stacks in parameters
//! (`_convert_peft_config_moe`, `peft/utils/transformers_weight_conversion.py`, peft 0.21).

use crate::job::Peft;
use crate::model::{Model, ModelType as T};

/// Names of transformers 4 that it maps to parameters: of Mixtral's pattern, and of Qwen2-MoE's.
const OF_MIXTRAL: &[&str] = &["gate", "w1", "w3", "w2"];
const OF_QWEN2_MOE: &[&str] = &["gate", "gate_proj", "up_proj", "down_proj"];

/// The names that a LoRA of `model` cannot have for modules, as experts get adapters for them; empty: those of others stay
/// names (`_MODEL_TO_CONVERSION_PATTERN` of transformers 5.17).
pub(super) fn mapped(model: &Model, peft: &Peft) -> &'static [&'static str] {
    if !matches!(peft, Peft::Lora(_)) {
        return &[];
    }
    match model.model_type() {
        T::Mixtral | T::MinimaxM2 => OF_MIXTRAL,
        T::Afmoe
        | T::DeepseekV2
        | T::DeepseekV3
        | T::Dots1
        | T::Ernie45Moe
        | T::FlexOlmo
        | T::Glm4Moe
        | T::Glm4MoeLite
        | T::Glm4vMoe
        | T::HunyuanV1Moe
        | T::Olmoe
        | T::Qwen2Moe
        | T::Qwen3Moe
        | T::Qwen3Next
        | T::SolarOpen => OF_QWEN2_MOE,
        _ => &[],
    }
}

/// Full names that transformers 4 had in the layers of `paths`: those of an expert's matrices and of its router.
pub(super) fn former(paths: &[String], mapped: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last = "";
    for path in paths {
        let Some(at) = path.find(".self_attn.") else { continue };
        let layer = &path[..at];
        if layer != last {
            all.extend(mapped.iter().map(|name| match *name {
                "gate" => format!("{layer}.mlp.gate"),
                name => format!("{layer}.mlp.experts.{name}"),
            }));
            last = layer;
        }
    }
    all
}
