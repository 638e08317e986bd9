//! Serving jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FloatType, JobError, KvCacheDtype, Precision, Runtime};

/// A serving job: an engine that holds a model's weights and the caches of sequences. Fields are called as vLLM calls them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// The engine.
    pub runtime: Runtime,
    /// The engine's version, such as "0.11"; `None`: of those that are modelled, the one that logs stand behind and that takes
    /// most (vLLM 0.13).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    /// How the model's weights are stored, where its files do not say it.
    pub precision: Precision,
    /// What quantised weights compute in.
    pub compute_dtype: FloatType,
    /// Tokens of a sequence at most, prompt and answer; `None`: as many positions as the model has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,
    /// Sequences that are to be in the cache at the same time.
    pub concurrency: u64,
    /// Tokens that each of them has; `None`: `max_model_len`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<u64>,
    /// How keys and values are stored.
    pub kv_cache_dtype: KvCacheDtype,
    /// Share of a GPU that the engine takes; `None`: the engine's default. SGLang calls it `mem_fraction_static`, TGI
    /// `cuda_memory_fraction`, TensorRT-LLM `free_gpu_memory_fraction`, and each takes it of something else.
    #[serde(
        skip_serializing_if = "Option::is_none",
        alias = "mem_fraction_static",
        alias = "cuda_memory_fraction",
        alias = "free_gpu_memory_fraction"
    )]
    pub gpu_memory_utilization: Option<f64>,
    /// Sequences of one step at most; `None`: the engine's default, or `concurrency` where that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u64>,
    /// Tokens of one step at most; `None`: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u64>,
    /// Tokens of a block of the cache; `None`: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,
    /// GPUs that every layer is divided among.
    pub tensor_parallel_size: u64,
    /// Groups of GPUs that the layers are dealt out to.
    pub pipeline_parallel_size: u64,
    /// Experts are dealt out to the GPUs whole.
    pub enable_expert_parallel: bool,
    /// No CUDA graphs.
    pub enforce_eager: bool,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            runtime: Runtime::Vllm,
            runtime_version: None,
            precision: Precision::Bf16,
            compute_dtype: FloatType::Bf16,
            max_model_len: None,
            concurrency: 1,
            sequence_length: None,
            kv_cache_dtype: KvCacheDtype::Auto,
            gpu_memory_utilization: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            block_size: None,
            tensor_parallel_size: 1,
            pipeline_parallel_size: 1,
            enable_expert_parallel: false,
            enforce_eager: false,
        }
    }
}

impl Serve {
    /// GPUs that the engine runs on.
    pub const fn gpu_count(&self) -> u64 {
        self.tensor_parallel_size.saturating_mul(self.pipeline_parallel_size)
    }

    /// The type weights outside quantised layers are held and computed in.
    pub fn float_type(&self) -> FloatType {
        self.precision.float().unwrap_or(self.compute_dtype)
    }

    /// Checks that the job makes sense.
    ///
    /// # Errors
    /// The first contradiction: field, value, and what would mend it.
    ///
    /// ```
    /// use vramplan::job::Serve;
    ///
    /// let share = Serve { gpu_memory_utilization: Some(1.5), ..Serve::default() };
    /// assert_eq!(
    ///     share.validate().unwrap_err().to_string(),
    ///     "serve.gpu_memory_utilization = 1.5: give a share above 0, 1 at most"
    /// );
    /// ```
    pub fn validate(&self) -> Result<(), JobError> {
        use super::validate::{MAX_BATCH, MAX_SEQ, within};
        /// More GPUs than an engine has been run on.
        const MOST_GPUS: u64 = 1024;
        within("serve.concurrency", self.concurrency, MAX_BATCH)?;
        within("serve.tensor_parallel_size", self.tensor_parallel_size, MOST_GPUS)?;
        within("serve.pipeline_parallel_size", self.pipeline_parallel_size, MOST_GPUS)?;
        for (field, value, most) in [
            ("serve.max_model_len", self.max_model_len, MAX_SEQ),
            ("serve.sequence_length", self.sequence_length, MAX_SEQ),
            ("serve.max_num_seqs", self.max_num_seqs, MAX_BATCH),
            ("serve.max_num_batched_tokens", self.max_num_batched_tokens, MAX_SEQ),
            ("serve.block_size", self.block_size, MAX_SEQ),
        ] {
            value.map_or(Ok(()), |value| within(field, value, most))?;
        }
        if let Some(share) = self.gpu_memory_utilization.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return Err(JobError::invalid("serve.gpu_memory_utilization", share, "give a share above 0, 1 at most"));
        }
        if let (Some(most), Some(length)) = (self.max_model_len, self.sequence_length)
            && length > most
        {
            let fix = format!("a sequence has max_model_len = {most} tokens at most; raise that, or lower this");
            return Err(JobError::invalid("serve.sequence_length", length, fix));
        }
        if let Some(most) = self.max_num_seqs.filter(|most| *most < self.concurrency) {
            let fix = format!("the engine runs max_num_seqs = {most} at most; raise that, or lower this");
            return Err(JobError::invalid("serve.concurrency", self.concurrency, fix));
        }
        Ok(())
    }
}
