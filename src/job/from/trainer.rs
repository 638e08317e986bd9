//! transformers' `TrainingArguments`, on which the other trainers build.
//!
//! Names and defaults are those of transformers 5.17, `training_args.py`; `per_device_train_batch_size` is 8 where it is
//! not written, `optim` is `adamw_torch_fused` with torch 2.8 and later, `max_grad_norm` 1.0 and `bf16` off.

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Known, default};
use super::report::Effect::{Either, Less, More};
use super::words;
use crate::job::{MixedPrecision, Precision};

const SOURCE: &str = "transformers 5.17, training_args.py";

/// What DeepSpeed does wherever it is asked for.
pub(super) const DEEPSPEED: &str = "DeepSpeed keeps fp32 copies of what it trains and their gradients, and buckets; \
                                    its sharding over GPUs is not modelled either";
/// What FSDP does wherever it is asked for.
pub(super) const FSDP: &str = "the sharding of FSDP, its fp32 copies and gathered layers are not modelled";

/// How a trainer differs from `TrainingArguments`.
pub(super) struct Defaults {
    pub(super) checkpointing: Option<bool>,
    pub(super) mixed_precision: Option<MixedPrecision>,
    pub(super) source: &'static str,
}

/// A file of nothing but `TrainingArguments`, and perhaps the model's name.
pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    model(&mut fields, draft, "model_name_or_path")?;
    arguments(&mut fields, draft, &Defaults { checkpointing: None, mixed_precision: None, source: SOURCE })?;
    let source = default(
        "from_pretrained(dtype)",
        "the checkpoint's, taken to be bf16",
        "precision = bf16",
        "transformers 5.17, modeling_utils.py",
    );
    draft.precision.set(Rank::Default, Precision::Bf16, source, &mut draft.report.ignored);
    words::default_mask(draft, "transformers 5.17, data/data_collator.py");
    fields.rest(draft, &[&ARGUMENTS, &MODEL]);
    Ok(())
}

