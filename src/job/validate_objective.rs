//! Contradictions between an objective and the rest of a training job.

use super::{Head, JobError, Objective, Peft, Train};

const MAX_LABELS: u64 = 1 << 20;

impl Train {
    /// Checks the objective and what belongs to it.
    pub(super) fn check_objective(&self) -> Result<(), JobError> {
        if let Some(labels) = self.num_labels {
            super::validate::within("train.num_labels", labels, MAX_LABELS)?;
        }
        let is_other = |head| head != Head::CausalLm;
        let objective = format!("\"{}\"", self.objective);
        match self.objective {
            Objective::Sft | Objective::Dpo | Objective::Reward => {}
            _ => {
                return Err(JobError::unsupported("train.objective", objective, "use \"sft\", \"dpo\" or \"reward\""));
            }
        }
        let is_beyond = self.objective != Objective::Sft || self.head == Some(Head::SeqCls);
        if let Some(peft) = self.peft.as_ref().filter(|peft| is_beyond && !matches!(peft, Peft::Lora(_))) {
            let fix = "with this objective or head only \"lora\" or full fine-tuning is modelled";
            return Err(JobError::unsupported("train.peft.type", format!("\"{}\"", peft.type_name()), fix));
        }
        if self.objective == Objective::Dpo && self.head.is_some_and(is_other) {
            let fix = "it compares log-probabilities of tokens; use head = \"causal-lm\"";
            return Err(JobError::invalid("train.objective", objective, fix));
        }
        if self.objective != Objective::Dpo && self.precompute_ref_log_probs {
            let fix = "only objective = \"dpo\" has a reference; remove it";
            return Err(JobError::invalid("train.precompute_ref_log_probs", true, fix));
        }
        if let Some(length) = self.max_completion_length {
            if self.objective != Objective::Dpo {
                let fix = "only objective = \"dpo\" tells completions from prompts; remove it";
                return Err(JobError::invalid("train.max_completion_length", length, fix));
            }
            super::validate::within("train.max_completion_length", length, self.max_seq_length)?;
        }
        if self.use_liger_kernel && (self.objective != Objective::Sft || self.head.is_some_and(is_other)) {
            let fix = "together with this objective or head it is not supported yet; leave it out";
            return Err(JobError::unsupported("train.use_liger_kernel", true, fix));
        }
        Ok(())
    }
}
