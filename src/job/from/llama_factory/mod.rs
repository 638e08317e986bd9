//! LLaMA-Factory's YAML.
//!
//! Defaults are those of LLaMA-Factory 0.9.6 (`hparams/{finetuning,model,data}_args.py`): LoRA of rank 8 on every linear
//! layer, `cutoff_len` 2048, gradient checkpointing (reentrant). Weights are loaded in the checkpoint's type
//! (`model/loader.py`), and what is trained is made fp32 unless `pure_bf16` (`model/adapter.py`).

mod known;

use known::FIELDS;

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Got, default};
use super::report::Effect::{Either, Less, More};
use super::report::NotModelled;
use super::trainer::{self, ARGUMENTS, Defaults, MODEL};
use super::words;
use crate::job::{AttnImplementation, FloatType, Lora, Objective, Optim, Precision, TargetModules};

const FINETUNING: &str = "LLaMA-Factory 0.9.6, hparams/finetuning_args.py";
const MODEL_ARGS: &str = "LLaMA-Factory 0.9.6, hparams/model_args.py";
const DATA: &str = "LLaMA-Factory 0.9.6, hparams/data_args.py";
const LOADER: &str = "LLaMA-Factory 0.9.6, model/loader.py";
const ADAPTER: &str = "LLaMA-Factory 0.9.6, model/adapter.py";

pub(super) fn map(mut fields: Fields, draft: &mut Draft) -> Result<(), FromError> {
    trainer::model(&mut fields, draft, "model_name_or_path")?;
    checkpointing(&mut fields, draft)?;
    trainer::basics(&mut fields, draft, &Defaults { checkpointing: None, mixed_precision: None, source: DATA })?;
    let (rank, value, source) = match fields.count("cutoff_len")? {
        Some(got) => (Rank::Written, got.value, got.to(format!("max_seq_length = {}", got.value))),
        None => (Rank::Default, 2048, default("cutoff_len", 2048, "max_seq_length = 2048", DATA)),
    };
    draft.length.set(rank, value, source, &mut draft.report.ignored);
    attention(&mut fields, draft)?;
    words::default_mask(draft, "LLaMA-Factory 0.9.6, data/collator.py");
    method(&mut fields, draft)?;
    if let Some(got) = fields.text("stage")? {
        match got.value.as_str() {
            "sft" | "pt" => got.ignored(draft, "what is modelled"),
            "rm" | "dpo" | "kto" => objective(&mut fields, draft, &got)?,
            "ppo" => got.not_modelled(draft, More, "PPO's value, reward and reference models are not modelled"),
            _ => return Err(got.error("give sft or pt")),
        }
    }
    optimizers(&mut fields, draft)?;
    if let Some(got) = fields.flag("enable_liger_kernel")? {
        super::objective::liger(draft, &got);
    }
    trainer::packing(&mut fields, draft, &["neat_packing"])?;
    fields.rest(draft, &[&FIELDS, &ARGUMENTS, &MODEL]);
    Ok(())
}

