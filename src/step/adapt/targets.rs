//! Which linear layers a method adapts.

use crate::arch::Network;
use crate::job::{Peft, TargetModules};
use crate::model::{Model, one_line};
use crate::nn::{Leaf, Linear, Part};

use super::super::error::EstimateError;
use super::selection::Selection;
use super::stacked;

/// `mamba_model_types` of that check, peft 0.21.
const MAMBA_TYPES: [&str; 5] = ["falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"];

/// Linear layers, each by its place among the leaves.
pub(super) struct Targets {
    /// Whether a leaf is one of them.
    chosen: Vec<bool>,
    /// Full names of the leaves, where they are known.
    paths: Option<Vec<String>>,
}

impl Targets {
    /// Those that `peft` asks for.
    ///
    /// # Errors
    /// None of the names is a linear layer's, or none are given and PEFT has no default; a pattern cannot be matched.
    pub(super) fn of(network: &mut dyn Network, model: &Model, peft: &Peft) -> Result<Self, EstimateError> {
        let paths = network.paths();
        let mut selection = Selection::of(model, peft, paths.as_deref())?;
        let mapped = stacked::mapped(model, peft);
        let asked: Vec<String> = match peft.target_modules() {
            Some(TargetModules::Pattern(_)) if !mapped.is_empty() => {
                let all = paths.clone().unwrap_or_default();
                let former = stacked::former(&all, mapped);
                selection.resolve(&[all, former].concat())?
            }
            Some(TargetModules::AllLinear | TargetModules::Pattern(_)) => Vec::new(),
            Some(TargetModules::Names(names)) => names.clone(),
            None => owned(default_targets(network, model, peft)?),
        };
        let all_linear = peft.target_modules() == Some(&TargetModules::AllLinear);
        let mapped_name = |name: &String| mapped.contains(&name.rsplit('.').next().unwrap_or(name));
        if !mapped.is_empty() && (all_linear || asked.iter().any(mapped_name)) {
            let why = format!(
                "for {} PEFT 0.21 turns all-linear and the names {} into adapters of the experts, which transformers 5 stacks in \
                 parameters: not modelled; name attention's modules alone, such as [\"q_proj\", \"v_proj\"]",
                model.model_type(),
                mapped.join(", ")
            );
            return Err(EstimateError::Method { method: peft.type_name(), why });
        }
        let (mut chosen, mut known) = (Vec::new(), Vec::new());
        let mut failed = None;
        network.leaves(&mut |leaf| {
            let at = chosen.len();
            let path = paths.as_ref().and_then(|paths| paths.get(at));
            let Leaf::Linear(linear) = leaf else {
                chosen.push(false);
                return;
            };
            if !known.contains(&linear.name) {
                known.push(linear.name);
            }
            let layer = (linear.name, linear.part);
            let named = match &selection.pattern {
                Some(_) => selection.matches(path),
                // what `all-linear` leaves out, though names may ask for it: convolutions
                None if all_linear => Ok(linear.part != Part::Head && !linear.convolution),
                None => Ok(asked.iter().any(|name| names(name, layer)) && selection.has_layer_of(path)),
            };
            let excluded = selection.excludes(layer, path);
            match (named, excluded) {
                (Ok(named), Ok(excluded)) => chosen.push(named && !excluded),
                (Err(error), _) | (_, Err(error)) => {
                    failed.get_or_insert(error);
                    chosen.push(false);
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        selection.takes_linear_layers_alone(network, &asked, paths.as_deref())?;
        if !chosen.contains(&true) && !all_linear {
            let (model, known) = (model.name().to_owned(), known.join(", "));
            return Err(match peft.target_modules() {
                Some(TargetModules::Pattern(pattern)) => {
                    let example = paths.iter().flatten().find(|path| path.contains(".0.")).cloned();
                    let (pattern, example) = (one_line(pattern), example.unwrap_or_default());
                    EstimateError::NoMatch { pattern, model, known, example }
                }
                _ => EstimateError::NoTarget { targets: shown(&asked), model, known },
            });
        }
        Self { chosen, paths }.that_peft_takes(network, model, peft)
    }

    /// # Errors
    /// `_check_lora_target_modules_mamba` of PEFT's `tuners_utils.py` refuses one of them: kernels of `mamba_ssm` read its
    /// weight past the adapter.
    fn that_peft_takes(self, network: &mut dyn Network, model: &Model, peft: &Peft) -> Result<Self, EstimateError> {
        let lora_like = matches!(peft, Peft::Lora(_) | Peft::AdaLora(_));
        let model_type = model.model_type().to_string();
        if !lora_like || !MAMBA_TYPES.contains(&model_type.as_str()) {
            return Ok(self);
        }
        let mut refused = false;
        self.visit(network, |linear, _| refused |= linear.name == "out_proj");
        if refused {
            let why = format!("PEFT refuses out_proj of {model_type} models: name target_modules without it");
            return Err(EstimateError::Method { method: peft.type_name(), why });
        }
        Ok(self)
    }

    /// Runs `visit` on each of them, with its full name where that is known.
    pub(super) fn visit(&self, network: &mut dyn Network, mut visit: impl FnMut(&mut Linear, Option<&str>)) {
        let mut at = 0;
        network.leaves(&mut |leaf| {
            if let Leaf::Linear(linear) = leaf
                && self.chosen.get(at) == Some(&true)
            {
                visit(linear, self.paths.as_ref().and_then(|paths| paths.get(at)).map(String::as_str));
            }
            at += 1;
        });
    }
}

/// Names as a message can hold them.
fn shown(names: &[String]) -> Vec<String> {
    const MOST: usize = 16;
    let more = names.len().checked_sub(MOST).filter(|&more| more > 0).map(|more| format!("and {more} more"));
    names.iter().take(MOST).map(|name| one_line(name)).chain(more).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Whether `asked`, perhaps the end of a path such as `mlp.c_proj`, means this layer.
pub(super) fn names(asked: &str, (name, part): (&str, Part)) -> bool {
    if name.contains('.') {
        // a tower's modules have their whole path for a name
        return name.strip_suffix(asked).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    }
    let mut path = asked.rsplit('.');
    let within = |parent: &str| match parent {
        "mlp" | "feed_forward" => part == Part::Mlp,
        "attn" | "self_attn" | "attention" | "self_attention" => part == Part::Attention,
        _ => true,
    };
    path.next() == Some(name) && path.next().is_none_or(within)
}

/// PEFT's default `target_modules` for a model and a method.
fn default_targets(
    network: &dyn Network,
    model: &Model,
    peft: &Peft,
) -> Result<&'static [&'static str], EstimateError> {
    let model_type = model.model_type().to_string();
    let known = match peft {
        Peft::Ia3(_) => ia3_targets(&model_type),
        Peft::AdaLora(_) => adalora_targets(&model_type),
        Peft::Vera(_) if model_type == "phi" => Some(["q_proj", "v_proj"].as_slice()),
        _ => Some(network.default_targets()),
    };
    known.ok_or_else(|| EstimateError::NoDefaultTargets {
        field: "target_modules",
        method: peft.type_name(),
        model_type,
    })
}

/// `TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING`, peft 0.21.
fn ia3_targets(model_type: &str) -> Option<&'static [&'static str]> {
    Some(match model_type {
        "t5" => &["k", "v", "wo"],
        "mt5" => &["k", "v", "wi_1"],
        "gpt2" | "gpt_bigcode" => &["c_attn", "mlp.c_proj"],
        "bloom" => &["query_key_value", "mlp.dense_4h_to_h"],
        "roberta" | "bert" => &["key", "value", "output.dense"],
        "opt" => &["q_proj", "k_proj", "fc2"],
        "gptj" => &["q_proj", "v_proj", "fc_out"],
        "gpt_neox" | "falcon" => &["query_key_value", "dense_4h_to_h"],
        "gpt_neo" => &["q_proj", "v_proj", "c_proj"],
        "bart" | "phi" => &["q_proj", "v_proj", "fc2"],
        "llama" | "mistral" => &["k_proj", "v_proj", "down_proj"],
        "mixtral" => &["k_proj", "v_proj", "w2"],
        "deberta-v2" => &["key_proj", "value_proj", "output.dense"],
        "deberta" => &["in_proj", "output.dense"],
        "llama4" | "gemma" | "gemma2" | "gemma3_text" | "qwen2" | "qwen3" => &["q_proj", "v_proj", "down_proj"],
        _ => return None,
    })
}

/// `TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING`, peft 0.21.
pub(super) fn ia3_feedforward(model_type: &str) -> Option<&'static [&'static str]> {
    Some(match model_type {
        "mt5" => &[],
        "gpt2" | "gpt_bigcode" => &["mlp.c_proj"],
        "bloom" => &["mlp.dense_4h_to_h"],
        "gpt_neo" => &["c_proj"],
        _ => match ia3_targets(model_type)? {
            [.., last] => std::slice::from_ref(last),
            [] => &[],
        },
    })
}

/// `TRANSFORMERS_MODELS_TO_ADALORA_TARGET_MODULES_MAPPING`, peft 0.21.
fn adalora_targets(model_type: &str) -> Option<&'static [&'static str]> {
    Some(match model_type {
        "t5" => &["q", "k", "v", "o", "wi", "wo"],
        "mt5" => &["q", "k", "v", "o", "wi_0", "wi_1", "wo"],
        "bart" | "opt" => &["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
        "gpt2" | "gpt_bigcode" => &["c_attn"],
        "bloom" | "gpt_neox" => &["query_key_value"],
        "gptj" | "gpt_neo" | "llama" | "llama4" | "gemma" | "gemma2" | "gemma3_text" | "qwen2" | "qwen3" => {
            &["q_proj", "v_proj"]
        }
        "bert" => &["query", "value"],
        "roberta" => &["query", "key", "value", "dense"],
        "deberta-v2" => &["query_proj", "key_proj", "value_proj", "dense"],
        "deberta" => &["in_proj"],
        "nemotron_h" => &["q_proj", "k_proj", "v_proj", "o_proj"],
        _ => return None,
    })
}
