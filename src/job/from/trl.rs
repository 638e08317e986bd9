//! TRL: `SFTConfig` and `ModelConfig`, as its command line's YAML has them together.
//!
//! Defaults are those of TRL 1.9 (`trainer/base_config.py`, `trainer/sft_config.py`, `trainer/model_config.py`,
//! `trainer/sft_trainer.py`): weights are loaded in float32, bf16 autocast and gradient checkpointing are on,
//! `max_length` is 1024, and the adapters of a quantised model are bf16.

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Known, default};
use super::objective;
use super::report::Effect::{Either, Less, More};
use super::report::NotModelled;
use super::trainer::{self, ARGUMENTS, Defaults, MODEL, arguments, model};
use super::words;
use crate::job::{FloatType, MixedPrecision, Objective, Precision};

const SFT: &str = "TRL 1.9, trainer/sft_config.py";
const BASE: &str = "TRL 1.9, trainer/base_config.py";
const MODEL_CONFIG: &str = "TRL 1.9, trainer/model_config.py";

pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    let mut fp16_asked = false;
    if let Some(got) = fields.flag("fp16")? {
        fp16_asked = got.value;
    }
    model(&mut fields, draft, "model_name_or_path")?;
    let defaults = Defaults {
        checkpointing: Some(true),
        mixed_precision: (!fp16_asked).then_some(MixedPrecision::Bf16),
        source: BASE,
    };
    if let Some((objective, by)) = objective::told(&mut fields)? {
        objective::implied(draft, objective, &by);
    }
    arguments(&mut fields, draft, &defaults)?;
    length(&mut fields, draft)?;
    objective::belongings(&mut fields, draft)?;
    precision(&mut fields, draft)?;
    lora(&mut fields, draft)?;
    loss(&mut fields, draft)?;
    words::default_mask(draft, "TRL 1.9, trainer/sft_trainer.py");
    trainer::packing(&mut fields, draft, &["packing", "padding_free"])?;
    let known = [&SFT_FIELDS, &ARGUMENTS, &MODEL, &NO_PEFT];
    let adapts = draft.adapter.value == Some(true);
    fields.rest(draft, if adapts { &known[..3] } else { &known });
    Ok(())
}

fn length(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let got = match fields.count("max_length")? {
        Some(got) => Some(got),
        None => fields.count("max_seq_length")?,
    };
    let generates = matches!(draft.objective.value, Some(Objective::Grpo | Objective::Ppo));
    if got.is_none() && (generates || fields.is_null("max_length")) {
        // nothing is cut: only the data knows how long a sequence is
        return Ok(());
    }
    let (rank, value, source) = match got {
        Some(got) => (Rank::Written, got.value, got.to(format!("max_seq_length = {}", got.value))),
        None => (Rank::Default, 1024, default("max_length", 1024, "max_seq_length = 1024", SFT)),
    };
    draft.length.set(rank, value, source, &mut draft.report.ignored);
    Ok(())
}

