//! LoRA.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, positive, probability, within};
use super::pattern::{end_match, layer_number};
use super::{TargetModules, one_or_many};

/// LoRA's settings; names and defaults are those of PEFT's `LoraConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rank of the adapters.
    pub r: u64,
    /// Scale of the adapters (no effect on memory).
    pub lora_alpha: f64,
    /// Dropout before the adapters, in [0, 1).
    pub lora_dropout: f64,
    /// Weight-decomposed adapters (DoRA).
    pub use_dora: bool,
    /// Rank-stabilised scale (no effect on memory).
    pub use_rslora: bool,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules of `target_modules` that get none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<TargetModules>,
    /// Layers whose modules get adapters, from 0; empty: all.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub layers_to_transform: Vec<u64>,
    /// What the list of layers is called in module names, such as `layers`, for `layers_to_transform`.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub layers_pattern: Vec<String>,
    /// Ranks of modules whose name ends in a key, a regular expression; where several match, the largest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, u64>,
    /// Scales of modules whose name ends in a key (no effect on memory).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_dora: false,
            use_rslora: false,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl Lora {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.r", self.r, MAX_RANK)?;
        probability("train.peft.lora_dropout", self.lora_dropout)?;
        positive("train.peft.lora_alpha", self.lora_alpha)?;
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)?;
        if let Some(excluded) = &self.exclude_modules {
            const FIELD: &str = "train.peft.exclude_modules";
            let fix = "name modules, such as \"lm_head\", or leave it out";
            if *excluded == TargetModules::AllLinear {
                return Err(JobError::invalid(FIELD, "\"all-linear\"", fix));
            }
            excluded.validate_as(FIELD, fix)?;
        }
        self.validate_layers()?;
        for (pattern, rank) in &self.rank_pattern {
            end_match("train.peft.rank_pattern", pattern)?;
            within("train.peft.rank_pattern", *rank, MAX_RANK)?;
        }
        Ok(())
    }

    /// As `LoraConfig.__post_init__` does.
    fn validate_layers(&self) -> Result<(), JobError> {
        const LAYERS: &str = "train.peft.layers_to_transform";
        const PATTERN: &str = "train.peft.layers_pattern";
        let fix = "target_modules is one string, which has to name the layers itself; remove it, or list names";
        let listed = !matches!(self.target_modules, Some(TargetModules::AllLinear | TargetModules::Pattern(_)));
        if !listed && !self.layers_to_transform.is_empty() {
            return Err(JobError::invalid(LAYERS, format!("{:?}", self.layers_to_transform), fix));
        }
        if !self.layers_pattern.is_empty() && self.layers_to_transform.is_empty() {
            let fix = "it says nothing without layers_to_transform; give that, or remove it";
            return Err(JobError::invalid(PATTERN, format!("{:?}", self.layers_pattern), fix));
        }
        self.layers_pattern.iter().try_for_each(|pattern| layer_number(PATTERN, pattern).map(drop))
    }
}
