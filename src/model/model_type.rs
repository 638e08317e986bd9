//! The names of the model types.

use std::fmt;
use std::str::FromStr;

use super::{ModelError, ModelType, Nearest, Support};

impl ModelType {
    /// Every model type this version knows, in the order they are listed to people.
    pub const ALL: &'static [ModelType] = &[
        ModelType::Llama,
        ModelType::Mistral,
        ModelType::Qwen2,
        ModelType::Qwen3,
        ModelType::Gemma,
        ModelType::Gemma2,
        ModelType::Gemma3Text,
        ModelType::Phi,
        ModelType::Phi3,
        ModelType::Olmo2,
        ModelType::Granite,
        ModelType::Starcoder2,
        ModelType::Stablelm,
        ModelType::Falcon,
        ModelType::Gpt2,
        ModelType::GptNeox,
        ModelType::Opt,
        ModelType::Bloom,
        ModelType::Mixtral,
        ModelType::Qwen2Moe,
        ModelType::Qwen3Moe,
        ModelType::Olmoe,
        ModelType::Granitemoe,
        ModelType::Phimoe,
        ModelType::GptOss,
        ModelType::DeepseekV2,
        ModelType::DeepseekV3,
        ModelType::Glm4MoeLite,
        ModelType::Youtu,
        ModelType::Axk1,
        ModelType::Glm4Moe,
        ModelType::Ernie45Moe,
        ModelType::Dots1,
        ModelType::MinimaxM2,
        ModelType::SolarOpen,
        ModelType::FlexOlmo,
        ModelType::HunyuanV1Moe,
        ModelType::Minicpm3,
        ModelType::HyV3,
        ModelType::Deepseek,
        ModelType::Ministral3,
        ModelType::SeedOss,
        ModelType::Smollm3,
        ModelType::Helium,
        ModelType::Olmo,
        ModelType::Olmo3,
        ModelType::Exaone4,
        ModelType::HunyuanV1Dense,
        ModelType::Glm,
        ModelType::Glm4,
        ModelType::Cohere,
        ModelType::Cohere2,
        ModelType::Nemotron,
        ModelType::Jais2,
        ModelType::Ernie4_5,
        ModelType::Bitnet,
        ModelType::Arcee,
        ModelType::Apertus,
        ModelType::GraniteSwa,
        ModelType::GptBigcode,
        ModelType::GptNeo,
        ModelType::Gptj,
        ModelType::Codegen,
        ModelType::Mpt,
        ModelType::Persimmon,
        ModelType::Xglm,
        ModelType::Mimo,
        ModelType::Baichuan,
        ModelType::Qwen,
        ModelType::Internlm2,
        ModelType::Internlm3,
        ModelType::Chatglm,
        ModelType::Minicpm,
        ModelType::Exaone,
        ModelType::Rwkv,
        ModelType::OlmoHybrid,
        ModelType::RecurrentGemma,
        ModelType::Mamba,
        ModelType::FalconMamba,
        ModelType::Mamba2,
        ModelType::Lfm2,
        ModelType::Bamba,
        ModelType::Granitemoehybrid,
        ModelType::Jamba,
        ModelType::FalconH1,
        ModelType::NemotronH,
        ModelType::Lfm2Moe,
        ModelType::Qwen3Next,
        ModelType::Qwen3_5,
        ModelType::Qwen3_5Text,
        ModelType::Qwen3_5Moe,
        ModelType::Qwen3_5MoeText,
        ModelType::Dbrx,
        ModelType::Jetmoe,
        ModelType::Minimax,
        ModelType::LongcatFlash,
        ModelType::DeepseekV32,
        ModelType::GlmMoeDsa,
        ModelType::KimiLinear,
        ModelType::KimiK25,
        ModelType::MimoV2Flash,
        ModelType::Laguna,
        ModelType::Gemma3n,
        ModelType::Gemma3nText,
        ModelType::Gemma4,
        ModelType::Gemma4Text,
        ModelType::Gemma4Unified,
        ModelType::Gemma4UnifiedText,
        ModelType::Mellum,
        ModelType::DeepseekV4,
        ModelType::Llama4,
        ModelType::Llama4Text,
        ModelType::Afmoe,
        ModelType::Bert,
        ModelType::Roberta,
        ModelType::XlmRoberta,
        ModelType::Distilbert,
        ModelType::Electra,
        ModelType::ModernBert,
        ModelType::Albert,
        ModelType::DebertaV2,
        ModelType::Mpnet,
        ModelType::EuroBert,
        ModelType::NomicBert,
        ModelType::T5,
        ModelType::Mt5,
        ModelType::Bart,
        ModelType::Mbart,
        ModelType::Qwen2Vl,
        ModelType::Qwen25Vl,
        ModelType::Qwen3Vl,
        ModelType::Qwen3VlMoe,
        ModelType::Llava,
        ModelType::LlavaNext,
        ModelType::Gemma3,
        ModelType::Paligemma,
        ModelType::Mistral3,
        ModelType::Idefics3,
        ModelType::Internvl,
        ModelType::Glm4v,
        ModelType::Glm4vMoe,
        ModelType::Mllama,
        ModelType::Fuyu,
        ModelType::Vit,
        ModelType::Dinov2,
        ModelType::Swin,
        ModelType::Convnext,
        ModelType::Resnet,
        ModelType::Clip,
        ModelType::Siglip,
        ModelType::Pegasus,
        ModelType::Marian,
        ModelType::M2m100,
        ModelType::Whisper,
    ];

    /// The `model_type` a config.json says.
    ///
    /// ```
    /// use vramplan::model::ModelType;
    /// assert_eq!(ModelType::Gemma3Text.as_str(), "gemma3_text");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3Text => "gemma3_text",
            Self::Phi => "phi",
            Self::Phi3 => "phi3",
            Self::Olmo2 => "olmo2",
            Self::Granite => "granite",
            Self::Starcoder2 => "starcoder2",
            Self::Stablelm => "stablelm",
            Self::Falcon => "falcon",
            Self::Gpt2 => "gpt2",
            Self::GptNeox => "gpt_neox",
            Self::Opt => "opt",
            Self::Bloom => "bloom",
            Self::Mixtral => "mixtral",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Qwen3Moe => "qwen3_moe",
            Self::Olmoe => "olmoe",
            Self::Granitemoe => "granitemoe",
            Self::Phimoe => "phimoe",
            Self::GptOss => "gpt_oss",
            Self::DeepseekV2 => "deepseek_v2",
            Self::DeepseekV3 => "deepseek_v3",
            Self::Glm4MoeLite => "glm4_moe_lite",
            Self::Youtu => "youtu",
            Self::Axk1 => "axk1",
            Self::Glm4Moe => "glm4_moe",
            Self::Ernie45Moe => "ernie4_5_moe",
            Self::Dots1 => "dots1",
            Self::MinimaxM2 => "minimax_m2",
            Self::SolarOpen => "solar_open",
            Self::FlexOlmo => "flex_olmo",
            Self::HunyuanV1Moe => "hunyuan_v1_moe",
            Self::Minicpm3 => "minicpm3",
            Self::HyV3 => "hy_v3",
            Self::Deepseek => "deepseek",
            Self::Ministral3 => "ministral3",
            Self::SeedOss => "seed_oss",
            Self::Smollm3 => "smollm3",
            Self::Helium => "helium",
            Self::Olmo => "olmo",
            Self::Olmo3 => "olmo3",
            Self::Exaone4 => "exaone4",
            Self::HunyuanV1Dense => "hunyuan_v1_dense",
            Self::Glm => "glm",
            Self::Glm4 => "glm4",
            Self::Cohere => "cohere",
            Self::Cohere2 => "cohere2",
            Self::Nemotron => "nemotron",
            Self::Jais2 => "jais2",
            Self::Ernie4_5 => "ernie4_5",
            Self::Bitnet => "bitnet",
            Self::Arcee => "arcee",
            Self::Apertus => "apertus",
            Self::GraniteSwa => "granite_swa",
            Self::GptBigcode => "gpt_bigcode",
            Self::GptNeo => "gpt_neo",
            Self::Gptj => "gptj",
            Self::Codegen => "codegen",
            Self::Mpt => "mpt",
            Self::Persimmon => "persimmon",
            Self::Xglm => "xglm",
            Self::Mimo => "mimo",
            Self::Baichuan => "baichuan",
            Self::Qwen => "qwen",
            Self::Internlm2 => "internlm2",
            Self::Internlm3 => "internlm3",
            Self::Chatglm => "chatglm",
            Self::Minicpm => "minicpm",
            Self::Exaone => "exaone",
            Self::Rwkv => "rwkv",
            Self::OlmoHybrid => "olmo_hybrid",
            Self::RecurrentGemma => "recurrent_gemma",
            Self::Mamba => "mamba",
            Self::FalconMamba => "falcon_mamba",
            Self::Mamba2 => "mamba2",
            Self::Lfm2 => "lfm2",
            Self::Bamba => "bamba",
            Self::Granitemoehybrid => "granitemoehybrid",
            Self::Jamba => "jamba",
            Self::FalconH1 => "falcon_h1",
            Self::NemotronH => "nemotron_h",
            Self::Lfm2Moe => "lfm2_moe",
            Self::Qwen3Next => "qwen3_next",
            Self::Qwen3_5 => "qwen3_5",
            Self::Qwen3_5Text => "qwen3_5_text",
            Self::Qwen3_5Moe => "qwen3_5_moe",
            Self::Qwen3_5MoeText => "qwen3_5_moe_text",
            Self::Dbrx => "dbrx",
            Self::Jetmoe => "jetmoe",
            Self::Minimax => "minimax",
            Self::LongcatFlash => "longcat_flash",
            Self::DeepseekV32 => "deepseek_v32",
            Self::GlmMoeDsa => "glm_moe_dsa",
            Self::KimiLinear => "kimi_linear",
            Self::KimiK25 => "kimi_k25",
            Self::MimoV2Flash => "mimo_v2_flash",
            Self::Laguna => "laguna",
            Self::Gemma3n => "gemma3n",
            Self::Gemma3nText => "gemma3n_text",
            Self::Gemma4 => "gemma4",
            Self::Gemma4Text => "gemma4_text",
            Self::Gemma4Unified => "gemma4_unified",
            Self::Gemma4UnifiedText => "gemma4_unified_text",
            Self::Mellum => "mellum",
            Self::DeepseekV4 => "deepseek_v4",
            Self::Llama4 => "llama4",
            Self::Llama4Text => "llama4_text",
            Self::Afmoe => "afmoe",
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::Distilbert => "distilbert",
            Self::Electra => "electra",
            Self::ModernBert => "modernbert",
            Self::Albert => "albert",
            Self::DebertaV2 => "deberta-v2",
            Self::Mpnet => "mpnet",
            Self::EuroBert => "eurobert",
            Self::NomicBert => "nomic_bert",
            Self::T5 => "t5",
            Self::Mt5 => "mt5",
            Self::Bart => "bart",
            Self::Mbart => "mbart",
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen25Vl => "qwen2_5_vl",
            Self::Qwen3Vl => "qwen3_vl",
            Self::Qwen3VlMoe => "qwen3_vl_moe",
            Self::Llava => "llava",
            Self::LlavaNext => "llava_next",
            Self::Gemma3 => "gemma3",
            Self::Paligemma => "paligemma",
            Self::Mistral3 => "mistral3",
            Self::Idefics3 => "idefics3",
            Self::Internvl => "internvl",
            Self::Glm4v => "glm4v",
            Self::Glm4vMoe => "glm4v_moe",
            Self::Mllama => "mllama",
            Self::Fuyu => "fuyu",
            Self::Vit => "vit",
            Self::Dinov2 => "dinov2",
            Self::Swin => "swin",
            Self::Convnext => "convnext",
            Self::Resnet => "resnet",
            Self::Clip => "clip",
            Self::Siglip => "siglip",
            Self::Pegasus => "pegasus",
            Self::Marian => "marian",
            Self::M2m100 => "m2m_100",
            Self::Whisper => "whisper",
        }
    }
}

