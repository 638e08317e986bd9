//! Choices that have a name in a job file.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use super::JobError;

/// Reads a word from a job file as [`FromStr`] reads it from the command line, with the same message where it is wrong.
struct NameVisitor<T> {
    names: &'static [&'static str],
    value: PhantomData<T>,
}

impl<T: FromStr<Err = JobError>> serde::de::Visitor<'_> for NameVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.names.join(", "))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Declares an enum whose variants have one written form each, the same in job files, flags and messages, and perhaps
/// other spellings that are read but not written.
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal $(| $alias:literal)*, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every written form, in the order people are shown them.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            /// Other spellings that are read, for each of [`Self::NAMES`].
            #[allow(dead_code)] // not every choice has a flag
            pub(crate) const ALIASES: &'static [&'static [&'static str]] = &[$(&[$($alias),*]),+];

            /// The written form.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": Self::NAMES})
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = JobError;

            /// Reads the written form or an accepted other spelling of it.
            ///
            /// # Errors
            /// The text is none of them.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text $(| $alias)* => Ok(Self::$variant), )+
                    _ => Err(JobError::Choice {
                        value: text.to_owned(),
                        expected: Self::NAMES.join(", "),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(NameVisitor { names: Self::NAMES, value: PhantomData })
            }
        }
    };
}

named_enum! {
    /// How the base model's weights are stored.
    pub enum Precision {
        /// 32-bit float.
        Fp32 = "fp32" | "float32",
        /// IEEE half precision.
        Fp16 = "fp16" | "float16",
        /// bfloat16.
        #[default]
        Bf16 = "bf16" | "bfloat16",
        /// bitsandbytes' `load_in_8bit`.
        Int8 = "int8",
        /// 4-bit storage of no particular data type; takes the room of NF4.
        Int4 = "int4",
        /// bitsandbytes' `load_in_4bit` with `bnb_4bit_quant_type = "nf4"`.
        Nf4 = "nf4",
        /// bitsandbytes' `load_in_4bit` with `bnb_4bit_quant_type = "fp4"`.
        Fp4 = "fp4",
    }
}

impl Precision {
    /// Whether linear layers are stored quantised.
    pub const fn is_quantized(self) -> bool {
        matches!(self, Self::Int8) || self.is_4bit()
    }

    /// Whether linear layers are stored in 4 bits a weight.
    pub const fn is_4bit(self) -> bool {
        matches!(self, Self::Int4 | Self::Nf4 | Self::Fp4)
    }

    /// The floating-point type itself; `None` for a quantised one.
    pub const fn float(self) -> Option<FloatType> {
        match self {
            Self::Fp32 => Some(FloatType::Fp32),
            Self::Fp16 => Some(FloatType::Fp16),
            Self::Bf16 => Some(FloatType::Bf16),
            _ => None,
        }
    }
}

named_enum! {
    /// A floating-point type.
    pub enum FloatType {
        /// 32-bit float.
        Fp32 = "fp32" | "float32",
        /// IEEE half precision.
        Fp16 = "fp16" | "float16",
        /// bfloat16.
        #[default]
        Bf16 = "bf16" | "bfloat16",
    }
}

impl FloatType {
    /// The element type of tensors.
    pub const fn dtype(self) -> crate::DType {
        match self {
            Self::Fp32 => crate::DType::F32,
            Self::Fp16 => crate::DType::F16,
            Self::Bf16 => crate::DType::BF16,
        }
    }
}

named_enum! {
    /// Autocast, as `TrainingArguments(bf16=True)` or `(fp16=True)` turns it on.
    pub enum MixedPrecision {
        /// Off.
        #[default]
        No = "no",
        /// Autocast to fp16, with a gradient scaler.
        Fp16 = "fp16",
        /// Autocast to bf16.
        Bf16 = "bf16",
    }
}

impl MixedPrecision {
    /// The type autocast casts to; `None` where it is off.
    pub const fn float(self) -> Option<FloatType> {
        match self {
            Self::No => None,
            Self::Fp16 => Some(FloatType::Fp16),
            Self::Bf16 => Some(FloatType::Bf16),
        }
    }
}

