//! Inference jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AttnImplementation, ExpertsImplementation, FloatType, KvCacheDtype, Precision, Runtime};

/// An inference job: one prefill of the prompt, then decoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Infer {
    /// How the model's weights are stored.
    pub precision: Precision,
    /// 4-bit weights: quantise their scales too (`bnb_4bit_use_double_quant`).
    pub double_quant: bool,
    /// What quantised weights compute in, and the type of what is not quantised.
    pub compute_dtype: FloatType,
    /// Sequences run together.
    pub batch_size: u64,
    /// Tokens of each prompt.
    pub prompt_length: u64,
    /// Tokens generated after the prompt.
    pub max_new_tokens: u64,
    /// Positions whose logits prefill computes: 1 as `generate()` does; 0: all of them.
    pub logits_to_keep: u64,
    /// How keys and values are stored.
    pub kv_cache_dtype: KvCacheDtype,
    /// The attention implementation.
    pub attn_implementation: AttnImplementation,
    /// How experts are run while decoding: `generate()` switches to `batched_mm`. Prefill takes `grouped_mm`.
    pub decode_experts: ExpertsImplementation,
    /// What serves the model.
    pub runtime: Runtime,
}

impl Default for Infer {
    fn default() -> Self {
        Self {
            precision: Precision::Bf16,
            double_quant: false,
            compute_dtype: FloatType::Bf16,
            batch_size: 1,
            prompt_length: 2048,
            max_new_tokens: 8,
            logits_to_keep: 1,
            kv_cache_dtype: KvCacheDtype::Auto,
            attn_implementation: AttnImplementation::Sdpa,
            decode_experts: ExpertsImplementation::BatchedMm,
            runtime: Runtime::Transformers,
        }
    }
}

impl Infer {
    /// The type weights outside quantised layers are held and computed in.
    pub fn float_type(&self) -> FloatType {
        self.precision.float().unwrap_or(self.compute_dtype)
    }
}
