//! axolotl's YAML.
//!
//! Defaults are those of axolotl 0.18 (`utils/schemas/{config,training,peft}.py`): `micro_batch_size` 1, `sequence_len`
//! 512, `optimizer` `adamw_torch_fused`, `bf16` `auto`. Weights are loaded in the type that `bf16` and `fp16` choose
//! (`utils/config/__init__.py`) with autocast over them (`core/builders/base.py`). `prepare_model_for_kbit_training`
//! makes what is not quantised fp32, and the loader turns norms, embeddings and the head back (`loaders/model.py`);
//! biases of linear layers, some KiB, stay fp32 there and are modelled in the compute type.

mod known;

use known::{BNB, FIELDS, NO_ADAPTER, TRL};

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Got, default, scalar};
use super::objective;
use super::report::Effect::{Either, Less, More};
use super::report::NotModelled;
use super::trainer::{self, ARGUMENTS, MODEL};
use super::words;
use crate::job::{FloatType, Lora, MixedPrecision, Objective, Precision, TargetModules};

const CONFIG: &str = "axolotl 0.18, utils/schemas/config.py";
const TRAINING: &str = "axolotl 0.18, utils/schemas/training.py";
const LOADER: &str = "axolotl 0.18, loaders/model.py";

/// Older flags and the implementation each stands for (`utils/schemas/enums.py`, `LEGACY_ATTN_FLAG_TO_IMPL`).
const ATTENTION_FLAGS: &[(&str, &str)] = &[
    ("xformers_attention", "xformers"),
    ("sage_attention", "sage"),
    ("flex_attention", "flex_attention"),
    ("flash_attention", "flash_attention_2"),
    ("sdp_attention", "sdpa"),
    ("eager_attention", "eager"),
];

pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    trainer::model(&mut fields, draft, "base_model")?;
    trainer::batch(&mut fields, draft, "micro_batch_size", "eval_batch_size", (1, TRAINING))?;
    trainer::accumulation(&mut fields, draft, "gradient_accumulation_steps")?;
    trainer::max_grad_norm(&mut fields, draft, "max_grad_norm")?;
    match fields.text("optimizer")? {
        Some(got) => words::optim(draft, &got)?,
        None => words::default_optim(draft, "optimizer", TRAINING),
    }
    learned(&mut fields, draft)?;
    length(&mut fields, draft)?;
    checkpointing(&mut fields, draft)?;
    attention(&mut fields, draft)?;
    words::default_mask(draft, "axolotl 0.18, utils/collators");
    let adapter = fields.text("adapter")?;
    let float = mixed_precision(&mut fields, draft)?;
    precision(&mut fields, draft, adapter.as_ref(), float)?;
    let adapts = adapter.is_some();
    if let Some(adapter) = adapter {
        lora(&mut fields, draft, &adapter)?;
    } else if draft.mask.value == Some(true) && float != FloatType::Fp32 {
        upcast(draft);
    }
    trainer::packing(&mut fields, draft, &["sample_packing", "batch_flattening", "pretraining_sample_concatenation"])?;
    trainer::fsdp(&mut fields, draft)?;
    plugins(&mut fields, draft)?;
    let known = [&FIELDS, &ARGUMENTS, &MODEL, &NO_ADAPTER];
    fields.rest(draft, if adapts { &known[..3] } else { &known });
    Ok(())
}

fn length(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let (rank, value, source) = match fields.count("sequence_len")? {
        Some(got) => (Rank::Written, got.value, got.to(format!("max_seq_length = {}", got.value))),
        None => (Rank::Default, 512, default("sequence_len", 512, "max_seq_length = 512", CONFIG)),
    };
    draft.length.set(rank, value, source, &mut draft.report.ignored);
    Ok(())
}

