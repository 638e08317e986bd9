//! DeepSpeed's JSON (DeepSpeed 0.19, `runtime/config.py`); `auto` leaves a field to the training arguments.

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Known};
use super::report::Effect::{Either, Less, More};
use super::report::NotModelled;
use super::trainer::{DEEPSPEED, accumulation, max_grad_norm};
use super::words;
use crate::job::{MixedPrecision, OffloadOptimizer, Precision};

pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    if !fields.is_auto("gradient_accumulation_steps", draft) {
        accumulation(&mut fields, draft, "gradient_accumulation_steps")?;
    }
    batch(&mut fields, draft)?;
    if !fields.is_auto("gradient_clipping", draft) {
        max_grad_norm(&mut fields, draft, "gradient_clipping")?;
    }
    let bf16 = precision(&mut fields, draft, "bf16", Precision::Bf16)?;
    let bfloat16 = precision(&mut fields, draft, "bfloat16", Precision::Bf16)?;
    let fp16 = precision(&mut fields, draft, "fp16", Precision::Fp16)?;
    optimizer(&mut fields, draft)?;
    zero(&mut fields, draft, bf16 || bfloat16 || fp16)?;
    fields.rest(draft, &[&CONFIG]);
    Ok(())
}

/// The micro-batch, or what is left of the whole batch on one GPU.
fn batch(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let micro = !fields.is_auto("train_micro_batch_size_per_gpu", draft);
    let whole = !fields.is_auto("train_batch_size", draft);
    if let Some(got) = if micro { fields.count("train_micro_batch_size_per_gpu")? } else { None } {
        let source = got.to(format!("per_device_train_batch_size = {}", got.value));
        draft.batch.set(Rank::Written, got.value, source, &mut draft.report.ignored);
        if let Some(whole) = if whole { fields.count("train_batch_size")? } else { None } {
            whole.ignored(draft, "train_micro_batch_size_per_gpu says it");
        }
    } else if let Some(got) = if whole { fields.count("train_batch_size")? } else { None } {
        let steps = draft.accumulation.value.unwrap_or(1).max(1);
        let micro = got.value.div_ceil(steps);
        let source = got.to(format!("per_device_train_batch_size = {micro}, as on one GPU"));
        draft.batch.set(Rank::Written, micro, source, &mut draft.report.ignored);
    }
    Ok(())
}

/// `{"bf16": {"enabled": true}}`: the weights themselves are cast, nothing is autocast.
fn precision(
    fields: &mut Fields,
    draft: &mut Draft,
    field: &'static str,
    precision: Precision,
) -> Result<bool, FromError> {
    let Some(mut table) = fields.table(field)? else { return Ok(false) };
    let mut on = false;
    if !table.is_auto("enabled", draft)
        && let Some(got) = table.flag("enabled")?
    {
        on = got.value;
        if on {
            let weights = got.to(format!("precision = {precision}"));
            draft.precision.set(Rank::Written, precision, weights, &mut draft.report.ignored);
            let autocast = got.to("mixed_precision = no");
            draft.mixed_precision.set(Rank::Written, MixedPrecision::No, autocast, &mut draft.report.ignored);
        } else {
            got.ignored(draft, "off");
        }
    }
    table.rest(draft, &[&PRECISION]);
    Ok(on)
}

fn optimizer(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(mut table) = fields.table("optimizer")? else { return Ok(()) };
    if let Some(got) = table.text("type")? {
        let name = match got.value.to_ascii_lowercase().as_str() {
            // DeepSpeed's FusedAdam holds what torch's holds
            "adam" | "adamw" | "fusedadam" => "adamw_torch_fused",
            "torchadam" => "adamw_torch",
            "sgd" => "sgd",
            "cpuadam" | "deepspeedcpuadam" => {
                got.not_modelled(draft, Less, "its states are on the host");
                "adamw_torch_fused"
            }
            _ => return Err(got.error("this optimizer is not modelled yet; give AdamW or SGD")),
        };
        words::optim(draft, &got.with(name.to_owned()))?;
    }
    table.rest(draft, &[&OPTIMIZER]);
    Ok(())
}

/// ZeRO, and that DeepSpeed itself is there at all.
fn zero(fields: &mut Fields, draft: &mut Draft, half: bool) -> Result<(), FromError> {
    let Some(mut table) = fields.table("zero_optimization")? else {
        if half {
            let by_default = NotModelled::by_default("zero_optimization.stage", "0", More, DEEPSPEED);
            draft.report.not_modelled.push(by_default);
        }
        return Ok(());
    };
    match table.count("stage")? {
        Some(got) if got.value > 3 => return Err(got.error("give 0, 1, 2 or 3")),
        Some(got) => got.not_modelled(draft, More, DEEPSPEED),
        None => {}
    }
    for (part, what) in [("offload_optimizer", "optimizer states are"), ("offload_param", "parameters are")] {
        let Some(mut offload) = table.table(part)? else { continue };
        if let Some(device) = offload.text("device")? {
            match device.value.as_str() {
                "none" => device.ignored(draft, "off"),
                "cpu" if part == "offload_optimizer" => {
                    let source = device.to("offload_optimizer = deepspeed");
                    let offload = OffloadOptimizer::Deepspeed;
                    draft.offload.set(Rank::Written, offload, source, &mut draft.report.ignored);
                }
                _ => device.not_modelled(draft, Less, format!("{what} held off the GPU")),
            }
        }
        offload.rest(draft, &[&OFFLOAD]);
    }
    table.rest(draft, &[&ZERO]);
    Ok(())
}

