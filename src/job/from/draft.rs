//! A job as it comes together from one or more files.

use super::report::{Effect, Ignored, Mapped, NotModelled, Report};
use crate::job::{
    AttnImplementation, FloatType, Lora, MixedPrecision, Objective, OffloadOptimizer, Optim, Peft, Precision,
    TargetModules, Train,
};

/// Whose word a value is; the higher wins, and of equals the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// What a launcher says where the training arguments say nothing.
    Launcher,
    /// A default of the tool.
    Default,
    /// Written in a file.
    Written,
}

/// A field of the job and where its value is from.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) value: Option<T>,
    rank: Rank,
    pub(super) source: Option<Mapped>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: None, rank: Rank::Launcher, source: None }
    }
}

impl<T> Slot<T> {
    /// Takes the value unless a higher rank has spoken; what it displaces goes to `ignored`.
    pub(super) fn set(&mut self, rank: Rank, value: T, source: Mapped, ignored: &mut Vec<Ignored>) {
        let loser = if self.value.is_some() && self.rank > rank {
            Some((source, self.source.as_ref().map_or_else(String::new, |winner| winner.field.clone())))
        } else {
            let by = source.field.clone();
            self.value = Some(value);
            self.rank = rank;
            self.source.replace(source).map(|old| (old, by))
        };
        if let Some((Mapped { field, value, at: Some(at), .. }, by)) = loser {
            ignored.push(Ignored { field, value, why: format!("{by} goes over it"), at });
        }
    }
}

/// The fields of a job that training configurations speak of.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) model: Slot<String>,
    pub(super) precision: Slot<Precision>,
    pub(super) double_quant: Slot<bool>,
    pub(super) compute_dtype: Slot<FloatType>,
    pub(super) mixed_precision: Slot<MixedPrecision>,
    pub(super) batch: Slot<u64>,
    pub(super) length: Slot<u64>,
    pub(super) accumulation: Slot<u64>,
    pub(super) checkpointing: Slot<bool>,
    pub(super) optim: Slot<Optim>,
    pub(super) max_grad_norm: Slot<f64>,
    pub(super) attention: Slot<AttnImplementation>,
    pub(super) objective: Slot<Objective>,
    pub(super) completion: Slot<u64>,
    pub(super) num_generations: Slot<u64>,
    pub(super) steps_per_generation: Slot<u64>,
    pub(super) beta: Slot<f64>,
    pub(super) precompute: Slot<bool>,
    pub(super) liger: Slot<bool>,
    pub(super) optim_targets: Slot<TargetModules>,
    pub(super) optim_rank: Slot<u64>,
    pub(super) offload: Slot<OffloadOptimizer>,
    pub(super) checkpoint_every: Slot<u64>,
    pub(super) packing: Slot<bool>,
    pub(super) mask: Slot<bool>,
    /// LoRA is asked for, or full fine-tuning.
    pub(super) adapter: Slot<bool>,
    /// LoRA's settings, in the words of the job; which were said is in `lora_sources`.
    pub(super) lora: Lora,
    pub(super) lora_sources: Vec<Mapped>,
    pub(super) report: Report,
}

impl Draft {
    /// The job, and the report with what went into it in the order people read a job.
    pub(super) fn finish(self) -> (Option<String>, Train, Vec<&'static str>, Report) {
        let mut report = self.report;
        let unsaid = [
            ("precision", self.precision.value.is_none()),
            ("per_device_train_batch_size", self.batch.value.is_none()),
            ("max_seq_length", self.length.value.is_none()),
        ];
        let unsaid = unsaid.into_iter().filter(|(_, unsaid)| *unsaid).map(|(field, _)| field).collect();
        let mapped = &mut report.mapped;
        let model = take(self.model, mapped);
        let mut train = Train::default();
        let adapter = take(self.adapter, mapped);
        if adapter == Some(true) {
            mapped.extend(self.lora_sources);
            train.peft = Some(Peft::Lora(self.lora));
        }
        put(&mut train.objective, self.objective, mapped);
        put(&mut train.precision, self.precision, mapped);
        put(&mut train.double_quant, self.double_quant, mapped);
        put(&mut train.compute_dtype, self.compute_dtype, mapped);
        put(&mut train.mixed_precision, self.mixed_precision, mapped);
        put(&mut train.per_device_train_batch_size, self.batch, mapped);
        put(&mut train.max_seq_length, self.length, mapped);
        train.max_completion_length = take(self.completion, mapped);
        put(&mut train.num_generations, self.num_generations, mapped);
        put(&mut train.gradient_accumulation_steps, self.accumulation, mapped);
        train.steps_per_generation = take(self.steps_per_generation, mapped);
        train.beta = take(self.beta, mapped);
        put(&mut train.precompute_ref_log_probs, self.precompute, mapped);
        put(&mut train.gradient_checkpointing, self.checkpointing, mapped);
        put(&mut train.checkpoint_every_n_layers, self.checkpoint_every, mapped);
        put(&mut train.optim, self.optim, mapped);
        train.optim_target_modules = take(self.optim_targets, mapped);
        put(&mut train.optim_rank, self.optim_rank, mapped);
        put(&mut train.offload_optimizer, self.offload, mapped);
        put(&mut train.use_liger_kernel, self.liger, mapped);
        if let Some(norm) = take(self.max_grad_norm, mapped) {
            train.max_grad_norm = Some(norm);
        }
        put(&mut train.attn_implementation, self.attention, mapped);
        put(&mut train.attention_mask, self.mask, mapped);
        put(&mut train.packing, self.packing, mapped);
        offloaded(&mut train, &mut report.not_modelled);
        // what is packed has no padding
        train.attention_mask &= !train.packing;
        (model, train, unsaid, report)
    }
}

/// DeepSpeed casts the weights in place of autocast; on the host only AdamW is modelled.
fn offloaded(train: &mut Train, not_modelled: &mut Vec<NotModelled>) {
    if train.offload_optimizer == OffloadOptimizer::No {
        return;
    }
    if let Some(float) = train.mixed_precision.float()
        && !train.precision.is_quantized()
    {
        train.precision = float.name().parse().unwrap_or_default();
    }
    train.mixed_precision = MixedPrecision::No;
    if !matches!(train.optim, Optim::AdamwTorch | Optim::AdamwTorchFused | Optim::AdamwTorchLoop) {
        train.offload_optimizer = OffloadOptimizer::No;
        let why = "optimizer states are held off the GPU";
        not_modelled.push(NotModelled::by_default("offload_optimizer", "cpu", Effect::Less, why));
    }
}

fn take<T>(slot: Slot<T>, mapped: &mut Vec<Mapped>) -> Option<T> {
    mapped.extend(slot.source);
    slot.value
}

fn put<T>(field: &mut T, slot: Slot<T>, mapped: &mut Vec<Mapped>) {
    if let Some(value) = take(slot, mapped) {
        *field = value;
    }
}
