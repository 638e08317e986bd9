//! What a training method makes of a loaded model: which parameters train, and which adapters it gets.

use super::error::EstimateError;
use crate::arch::Network;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};
use crate::job;
use crate::job::TargetModules;
use crate::nn::{Leaf, Lora, LoraSpec, Part};

/// Every parameter trains. A tied head's weight becomes the embedding's.
pub(super) fn train_everything(cx: &Context, network: &mut dyn Network) {
    replace_parameters(cx, network, |_, parameter| Some(trainable_copy(parameter)));
}

/// Freezes the base model and gives it the adapters, as `get_peft_model` does.
///
/// # Errors
/// None of the `target_modules` is a linear layer's name.
pub(super) fn add_lora(
    cx: &Context,
    network: &mut dyn Network,
    model: &str,
    lora: &job::Lora,
) -> Result<Saved, EstimateError> {
    let targets = targets(network, model, lora)?;
    let spec = LoraSpec { r: lora.r, dropout: lora.lora_dropout, use_dora: lora.use_dora };
    network.leaves(&mut |leaf| match leaf {
        Leaf::Linear(linear) if targets.contains(&(linear.name, linear.part == Part::Head)) => {
            linear.lora = Some(Lora::new(cx, linear, spec));
        }
        _ => {}
    });
    let saved = save_modules(cx, network, &lora.modules_to_save);
    if lora.autocast_adapter_dtype {
        network.leaves(&mut |leaf| {
            if let Leaf::Linear(linear) = leaf
                && let Some(lora) = &mut linear.lora
            {
                lora.cast_to_fp32(cx);
            }
        });
    }
    Ok(saved)
}

/// The linear layers that get adapters: their names, and whether they are the head.
fn targets(
    network: &mut dyn Network,
    model: &str,
    lora: &job::Lora,
) -> Result<Vec<(&'static str, bool)>, EstimateError> {
    let mut known: Vec<(&'static str, bool)> = Vec::new();
    network.leaves(&mut |leaf| {
        if let Leaf::Linear(linear) = leaf {
            let layer = (linear.name, linear.part == Part::Head);
            if !known.contains(&layer) {
                known.push(layer);
            }
        }
    });
    let asked: Vec<String> = match &lora.target_modules {
        Some(TargetModules::AllLinear) => return Ok(known.into_iter().filter(|(_, head)| !head).collect()),
        Some(TargetModules::Names(names)) => names.clone(),
        None => network.default_targets().iter().map(|&name| name.to_owned()).collect(),
    };
    // a name may be the end of a path, such as "self_attn.q_proj"
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let found: Vec<_> =
        known.iter().copied().filter(|(name, _)| asked.iter().any(|asked| last(asked) == *name)).collect();
    if found.is_empty() {
        let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        return Err(EstimateError::NoTarget { targets: asked, model: model.to_owned(), known: known.join(", ") });
    }
    Ok(found)
}

/// Base parameters that a trained copy stands in for (`ModulesToSaveWrapper.original_module`).
pub(super) struct Saved(#[allow(dead_code)] Vec<Tensor>);

/// `modules_to_save`: a trainable copy of each, in the type it has; the original stays.
fn save_modules(cx: &Context, network: &mut dyn Network, names: &[String]) -> Saved {
    let mut originals = Vec::new();
    network.leaves(&mut |mut leaf| {
        let name = leaf.name();
        if !names.iter().any(|asked| asked.rsplit('.').next() == Some(name)) {
            return;
        }
        for parameter in leaf.dense_parameters() {
            let copy = trainable_copy(&cx.parameter(name, parameter.dims(), parameter.dtype(), false));
            originals.push(std::mem::replace(parameter, copy));
        }
    });
    Saved(originals)
}

/// `prepare_model_for_kbit_training`: half-precision parameters that are not quantised become fp32, one after another.
pub(super) fn prepare_for_kbit_training(cx: &Context, network: &mut dyn Network) {
    replace_parameters(cx, network, |name, parameter| {
        let half = matches!(parameter.dtype(), DType::F16 | DType::BF16);
        half.then(|| cx.parameter(name, parameter.dims(), DType::F32, false))
    });
    cx.ledger().empty_cache();
}

/// Replaces parameters in order; a tied head follows its embedding.
fn replace_parameters(
    cx: &Context,
    network: &mut dyn Network,
    replace: impl Fn(&'static str, &Tensor) -> Option<Tensor>,
) {
    let tied = network.is_tied();
    if tied {
        // the head's name for the shared weight goes first, so that the old weight goes when its embedding's does
        network.leaves(&mut |mut leaf| {
            if leaf.part() == Part::Head
                && let Some(weight) = leaf.dense_parameters().into_iter().next()
            {
                *weight = cx.meta(&[0], weight.dtype());
            }
        });
    }
    let mut embedding: Option<Tensor> = None;
    network.leaves(&mut |mut leaf| {
        let name = leaf.name();
        let is_head = leaf.part() == Part::Head;
        for (i, parameter) in leaf.dense_parameters().into_iter().enumerate() {
            match &embedding {
                Some(embedding) if is_head && tied && i == 0 => *parameter = embedding.clone(),
                _ => {
                    if let Some(new) = replace(name, parameter) {
                        *parameter = new;
                    }
                }
            }
            // the token table is the first of a model's leaves
            embedding.get_or_insert_with(|| parameter.clone());
        }
    });
}

/// Every parameter that is not quantised, in the order `model.parameters()` lists them, tied ones once.
pub(super) fn parameters(network: &mut dyn Network) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    network.leaves(&mut |mut leaf| {
        for parameter in leaf.dense_parameters() {
            if !all.iter().take(1).any(|first| first.same_storage(parameter)) {
                all.push(parameter.clone());
            }
        }
        if let Leaf::Linear(linear) = leaf
            && let Some(lora) = &linear.lora
        {
            all.extend(lora.parameters().cloned());
        }
    });
    all
}
