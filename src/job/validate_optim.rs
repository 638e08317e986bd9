//! Contradictions between an optimizer and the rest of a training job.

use super::{FloatType, JobError, MixedPrecision, OffloadOptimizer, Optim, TargetModules, Train};

const TARGETS: &str = "train.optim_target_modules";

impl Train {
    /// Checks the optimizer and what belongs to it.
    pub(super) fn check_optim(&self) -> Result<(), JobError> {
        let optim = || format!("\"{}\"", self.optim);
        match &self.optim_target_modules {
            None if self.optim.is_low_rank() => {
                let fix =
                    "name the modules it projects: optim_target_modules = \"all-linear\", or [\"self_attn\", \"mlp\"]";
                return Err(JobError::invalid("train.optim", optim(), fix));
            }
            Some(TargetModules::Names(names)) if names.is_empty() || names.iter().any(String::is_empty) => {
                return Err(JobError::invalid(TARGETS, format!("{names:?}"), "name a module, such as \"mlp\""));
            }
            Some(_) if !self.optim.is_low_rank() => {
                let fix = format!("{} projects nothing; remove it, or use galore_adamw or apollo_adamw", self.optim);
                return Err(JobError::invalid(TARGETS, "[...]", fix));
            }
            Some(TargetModules::Pattern(pattern)) => {
                let fix = "patterns are not supported here; list parts of the modules' names, such as [\"mlp\"]";
                return Err(JobError::unsupported(TARGETS, format!("{pattern:?}"), fix));
            }
            _ => {}
        }
        if self.optim.is_low_rank() && self.peft.is_some() {
            let fix = "the modules it would project are frozen under [train.peft]; remove one of them";
            return Err(JobError::invalid("train.optim", optim(), fix));
        }
        if self.optim == Optim::AdamMini && self.peft.is_some() {
            let fix =
                "it tells heads apart by the shapes of whole projections; remove [train.peft], or use adamw_torch";
            return Err(JobError::invalid("train.optim", optim(), fix));
        }
        let is_bnb_rmsprop = matches!(self.optim, Optim::RmsPropBnb | Optim::RmsPropBnb8bit);
        if is_bnb_rmsprop && self.gradients_in() == FloatType::Bf16 {
            let fix = "bitsandbytes' RMSprop has no kernel for bf16 gradients; use rmsprop, or fp32 weights";
            return Err(JobError::invalid("train.optim", optim(), fix));
        }
        Ok(())
    }

    /// Checks where optimizer states are.
    pub(super) fn check_offload(&self) -> Result<(), JobError> {
        const OFFLOAD: &str = "train.offload_optimizer";
        let value = || format!("\"{}\"", self.offload_optimizer);
        if self.offload_optimizer == OffloadOptimizer::No {
            if self.offload_gradients {
                let fix = "gradients go to the host with the optimizer; set offload_optimizer too, or remove it";
                return Err(JobError::invalid("train.offload_gradients", true, fix));
            }
            return Ok(());
        }
        if !matches!(self.optim, Optim::AdamwTorch | Optim::AdamwTorchFused | Optim::AdamwTorchLoop) {
            let fix = format!("on the host only AdamW is modelled, not {}; set optim = \"adamw_torch\"", self.optim);
            return Err(JobError::unsupported(OFFLOAD, value(), fix));
        }
        if self.offload_gradients && self.gradient_accumulation_steps > 1 {
            let fix = "gradients that are gone cannot be added to; set gradient_accumulation_steps = 1";
            return Err(JobError::invalid("train.offload_gradients", true, fix));
        }
        if !self.zero_grad_set_to_none {
            let fix = "it has no zero_grad_set_to_none = false; remove that";
            return Err(JobError::invalid(OFFLOAD, value(), fix));
        }
        if self.offload_optimizer == OffloadOptimizer::Deepspeed && self.mixed_precision != MixedPrecision::No {
            let fix = "DeepSpeed casts the weights themselves; set mixed_precision = \"no\"";
            return Err(JobError::unsupported(OFFLOAD, value(), fix));
        }
        Ok(())
    }

    /// The type trainable parameters, and so their gradients, are held in.
    pub(super) fn gradients_in(&self) -> FloatType {
        match &self.peft {
            Some(peft) if peft.trains_in_fp32() => FloatType::Fp32,
            _ => self.float_type(),
        }
    }
}