/// The model's name.
pub(super) fn model(fields: &mut Fields, draft: &mut Draft, field: &'static str) -> Result<(), FromError> {
    if let Some(got) = fields.text(field)? {
        let source = got.to(format!("model = {}", got.value));
        draft.model.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    Ok(())
}

/// Batch, steps, precision, checkpointing and optimizer.
pub(super) fn arguments(fields: &mut Fields, draft: &mut Draft, defaults: &Defaults) -> Result<(), FromError> {
    checkpointing(fields, draft, defaults)?;
    basics(fields, draft, defaults)
}

/// [`arguments`] but for checkpointing.
pub(super) fn basics(fields: &mut Fields, draft: &mut Draft, defaults: &Defaults) -> Result<(), FromError> {
    batch(fields, draft, "per_device_train_batch_size", "per_device_eval_batch_size", (8, SOURCE))?;
    accumulation(fields, draft, "gradient_accumulation_steps")?;
    mixed_precision(fields, draft, defaults)?;
    match fields.text("optim")? {
        Some(got) => words::optim(draft, &got)?,
        None => words::default_optim(draft, "optim", SOURCE),
    }
    super::objective::low_rank(fields, draft)?;
    if let Some(got) = fields.flag("use_liger_kernel")? {
        super::objective::liger(draft, &got);
    }
    max_grad_norm(fields, draft, "max_grad_norm")?;
    if let Some(got) = fields.text("attn_implementation")? {
        words::attention(draft, &got)?;
    }
    fsdp(fields, draft)
}

/// The batch, and that of evaluation where it is larger.
pub(super) fn batch(
    fields: &mut Fields,
    draft: &mut Draft,
    train: &'static str,
    eval: &'static str,
    (otherwise, of): (u64, &'static str),
) -> Result<(), FromError> {
    let batch = match fields.count(train)? {
        Some(got) => {
            let source = got.to(format!("per_device_train_batch_size = {}", got.value));
            draft.batch.set(Rank::Written, got.value, source, &mut draft.report.ignored);
            got.value
        }
        None => {
            let source = default(train, otherwise, format!("per_device_train_batch_size = {otherwise}"), of);
            draft.batch.set(Rank::Default, otherwise, source, &mut draft.report.ignored);
            otherwise
        }
    };
    match fields.count(eval)? {
        Some(got) if got.value > batch => {
            got.not_modelled(draft, Either, "evaluation is not in the figures, and its batch is the larger");
        }
        Some(got) => got.ignored(draft, "evaluation is no larger than training"),
        None => {}
    }
    Ok(())
}

pub(super) fn accumulation(fields: &mut Fields, draft: &mut Draft, field: &'static str) -> Result<(), FromError> {
    if let Some(got) = fields.count(field)? {
        let source = got.to(format!("gradient_accumulation_steps = {}", got.value));
        draft.accumulation.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    Ok(())
}

pub(super) fn max_grad_norm(fields: &mut Fields, draft: &mut Draft, field: &'static str) -> Result<(), FromError> {
    if let Some(got) = fields.number(field)? {
        let source = got.to(format!("max_grad_norm = {}", got.value));
        draft.max_grad_norm.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    Ok(())
}

/// `bf16` and `fp16`: autocast over weights of whatever type.
fn mixed_precision(fields: &mut Fields, draft: &mut Draft, defaults: &Defaults) -> Result<(), FromError> {
    let (bf16, fp16) = (fields.flag("bf16")?, fields.flag("fp16")?);
    if let (Some(bf16), Some(true)) = (&bf16, fp16.as_ref().map(|got| got.value))
        && bf16.value
    {
        return Err(bf16.error("fp16 is true too; set one of them"));
    }
    let chosen = [(bf16, MixedPrecision::Bf16), (fp16, MixedPrecision::Fp16)];
    let mut written = false;
    for (got, mixed) in chosen.into_iter().filter_map(|(got, mixed)| got.map(|got| (got, mixed))) {
        if got.value {
            let source = got.to(format!("mixed_precision = {mixed}"));
            draft.mixed_precision.set(Rank::Written, mixed, source, &mut draft.report.ignored);
            written = true;
        } else if mixed == MixedPrecision::Bf16 && defaults.mixed_precision.is_some() {
            let source = got.to("mixed_precision = no");
            draft.mixed_precision.set(Rank::Written, MixedPrecision::No, source, &mut draft.report.ignored);
            written = true;
        } else {
            got.ignored(draft, "off");
        }
    }
    if let (false, Some(mixed)) = (written, defaults.mixed_precision) {
        let source = default("bf16", "true", format!("mixed_precision = {mixed}"), defaults.source);
        draft.mixed_precision.set(Rank::Default, mixed, source, &mut draft.report.ignored);
    }
    Ok(())
}

fn checkpointing(fields: &mut Fields, draft: &mut Draft, defaults: &Defaults) -> Result<(), FromError> {
    let on = match (fields.flag("gradient_checkpointing")?, defaults.checkpointing) {
        (Some(got), _) => {
            let source = got.to(format!("gradient_checkpointing = {}", got.value));
            draft.checkpointing.set(Rank::Written, got.value, source, &mut draft.report.ignored);
            got.value
        }
        (None, Some(on)) => {
            let source =
                default("gradient_checkpointing", on, format!("gradient_checkpointing = {on}"), defaults.source);
            draft.checkpointing.set(Rank::Default, on, source, &mut draft.report.ignored);
            on
        }
        (None, None) => false,
    };
    checkpointing_kwargs(fields, draft, on)
}

/// How layers are checkpointed: whole layers, every one, not reentrant is what is modelled.
pub(super) fn checkpointing_kwargs(fields: &mut Fields, draft: &mut Draft, on: bool) -> Result<(), FromError> {
    let Some(mut kwargs) = fields.table("gradient_checkpointing_kwargs")? else { return Ok(()) };
    if !on {
        kwargs.rest(draft, &[&UNUSED_KWARGS]);
        return Ok(());
    }
    if let Some(got) = kwargs.flag("use_reentrant")? {
        if got.value {
            got.not_modelled(draft, Either, "checkpoints are modelled as use_reentrant = false makes them");
        } else {
            got.ignored(draft, "what is modelled");
        }
    }
    if let Some(got) = kwargs.count("every_n_layers")? {
        match got.value {
            0 | 1 => got.ignored(draft, "what is modelled"),
            n => {
                let source = got.to(format!("checkpoint_every_n_layers = {n}"));
                draft.checkpoint_every.set(Rank::Written, n, source, &mut draft.report.ignored);
            }
        }
    }
    kwargs.rest(draft, &[&KWARGS]);
    Ok(())
}

/// A packed batch is one long sequence: flash attention does not mind, a mask grows with its square.
pub(super) fn packing(fields: &mut Fields, draft: &mut Draft, names: &[&'static str]) -> Result<(), FromError> {
    let masked = draft.mask.value == Some(true);
    let long = draft.batch.value.is_some_and(|batch| batch > 1);
    for name in names {
        let Some(got) = fields.text(name)? else { continue };
        if words::truth(&got.value) == Some(false) {
            got.ignored(draft, "off");
        } else if masked && long {
            let source = got.to("packing = true, attention_mask = false");
            draft.packing.set(Rank::Written, true, source, &mut draft.report.ignored);
        } else {
            got.ignored(draft, "every sequence is counted at its full length");
        }
    }
    Ok(())
}

/// `fsdp`: words or a list of them; none and false turn it off.
pub(super) fn fsdp(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(got) = fields.any("fsdp") else { return Ok(()) };
    match fields.names("fsdp")? {
        Some(names) if names.value != ["false"] && names.value != ["False"] => names.not_modelled(draft, More, FSDP),
        _ => got.ignored(draft, "off"),
    }
    Ok(())
}

const KWARGS: Known = Known {
    effects: &[
        ("offload", Less, "checkpoints are held on the host"),
        ("context_fn", Either, "some operations are kept"),
    ],
    ignored: &[(NO_EFFECT, &["determinism_check", "preserve_rng_state", "debug", "early_stop"])],
};
const UNUSED_KWARGS: Known = Known { effects: &[], ignored: &[("gradient_checkpointing is off", &["*"])] };

const NO_EFFECT: &str = "no effect on memory";

/// The rest of `TrainingArguments` with a known effect, or none.
pub(super) const ARGUMENTS: Known = Known {
    effects: &[
        ("deepspeed", More, DEEPSPEED),
        ("fsdp_config", More, FSDP),
        ("parallelism_config", More, "several GPUs are not modelled"),
        ("label_smoothing_factor", More, "the smoothed loss makes another copy of the logits"),
        ("optim_args", Either, "the optimizer is modelled with its defaults"),
        ("optim_target_modules", Either, "the optimizer is modelled for all parameters"),
        ("liger_kernel_config", Less, "Liger's kernels keep fewer activations and no logits"),
        ("neftune_noise_alpha", Either, "noise is added to the embeddings"),
        ("torch_compile", Either, "compiled graphs keep other tensors than eager mode"),
        ("torch_compile_backend", Either, "it turns torch_compile on"),
        ("torch_compile_mode", Either, "it turns torch_compile on"),
        ("torchdynamo", Either, "it turns torch_compile on"),
        ("auto_find_batch_size", Less, "the batch is made smaller until it fits"),
        ("torch_empty_cache_steps", Less, "cached blocks are given back between steps"),
        ("use_cache", Either, "keys and values are kept where checkpointing does not forbid it"),
        ("use_cpu", Less, "nothing is on the GPU"),
        ("no_cuda", Less, "nothing is on the GPU"),
        ("fp16_backend", Either, "another implementation of mixed precision"),
        ("half_precision_backend", Either, "another implementation of mixed precision"),
        ("fp16_opt_level", Either, "another implementation of mixed precision"),
        ("tpu_num_cores", Either, "the job is for a TPU"),
        ("use_ipex", Either, "the job is for a CPU"),
        ("sortish_sampler", Either, "batches are made of sequences alike in length"),
    ],
    ignored: &[
        (
            "how fast it learns, not what it holds",
            &[
                "learning_rate",
                "lr_scheduler_type",
                "lr_scheduler_kwargs",
                "warmup_steps",
                "warmup_ratio",
                "weight_decay",
                "adam_beta1",
                "adam_beta2",
                "adam_epsilon",
                "num_train_epochs",
                "max_steps",
                "seed",
                "data_seed",
                "full_determinism",
                "average_tokens_across_devices",
            ],
        ),
        (
            "reporting and logging",
            &[
                "logging_*",
                "log_level",
                "log_level_replica",
                "log_on_each_node",
                "report_to",
                "run_name",
                "project",
                "trackio_*",
                "disable_tqdm",
                "include_num_input_tokens_seen",
                "include_tokens_per_second",
                "skip_memory_metrics",
                "debug",
                "wandb_*",
            ],
        ),
        (
            "evaluation is not in the figures",
            &[
                "eval_*",
                "evaluation_strategy",
                "do_eval",
                "do_predict",
                "prediction_loss_only",
                "include_for_metrics",
                "include_inputs_for_metrics",
                "batch_eval_metrics",
                "bf16_full_eval",
                "fp16_full_eval",
                "metric_for_best_model",
                "greater_is_better",
                "load_best_model_at_end",
                "predict_with_generate",
                "generation_*",
                "per_gpu_eval_batch_size",
            ],
        ),
        (
            "saving and uploading",
            &[
                "output_dir",
                "overwrite_output_dir",
                "save_*",
                "push_to_hub*",
                "hub_*",
                "resume_from_checkpoint",
                "ignore_data_skip",
                "restore_callback_states_from_checkpoint",
                "enable_jit_checkpoint",
                "logging_dir",
            ],
        ),
        (
            "data is on the host",
            &[
                "dataloader_*",
                "group_by_length",
                "length_column_name",
                "train_sampling_strategy",
                "remove_unused_columns",
                "label_names",
                "past_index",
                "split_batches",
                "dispatch_batches",
                "accelerator_config",
            ],
        ),
        (
            "only between GPUs",
            &["ddp_*", "local_rank", "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap", "use_mps_device"],
        ),
        (NO_EFFECT, &["tf32", "do_train", "jit_mode_eval", "_n_gpu", "mp_parameters", "ray_scope", "env"]),
    ],
};

/// Where the model comes from.
pub(super) const MODEL: Known = Known {
    effects: &[],
    ignored: &[(
        "which model, not what it holds",
        &[
            "model_revision",
            "trust_remote_code",
            "tokenizer_name",
            "tokenizer_name_or_path",
            "cache_dir",
            "use_fast_tokenizer",
            "low_cpu_mem_usage",
            "token",
            "use_auth_token",
            "hf_hub_token",
        ],
    )],
};
