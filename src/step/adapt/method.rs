//! What each method puts into or around a model.

use std::rc::Rc;

use super::super::error::EstimateError;
use super::selection::Ranks;
use super::targets::{self, Targets};
use crate::arch::Network;
use crate::ghost::{Context, Tensor};
use crate::job::{self, Peft};
use crate::model::{Activation, Model};
use crate::nn::{
    AdaLora, Adapter, Bottleneck, Ia3, Leaf, Linear, LoHa, LoKr, LoKrSpec, Lora, LoraSpec, Oft, OftSpec, Part,
    PrefixEncoder, PromptEmbedding, Vera, VeraProjections, VirtualTokens, Weight,
};

/// What a method leaves beside the model's own modules.
#[derive(Default)]
pub(in crate::step) struct Adapted {
    /// Base parameters that a trained copy stands in for (`ModulesToSaveWrapper.original_module`).
    pub(super) originals: Vec<Tensor>,
    /// Factors that are to be orthogonal: their rows, or their columns where it is true.
    pub(super) orthogonal: Vec<(Tensor, bool)>,
    /// What is trained in front of the input.
    pub(in crate::step) virtual_tokens: Option<VirtualTokens>,
}

/// Freezes the base model and gives it what `peft` trains, as `get_peft_model` does.
pub(super) fn adapt(
    cx: &Context,
    network: &mut dyn Network,
    model: &Model,
    peft: &Peft,
) -> Result<Adapted, EstimateError> {
    match peft {
        Peft::PromptTuning(_) | Peft::PrefixTuning(_) => {
            let virtual_tokens = Some(virtual_tokens(cx, network, model, peft)?);
            return Ok(Adapted { virtual_tokens, ..Adapted::default() });
        }
        Peft::Adapter(adapter) => add_bottlenecks(cx, network, model, adapter)?,
        _ => add_adapters(cx, network, model, peft)?,
    }
    let originals = save_modules(cx, network, peft.modules_to_save());
    if peft.trains_in_fp32() {
        network.leaves(&mut |leaf| {
            if let Leaf::Linear(linear) = leaf
                && let Some(adapter) = &mut linear.adapter
            {
                adapter.cast_to_fp32(cx);
            }
        });
    }
    let mut orthogonal = Vec::new();
    network.leaves(&mut |leaf| {
        if let Leaf::Linear(linear) = leaf
            && let Some(adapter) = &linear.adapter
        {
            orthogonal.extend(adapter.orthogonal().into_iter().map(|(factor, columns)| (factor.clone(), columns)));
        }
    });
    Ok(Adapted { originals, orthogonal, virtual_tokens: None })
}

/// Makes a layer's adapter.
type Make<'a> = Box<dyn FnMut(&Linear, Option<&str>) -> Box<dyn Adapter> + 'a>;

fn add_adapters(cx: &Context, network: &mut dyn Network, model: &Model, peft: &Peft) -> Result<(), EstimateError> {
    let targets = Targets::of(network, model, peft)?;
    let mut refused = None;
    targets.visit(network, |linear, _| refused = refused.take().or_else(|| why_not(peft, linear)));
    if let Some(why) = refused {
        return Err(EstimateError::Method { method: peft.type_name(), why: why.to_owned() });
    }
    let mut make: Make<'_> = match peft {
        Peft::Lora(lora) => {
            let ranks = Ranks::of(lora)?;
            let (dropout, use_dora, alpha, stable) =
                (lora.lora_dropout, lora.use_dora, lora.lora_alpha, lora.use_rslora);
            Box::new(move |linear, path| {
                let r = ranks.of_module(path);
                #[expect(clippy::cast_precision_loss, reason = "a rank")]
                let divisor = if stable { (r as f64).sqrt() } else { r as f64 };
                Box::new(Lora::new(cx, linear, LoraSpec { r, scaling: alpha / divisor, dropout, use_dora }))
            })
        }
        Peft::AdaLora(method) => {
            Box::new(move |linear, _| Box::new(AdaLora::new(cx, linear, method.init_r, method.lora_dropout)))
        }
        Peft::LoHa(method) => Box::new(move |linear, _| Box::new(LoHa::new(cx, linear, method.r, method.rank_dropout))),
        Peft::LoKr(method) => {
            let spec = LoKrSpec {
                r: method.r,
                decompose_both: method.decompose_both,
                decompose_factor: u64::try_from(method.decompose_factor).ok(),
                rank_dropout: method.rank_dropout,
                rank_dropout_scale: method.rank_dropout_scale,
            };
            Box::new(move |linear, _| Box::new(LoKr::new(cx, linear, spec)))
        }
        Peft::Oft(method) => {
            let spec = OftSpec {
                r: method.r,
                block_size: method.oft_block_size,
                block_share: method.block_share,
                terms: method.num_cayley_neumann_terms,
            };
            Box::new(move |linear, _| Box::new(Oft::new(cx, linear, spec)))
        }
        Peft::Vera(method) => {
            let widths = widest(network, &targets);
            let mut shared: Option<Rc<VeraProjections>> = None;
            Box::new(move |linear, _| {
                let (r, dtype) = (method.r, linear.adapter_dtype());
                let make = || Rc::new(VeraProjections::new(cx, r, widths.0, widths.1, dtype));
                let projections = || Rc::clone(shared.get_or_insert_with(make));
                Box::new(Vera::new(cx, linear, r, projections, method.vera_dropout))
            })
        }
        Peft::Ia3(method) => {
            let scales_input = feed_forward(model, method)?;
            Box::new(move |linear, _| {
                let own = (linear.name, linear.part);
                Box::new(Ia3::new(cx, linear, scales_input.iter().any(|name| targets::names(name, own))))
            })
        }
        other => {
            let why = "it adapts no modules by name".to_owned();
            return Err(EstimateError::Method { method: other.type_name(), why });
        }
    };
    targets.visit(network, |linear, path| linear.adapter = Some(make(linear, path)));
    Ok(())
}

