//! Contradictions in a job, and what this version cannot answer yet.

use super::{
    AttnImplementation, FloatType, Head, Infer, Job, JobError, KvCacheDtype, MixedPrecision, ModelRef, Objective, Peft,
    Precision, Runtime, Train, Workload,
};

/// Far beyond any machine, and small enough that a tensor of so many tokens can be counted in 64 bits.
const MAX_TOKENS: u64 = 1 << 30;
pub(super) const MAX_BATCH: u64 = 1 << 20;
pub(super) const MAX_SEQ: u64 = 1 << 27;
pub(super) const MAX_RANK: u64 = 1 << 16;
const MAX_STEPS: u64 = 1 << 20;

impl Job {
    /// Checks that the job makes sense and that this version can answer it.
    ///
    /// # Errors
    /// The first contradiction, then the first thing not supported: field, value, and what would mend it.
    pub fn validate(&self) -> Result<(), JobError> {
        if matches!(&self.model, ModelRef::Named(name) if name.trim().is_empty()) {
            return Err(JobError::invalid("model", "\"\"", "name a model, such as \"llama-2-7b\""));
        }
        match &self.workload {
            Workload::Train(train) => train.validate(),
            Workload::Infer(infer) => infer.validate(),
            Workload::Serve(serve) => serve.validate(),
        }
    }
}

impl Train {
    /// Checks that the job makes sense and that this version can answer it.
    ///
    /// # Errors
    /// As [`Job::validate`].
    pub fn validate(&self) -> Result<(), JobError> {
        within("train.per_device_train_batch_size", self.per_device_train_batch_size, MAX_BATCH)?;
        within("train.max_seq_length", self.max_seq_length, MAX_SEQ)?;
        tokens("train.max_seq_length", self.max_seq_length, self.per_device_train_batch_size)?;
        within("train.gradient_accumulation_steps", self.gradient_accumulation_steps, MAX_STEPS)?;
        within("train.tensor_parallel_size", self.tensor_parallel_size, MAX_RANK)?;
        if let Some(norm) = self.max_grad_norm.filter(|norm| !(norm.is_finite() && *norm >= 0.0)) {
            return Err(JobError::invalid("train.max_grad_norm", norm, "give a number from 0 (no clipping) up"));
        }
        double_quant("train.double_quant", self.double_quant, self.precision)?;
        if let Some(peft) = &self.peft {
            peft.validate()?;
            self.check_peft(peft)?;
        }
        if self.precision.is_quantized() && self.peft.is_none() {
            let fix =
                "quantised weights cannot be trained; add [train.peft] type = \"lora\", or use bf16, fp16 or fp32";
            return Err(JobError::invalid("train.precision", quoted(self.precision), fix));
        }
        within("train.optim_rank", self.optim_rank, MAX_RANK)?;
        self.check_objective()?;
        self.check_optim()?;
        self.check_offload()?;
        self.check_packing()?;
        within("train.checkpoint_every_n_layers", self.checkpoint_every_n_layers, MAX_RANK)?;
        self.check_mixed_precision()?;
        if let Some(fsdp) = &self.fsdp {
            within("train.fsdp.world_size", fsdp.world_size, MAX_RANK)?;
        }
        self.check_supported()
    }

    /// A gradient scaler refuses gradients that are not fp32.
    fn check_mixed_precision(&self) -> Result<(), JobError> {
        if self.mixed_precision != MixedPrecision::Fp16 {
            return Ok(());
        }
        let held_in = self.gradients_in();
        if held_in == FloatType::Fp32 {
            return Ok(());
        }
        let fix = if self.peft.is_some() {
            format!("its gradient scaler needs fp32 adapters, not {held_in}; set autocast_adapter_dtype = true")
        } else {
            format!(
                "its gradient scaler needs fp32 weights, not {held_in}; set precision = \"fp32\" or mixed_precision = \"no\""
            )
        };
        Err(JobError::invalid("train.mixed_precision", quoted(self.mixed_precision), fix))
    }

    /// What PEFT refuses, and what it has no layers for.
    fn check_peft(&self, peft: &Peft) -> Result<(), JobError> {
        if matches!(peft, Peft::PrefixTuning(_)) && self.gradient_checkpointing {
            let fix = "PEFT does not prefix-tune with gradient checkpointing, which has no cache; turn one of them off";
            return Err(JobError::invalid("train.gradient_checkpointing", true, fix));
        }
        if matches!(peft, Peft::LoHa(_) | Peft::LoKr(_)) && self.precision.is_quantized() {
            let fix = format!("PEFT has no {} for quantised layers; use bf16, fp16 or fp32", peft.type_name());
            return Err(JobError::invalid("train.precision", quoted(self.precision), fix));
        }
        Ok(())
    }

    /// What cannot be packed, and what packed sequences need no mask for.
    fn check_packing(&self) -> Result<(), JobError> {
        const FIELD: &str = "train.packing";
        if !self.packing {
            return Ok(());
        }
        if self.attention_mask {
            let fix = "packed sequences have no padding; set attention_mask = false";
            return Err(JobError::invalid(FIELD, true, fix));
        }
        let plain = self.objective == Objective::Sft && self.head.is_none_or(|head| head == Head::CausalLm);
        if !plain || self.peft.as_ref().is_some_and(|peft| !matches!(peft, Peft::Lora(_))) {
            let fix =
                "it is modelled for objective = \"sft\", head = \"causal-lm\", LoRA and full fine-tuning; remove it";
            return Err(JobError::unsupported(FIELD, true, fix));
        }
        Ok(())
    }

