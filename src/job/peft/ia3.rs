//! IA³.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::TargetModules;

/// IA³'s settings; names are those of PEFT's `IA3Config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ia3 {
    /// Which of the target modules have their input scaled rather than their output; `None`: PEFT's default for the model's
    /// type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedforward_modules: Option<Vec<String>>,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Ia3 {
    fn default() -> Self {
        Self {
            feedforward_modules: None,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl Ia3 {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        if let Some(names) = self.feedforward_modules.as_ref().filter(|names| names.iter().any(String::is_empty)) {
            let fix = "name modules, such as \"down_proj\", or leave it out for the model type's default";
            return Err(JobError::invalid("train.peft.feedforward_modules", format!("{names:?}"), fix));
        }
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }
}
