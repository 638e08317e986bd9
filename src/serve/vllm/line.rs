//! A `vllm serve` line, read and written.

use std::fmt;

use super::error::VllmError;
use crate::job::{KvCacheDtype, Precision, Serve};

/// What a `vllm serve` line says that matters to memory; what it leaves out is the version's default.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ServeLine {
    /// The model: a Hub id or a folder.
    pub model: String,
    /// `--gpu-memory-utilization`
    pub gpu_memory_utilization: Option<f64>,
    /// `--max-model-len`
    pub max_model_len: Option<u64>,
    /// `--max-num-seqs`
    pub max_num_seqs: Option<u64>,
    /// `--max-num-batched-tokens`
    pub max_num_batched_tokens: Option<u64>,
    /// `--kv-cache-dtype`
    pub kv_cache_dtype: Option<KvCacheDtype>,
    /// `--block-size`
    pub block_size: Option<u64>,
    /// `--tensor-parallel-size`, `-tp`
    pub tensor_parallel_size: Option<u64>,
    /// `--pipeline-parallel-size`, `-pp`
    pub pipeline_parallel_size: Option<u64>,
    /// `--enable-expert-parallel`
    pub enable_expert_parallel: bool,
    /// `--enforce-eager`
    pub enforce_eager: bool,
    /// `--quantization bitsandbytes`: weights are stored in 4 bits as they are loaded, where no file says how.
    pub in_flight_4bit: bool,
    /// What of the line is not modelled, a sentence each.
    pub notes: Vec<String>,
}

/// Flags with a value that cannot touch a GPU's memory; any that begins so.
const HARMLESS: [&str; 32] = [
    "host",
    "port",
    "api-key",
    "served-model-name",
    "chat-template",
    "tool-call-parser",
    "tool-parser",
    "reasoning-parser",
    "download-dir",
    "tokenizer",
    "revision",
    "code-revision",
    "seed",
    "generation-config",
    "override-generation-config",
    "uvicorn-log-level",
    "root-path",
    "ssl-",
    "response-role",
    "allowed-",
    "max-log-len",
    "distributed-executor-backend",
    "swap-space",
    "scheduling-policy",
    "config-format",
    "load-format",
    "middleware",
    "return-tokens-as-token-ids",
    "otlp-traces-endpoint",
    "default-chat-template-kwargs",
    "hf-token",
    "dtype",
];

/// Flags without a value that cannot touch a GPU's memory; any that begins so.
const HARMLESS_SWITCHES: [&str; 9] = [
    "trust-remote-code",
    "enable-auto-tool-choice",
    "disable-log-",
    "enable-log-",
    "disable-custom-all-reduce",
    "enable-chunked-prefill",
    "no-enable-",
    "enable-request-id-headers",
    "disable-uvicorn-access-log",
];

/// Flags without a value that may.
const SWITCHES: [&str; 4] = ["enable-lora", "enable-sleep-mode", "enable-eplb", "calculate-kv-scales"];