const PRECISION: Known = Known {
    effects: &[
        ("master_weights_and_grads", Either, DEEPSPEED),
        ("fp16_master_weights_and_grads", Less, "its fp32 copies are fp16"),
        ("immediate_grad_update", Either, DEEPSPEED),
        ("bf16_master_weights_and_grads", Less, "its fp32 copies are bf16"),
        ("bf16_optimizer_states", Less, "optimizer states are bf16"),
        ("auto_cast", Either, "inputs are cast"),
    ],
    ignored: &[(
        "how a loss is scaled",
        &[
            "loss_scale",
            "loss_scale_window",
            "initial_scale_power",
            "hysteresis",
            "min_loss_scale",
            "consecutive_hysteresis",
            "check_grad_overflow",
        ],
    )],
};

const OPTIMIZER: Known =
    Known { effects: &[], ignored: &[("how fast it learns, not what it holds", &["params", "legacy_fusion"])] };

const OFFLOAD: Known = Known {
    effects: &[],
    ignored: &[(
        "held on the host",
        &["pin_memory", "buffer_*", "nvme_path", "fast_init", "ratio", "max_in_cpu", "pipeline*"],
    )],
};

const ZERO: Known = Known {
    effects: &[
        ("cpu_offload", Less, "optimizer states are held on the host"),
        ("cpu_offload_params", Less, "parameters are held on the host"),
        ("zero_quantized_*", Either, DEEPSPEED),
        ("mics_*", Either, DEEPSPEED),
        ("zero_hpz_partition_size", Either, DEEPSPEED),
        ("zenflow", Either, DEEPSPEED),
    ],
    ignored: &[(
        "part of what stage says is not modelled",
        &[
            "allgather_*",
            "reduce_*",
            "overlap_comm",
            "contiguous_gradients",
            "sub_group_size",
            "stage3_*",
            "round_robin_gradients",
            "load_from_fp32_weights",
            "elastic_checkpoint",
            "ignore_unused_parameters",
            "legacy_stage1",
            "param_persistence_threshold",
            "model_persistence_threshold",
            "max_live_parameters",
            "max_reuse_distance",
            "prefetch_bucket_size",
            "use_multi_rank_bucket_allreduce",
            "gather_16bit_weights_on_model_save",
            "memory_efficient_linear",
            "leaf_module",
            "log_trace_cache_warnings",
            "module_granularity_threshold",
            "use_all_reduce_for_fetch_params",
            "override_module_apply",
            "pipeline_loading_checkpoint",
        ],
    )],
};

const CONFIG: Known = Known {
    effects: &[
        ("activation_checkpointing", Either, "only models that call DeepSpeed's own checkpointing heed it"),
        ("amp", Either, "Apex is not modelled"),
        ("torch_autocast", Either, "DeepSpeed's own autocast is not modelled"),
        ("data_types", Either, "the type of accumulated gradients is not modelled"),
        ("compression_training", Either, "compressed training is not modelled"),
        ("tensor_parallel", More, "several GPUs are not modelled"),
        ("pipeline", More, "several GPUs are not modelled"),
        ("sequence_parallel_size", More, "several GPUs are not modelled"),
        ("sparse_attention", Either, "sparse attention is not modelled"),
        ("compile", Either, "compiled graphs keep other tensors than eager mode"),
        ("hybrid_engine", More, "generation within training is not modelled"),
    ],
    ignored: &[
        (
            "how fast it learns, not what it holds",
            &["scheduler", "curriculum_learning", "data_efficiency", "eigenvalue", "progressive_layer_drop"],
        ),
        (
            "reporting and logging",
            &[
                "steps_per_print",
                "wall_clock_breakdown",
                "dump_state",
                "tensorboard",
                "wandb",
                "csv_monitor",
                "comet",
                "flops_profiler",
                "comms_logger",
                "monitor_config",
                "memory_breakdown",
            ],
        ),
        (
            "only between GPUs",
            &[
                "communication_data_type",
                "prescale_gradients",
                "gradient_predivide_factor",
                "sparse_gradients",
                "disable_allgather",
                "seq_parallel_communication_data_type",
            ],
        ),
        (
            "no effect on memory",
            &[
                "zero_allow_untested_optimizer",
                "zero_force_ds_cpu_optimizer",
                "checkpoint",
                "aio",
                "elasticity",
                "autotuning",
                "seed",
                "dataloader_drop_last",
                "nebula",
                "graph_harvesting",
            ],
        ),
    ],
};