/// `dtype` and the quantisation of `ModelConfig`, or `model_init_kwargs`.
fn precision(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let mut dtype = match fields.text("dtype")? {
        Some(got) => Some(got),
        None => fields.text("torch_dtype")?,
    };
    if let Some(mut kwargs) = fields.table("model_init_kwargs")? {
        dtype = kwargs.text("dtype")?.or(kwargs.text("torch_dtype")?).or(dtype);
        if let Some(got) = kwargs.text("attn_implementation")? {
            words::attention(draft, &got)?;
        }
        kwargs.rest(draft, &[&INIT_KWARGS]);
    }
    let (float, rank, source) = match dtype {
        Some(got) if got.value == "auto" => {
            (FloatType::Bf16, Rank::Written, got.to("precision = bf16, taken for the checkpoint's"))
        }
        Some(got) => {
            let float = words::float(&got)?;
            (float, Rank::Written, got.to(format!("precision = {float}")))
        }
        None => (FloatType::Fp32, Rank::Default, default("dtype", "float32", "precision = fp32", MODEL_CONFIG)),
    };
    let (four, eight) = (fields.flag("load_in_4bit")?, fields.flag("load_in_8bit")?);
    let nested = fields.flag("use_bnb_nested_quant")?;
    let kind = fields.text("bnb_4bit_quant_type")?;
    if let Some(four) = four.filter(|got| got.value) {
        if eight.is_some_and(|got| got.value) {
            return Err(four.error("load_in_8bit is true too; set one of them"));
        }
        let precision = match kind {
            Some(kind) => kind.value.parse().map_err(|_| kind.error("give nf4 or fp4"))?,
            None => Precision::Nf4,
        };
        draft.precision.set(
            Rank::Written,
            precision,
            four.to(format!("precision = {precision}")),
            &mut draft.report.ignored,
        );
        if let Some(nested) = nested {
            let source = nested.to(format!("double_quant = {}", nested.value));
            draft.double_quant.set(Rank::Written, nested.value, source, &mut draft.report.ignored);
        }
    } else if let Some(eight) = eight.filter(|got| got.value) {
        draft.precision.set(Rank::Written, Precision::Int8, eight.to("precision = int8"), &mut draft.report.ignored);
    } else {
        let precision = float.name().parse().unwrap_or_default();
        draft.precision.set(rank, precision, source, &mut draft.report.ignored);
        return Ok(());
    }
    let source = crate::job::from::Mapped { to: format!("compute_dtype = {float}"), ..source };
    draft.compute_dtype.set(rank, float, source, &mut draft.report.ignored);
    Ok(())
}

fn lora(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(asked) = fields.flag("use_peft")?.filter(|got| got.value) else { return Ok(()) };
    let quantized = draft.precision.value.is_some_and(Precision::is_quantized);
    let fp32 = draft.compute_dtype.value == Some(FloatType::Fp32);
    let scaled = draft.mixed_precision.value == Some(MixedPrecision::Fp16);
    draft.adapter.set(Rank::Written, true, asked.to("peft.type = lora"), &mut draft.report.ignored);
    // `ModelConfig`'s own defaults
    let mut lora = crate::job::Lora { r: 16, lora_alpha: 32.0, lora_dropout: 0.05, ..Default::default() };
    words::alpha(fields, draft, &mut lora)?;
    let said = &mut draft.lora_sources;
    match fields.count("lora_r")? {
        Some(got) => {
            lora.r = got.value;
            said.push(got.to(format!("r = {}", got.value)));
        }
        None => said.push(default("lora_r", 16, "r = 16", MODEL_CONFIG)),
    }
    match fields.number("lora_dropout")? {
        Some(got) => {
            lora.lora_dropout = got.value;
            said.push(got.to(format!("lora_dropout = {}", got.value)));
        }
        None => said.push(default("lora_dropout", 0.05, "lora_dropout = 0.05", MODEL_CONFIG)),
    }
    if let Some(got) = fields.names("lora_target_modules")? {
        lora.target_modules = Some(words::targets(&got, "all-linear")?);
        said.push(got.to("target_modules"));
    }
    if let Some(got) = fields.names("lora_modules_to_save")? {
        said.push(got.to("modules_to_save"));
        lora.modules_to_save = got.value;
    }
    if let Some(got) = fields.flag("use_dora")? {
        lora.use_dora = got.value;
        said.push(got.to(format!("use_dora = {}", got.value)));
    }
    if quantized && !fp32 && !scaled {
        // as many bytes in fp16 as in the bf16 that TRL takes
        lora.autocast_adapter_dtype = false;
        let of = "TRL 1.9, trainer/sft_trainer.py";
        said.push(default("adapters of a quantised model", "bf16", "autocast_adapter_dtype = false", of));
    }
    draft.lora = lora;
    Ok(())
}

