//! What each family calls its linear layers, as PEFT's `target_modules` does.

use crate::model::{DecoderConfig, ModelType, Projections};

/// Names of a decoder layer's linear layers.
pub(super) struct Names {
    /// Query, key and value; the first alone where they are fused.
    pub(super) qkv: [&'static str; 3],
    /// Attention output.
    pub(super) output: &'static str,
    /// Gate (or fused gate and up), up, down; a plain MLP has no gate.
    pub(super) mlp: [&'static str; 3],
}

const SEPARATE: [&str; 3] = ["q_proj", "k_proj", "v_proj"];
const FUSED: [&str; 3] = ["query_key_value", "", ""];
const GATED: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
const FOUR_H: [&str; 3] = ["", "dense_h_to_4h", "dense_4h_to_h"];

/// PEFT's default `target_modules` for a model.
pub(super) fn default_targets(model: &DecoderConfig) -> &'static [&'static str] {
    Names::default_targets(model.model_type, model.attention.projections)
}

impl Names {
    pub(super) fn of(model_type: ModelType) -> Self {
        use ModelType as T;
        let (qkv, output, mlp) = match model_type {
            T::Phi => (SEPARATE, "dense", ["", "fc1", "fc2"]),
            T::Glm | T::Glm4 => (SEPARATE, "o_proj", ["gate_up_proj", "", "down_proj"]),
            T::Nemotron | T::Jais2 | T::Arcee | T::Apertus => (SEPARATE, "o_proj", ["", "up_proj", "down_proj"]),
            T::Phi3 => (["qkv_proj", "", ""], "o_proj", ["gate_up_proj", "", "down_proj"]),
            T::Starcoder2 => (SEPARATE, "o_proj", ["", "c_fc", "c_proj"]),
            T::Falcon | T::GptNeox | T::Bloom => (FUSED, "dense", FOUR_H),
            T::GptNeo => (SEPARATE, "out_proj", ["", "c_fc", "c_proj"]),
            T::Gptj => (SEPARATE, "out_proj", ["", "fc_in", "fc_out"]),
            T::Codegen => (["qkv_proj", "", ""], "out_proj", ["", "fc_in", "fc_out"]),
            T::Mpt => (["Wqkv", "", ""], "out_proj", ["", "up_proj", "down_proj"]),
            T::Persimmon => (FUSED, "dense", FOUR_H),
            T::Xglm => (SEPARATE, "out_proj", ["", "fc1", "fc2"]),
            T::Baichuan => (["W_pack", "", ""], "o_proj", GATED),
            T::Qwen => (["c_attn", "", ""], "c_proj", ["w2", "w1", "c_proj"]),
            T::Internlm2 => (["wqkv", "", ""], "wo", ["w1", "w3", "w2"]),
            T::Chatglm => (FUSED, "dense", ["dense_h_to_4h", "", "dense_4h_to_h"]),
            T::Exaone => (SEPARATE, "out_proj", ["c_fc_0", "c_fc_1", "c_proj"]),
            T::Gpt2 | T::GptBigcode => (["c_attn", "", ""], "c_proj", ["", "c_fc", "c_proj"]),
            T::Opt => (SEPARATE, "out_proj", ["", "fc1", "fc2"]),
            T::Lfm2 | T::Lfm2Moe => (SEPARATE, "out_proj", ["w1", "w3", "w2"]),
            T::NemotronH => (SEPARATE, "o_proj", ["", "up_proj", "down_proj"]),
            T::Granitemoehybrid => (SEPARATE, "o_proj", ["input_linear", "", "output_linear"]),
            _ => (SEPARATE, "o_proj", GATED),
        };
        Self { qkv, output, mlp }
    }

    /// The token embedding and the last norm.
    pub(super) fn ends(model_type: ModelType) -> [&'static str; 2] {
        match model_type {
            ModelType::Gpt2
            | ModelType::GptBigcode
            | ModelType::GptNeo
            | ModelType::Gptj
            | ModelType::Codegen
            | ModelType::Qwen
            | ModelType::Exaone => ["wte", "ln_f"],
            ModelType::Mpt => ["wte", "norm_f"],
            ModelType::Persimmon => ["embed_tokens", "final_layernorm"],
            ModelType::Xglm => ["embed_tokens", "layer_norm"],
            ModelType::Internlm2 => ["tok_embeddings", "norm"],
            ModelType::Chatglm => ["word_embeddings", "final_layernorm"],
            ModelType::GptNeox => ["embed_in", "final_layer_norm"],
            ModelType::Bloom | ModelType::Falcon => ["word_embeddings", "ln_f"],
            ModelType::Opt => ["embed_tokens", "final_layer_norm"],
            ModelType::Phi => ["embed_tokens", "final_layernorm"],
            ModelType::Mamba | ModelType::Mamba2 | ModelType::FalconMamba => ["embeddings", "norm_f"],
            ModelType::Rwkv => ["embeddings", "ln_out"],
            ModelType::RecurrentGemma => ["embed_tokens", "final_norm"],
            ModelType::Lfm2 | ModelType::Lfm2Moe => ["embed_tokens", "embedding_norm"],
            ModelType::Bamba | ModelType::Jamba | ModelType::FalconH1 => ["embed_tokens", "final_layernorm"],
            ModelType::NemotronH => ["embeddings", "norm_f"],
            _ => ["embed_tokens", "norm"],
        }
    }

    /// PEFT's default `target_modules` for a model type (`TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`, peft 0.21);
    /// where it has none and wants them named: queries and values.
    pub(super) fn default_targets(model_type: ModelType, projections: Projections) -> &'static [&'static str] {
        match (model_type, projections) {
            (ModelType::Phi, _) => &["q_proj", "v_proj", "fc1", "fc2"],
            (ModelType::Phi3, _) => &["qkv_proj"],
            (ModelType::Gpt2 | ModelType::GptBigcode | ModelType::Qwen, _) => &["c_attn"],
            (ModelType::Codegen, _) => &["qkv_proj"],
            (ModelType::Mpt, _) => &["Wqkv"],
            (ModelType::Baichuan, _) => &["W_pack"],
            (ModelType::Internlm2, _) => &["wqkv"],
            (ModelType::NemotronH, _) => &["q_proj", "k_proj", "v_proj", "o_proj"],
            (_, Projections::Fused | Projections::FusedGroups) => &["query_key_value"],
            _ => &["q_proj", "v_proj"],
        }
    }
}
