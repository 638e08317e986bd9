//! OFT.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{probability, within};
use super::TargetModules;

/// More terms than anyone sums.
const MAX_TERMS: u64 = 64;

/// OFT's settings; names and defaults are those of PEFT's `OFTConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oft {
    /// Number of blocks; 0 where `oft_block_size` is given.
    pub r: u64,
    /// Width of a block; 0 where `r` is given.
    pub oft_block_size: u64,
    /// Share of blocks that do nothing, in [0, 1).
    pub module_dropout: f64,
    /// The constrained variant.
    pub coft: bool,
    /// One block for all.
    pub block_share: bool,
    /// The inverse of the Cayley transform as a sum.
    pub use_cayley_neumann: bool,
    /// Terms of that sum.
    pub num_cayley_neumann_terms: u64,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Oft {
    fn default() -> Self {
        Self {
            r: 0,
            oft_block_size: 32,
            module_dropout: 0.0,
            coft: false,
            block_share: false,
            use_cayley_neumann: true,
            num_cayley_neumann_terms: 5,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl Oft {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        if (self.r == 0) == (self.oft_block_size == 0) {
            let fix = format!(
                "its product with oft_block_size = {} is the layer's width; give one of them and set the other to 0",
                self.oft_block_size
            );
            return Err(JobError::invalid("train.peft.r", self.r, fix));
        }
        within("train.peft.num_cayley_neumann_terms", self.num_cayley_neumann_terms, MAX_TERMS)?;
        probability("train.peft.module_dropout", self.module_dropout)?;
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }

    /// The constrained variant projects in every step, and solves instead of sums: neither is modelled.
    pub(in crate::job) fn check_supported(&self) -> Result<(), JobError> {
        for (field, on, usual) in
            [("train.peft.coft", self.coft, false), ("train.peft.use_cayley_neumann", self.use_cayley_neumann, true)]
        {
            if on != usual {
                return Err(JobError::unsupported(field, on, format!("use {usual}")));
            }
        }
        Ok(())
    }
}