    fn check_supported(&self) -> Result<(), JobError> {
        if let Some(Peft::Oft(oft)) = &self.peft {
            oft.check_supported()?;
        }
        if self.torch_compile {
            let fix = "what a compiled graph keeps depends on the compiler's choices; without it the figures are those of eager mode";
            return Err(JobError::unsupported("train.torch_compile", true, fix));
        }
        if self.attn_implementation == AttnImplementation::FlashAttention2
            && self.float_type() == FloatType::Fp32
            && self.mixed_precision == MixedPrecision::No
        {
            let fix = "the flash-attn package has no fp32 kernels; set mixed_precision = \"bf16\", another precision, or \"sdpa\"";
            return Err(JobError::invalid("train.attn_implementation", quoted(self.attn_implementation), fix));
        }
        if self.tensor_parallel_size > 1 {
            return Err(JobError::unsupported("train.tensor_parallel_size", self.tensor_parallel_size, "use 1"));
        }
        if let Some(fsdp) = &self.fsdp {
            return Err(JobError::unsupported("train.fsdp.world_size", fsdp.world_size, "remove [train.fsdp]"));
        }
        Ok(())
    }
}

impl Infer {
    /// Checks that the job makes sense and that this version can answer it.
    ///
    /// # Errors
    /// As [`Job::validate`].
    pub fn validate(&self) -> Result<(), JobError> {
        within("infer.batch_size", self.batch_size, MAX_BATCH)?;
        within("infer.prompt_length", self.prompt_length, MAX_SEQ)?;
        within("infer.max_new_tokens", self.max_new_tokens, MAX_SEQ)?;
        tokens("infer.prompt_length", self.prompt_length, self.batch_size)?;
        tokens("infer.max_new_tokens", self.max_new_tokens, self.batch_size)?;
        if self.logits_to_keep > self.prompt_length {
            let fix = format!("the prompt has {} positions; give at most that, or 0 for all", self.prompt_length);
            return Err(JobError::invalid("infer.logits_to_keep", self.logits_to_keep, fix));
        }
        double_quant("infer.double_quant", self.double_quant, self.precision)?;
        if self.runtime != Runtime::Transformers {
            let fix = "[infer] is transformers' generate(), \"transformers\"; an engine is asked for with [serve]";
            return Err(JobError::unsupported("infer.runtime", quoted(self.runtime), fix));
        }
        let computes_in = match self.float_type() {
            FloatType::Fp32 => KvCacheDtype::Fp32,
            FloatType::Fp16 => KvCacheDtype::Fp16,
            FloatType::Bf16 => KvCacheDtype::Bf16,
        };
        if self.kv_cache_dtype != KvCacheDtype::Auto && self.kv_cache_dtype != computes_in {
            let fix = format!(
                "transformers keeps keys and values in what the model computes in, here {computes_in}; use \"auto\""
            );
            return Err(JobError::invalid("infer.kv_cache_dtype", quoted(self.kv_cache_dtype), fix));
        }
        flash_attention("infer.attn_implementation", self.attn_implementation)
    }
}

pub(super) fn within(field: &'static str, value: u64, most: u64) -> Result<(), JobError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(JobError::invalid(field, value, format!("give a number from 1 to {most}")))
}

/// A share of what is dropped.
pub(super) fn probability(field: &'static str, value: f64) -> Result<(), JobError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(JobError::invalid(field, value, "give a number from 0 up to, but not, 1"))
}

pub(super) fn positive(field: &'static str, value: f64) -> Result<(), JobError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(JobError::invalid(field, value, "give a number above 0"))
}

pub(super) fn not_negative(field: &'static str, value: f64) -> Result<(), JobError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(JobError::invalid(field, value, "give a number from 0 up"))
}

/// Both are within their own bounds, whose product fits 64 bits.
pub(super) fn tokens(field: &'static str, length: u64, batch: u64) -> Result<(), JobError> {
    if length.saturating_mul(batch) <= MAX_TOKENS {
        return Ok(());
    }
    let fix = format!("a batch of {batch} is more than {MAX_TOKENS} tokens at once; lower one of them");
    Err(JobError::invalid(field, length, fix))
}

fn double_quant(field: &'static str, on: bool, precision: Precision) -> Result<(), JobError> {
    if !on || precision.is_4bit() {
        return Ok(());
    }
    let fix = format!(
        "only 4-bit weights have scales to quantise, not {precision}; set precision = \"nf4\" or double_quant = false"
    );
    Err(JobError::invalid(field, on, fix))
}

fn flash_attention(field: &'static str, implementation: AttnImplementation) -> Result<(), JobError> {
    match implementation {
        AttnImplementation::FlashAttention2 => Err(JobError::unsupported(
            field,
            quoted(implementation),
            "use \"sdpa\", which runs flash kernels where it can",
        )),
        _ => Ok(()),
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}