named_enum! {
    /// Optimizers, by their `TrainingArguments(optim=...)` names where they have one.
    pub enum Optim {
        /// `torch.optim.AdamW` as it comes: the foreach implementation.
        #[default]
        AdamwTorch = "adamw_torch" | "adamw" | "adamw_hf",
        /// `torch.optim.AdamW(fused=True)`.
        AdamwTorchFused = "adamw_torch_fused",
        /// `torch.optim.AdamW(foreach=False)`.
        AdamwTorchLoop = "adamw_torch_loop",
        /// `torch.optim.SGD` without momentum.
        Sgd = "sgd",
        /// `torch.optim.SGD` with momentum.
        SgdMomentum = "sgd_momentum",
        /// transformers' Adafactor.
        Adafactor = "adafactor",
        /// bitsandbytes' 8-bit AdamW.
        Adamw8bit = "adamw_8bit" | "adamw_bnb_8bit",
        /// bitsandbytes' paged 32-bit AdamW.
        PagedAdamw = "paged_adamw" | "paged_adamw_32bit",
        /// bitsandbytes' paged 8-bit AdamW.
        PagedAdamw8bit = "paged_adamw_8bit",
        /// bitsandbytes' 32-bit Lion.
        Lion = "lion" | "lion_32bit",
        /// bitsandbytes' 8-bit Lion.
        Lion8bit = "lion_8bit",
        /// bitsandbytes' paged 32-bit Lion.
        PagedLion = "paged_lion" | "paged_lion_32bit",
        /// bitsandbytes' paged 8-bit Lion.
        PagedLion8bit = "paged_lion_8bit",
        /// bitsandbytes' 32-bit AdEMAMix.
        AdEMAMix = "ademamix",
        /// bitsandbytes' 8-bit AdEMAMix.
        AdEMAMix8bit = "ademamix_8bit",
        /// bitsandbytes' paged 32-bit AdEMAMix.
        PagedAdEMAMix = "paged_ademamix" | "paged_ademamix_32bit",
        /// bitsandbytes' paged 8-bit AdEMAMix.
        PagedAdEMAMix8bit = "paged_ademamix_8bit",
        /// bitsandbytes' 32-bit RMSprop.
        RmsPropBnb = "rmsprop_bnb" | "rmsprop_bnb_32bit",
        /// bitsandbytes' 8-bit RMSprop.
        RmsPropBnb8bit = "rmsprop_bnb_8bit",
        /// `torch.optim.RMSprop`.
        RmsProp = "rmsprop",
        /// `torch.optim.Adagrad`.
        Adagrad = "adagrad",
        /// `torch.optim.Muon` for the matrices of hidden layers, `torch.optim.AdamW` for the rest.
        Muon = "muon",
        /// GaLore's AdamW.
        GaloreAdamw = "galore_adamw",
        /// APOLLO's AdamW.
        ApolloAdamw = "apollo_adamw",
        /// schedulefree's AdamW.
        ScheduleFreeAdamw = "schedule_free_adamw",
        /// schedulefree's SGD.
        ScheduleFreeSgd = "schedule_free_sgd",
        /// optimi's `StableAdamW`.
        StableAdamw = "stable_adamw",
        /// Adam-mini: one second moment for each row or head.
        AdamMini = "adam_mini",
    }
}

impl Optim {
    /// Whether it projects the gradients of the modules in `optim_target_modules` to a low rank.
    pub const fn is_low_rank(self) -> bool {
        matches!(self, Self::GaloreAdamw | Self::ApolloAdamw)
    }
}

named_enum! {
    /// Where optimizer states are.
    pub enum OffloadOptimizer {
        /// On the GPU.
        #[default]
        No = "no" | "none",
        /// On the host, by torchao's `CPUOffloadOptimizer`.
        Torchao = "torchao",
        /// On the host with fp32 copies of weights and gradients, by DeepSpeed's ZeRO (`offload_optimizer`).
        Deepspeed = "deepspeed" | "cpu",
    }
}

named_enum! {
    /// The attention implementation transformers is asked for.
    pub enum AttnImplementation {
        /// PyTorch's `scaled_dot_product_attention`.
        #[default]
        Sdpa = "sdpa",
        /// The model's own matmul, softmax, matmul.
        Eager = "eager",
        /// The flash-attn package.
        FlashAttention2 = "flash_attention_2",
    }
}