impl ModelType {
    /// Whether it is a vision model, or a vision-language model.
    pub const fn takes_images(self) -> bool {
        matches!(
            self,
            Self::Vit
                | Self::Dinov2
                | Self::Swin
                | Self::Convnext
                | Self::Resnet
                | Self::Clip
                | Self::Siglip
                | Self::Qwen2Vl
                | Self::Qwen25Vl
                | Self::Qwen3Vl
                | Self::Qwen3VlMoe
                | Self::Llava
                | Self::LlavaNext
                | Self::Gemma3
                | Self::Gemma3n
                | Self::Gemma4
                | Self::Gemma4Unified
                | Self::Paligemma
                | Self::Mistral3
                | Self::Idefics3
                | Self::Internvl
                | Self::Glm4v
                | Self::Glm4vMoe
                | Self::KimiK25
                | Self::Fuyu
                | Self::Mllama
        )
    }

    /// How far its forward pass is known.
    pub const fn support(self) -> Support {
        match self {
            Self::Mimo
            | Self::Baichuan
            | Self::Qwen
            | Self::Internlm2
            | Self::Internlm3
            | Self::Chatglm
            | Self::Minicpm
            | Self::Exaone => Support::OwnCode,
            Self::Phimoe
            | Self::Minicpm3
            | Self::Dbrx
            | Self::Jetmoe
            | Self::Minimax
            | Self::LongcatFlash
            | Self::DeepseekV32
            | Self::GlmMoeDsa
            | Self::KimiLinear
            | Self::KimiK25
            | Self::MimoV2Flash
            | Self::Laguna
            | Self::Gemma3n
            | Self::Gemma3nText
            | Self::Gemma4
            | Self::Gemma4Text
            | Self::Gemma4Unified
            | Self::Gemma4UnifiedText
            | Self::Mellum
            | Self::DeepseekV4
            | Self::Deepseek
            | Self::Rwkv
            | Self::OlmoHybrid
            | Self::RecurrentGemma
            | Self::Swin
            | Self::Convnext
            | Self::Resnet
            | Self::Clip
            | Self::Siglip
            | Self::Mllama => Support::CountedOnly,
            Self::Youtu | Self::Axk1 | Self::Glm4vMoe | Self::Fuyu => Support::Unmeasured,
            _ => Support::Measured,
        }
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ModelType {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or_else(|| ModelError::UnknownModelType {
            model_type: error_text(text),
            nearest: Nearest::among(text, Self::ALL.iter().map(|known| vec![known.as_str().to_owned()])),
        })
    }
}

fn error_text(text: &str) -> String {
    super::error::one_line(text)
}