/// `rl` and `reward_model`, with what TRL's trainers read.
fn learned(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    if let Some(got) = objective::on(fields, draft, "reward_model")? {
        objective::asked(draft, &got, Objective::Reward);
    }
    if let Some(got) = fields.text("rl")? {
        match got.value.as_str() {
            "dpo" | "ipo" => objective::asked(draft, &got, Objective::Dpo),
            "orpo" => objective::asked(draft, &got, Objective::Orpo),
            "kto" => objective::asked(draft, &got, Objective::Kto),
            "grpo" => objective::asked(draft, &got, Objective::Grpo),
            _ => got.not_modelled(draft, More, "what is modelled is dpo, ipo, orpo, kto and grpo"),
        }
    }
    for name in ["rl_beta", "dpo_beta"] {
        if let Some(got) = fields.number(name)? {
            let source = got.to(format!("beta = {}", got.value));
            draft.beta.set(Rank::Written, got.value, source, &mut draft.report.ignored);
        }
    }
    objective::belongings(fields, draft)?;
    if let Some(mut table) = fields.table("trl")? {
        objective::belongings(&mut table, draft)?;
        table.rest(draft, &[&TRL]);
    }
    Ok(())
}

/// True, false, or a way to hold the checkpoints elsewhere.
fn checkpointing(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let mut on = false;
    if let Some(got) = fields.text("gradient_checkpointing")? {
        on = match got.value.as_str() {
            "offload" | "offload_disk" => {
                got.not_modelled(draft, Less, "checkpoints are held off the GPU");
                true
            }
            word => words::truth(word).ok_or_else(|| got.error("give true, false or offload"))?,
        };
        let source = got.to(format!("gradient_checkpointing = {on}"));
        draft.checkpointing.set(Rank::Written, on, source, &mut draft.report.ignored);
    }
    trainer::checkpointing_kwargs(fields, draft, on)
}

fn attention(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    if let Some(got) = fields.text("attn_implementation")? {
        return words::attention(draft, &got);
    }
    for (flag, name) in ATTENTION_FLAGS {
        if let Some(got) = fields.flag(flag)? {
            if got.value {
                return words::attention(draft, &got.with((*name).to_owned()));
            }
            got.ignored(draft, "off");
        }
    }
    Ok(())
}

/// `bf16`, `fp16` and their kin: the type of weights, returned, and of autocast.
fn mixed_precision(fields: &mut Fields, draft: &mut Draft) -> Result<FloatType, FromError> {
    let bf16 = fields.text("bf16")?;
    let fp16 = fields.flag("fp16")?;
    let bfloat16 = fields.flag("bfloat16")?.filter(|got| got.value);
    let float16 = fields.flag("float16")?.filter(|got| got.value);
    let half = fp16.as_ref().is_some_and(|got| got.value);
    let auto = bf16.as_ref().is_none_or(|got| got.value == "auto");
    let (on, full) = match &bf16 {
        _ if auto => (!half, false),
        Some(got) if got.value == "full" => (true, true),
        Some(got) => (words::truth(&got.value).ok_or_else(|| got.error("give auto, true, false or full"))?, false),
        None => (!half, false),
    };
    let (float, mixed) = match (on || bfloat16.is_some(), half || float16.is_some()) {
        (true, _) if full => (FloatType::Bf16, MixedPrecision::No),
        (true, _) => (FloatType::Bf16, MixedPrecision::Bf16),
        (false, true) if half => (FloatType::Fp16, MixedPrecision::Fp16),
        (false, true) => (FloatType::Fp16, MixedPrecision::No),
        (false, false) if fields.is_on("load_in_8bit")? => (FloatType::Fp16, MixedPrecision::No),
        (false, false) => (FloatType::Fp32, MixedPrecision::No),
    };
    let to = format!("mixed_precision = {mixed}, {float} weights");
    let written = if half { fp16.as_ref().map(|got| got.to(&to)) } else { bf16.as_ref().map(|got| got.to(&to)) };
    let (rank, source) = match written {
        Some(source) => (Rank::Written, source),
        None => (Rank::Default, default("bf16", "auto", to, CONFIG)),
    };
    draft.mixed_precision.set(rank, mixed, source, &mut draft.report.ignored);
    Ok(float)
}