impl ServeLine {
    /// Reads a line as a shell would: `vllm serve MODEL --flag value`, or `python -m vllm.entrypoints.openai.api_server`;
    /// what stands before (variables, `docker run`) is left out.
    ///
    /// # Errors
    /// It is no such line, names no model, or a value makes no sense.
    ///
    /// ```
    /// use vramplan::serve::ServeLine;
    ///
    /// let line = ServeLine::parse("vllm serve meta-llama/Llama-3.1-8B -tp 2 --max-model-len=32k --port 8001 --cpu-offload-gb 4")?;
    /// assert_eq!((line.tensor_parallel_size, line.max_model_len), (Some(2), Some(32_000)));
    /// assert_eq!(line.notes, ["--cpu-offload-gb may change what the GPU holds and is not modelled"]);
    /// assert_eq!(line.to_string(), "vllm serve meta-llama/Llama-3.1-8B --tensor-parallel-size 2 --max-model-len 32000");
    /// # Ok::<(), vramplan::serve::VllmError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, VllmError> {
        let invalid = |value: &str, fix: &str| VllmError::invalid("vllm serve line", value, fix);
        let text = text.replace("\\\n", " ");
        let words = shlex::split(&text).ok_or_else(|| invalid(&text, "a quotation mark is not closed"))?;
        let after = |names: &[&str]| {
            let found =
                words.windows(names.len()).position(|window| window.iter().zip(names).all(|(word, name)| word == name));
            found.map(|at| at + names.len())
        };
        let start = after(&["vllm", "serve"]).or_else(|| after(&["-m", "vllm.entrypoints.openai.api_server"]));
        let start = start.ok_or_else(|| invalid(&text, "give `vllm serve MODEL --flag value ...`"))?;
        let mut line = Self::default();
        let mut rest = words.get(start..).unwrap_or_default().iter().map(String::as_str).peekable();
        while let Some(word) = rest.next() {
            if matches!(word, "|" | "&" | "&&" | ";" | ">" | "2>&1" | ">>") {
                break;
            }
            let Some(flag) = word.strip_prefix('-') else {
                word.clone_into(&mut line.model);
                continue;
            };
            let (flag, own) = match flag.trim_start_matches('-').split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (flag.trim_start_matches('-'), None),
            };
            let flag = flag.replace('_', "-");
            let starts = |names: &[&str]| names.iter().any(|name| flag.starts_with(name));
            match flag.as_str() {
                "enforce-eager" => line.enforce_eager = true,
                "no-enforce-eager" => line.enforce_eager = false,
                "enable-expert-parallel" => line.enable_expert_parallel = true,
                "enable-prefix-caching" => {}
                _ if starts(&HARMLESS_SWITCHES) => {}
                switch if SWITCHES.contains(&switch) => line.not_modelled(switch),
                _ => {
                    let value = own.or_else(|| rest.next_if(|next| !next.starts_with("--")));
                    line.set(&flag, value, starts(&HARMLESS))?;
                }
            }
        }
        if line.model.is_empty() {
            return Err(invalid(&text, "it names no model; give `vllm serve MODEL ...`"));
        }
        Ok(line)
    }

    fn set(&mut self, flag: &str, value: Option<&str>, harmless: bool) -> Result<(), VllmError> {
        let given = |name: &'static str| value.ok_or_else(|| VllmError::invalid(name, "", "it takes a value"));
        match flag {
            "model" => given("--model")?.clone_into(&mut self.model),
            "gpu-memory-utilization" => {
                let value = given("--gpu-memory-utilization")?;
                let share = value.parse();
                self.gpu_memory_utilization = Some(share.map_err(|_| {
                    VllmError::invalid("--gpu-memory-utilization", value, "give a share above 0, 1 at most")
                })?);
            }
            "max-model-len" => self.max_model_len = Some(count("--max-model-len", given("--max-model-len")?)?),
            "max-num-seqs" => self.max_num_seqs = Some(count("--max-num-seqs", given("--max-num-seqs")?)?),
            "max-num-batched-tokens" => {
                let name = "--max-num-batched-tokens";
                self.max_num_batched_tokens = Some(count(name, given(name)?)?);
            }
            "block-size" => self.block_size = Some(count("--block-size", given("--block-size")?)?),
            "tensor-parallel-size" | "tp" => {
                let name = "--tensor-parallel-size";
                self.tensor_parallel_size = Some(count(name, given(name)?)?);
            }
            "pipeline-parallel-size" | "pp" => {
                let name = "--pipeline-parallel-size";
                self.pipeline_parallel_size = Some(count(name, given(name)?)?);
            }
            "kv-cache-dtype" => {
                let value = given("--kv-cache-dtype")?;
                self.kv_cache_dtype = Some(match value {
                    "auto" => KvCacheDtype::Auto,
                    "bfloat16" => KvCacheDtype::Bf16,
                    "float16" => KvCacheDtype::Fp16,
                    "fp8" | "fp8_e4m3" | "fp8_e5m2" | "fp8_inc" => KvCacheDtype::Fp8,
                    _ => {
                        return Err(VllmError::invalid(
                            "--kv-cache-dtype",
                            value,
                            "auto, bfloat16, fp8, fp8_e4m3 and fp8_e5m2 are known",
                        ));
                    }
                });
            }
            "quantization" | "q" => match value {
                Some("bitsandbytes") => self.in_flight_4bit = true,
                Some("fp8" | "experts_int8") => self.not_modelled(flag),
                // what the checkpoint's own configuration says too
                _ => {}
            },
            "dtype" if matches!(value, Some("float" | "float32")) => self.not_modelled(flag),
            "runner" | "task" if value == Some("generate") => {}
            _ if harmless => {}
            _ => self.not_modelled(flag),
        }
        Ok(())
    }

    fn not_modelled(&mut self, flag: &str) {
        self.notes.push(format!("--{flag} may change what the GPU holds and is not modelled"));
    }

    /// The job it asks for.
    pub fn serve(&self) -> Serve {
        let base = Serve::default();
        Serve {
            precision: if self.in_flight_4bit { Precision::Fp4 } else { base.precision },
            gpu_memory_utilization: self.gpu_memory_utilization,
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            kv_cache_dtype: self.kv_cache_dtype.unwrap_or(base.kv_cache_dtype),
            block_size: self.block_size,
            tensor_parallel_size: self.tensor_parallel_size.unwrap_or(base.tensor_parallel_size),
            pipeline_parallel_size: self.pipeline_parallel_size.unwrap_or(base.pipeline_parallel_size),
            enable_expert_parallel: self.enable_expert_parallel,
            enforce_eager: self.enforce_eager,
            ..base
        }
    }

    /// The line that asks for a job.
    pub fn of(model: &str, serve: &Serve) -> Self {
        let several = |count: u64| (count > 1).then_some(count);
        Self {
            model: model.to_owned(),
            gpu_memory_utilization: serve.gpu_memory_utilization,
            max_model_len: serve.max_model_len,
            max_num_seqs: serve.max_num_seqs.or((serve.concurrency > DEFAULT_SEQUENCES).then_some(serve.concurrency)),
            max_num_batched_tokens: serve.max_num_batched_tokens,
            kv_cache_dtype: Some(serve.kv_cache_dtype),
            block_size: serve.block_size,
            tensor_parallel_size: several(serve.tensor_parallel_size),
            pipeline_parallel_size: several(serve.pipeline_parallel_size),
            enable_expert_parallel: serve.enable_expert_parallel,
            enforce_eager: serve.enforce_eager,
            in_flight_4bit: serve.precision.is_4bit() && serve.precision != Precision::Int4,
            notes: Vec::new(),
        }
    }
}

