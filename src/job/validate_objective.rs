//! Contradictions between an objective and the rest of a training job.

use super::{Head, JobError, Objective, Peft, Train};

const MAX_LABELS: u64 = 1 << 20;
const MAX_STEPS: u64 = 1 << 20;

impl Train {
    /// Checks the objective and what belongs to it.
    pub(super) fn check_objective(&self) -> Result<(), JobError> {
        if let Some(labels) = self.num_labels {
            super::validate::within("train.num_labels", labels, MAX_LABELS)?;
        }
        let is_other = |head| head != Head::CausalLm;
        let objective = format!("\"{}\"", self.objective);
        match self.objective {
            Objective::Ppo if self.precision.is_quantized() => {
                let fix = "its value model is trained whole; use precision = \"bf16\"";
                return Err(JobError::unsupported("train.objective", objective, fix));
            }
            Objective::Grpo | Objective::Ppo => self.check_generation()?,
            _ => {}
        }
        let is_beyond = self.objective != Objective::Sft || self.head == Some(Head::SeqCls);
        if let Some(peft) = self.peft.as_ref().filter(|peft| is_beyond && !matches!(peft, Peft::Lora(_))) {
            let fix = "with this objective or head only \"lora\" or full fine-tuning is modelled";
            return Err(JobError::unsupported("train.peft.type", format!("\"{}\"", peft.type_name()), fix));
        }
        let compares_tokens = matches!(
            self.objective,
            Objective::Dpo | Objective::Orpo | Objective::Kto | Objective::Grpo | Objective::Ppo
        );
        if compares_tokens && self.head.is_some_and(is_other) {
            let fix = "it compares log-probabilities of tokens; use head = \"causal-lm\"";
            return Err(JobError::invalid("train.objective", objective, fix));
        }
        if !matches!(self.objective, Objective::Dpo | Objective::Kto) && self.precompute_ref_log_probs {
            let fix = "only objective = \"dpo\" and \"kto\" have a reference before training; remove it";
            return Err(JobError::invalid("train.precompute_ref_log_probs", true, fix));
        }
        if let Some(length) = self.max_completion_length {
            if !matches!(self.objective, Objective::Dpo | Objective::Kto | Objective::Grpo | Objective::Ppo) {
                let fix =
                    "only objective = \"dpo\", \"kto\", \"grpo\" and \"ppo\" tell completions from prompts; remove it";
                return Err(JobError::invalid("train.max_completion_length", length, fix));
            }
            super::validate::within("train.max_completion_length", length, self.max_seq_length)?;
        }
        if let Some(beta) = self.beta {
            super::validate::not_negative("train.beta", beta)?;
        }
        if let Some(steps) = self.steps_per_generation.filter(|_| self.objective != Objective::Grpo) {
            let fix = "only objective = \"grpo\" generates so; remove it";
            return Err(JobError::invalid("train.steps_per_generation", steps, fix));
        }
        if self.use_liger_kernel && (self.objective != Objective::Sft || self.head.is_some_and(is_other)) {
            let fix = "together with this objective or head it is not supported yet; leave it out";
            return Err(JobError::unsupported("train.use_liger_kernel", true, fix));
        }
        Ok(())
    }

    /// What `GRPOConfig` and its trainer refuse.
    fn check_generation(&self) -> Result<(), JobError> {
        let within = super::validate::within;
        if let Some(steps) = self.steps_per_generation {
            within("train.steps_per_generation", steps, MAX_STEPS)?;
        }
        within("train.num_generations", self.num_generations, MAX_STEPS)?;
        if self.num_generations < 2 {
            let fix = "completions are compared within their group; give at least 2";
            return Err(JobError::invalid("train.num_generations", self.num_generations, fix));
        }
        let generated = self.per_device_train_batch_size.saturating_mul(self.micro_batches_generated());
        if self.objective == Objective::Grpo && !generated.is_multiple_of(self.num_generations) {
            let fix = format!(
                "it must divide the {generated} completions that are generated together \
                 (per_device_train_batch_size times steps_per_generation or gradient_accumulation_steps); lower it, or \
                 raise one of those"
            );
            return Err(JobError::invalid("train.num_generations", self.num_generations, fix));
        }
        super::validate::tokens("train.per_device_train_batch_size", generated, self.max_seq_length)?;
        let (whole, completion) = (self.max_seq_length, self.completion_length());
        if completion == 0 || completion >= whole {
            let fix = format!("a prompt comes before it; give less than max_seq_length, {whole}");
            return Err(JobError::invalid("train.max_completion_length", completion, fix));
        }
        Ok(())
    }
}