/// Why PEFT has no layer of this method for `linear`.
fn why_not(peft: &Peft, linear: &Linear) -> Option<&'static str> {
    let dense_only = matches!(peft, Peft::LoHa(_) | Peft::LoKr(_) | Peft::Oft(_));
    if dense_only && linear.conv1d {
        return Some("PEFT has none for the Conv1D layers of this model; use lora, adalora, vera or ia3");
    }
    if matches!(peft, Peft::LoHa(_) | Peft::LoKr(_)) && !matches!(linear.weight, Weight::Dense(_)) {
        return Some("PEFT has none for quantised layers");
    }
    None
}

/// `_find_dim`: the widest input and the widest output of the layers.
fn widest(network: &mut dyn Network, targets: &Targets) -> (u64, u64) {
    let (mut widest_in, mut widest_out) = (0, 0);
    targets.visit(network, |linear, _| {
        widest_in = widest_in.max(linear.in_features);
        widest_out = widest_out.max(linear.out_features);
    });
    (widest_in, widest_out)
}

/// Which of IA³'s layers have their input scaled.
fn feed_forward(model: &Model, method: &job::Ia3) -> Result<Vec<String>, EstimateError> {
    if let Some(names) = &method.feedforward_modules {
        return Ok(names.clone());
    }
    let model_type = model.model_type().to_string();
    match targets::ia3_feedforward(&model_type) {
        Some(names) => Ok(names.iter().map(|&name| name.to_owned()).collect()),
        None => Err(EstimateError::NoDefaultTargets { field: "feedforward_modules", method: "ia3", model_type }),
    }
}

fn add_bottlenecks(
    cx: &Context,
    network: &mut dyn Network,
    model: &Model,
    adapter: &job::Bottleneck,
) -> Result<(), EstimateError> {
    let [attention, feed_forward] =
        network.block_outputs().ok_or_else(|| not_modelled("adapter", model, "use \"lora\""))?;
    let activation = match adapter.non_linearity {
        job::NonLinearity::Swish => Activation::Silu,
        job::NonLinearity::Gelu => Activation::Gelu,
        _ => Activation::Relu,
    };
    network.leaves(&mut |leaf| {
        let Leaf::Linear(linear) = leaf else { return };
        let wanted = match linear.part {
            Part::Attention => adapter.mh_adapter && linear.name == attention,
            Part::Mlp => adapter.output_adapter && linear.name == feed_forward,
            _ => false,
        };
        if wanted {
            let inner = bottleneck_width(linear.out_features, adapter.reduction_factor);
            linear.adapter = Some(Box::new(Bottleneck::new(cx, linear, inner, activation)));
        }
    });
    Ok(())
}

/// `max(1, input_size // reduction_factor)`
fn bottleneck_width(width: u64, reduction_factor: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "a layer's width")]
    let inner = (width as f64 / reduction_factor).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let inner = inner as u64;
    inner.clamp(1, MOST_INNER)
}

/// Wider than any adapter.
const MOST_INNER: u64 = 1 << 24;

fn virtual_tokens(
    cx: &Context,
    network: &dyn Network,
    model: &Model,
    peft: &Peft,
) -> Result<VirtualTokens, EstimateError> {
    let no = || not_modelled(peft.type_name(), model, "use \"lora\" or full fine-tuning");
    Ok(match peft {
        Peft::PrefixTuning(method) => {
            let shape = network.prefix_shape(method.num_virtual_tokens).ok_or_else(no)?;
            let width = method.encoder_hidden_size.unwrap_or(shape.heads * shape.head_dim);
            let projection = method.prefix_projection.then_some(width);
            VirtualTokens::Prefix(PrefixEncoder::new(cx, shape, projection))
        }
        Peft::PromptTuning(method) => {
            let width = network.prompt_width().ok_or_else(no)?;
            VirtualTokens::Prompt(PromptEmbedding::new(cx, method.num_virtual_tokens, width))
        }
        _ => return Err(no()),
    })
}

fn not_modelled(method: &'static str, model: &Model, fix: &str) -> EstimateError {
    EstimateError::Method { method, why: format!("not supported for {}; {fix}", model.name()) }
}

/// `modules_to_save`, and a classifier's head: a trainable copy of each, in the type it has; the original stays.
fn save_modules(cx: &Context, network: &mut dyn Network, names: &[String]) -> Vec<Tensor> {
    let mut originals = Vec::new();
    let saves_head = network.saves_head();
    network.leaves(&mut |mut leaf| {
        let name = leaf.name();
        let is_saved_head = saves_head && leaf.part() == Part::Head;
        if !is_saved_head && !names.iter().any(|asked| asked.rsplit('.').next() == Some(name)) {
            return;
        }
        for parameter in leaf.dense_parameters() {
            let copy = crate::ghost::trainable_copy(&cx.parameter(name, parameter.dims(), parameter.dtype(), false));
            originals.push(std::mem::replace(parameter, copy));
        }
    });
    originals
}
