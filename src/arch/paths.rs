//! Full dotted names of modules, as `named_modules()` of a loaded causal language model gives them (transformers 5.17; of
//! models with code of their own, that code).

use crate::model::{DecoderConfig, ModelType, Support};
use crate::nn::{Leaf, Part};

/// Where a leaf is.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In a vision or audio tower: its name is a path. Of a module in a repeated layer, which of them it is in.
    Tower(Option<u64>),
    /// Beside the layers, under the base model.
    Base,
    /// In this layer.
    Layer(usize),
    /// On top of the base model.
    Top,
}

/// What a family calls the containers of its modules.
pub(super) struct Paths<'a> {
    model: &'a DecoderConfig,
    /// The base model's, and the list of its layers.
    base: &'static str,
    layers: &'static str,
    attention: &'static str,
    mlp: &'static str,
    mixer: &'static str,
    /// Within `mlp`: the expert that every token passes, and what a router's linear layer is in.
    shared: &'static str,
    router: &'static str,
}

impl<'a> Paths<'a> {
    /// `None`: what is only counted has no modules to name.
    pub(super) fn of(model: &'a DecoderConfig) -> Option<Self> {
        use ModelType as T;
        if model.counted.is_some() || model.model_type.support() == Support::CountedOnly {
            return None;
        }
        let (base, layers, attention, mlp) = match model.model_type {
            T::Gpt2 | T::GptBigcode | T::Gptj | T::Codegen | T::Qwen => ("transformer", "h", "attn", "mlp"),
            T::GptNeo | T::Exaone => ("transformer", "h", "attn.attention", "mlp"),
            T::Bloom | T::Falcon => ("transformer", "h", "self_attention", "mlp"),
            T::Mpt => ("transformer", "blocks", "attn", "ffn"),
            T::Chatglm => ("transformer.encoder", "layers", "self_attention", "mlp"),
            T::GptNeox => ("gpt_neox", "layers", "attention", "mlp"),
            T::Mamba | T::Mamba2 | T::FalconMamba => ("backbone", "layers", "", ""),
            T::Opt => ("model.decoder", "layers", "self_attn", ""),
            T::Xglm => ("model", "layers", "self_attn", ""),
            T::Internlm2 => ("model", "layers", "attention", "feed_forward"),
            T::NemotronH => ("model", "layers", "mixer", "mixer"),
            T::Granitemoehybrid => ("model", "layers", "self_attn", "shared_mlp"),
            T::Llama4 | T::Llama4Text | T::Lfm2 | T::Lfm2Moe | T::Bamba | T::Jamba | T::FalconH1 => (
                if model.tower.is_some() { "model.language_model" } else { "model" },
                "layers",
                "self_attn",
                "feed_forward",
            ),
            _ if is_idefics3(model) => ("model.text_model", "layers", "self_attn", "mlp"),
            _ if model.tower.is_some() => ("model.language_model", "layers", "self_attn", "mlp"),
            _ => ("model", "layers", "self_attn", "mlp"),
        };
        let mixer = match model.model_type {
            T::Bamba | T::Jamba | T::FalconH1 | T::Granitemoehybrid => "mamba",
            T::Lfm2 | T::Lfm2Moe => "conv",
            T::Qwen3Next | T::Qwen3_5 | T::Qwen3_5Text | T::Qwen3_5Moe | T::Qwen3_5MoeText => "linear_attn",
            _ => "mixer",
        };
        let shared = match model.model_type {
            T::Qwen2Moe | T::Qwen3Next | T::Qwen3_5Moe | T::Qwen3_5MoeText | T::Llama4 | T::Llama4Text => {
                "shared_expert"
            }
            T::HunyuanV1Moe => "shared_mlp",
            T::Granitemoehybrid => "",
            _ => "shared_experts",
        };
        let router = match model.model_type {
            T::Afmoe => "router",
            T::HunyuanV1Moe => "gate",
            _ => "",
        };
        Some(Self { model, base, layers, attention, mlp, mixer, shared, router })
    }

    /// That of a leaf.
    pub(super) fn path(&self, place: Place, leaf: &Leaf<'_>) -> String {
        let name = leaf.name();
        // a shared list of SigLIP's modules has another class's name for the tower
        let renamed = match name.strip_prefix("vision_tower.") {
            Some(rest) if is_idefics3(self.model) => format!("vision_model.{rest}"),
            _ => name.to_owned(),
        };
        let index = match place {
            Place::Top => return name.to_owned(),
            Place::Base => return joined(&[self.base, name]),
            Place::Tower(None) => return joined(&["model", &renamed]),
            Place::Tower(Some(index)) => return joined(&["model", &numbered(&renamed, index)]),
            Place::Layer(index) => index,
        };
        let layer = index.to_string();
        let sparse = self.model.moe.as_ref().is_some_and(|moe| moe.sparse_layers.get(index) == Some(&true));
        let within: [&str; 2] = match leaf.part() {
            Part::Attention => [self.attention, ""],
            // Falcon-H1's class makes its feed-forward block of mixer parts
            Part::Mixer if matches!(name, "gate_proj" | "up_proj" | "down_proj") => [self.mlp, ""],
            Part::Mixer => [self.mixer, ""],
            Part::Mlp if sparse && name != "shared_expert_gate" => [self.mlp, self.shared],
            Part::Mlp => [self.mlp, ""],
            Part::Experts if matches!(leaf, Leaf::Linear(_)) => [self.mlp, self.router],
            _ => ["", ""],
        };
        joined(&[self.base, self.layers, &layer, within[0], within[1], name])
    }
}

/// Whether the tower beside a decoder is Idefics 3's, whose class has a name of its own for its text part.
const fn is_idefics3(model: &DecoderConfig) -> bool {
    matches!(&model.tower, Some(tower) if matches!(tower.model_type, ModelType::Idefics3))
}

/// The parts that are not empty, with dots between.
fn joined(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(part);
    }
    path
}

/// `name` with its layer's number after the list of layers.
fn numbered(name: &str, index: u64) -> String {
    for list in ["layers", "layer", "blocks", "block", "deepstack_merger_list"] {
        let inside = format!("{list}.");
        let at = name.match_indices(&inside).map(|(at, _)| at).find(|&at| at == 0 || name[..at].ends_with('.'));
        if let Some(at) = at {
            let (front, rest) = name.split_at(at + inside.len());
            return format!("{front}{index}.{rest}");
        }
    }
    name.to_owned()
}