/// What is learned. Its trainers hold whole logits where TRL's do not (`train/{dpo,kto,rm}/trainer.py`).
fn objective(fields: &mut Fields, draft: &mut Draft, stage: &Got<String>) -> Result<(), FromError> {
    const LOGITS: &str = "LLaMA-Factory's own trainer holds all logits, in fp32; it is modelled as TRL's";
    let loss = fields.text("pref_loss")?;
    let odds = loss.as_ref().is_some_and(|loss| loss.value == "orpo");
    let learned = match stage.value.as_str() {
        "rm" => Objective::Reward,
        "kto" => Objective::Kto,
        _ if odds => Objective::Orpo,
        _ => Objective::Dpo,
    };
    super::objective::asked(draft, stage, learned);
    stage.not_modelled(draft, More, LOGITS);
    if let Some(loss) = loss {
        match loss.value.as_str() {
            "simpo" => loss.not_modelled(draft, Less, "it has no reference model"),
            _ => loss.ignored(draft, format!("in objective = {learned}")),
        }
    }
    if let Some(got) = fields.number("pref_beta")? {
        let source = got.to(format!("beta = {}", got.value));
        draft.beta.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    Ok(())
}

/// Optimizers that have a field of their own (`hparams/finetuning_args.py`).
fn optimizers(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    const RANK: u64 = 16;
    for (flag, optim, target, rank) in [
        ("use_galore", Optim::GaloreAdamw, "galore_target", "galore_rank"),
        ("use_apollo", Optim::ApolloAdamw, "apollo_target", "apollo_rank"),
        ("use_adam_mini", Optim::AdamMini, "", ""),
        ("use_muon", Optim::Muon, "", ""),
    ] {
        let Some(got) = super::objective::on(fields, draft, flag)? else { continue };
        draft.optim.set(Rank::Written, optim, got.to(format!("optim = {optim}")), &mut draft.report.ignored);
        if target.is_empty() {
            continue;
        }
        let (targets, source) = match fields.names(target)? {
            Some(got) => (super::objective::targets(&got.value), got.to("optim_target_modules")),
            None => (TargetModules::AllLinear, default(target, "all", "optim_target_modules = all-linear", FINETUNING)),
        };
        draft.optim_targets.set(Rank::Written, targets, source, &mut draft.report.ignored);
        let (value, source) = match fields.count(rank)? {
            Some(got) => (got.value, got.to(format!("optim_rank = {}", got.value))),
            None => (RANK, default(rank, RANK, format!("optim_rank = {RANK}"), FINETUNING)),
        };
        draft.optim_rank.set(Rank::Written, value, source, &mut draft.report.ignored);
    }
    Ok(())
}

/// On unless it is turned off, whatever `gradient_checkpointing: false` says.
fn checkpointing(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let disabled = fields.flag("disable_gradient_checkpointing")?;
    let asked = fields.flag("gradient_checkpointing")?;
    let on = !disabled.as_ref().is_some_and(|got| got.value) || asked.as_ref().is_some_and(|got| got.value);
    let to = format!("gradient_checkpointing = {on}");
    let (rank, source) = match (&asked, &disabled) {
        (Some(got), _) if got.value => (Rank::Written, got.to(to)),
        (_, Some(got)) => (Rank::Written, got.to(to)),
        _ => (Rank::Default, default("disable_gradient_checkpointing", false, to, MODEL_ARGS)),
    };
    draft.checkpointing.set(rank, on, source, &mut draft.report.ignored);
    if let Some(got) = asked.filter(|got| !got.value) {
        got.ignored(draft, "disable_gradient_checkpointing says it");
    }
    const REENTRANT: &str = "checkpoints are modelled as use_reentrant = false makes them";
    match fields.flag("use_reentrant_gc")? {
        Some(got) if on && got.value => got.not_modelled(draft, Either, REENTRANT),
        Some(got) => got.ignored(draft, "off"),
        None if on => {
            draft.report.not_modelled.push(NotModelled::by_default("use_reentrant_gc", "true", Either, REENTRANT));
        }
        None => {}
    }
    trainer::checkpointing_kwargs(fields, draft, on)
}

fn attention(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let got = fields.text("flash_attn")?;
    let name = match got.as_ref().map_or("auto", |got| got.value.as_str()) {
        "auto" => {
            // `model_utils/attention.py`: where flash-attn is not installed
            let gemma2 = draft.model.value.as_ref().is_some_and(|name| name.to_lowercase().contains("gemma-2-"));
            if gemma2 {
                let of = "LLaMA-Factory 0.9.6, model/model_utils/attention.py";
                let source = default("flash_attn", "auto", "attn_implementation = eager", of);
                draft.attention.set(Rank::Default, AttnImplementation::Eager, source, &mut draft.report.ignored);
            } else if let Some(got) = got {
                got.ignored(draft, "transformers chooses sdpa");
            }
            return Ok(());
        }
        "disabled" | "false" => "eager",
        "sdpa" | "true" => "sdpa",
        "fa2" => "flash_attention_2",
        "fa3" => "flash_attention_3",
        _ => "",
    };
    let Some(got) = got else { return Ok(()) };
    if name.is_empty() {
        return Err(got.error("give auto, disabled, sdpa or fa2"));
    }
    words::attention(draft, &got.with(name.to_owned()))
}

/// What is trained, and how weights are held for it.
fn method(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let method = fields.text("finetuning_type")?;
    let pure = fields.flag("pure_bf16")?;
    let is_pure = pure.as_ref().is_some_and(|got| got.value);
    let name = method.as_ref().map_or("lora", |got| got.value.as_str());
    match name {
        "lora" => {
            if let Some(got) = pure {
                got.ignored(draft, "PEFT makes adapters fp32 all the same");
            }
            let source = match &method {
                Some(got) => got.to("peft.type = lora"),
                None => default("finetuning_type", "lora", "peft.type = lora", FINETUNING),
            };
            draft.adapter.set(Rank::Written, true, source, &mut draft.report.ignored);
            base(fields, draft)?;
            lora(fields, draft)
        }
        "full" | "freeze" => {
            if let Some(got) = &method {
                match name {
                    "full" => {
                        let source = got.to("full fine-tuning");
                        draft.adapter.set(Rank::Written, false, source, &mut draft.report.ignored);
                    }
                    _ => got.not_modelled(draft, Less, "every layer is modelled as trained"),
                }
            }
            if let Some(got) = fields.any("quantization_bit") {
                return Err(got.error("quantised weights cannot be trained; write finetuning_type: lora"));
            }
            let precision = if is_pure { Precision::Bf16 } else { Precision::Fp32 };
            let to = format!("precision = {precision}");
            let (rank, source) = match pure {
                Some(got) => (Rank::Written, got.to(to)),
                None => (Rank::Default, default("pure_bf16", false, to, ADAPTER)),
            };
            draft.precision.set(rank, precision, source, &mut draft.report.ignored);
            Ok(())
        }
        _ => match method {
            Some(got) => Err(got.error("this method is not supported yet; give lora or full")),
            None => Ok(()),
        },
    }
}

/// The frozen weights under adapters.
fn base(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let Some(bits) = fields.count("quantization_bit")? else {
        let source = default("torch_dtype", "auto", "precision = bf16, taken for the checkpoint's", LOADER);
        draft.precision.set(Rank::Default, Precision::Bf16, source, &mut draft.report.ignored);
        return Ok(());
    };
    if let Some(got) = fields.text("quantization_method")? {
        if !matches!(got.value.to_ascii_lowercase().as_str(), "bnb" | "bitsandbytes") {
            return Err(got.error("only bitsandbytes is modelled; give bnb"));
        }
        got.ignored(draft, "what is modelled");
    }
    let kind = fields.text("quantization_type")?;
    let double = fields.flag("double_quantization")?;
    let precision = match (bits.value, kind) {
        (4, None) => Precision::Nf4,
        (4, Some(kind)) => kind.value.parse().map_err(|_| kind.error("give nf4 or fp4"))?,
        (8, _) => Precision::Int8,
        _ => return Err(bits.error("bitsandbytes has 4 and 8 bits")),
    };
    draft.precision.set(
        Rank::Written,
        precision,
        bits.to(format!("precision = {precision}")),
        &mut draft.report.ignored,
    );
    if precision.is_4bit() {
        let on = double.as_ref().is_none_or(|got| got.value);
        let to = format!("double_quant = {on}");
        let (rank, source) = match double {
            Some(got) => (Rank::Written, got.to(to)),
            None => (Rank::Default, default("double_quantization", true, to, MODEL_ARGS)),
        };
        draft.double_quant.set(rank, on, source, &mut draft.report.ignored);
    }
    let float = match draft.mixed_precision.value.and_then(crate::job::MixedPrecision::float) {
        Some(FloatType::Fp16) => FloatType::Fp16,
        _ => FloatType::Bf16,
    };
    let source =
        default("compute_dtype", float, format!("compute_dtype = {float}"), "LLaMA-Factory 0.9.6, hparams/parser.py");
    draft.compute_dtype.set(Rank::Default, float, source, &mut draft.report.ignored);
    Ok(())
}

fn lora(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let mut lora = Lora::default();
    match fields.count("lora_rank")? {
        Some(got) => {
            lora.r = got.value;
            draft.lora_sources.push(got.to(format!("r = {}", got.value)));
        }
        None => draft.lora_sources.push(default("lora_rank", 8, "r = 8", FINETUNING)),
    }
    words::alpha(fields, draft, &mut lora)?;
    if let Some(got) = fields.number("lora_dropout")? {
        lora.lora_dropout = got.value;
        draft.lora_sources.push(got.to(format!("lora_dropout = {}", got.value)));
    }
    lora.target_modules = Some(match fields.names("lora_target")? {
        Some(got) => {
            let targets = words::targets(&got, "all")?;
            draft.lora_sources.push(got.to(if targets == TargetModules::AllLinear {
                "target_modules = all-linear"
            } else {
                "target_modules"
            }));
            targets
        }
        None => {
            draft.lora_sources.push(default("lora_target", "all", "target_modules = all-linear", FINETUNING));
            TargetModules::AllLinear
        }
    });
    if let Some(got) = fields.names("additional_target")? {
        draft.lora_sources.push(got.to("modules_to_save"));
        lora.modules_to_save = got.value;
    }
    if let Some(got) = fields.flag("use_dora")? {
        lora.use_dora = got.value;
        draft.lora_sources.push(got.to(format!("use_dora = {}", got.value)));
    }
    draft.lora = lora;
    Ok(())
}
