//! What `accelerate config` writes (accelerate 1.15, `commands/config/config_args.py`).

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Known};
use super::report::Effect::{Either, Less, More};
use super::trainer::{DEEPSPEED, FSDP, accumulation, max_grad_norm};
use crate::job::MixedPrecision;

pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    mixed_precision(&mut fields, draft)?;
    if let Some(got) = fields.text("distributed_type")? {
        match got.value.to_ascii_uppercase().as_str() {
            "NO" | "MULTI_GPU" => got.ignored(draft, "num_processes says how many GPUs"),
            "DEEPSPEED" => got.not_modelled(draft, More, DEEPSPEED),
            "FSDP" => got.not_modelled(draft, More, FSDP),
            "MULTI_CPU" => return Err(got.error("the job runs on CPUs and takes no GPU memory")),
            _ => got.not_modelled(draft, More, "this way to use several devices is not modelled"),
        }
    }
    if let Some(got) = fields.count("num_processes")? {
        match got.value {
            0 | 1 => got.ignored(draft, "one GPU"),
            _ => got.not_modelled(draft, More, "the figures are for one GPU; several add buckets of gradients to it"),
        }
    }
    if let Some(got) = fields.flag("use_cpu")? {
        if got.value {
            return Err(got.error("the job runs on the CPU and takes no GPU memory"));
        }
        got.ignored(draft, "off");
    }
    deepspeed(&mut fields, draft)?;
    if let Some(fsdp) = fields.table("fsdp_config")? {
        fsdp.rest(draft, &[&FSDP_FIELDS]);
    }
    fields.rest(draft, &[&CONFIG]);
    Ok(())
}

/// The launcher's word, which counts where the training arguments have none.
fn mixed_precision(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(got) = fields.text("mixed_precision")? else { return Ok(()) };
    let mixed = match got.value.to_ascii_lowercase().as_str() {
        "no" | "false" => MixedPrecision::No,
        "fp16" => MixedPrecision::Fp16,
        "bf16" => MixedPrecision::Bf16,
        "fp8" => {
            got.not_modelled(draft, More, "computed as bf16; fp8 copies of weights and inputs are not modelled");
            MixedPrecision::Bf16
        }
        _ => return Err(got.error("give no, fp16 or bf16")),
    };
    let source = got.to(format!("mixed_precision = {mixed}"));
    draft.mixed_precision.set(Rank::Launcher, mixed, source, &mut draft.report.ignored);
    Ok(())
}

fn deepspeed(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(mut table) = fields.table("deepspeed_config")? else { return Ok(()) };
    if let Some(got) = table.text("deepspeed_config_file")? {
        got.not_modelled(draft, Either, "what it says is not read here; give the file as another --from");
    }
    if !table.is_auto("gradient_accumulation_steps", draft) {
        accumulation(&mut table, draft, "gradient_accumulation_steps")?;
    }
    if !table.is_auto("gradient_clipping", draft) {
        max_grad_norm(&mut table, draft, "gradient_clipping")?;
    }
    for (field, what) in
        [("offload_optimizer_device", "optimizer states are"), ("offload_param_device", "parameters are")]
    {
        match table.text(field)? {
            Some(got) if got.value == "none" => got.ignored(draft, "off"),
            Some(got) => got.not_modelled(draft, Less, format!("{what} held off the GPU")),
            None => {}
        }
    }
    table.rest(draft, &[&DEEPSPEED_FIELDS]);
    Ok(())
}

const DEEPSPEED_FIELDS: Known = Known {
    effects: &[],
    ignored: &[
        (
            "part of what distributed_type says is not modelled",
            &["zero_stage", "zero3_*", "deepspeed_moe_layer_cls_names"],
        ),
        ("held on the host", &["offload_*"]),
        (
            "how processes are started",
            &[
                "deepspeed_multinode_launcher",
                "deepspeed_hostfile",
                "deepspeed_inclusion_filter",
                "deepspeed_exclusion_filter",
            ],
        ),
    ],
};

const FSDP_FIELDS: Known = Known {
    effects: &[
        ("fsdp_offload_params", Less, "parameters are held on the host"),
        ("fsdp_activation_checkpointing", Less, "layers are checkpointed; give --gradient-checkpointing"),
    ],
    ignored: &[("part of what distributed_type says is not modelled", &["fsdp_*"])],
};

const CONFIG: Known = Known {
    effects: &[
        ("dynamo_config", Either, "compiled graphs keep other tensors than eager mode"),
        ("dynamo_backend", Either, "compiled graphs keep other tensors than eager mode"),
        ("fp8_config", Either, "fp8 is not modelled"),
        ("megatron_lm_config", More, "several GPUs are not modelled"),
        ("parallelism_config", More, "several GPUs are not modelled"),
        ("tp_config", More, "several GPUs are not modelled"),
    ],
    ignored: &[(
        "how processes are started",
        &[
            "compute_environment",
            "debug",
            "machine_rank",
            "num_machines",
            "gpu_ids",
            "main_process_ip",
            "main_process_port",
            "main_training_function",
            "rdzv_backend",
            "same_network",
            "enable_cpu_affinity",
            "tpu_*",
            "command_file",
            "commands",
            "mpirun_config",
            "downcast_bf16",
            "ipex_config",
            "use_xpu",
        ],
    )],
};