/// How weights are held.
fn precision(
    fields: &mut Fields,
    draft: &mut Draft,
    adapter: Option<&Got<String>>,
    float: FloatType,
) -> Result<(), FromError> {
    let four = fields.flag("load_in_4bit")?.filter(|got| got.value);
    let eight = fields.flag("load_in_8bit")?.filter(|got| got.value);
    let name = adapter.map_or("", |got| got.value.as_str());
    match (name, four, eight) {
        ("qlora", Some(four), None) => {
            let mut kind = Precision::Nf4;
            let mut double = true;
            if let Some(mut kwargs) = fields.table("bnb_config_kwargs")? {
                if let Some(got) = kwargs.text("bnb_4bit_quant_type")? {
                    kind = got.value.parse().map_err(|_| got.error("give nf4 or fp4"))?;
                    got.ignored(draft, format!("in precision = {kind}"));
                }
                if let Some(got) = kwargs.flag("bnb_4bit_use_double_quant")? {
                    double = got.value;
                    got.ignored(draft, format!("in double_quant = {double}"));
                }
                kwargs.rest(draft, &[&BNB]);
            }
            draft.precision.set(Rank::Written, kind, four.to(format!("precision = {kind}")), &mut draft.report.ignored);
            let of = default("bnb_4bit_use_double_quant", double, format!("double_quant = {double}"), LOADER);
            draft.double_quant.set(Rank::Default, double, of, &mut draft.report.ignored);
            compute(draft, float);
        }
        ("qlora", _, Some(eight)) => return Err(eight.error("qlora takes load_in_4bit: true alone")),
        ("qlora", None, _) => {
            return Err(fields.missing("adapter = qlora: it takes load_in_4bit: true; add it, or write adapter: lora"));
        }
        ("lora", None, Some(eight)) => {
            draft.precision.set(
                Rank::Written,
                Precision::Int8,
                eight.to("precision = int8"),
                &mut draft.report.ignored,
            );
            compute(draft, float);
        }
        ("lora", Some(four), _) => return Err(four.error("for 4-bit weights write adapter: qlora")),
        ("", Some(got), _) | ("", _, Some(got)) => {
            return Err(got.error("quantised weights cannot be trained; add adapter: qlora or lora, or turn it off"));
        }
        _ => {
            let precision: Precision = float.name().parse().unwrap_or_default();
            let source = default("dtype", float, format!("precision = {precision}"), LOADER);
            draft.precision.set(Rank::Default, precision, source, &mut draft.report.ignored);
        }
    }
    Ok(())
}

fn compute(draft: &mut Draft, float: FloatType) {
    let source = default("bnb_4bit_compute_dtype", float, format!("compute_dtype = {float}"), LOADER);
    draft.compute_dtype.set(Rank::Default, float, source, &mut draft.report.ignored);
}

