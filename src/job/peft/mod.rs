//! Parameter-efficient methods, in PEFT's words.

mod adalora;
mod bottleneck;
mod ia3;
mod loha;
mod lokr;
mod lora;
mod oft;
mod one_or_many;
mod pattern;
mod prefix_tuning;
mod prompt_tuning;
mod table;
mod target_modules;
mod vera;

pub use adalora::AdaLora;
pub use bottleneck::Bottleneck;
pub use ia3::Ia3;
pub use loha::LoHa;
pub use lokr::LoKr;
pub use lora::Lora;
pub use oft::Oft;
use one_or_many::one_or_many;
pub(crate) use pattern::{end_match, full_match, layer_number};
pub use prefix_tuning::PrefixTuning;
pub use prompt_tuning::PromptTuning;
use serde::Serialize;
pub use target_modules::TargetModules;
pub use vera::Vera;

use super::JobError;

/// A parameter-efficient method: the base model is frozen and something small is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Peft {
    /// Low-rank adapters beside linear layers.
    Lora(Lora),
    /// Low-rank adapters whose singular values are pruned.
    #[serde(rename = "adalora")]
    AdaLora(AdaLora),
    /// The Hadamard product of two low-rank products.
    #[serde(rename = "loha")]
    LoHa(LoHa),
    /// The Kronecker product of two small matrices.
    #[serde(rename = "lokr")]
    LoKr(LoKr),
    /// Rotations of linear layers' inputs.
    Oft(Oft),
    /// Two trained vectors around projections that all layers share.
    Vera(Vera),
    /// Trained scales on keys, values and the MLP's inner activations.
    Ia3(Ia3),
    /// Trained keys and values in front of every layer's.
    PrefixTuning(PrefixTuning),
    /// Trained embeddings in front of the input.
    PromptTuning(PromptTuning),
    /// Small networks after attention and feed-forward blocks.
    Adapter(Bottleneck),
}

impl Peft {
    /// Every `type`, in the order people are shown them.
    pub const TYPES: &'static [&'static str] =
        &["lora", "adalora", "loha", "lokr", "oft", "vera", "ia3", "prefix_tuning", "prompt_tuning", "adapter"];

    /// The method of this `type` with its defaults; `None`: there is none.
    pub fn of_type(name: &str) -> Option<Self> {
        Some(match name {
            "lora" => Self::Lora(Lora::default()),
            "adalora" => Self::AdaLora(AdaLora::default()),
            "loha" => Self::LoHa(LoHa::default()),
            "lokr" => Self::LoKr(LoKr::default()),
            "oft" => Self::Oft(Oft::default()),
            "vera" => Self::Vera(Vera::default()),
            "ia3" => Self::Ia3(Ia3::default()),
            "prefix_tuning" => Self::PrefixTuning(PrefixTuning::default()),
            "prompt_tuning" => Self::PromptTuning(PromptTuning::default()),
            "adapter" => Self::Adapter(Bottleneck::default()),
            _ => return None,
        })
    }

    /// Its `type` in a job file.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::AdaLora(_) => "adalora",
            Self::LoHa(_) => "loha",
            Self::LoKr(_) => "lokr",
            Self::Oft(_) => "oft",
            Self::Vera(_) => "vera",
            Self::Ia3(_) => "ia3",
            Self::PrefixTuning(_) => "prefix_tuning",
            Self::PromptTuning(_) => "prompt_tuning",
            Self::Adapter(_) => "adapter",
        }
    }

    /// The rank of its adapters, where more of it is more to train.
    pub fn rank_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Lora(Lora { r, .. })
            | Self::LoHa(LoHa { r, .. })
            | Self::LoKr(LoKr { r, .. })
            | Self::Vera(Vera { r, .. })
            | Self::AdaLora(AdaLora { init_r: r, .. }) => Some(r),
            _ => None,
        }
    }

    /// Which modules it adapts, where it adapts modules by name.
    pub const fn target_modules(&self) -> Option<&TargetModules> {
        match self {
            Self::Lora(Lora { target_modules, .. })
            | Self::AdaLora(AdaLora { target_modules, .. })
            | Self::LoHa(LoHa { target_modules, .. })
            | Self::LoKr(LoKr { target_modules, .. })
            | Self::Oft(Oft { target_modules, .. })
            | Self::Vera(Vera { target_modules, .. })
            | Self::Ia3(Ia3 { target_modules, .. }) => target_modules.as_ref(),
            Self::PrefixTuning(_) | Self::PromptTuning(_) | Self::Adapter(_) => None,
        }
    }

    /// Modules trained whole beside it.
    pub fn modules_to_save(&self) -> &[String] {
        match self {
            Self::Lora(Lora { modules_to_save, .. })
            | Self::AdaLora(AdaLora { modules_to_save, .. })
            | Self::LoHa(LoHa { modules_to_save, .. })
            | Self::LoKr(LoKr { modules_to_save, .. })
            | Self::Oft(Oft { modules_to_save, .. })
            | Self::Vera(Vera { modules_to_save, .. })
            | Self::Ia3(Ia3 { modules_to_save, .. }) => modules_to_save,
            Self::PrefixTuning(_) | Self::PromptTuning(_) | Self::Adapter(_) => &[],
        }
    }

    /// Whether what it trains is held in fp32 whatever the model is held in; virtual tokens always are.
    pub const fn trains_in_fp32(&self) -> bool {
        match self {
            Self::Lora(Lora { autocast_adapter_dtype, .. })
            | Self::AdaLora(AdaLora { autocast_adapter_dtype, .. })
            | Self::LoHa(LoHa { autocast_adapter_dtype, .. })
            | Self::LoKr(LoKr { autocast_adapter_dtype, .. })
            | Self::Oft(Oft { autocast_adapter_dtype, .. })
            | Self::Vera(Vera { autocast_adapter_dtype, .. })
            | Self::Ia3(Ia3 { autocast_adapter_dtype, .. }) => *autocast_adapter_dtype,
            Self::PrefixTuning(_) | Self::PromptTuning(_) => true,
            Self::Adapter(_) => false,
        }
    }

    pub(super) fn validate(&self) -> Result<(), JobError> {
        match self {
            Self::Lora(method) => method.validate(),
            Self::AdaLora(method) => method.validate(),
            Self::LoHa(method) => method.validate(),
            Self::LoKr(method) => method.validate(),
            Self::Oft(method) => method.validate(),
            Self::Vera(method) => method.validate(),
            Self::Ia3(method) => method.validate(),
            Self::PrefixTuning(method) => method.validate(),
            Self::PromptTuning(method) => method.validate(),
            Self::Adapter(method) => method.validate(),
        }
    }
}