fn loss(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    const CHUNKED: &str = "logits are modelled whole, and made in chunks";
    let got = fields.text("loss_type")?;
    if draft.objective.value.is_some_and(|objective| objective != Objective::Sft) {
        match got {
            Some(got) if got.value == "apo_zero_unpaired" => got.not_modelled(draft, Less, "it has no KL term"),
            Some(got) => got.ignored(draft, "numbers of sequences and tokens, not of logits"),
            None => {}
        }
        return Ok(());
    }
    let Some(got) = got else {
        // `SFTConfig.__post_init__`
        if draft.liger.value != Some(true) {
            draft.report.not_modelled.push(NotModelled::by_default("loss_type", "chunked_nll", Less, CHUNKED));
        }
        return Ok(());
    };
    match got.value.as_str() {
        "nll" => got.ignored(draft, "what is modelled"),
        "chunked_nll" => got.not_modelled(draft, Less, CHUNKED),
        _ => got.not_modelled(draft, More, "this loss is not modelled"),
    }
    Ok(())
}

const RL: &str = "DPO, ORPO, KTO and GRPO have it, and nothing here tells which trainer it is for; \
                  write num_generations, desirable_weight or precompute_ref_log_probs, or a job file";

const INIT_KWARGS: Known = Known {
    effects: &[
        ("quantization_config", Either, "only load_in_4bit and load_in_8bit are read"),
        ("device_map", Either, "the model is modelled on one GPU"),
    ],
    ignored: &[
        (
            "which model, not what it holds",
            &["revision", "trust_remote_code", "token", "cache_dir", "low_cpu_mem_usage"],
        ),
        ("off while training", &["use_cache"]),
    ],
};

const SFT_FIELDS: Known = Known {
    effects: &[
        ("activation_offloading", Less, "activations are held on the host"),
        ("lora_target_parameters", More, "adapters on parameters are not modelled"),
        ("router_aux_loss_coef", Either, "for mixtures of experts a loss is added"),
        ("beta", More, RL),
        ("max_completion_length", More, RL),
        ("max_prompt_length", More, RL),
        ("sync_ref_model", More, "the reference is modelled as it was loaded"),
        ("num_iterations", Either, "completions are modelled as new in every step"),
        ("reward_model*", More, "reward models are not modelled; reward functions on the host need none"),
        ("top_entropy_quantile", More, "the mask of tokens with much entropy is not modelled"),
        ("vllm_*", More, "vLLM is not modelled"),
        ("num_ppo_epochs", More, "PPO's rollouts are not modelled"),
        ("local_rollout_forward_batch_size", More, "PPO's rollouts are not modelled"),
        ("ref_model*", More, RL),
    ],
    ignored: &[
        (
            "data is on the host",
            &[
                "dataset_*",
                "datasets",
                "streaming",
                "test_split_size",
                "completion_only_loss",
                "assistant_only_loss",
                "shuffle_dataset",
                "truncation_mode",
                "ignore_bias_buffers",
                "disable_dropout",
            ],
        ),
        (
            "numbers, not tensors",
            &[
                "desirable_weight",
                "undesirable_weight",
                "center_rewards_coefficient",
                "reward_weights",
                "reward_func*",
                "scale_rewards",
                "epsilon*",
                "delta",
                "importance_sampling_level",
                "mask_truncated_completions",
                "top_p",
                "top_k",
                "min_p",
                "repetition_penalty",
                "label_smoothing",
                "ld_alpha",
                "f_*",
                "use_weighting",
                "discopop_tau",
                "sync_ref_model_*",
                "ref_model_mixup_alpha",
                "ref_model_sync_steps",
                "log_completions",
                "num_completions_to_print",
                "shuffle_prompts",
            ],
        ),
        ("tokens, not tensors", &["chat_template_path", "eos_token", "pad_token", "config_name"]),
        ("every sequence is counted at its full length", &["pad_to_multiple_of", "packing_strategy"]),
        ("no effect on memory", &["use_rslora", "lora_task_type", "bnb_4bit_quant_storage"]),
        ("the model is not quantised so", &["use_bnb_nested_quant", "bnb_4bit_quant_type"]),
    ],
};

/// What is said of adapters where there are none.
const NO_PEFT: Known = Known { effects: &[], ignored: &[("use_peft is off", &["lora_*", "use_dora"])] };