fn lora(fields: &mut Fields, draft: &mut Draft, adapter: &Got<String>) -> Result<(), FromError> {
    if !matches!(adapter.value.as_str(), "lora" | "qlora") {
        return Err(adapter.error("this adapter is not supported yet; give lora or qlora"));
    }
    draft.adapter.set(Rank::Written, true, adapter.to("peft.type = lora"), &mut draft.report.ignored);
    let Some(r) = fields.count("lora_r")? else {
        return Err(fields.missing(format!("adapter = {}: it takes lora_r; add it", adapter.value)));
    };
    let mut lora = Lora { r: r.value, ..Lora::default() };
    draft.lora_sources.push(r.to(format!("r = {}", r.value)));
    words::alpha(fields, draft, &mut lora)?;
    if let Some(got) = fields.number("lora_dropout")? {
        lora.lora_dropout = got.value;
        draft.lora_sources.push(got.to(format!("lora_dropout = {}", got.value)));
    }
    let linear = fields.flag("lora_target_linear")?.filter(|got| got.value);
    let names = fields.names("lora_target_modules")?;
    lora.target_modules = Some(match (linear, names) {
        (Some(linear), names) => {
            if let Some(got) =
                names.filter(|got| got.value.iter().any(|name| name == "lm_head" || name.contains("embed")))
            {
                return Err(
                    got.error("beside lora_target_linear the head and embeddings cannot be targets; remove them")
                );
            }
            draft.lora_sources.push(linear.to("target_modules = all-linear"));
            TargetModules::AllLinear
        }
        (None, Some(got)) => {
            draft.lora_sources.push(got.to("target_modules"));
            words::targets(&got, "all-linear")?
        }
        (None, None) => {
            return Err(fields.missing("no lora_target_modules; add them, or lora_target_linear: true"));
        }
    });
    if let Some(got) = fields.names("peft_layers_to_transform")? {
        let numbers = got.value.iter().map(|word| word.parse()).collect::<Result<_, _>>();
        lora.layers_to_transform = numbers.map_err(|_| got.error("give the layers' numbers, from 0"))?;
        draft.lora_sources.push(got.to("layers_to_transform"));
    }
    if let Some(got) = fields.names("peft_layers_pattern")? {
        draft.lora_sources.push(got.to("layers_pattern"));
        lora.layers_pattern = got.value;
    }
    if let Some(got) = fields.names("lora_modules_to_save")? {
        draft.lora_sources.push(got.to("modules_to_save"));
        lora.modules_to_save = got.value;
    }
    if let Some(got) = fields.flag("peft_use_dora")? {
        lora.use_dora = got.value;
        draft.lora_sources.push(got.to(format!("use_dora = {}", got.value)));
    }
    if let Some(got) = fields.flag("peft_autocast_adapter_dtype")? {
        lora.autocast_adapter_dtype = got.value;
        draft.lora_sources.push(got.to(format!("autocast_adapter_dtype = {}", got.value)));
    }
    draft.lora = lora;
    kernels(fields, draft)
}

/// axolotl turns its LoRA kernels on where nothing forbids it (`check_auto_enable_lora_kernels`).
fn kernels(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    const WHY: &str = "axolotl's LoRA kernels keep fewer activations";
    let mut written = false;
    for name in ["lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"] {
        if let Some(got) = fields.flag(name)? {
            written = true;
            if got.value {
                got.not_modelled(draft, Less, WHY);
            } else {
                got.ignored(draft, "off");
            }
        }
    }
    let eight = draft.precision.value == Some(Precision::Int8);
    if !(written || eight || fields.has("rl") || fields.has("trust_remote_code")) {
        draft.report.not_modelled.push(NotModelled::by_default("lora_*_kernel", "true", Less, WHY));
    }
    Ok(())
}

/// Full fine-tuning without flash attention: `_configure_embedding_dtypes` leaves fp32 what it made fp32.
fn upcast(draft: &mut Draft) {
    let why = "axolotl holds norms, embeddings and the head in fp32 where attention is sdpa or eager";
    draft.report.not_modelled.push(NotModelled::by_default("attn_implementation", "sdpa or eager", More, why));
}

fn plugins(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(got) = fields.any("plugins") else { return Ok(()) };
    let super::yaml::Value::Seq(items) = &got.value.value else {
        return Err(got.error("give a list of plugins"));
    };
    for name in items.iter().filter_map(|item| scalar(item)) {
        if name.contains("liger") {
            liger(fields, draft)?;
        } else if name.contains("cut_cross_entropy") {
            got.not_modelled(draft, Less, "its kernels keep fewer activations, or no logits");
        } else {
            got.not_modelled(draft, Either, "what this plugin changes is not known");
        }
    }
    Ok(())
}

/// What of the model Liger's plugin replaces: all of it is modelled, or none (`integrations/liger/args.py`).
fn liger(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    const PARTS: [&str; 4] =
        ["liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_fused_linear_cross_entropy"];
    let mut on = Vec::new();
    for part in PARTS {
        on.extend(objective::on(fields, draft, part)?);
    }
    if on.len() == PARTS.len()
        && let Some((last, others)) = on.split_last()
    {
        others.iter().for_each(|got| got.ignored(draft, "in use_liger_kernel"));
        objective::liger(draft, last);
    } else {
        for got in on {
            got.not_modelled(
                draft,
                Less,
                "its kernels keep fewer activations, or no logits; only all four are modelled",
            );
        }
    }
    Ok(())
}