/// The least default of `max_num_seqs`.
const DEFAULT_SEQUENCES: u64 = 256;

/// A count as vLLM reads it (`human_readable_int`, vllm/engine/arg_utils.py): `32k` is 32,000, `32K` is 32,768.
fn count(field: &'static str, value: &str) -> Result<u64, VllmError> {
    let scale = match value.chars().last() {
        Some('k') => 1000,
        Some('K') => 1 << 10,
        Some('m') => 1_000_000,
        Some('M') => 1 << 20,
        _ => 1,
    };
    let digits = if scale == 1 { value } else { value.get(..value.len().saturating_sub(1)).unwrap_or_default() };
    let number = digits.parse().ok().and_then(|number: u64| number.checked_mul(scale));
    number.ok_or_else(|| VllmError::invalid(field, value, "give a whole number, such as 32768 or 32k"))
}

impl fmt::Display for ServeLine {
    /// The line that says the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = shlex::try_quote(&self.model).map_err(|_| fmt::Error)?;
        write!(f, "vllm serve {model}")?;
        let numbers = [
            ("tensor-parallel-size", self.tensor_parallel_size),
            ("pipeline-parallel-size", self.pipeline_parallel_size),
            ("max-model-len", self.max_model_len),
            ("max-num-seqs", self.max_num_seqs),
            ("max-num-batched-tokens", self.max_num_batched_tokens),
            ("block-size", self.block_size),
        ];
        for (flag, value) in numbers {
            if let Some(value) = value {
                write!(f, " --{flag} {value}")?;
            }
        }
        if let Some(share) = self.gpu_memory_utilization {
            write!(f, " --gpu-memory-utilization {share}")?;
        }
        match self.kv_cache_dtype {
            Some(KvCacheDtype::Fp8) => write!(f, " --kv-cache-dtype fp8")?,
            Some(KvCacheDtype::Bf16) => write!(f, " --kv-cache-dtype bfloat16")?,
            Some(KvCacheDtype::Fp16) => write!(f, " --kv-cache-dtype float16")?,
            _ => {}
        }
        if self.enforce_eager {
            write!(f, " --enforce-eager")?;
        }
        if self.enable_expert_parallel {
            write!(f, " --enable-expert-parallel")?;
        }
        if self.in_flight_4bit {
            write!(f, " --quantization bitsandbytes")?;
        }
        Ok(())
    }
}
