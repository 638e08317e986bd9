//! A job in words.

use super::text::{bold, grouped, plain, warning, wrap};
use crate::job::{
    Infer, Job, Lora, MixedPrecision, Objective, OffloadOptimizer, Peft, Precision, Serve, TargetModules, Train,
    Workload,
};
use crate::model::{Model, Origin};
use crate::plan::Verdict;
use crate::step::Basis;

/// The model and the job, and what was taken for granted.
pub(super) fn heading(model: &Model, job: &Job, defaults: bool, parameters: u64, width: u16) -> String {
    let name = format!("{} ({}, {} parameters)", bold(plain(model.name())), model.model_type(), grouped(parameters));
    let mut out = format!("{name}\n{}\n", wrap(&workload(&job.workload), width, "  "));
    if defaults {
        out.push_str(&wrap("No job was given: this is full fine-tuning with the defaults.", width, "  "));
        out.push('\n');
    }
    if model.origin() == Origin::Guess {
        let guess = wrap("The model is a Llama-shaped guess from its size alone.", width, "  ");
        out.push_str(&warning(guess));
        out.push('\n');
    }
    out
}

/// A verdict in a word.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fits => "fits",
        Verdict::Tight => "tight",
        Verdict::DoesNotFit => "does not fit",
        Verdict::Unknown => "unknown",
    }
}

/// What an estimate rests on.
pub(super) fn basis(basis: &Basis, width: u16) -> String {
    let mut out = String::new();
    let on = format!("{} ({})", basis.runtime, basis.versions);
    if basis.validated {
        paragraph(&mut out, &format!("Basis: {on}; held against measurements of this kind of job."), width);
    } else {
        let line = wrap(
            &format!("NOT VALIDATED: no measurement of this kind of job stands behind these figures. Basis: {on}."),
            width,
            "  ",
        );
        out.push_str(&warning(line));
        out.push('\n');
    }
    out + &notes(&basis.notes, width)
}

/// What a reader should know about figures, a paragraph each.
pub(super) fn notes(notes: &[String], width: u16) -> String {
    let mut out = String::new();
    for note in notes {
        paragraph(&mut out, &format!("- {note}"), width);
    }
    out
}

/// A paragraph of its own.
pub(super) fn paragraph(out: &mut String, text: &str, width: u16) {
    out.push_str(&wrap(text, width, "  "));
    out.push('\n');
}

fn workload(workload: &Workload) -> String {
    match workload {
        Workload::Train(train) => training(train),
        Workload::Infer(infer) => inference(infer),
        Workload::Serve(serve) => serving(serve),
    }
}

fn training(train: &Train) -> String {
    let mut words = vec![match &train.peft {
        None => "full fine-tuning".to_owned(),
        Some(Peft::Lora(lora)) => adapters(lora),
        Some(other) => other.type_name().to_owned(),
    }];
    if train.objective != Objective::Sft {
        words.insert(0, train.objective.to_string());
    }
    words.push(weights(train.precision, train.double_quant, train.compute_dtype.name()));
    if train.mixed_precision != MixedPrecision::No {
        words.push(format!("autocast {}", train.mixed_precision));
    }
    words.push(format!("batch {} x {} tokens", train.per_device_train_batch_size, train.max_seq_length));
    if train.gradient_accumulation_steps > 1 {
        words.push(format!("{} accumulation steps", train.gradient_accumulation_steps));
    }
    if matches!(train.objective, Objective::Grpo | Objective::Ppo) {
        words.push(format!("{} generated tokens", train.completion_length()));
    }
    if train.gradient_checkpointing {
        words.push(match train.checkpoint_every_n_layers {
            1 => "gradient checkpointing".to_owned(),
            n => format!("gradient checkpointing of every {n} layers"),
        });
    }
    words.push(match train.offload_optimizer {
        OffloadOptimizer::No => train.optim.to_string(),
        offload => format!("{} on the host ({offload})", train.optim),
    });
    if train.use_liger_kernel {
        words.push("Liger kernels".to_owned());
    }
    words.push(format!("{} attention", train.attn_implementation));
    for (on, what) in [
        (!train.clips(), "no gradient clipping"),
        (train.attention_mask, "attention mask"),
        (!train.zero_grad_set_to_none, "gradients kept between steps"),
        (train.keep_outputs, "outputs kept in backward"),
    ] {
        if on {
            words.push(what.to_owned());
        }
    }
    words.join(", ")
}

fn adapters(lora: &Lora) -> String {
    let kind = if lora.use_dora { "DoRA" } else { "LoRA" };
    let targets = match &lora.target_modules {
        None => "PEFT's default modules".to_owned(),
        Some(TargetModules::AllLinear) => "all linear modules".to_owned(),
        Some(TargetModules::Names(names)) => names.join(" "),
        Some(TargetModules::Pattern(pattern)) => format!("modules like {pattern}"),
    };
    let dropout = if lora.lora_dropout > 0.0 { format!(" with dropout {}", lora.lora_dropout) } else { String::new() };
    let saved = match lora.modules_to_save.as_slice() {
        [] => String::new(),
        names => format!(" and {} whole", names.join(" ")),
    };
    format!("{kind} r={} on {targets}{dropout}{saved}", lora.r)
}

fn weights(precision: Precision, double_quant: bool, compute: &str) -> String {
    let double = if double_quant { " double-quantised" } else { "" };
    let computing = if precision.is_quantized() { format!(" computing in {compute}") } else { String::new() };
    format!("{precision}{double} weights{computing}")
}

fn serving(serve: &Serve) -> String {
    let version = serve.runtime_version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
    let length = match (serve.sequence_length, serve.max_model_len) {
        (Some(tokens), _) | (None, Some(tokens)) => format!("{tokens} tokens"),
        (None, None) => "as many tokens as the model has positions".to_owned(),
    };
    let mut words = vec![
        format!("serving with {}{version}", serve.runtime),
        format!("{} weights", serve.precision),
        format!("{} x {length} in the cache", serve.concurrency),
        format!("keys and values in {}", serve.kv_cache_dtype),
    ];
    for (count, what) in
        [(serve.tensor_parallel_size, "tensor parallel"), (serve.pipeline_parallel_size, "pipeline parallel")]
    {
        if count > 1 {
            words.push(format!("{what} on {count} GPUs"));
        }
    }
    for (on, what) in [(serve.enable_expert_parallel, "expert parallel"), (serve.enforce_eager, "no CUDA graphs")] {
        if on {
            words.push(what.to_owned());
        }
    }
    words.join(", ")
}

fn inference(infer: &Infer) -> String {
    let logits = match infer.logits_to_keep {
        0 => "logits of every position".to_owned(),
        1 => "logits of the last position".to_owned(),
        n => format!("logits of {n} positions"),
    };
    [
        format!("inference with {}", infer.runtime),
        weights(infer.precision, infer.double_quant, infer.compute_dtype.name()),
        format!("batch {} x {} prompt + {} new tokens", infer.batch_size, infer.prompt_length, infer.max_new_tokens),
        format!("{} attention", infer.attn_implementation),
        logits,
    ]
    .join(", ")
}