named_enum! {
    /// How the experts of a mixture are run (`experts_implementation`).
    pub enum ExpertsImplementation {
        /// `torch.bmm` on a copy of the matrices of every expert a token chose.
        #[default]
        BatchedMm = "batched_mm",
        /// Grouped matrix products on the experts' own matrices.
        GroupedMm = "grouped_mm",
    }
}

named_enum! {
    /// What is put on top of the model.
    pub enum Head {
        /// Next-token prediction.
        #[default]
        CausalLm = "causal-lm",
        /// Sequence classification.
        SeqCls = "seq-cls",
        /// Encoder-decoder language modelling.
        Seq2seqLm = "seq2seq-lm",
        /// Classification of images.
        ImageCls = "image-cls",
        /// Prediction of masked tokens.
        MaskedLm = "masked-lm",
    }
}

named_enum! {
    /// What is learned, by the TRL trainer that does it.
    pub enum Objective {
        /// The model's own loss (`SFTTrainer`, `Trainer`).
        #[default]
        Sft = "sft",
        /// Direct preference optimisation (`DPOTrainer`).
        Dpo = "dpo",
        /// A reward model from preferences (`RewardTrainer`).
        Reward = "reward",
        /// Odds-ratio preference optimisation.
        Orpo = "orpo",
        /// Kahneman-Tversky optimisation.
        Kto = "kto",
        /// Group relative policy optimisation.
        Grpo = "grpo",
        /// Proximal policy optimisation.
        Ppo = "ppo",
        /// Sentence embeddings by a contrastive loss.
        Embedding = "embedding",
    }
}

named_enum! {
    /// How keys and values are stored.
    pub enum KvCacheDtype {
        /// The type the model computes in.
        #[default]
        Auto = "auto",
        /// 32-bit float.
        Fp32 = "fp32",
        /// IEEE half precision.
        Fp16 = "fp16",
        /// bfloat16.
        Bf16 = "bf16",
        /// 8-bit float, with scales for whole tensors.
        Fp8 = "fp8" | "fp8_e4m3" | "fp8_e5m2",
        /// 8-bit integers with a scale and a shift for 64 of them (transformers' quantised cache).
        Int8 = "int8",
        /// 4-bit integers with a scale and a shift for 64 of them (transformers' quantised cache).
        Int4 = "int4",
        /// llama.cpp's 8-bit blocks.
        Q8_0 = "q8_0",
        /// llama.cpp's 5-bit blocks with a minimum.
        Q5_1 = "q5_1",
        /// llama.cpp's 5-bit blocks.
        Q5_0 = "q5_0",
        /// llama.cpp's 4-bit blocks with a minimum.
        Q4_1 = "q4_1",
        /// llama.cpp's 4-bit blocks.
        Q4_0 = "q4_0",
        /// llama.cpp's 4-bit blocks, not evenly spaced.
        Iq4Nl = "iq4_nl",
    }
}

named_enum! {
    /// What serves the model.
    pub enum Runtime {
        /// `generate()` of transformers.
        #[default]
        Transformers = "transformers",
        /// vLLM.
        Vllm = "vllm",
        /// llama.cpp's server.
        LlamaCpp = "llama.cpp" | "llama_cpp" | "llamacpp",
        /// SGLang.
        Sglang = "sglang",
        /// Text Generation Inference.
        Tgi = "tgi",
        /// TensorRT-LLM.
        TensorRtLlm = "tensorrt-llm" | "tensorrt_llm" | "trtllm",
    }
}

named_enum! {
    /// Whose training configuration a file is.
    pub enum ConfigFormat {
        /// axolotl's YAML.
        #[default]
        Axolotl = "axolotl",
        /// LLaMA-Factory's YAML.
        LlamaFactory = "llama-factory" | "llamafactory",
        /// TRL's `SFTConfig` and its command line's YAML.
        Trl = "trl",
        /// transformers' `TrainingArguments`.
        Transformers = "transformers",
        /// DeepSpeed's JSON.
        Deepspeed = "deepspeed",
        /// What `accelerate config` writes.
        Accelerate = "accelerate",
    }
}

named_enum! {
    /// What is between the two projections of a bottleneck adapter.
    pub enum NonLinearity {
        /// `relu`
        #[default]
        Relu = "relu",
        /// `silu`
        Swish = "swish" | "silu",
        /// `gelu`
        Gelu = "gelu",
    }
}
