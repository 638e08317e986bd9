//! Parameter-efficient methods, in PEFT's words.

use serde::{Deserialize, Serialize};

use super::JobError;

/// A parameter-efficient method: the base model is frozen and something small is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PeftTable", into = "PeftTable")]
#[non_exhaustive]
pub enum Peft {
    /// Low-rank adapters beside linear layers.
    Lora(Lora),
    /// Trained keys and values in front of every layer's.
    PrefixTuning(VirtualTokens),
    /// Trained embeddings in front of the input.
    PromptTuning(VirtualTokens),
    /// Trained scales on keys, values and the MLP's inner activations.
    Ia3,
    /// Bottleneck adapters.
    Adapter,
}

/// LoRA's settings; names and defaults are those of PEFT's `LoraConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Rank of the adapters.
    pub r: u64,
    /// Scale of the adapters (no effect on memory).
    pub lora_alpha: f64,
    /// Dropout before the adapters, in [0, 1).
    pub lora_dropout: f64,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    pub target_modules: Option<TargetModules>,
    /// Weight-decomposed adapters (DoRA).
    pub use_dora: bool,
    /// Rank-stabilised scale (no effect on memory).
    pub use_rslora: bool,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            use_dora: false,
            use_rslora: false,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

/// Which modules get adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer but the head.
    AllLinear,
    /// Modules whose name ends in one of these.
    Names(Vec<String>),
}

impl TargetModules {
    /// Names as a command line gives them: `all-linear` alone, or modules.
    pub(crate) fn of(names: &[String]) -> Self {
        match names {
            [all] if all == "all-linear" => Self::AllLinear,
            _ => Self::Names(names.to_vec()),
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str("all-linear"),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = TargetModules;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of module names or \"all-linear\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "all-linear" => Ok(TargetModules::AllLinear),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(TargetModules::Names(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Settings of prefix and prompt tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualTokens {
    /// How many positions are trained.
    pub num_virtual_tokens: u64,
}

impl Default for VirtualTokens {
    fn default() -> Self {
        Self { num_virtual_tokens: 20 }
    }
}

impl Peft {
    /// Its `type` in a job file.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::PrefixTuning(_) => "prefix_tuning",
            Self::PromptTuning(_) => "prompt_tuning",
            Self::Ia3 => "ia3",
            Self::Adapter => "adapter",
        }
    }
}

/// `[train.peft]` as written: one flat table, so that a field of another method can be named in the error.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeftTable {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lora_dropout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_modules: Option<TargetModules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_dora: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_rslora: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modules_to_save: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    autocast_adapter_dtype: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_virtual_tokens: Option<u64>,
}

impl PeftTable {
    fn lora(self) -> Lora {
        let default = Lora::default();
        Lora {
            r: self.r.unwrap_or(default.r),
            lora_alpha: self.lora_alpha.unwrap_or(default.lora_alpha),
            lora_dropout: self.lora_dropout.unwrap_or(default.lora_dropout),
            target_modules: self.target_modules,
            use_dora: self.use_dora.unwrap_or(default.use_dora),
            use_rslora: self.use_rslora.unwrap_or(default.use_rslora),
            modules_to_save: self.modules_to_save.unwrap_or_default(),
            autocast_adapter_dtype: self.autocast_adapter_dtype.unwrap_or(default.autocast_adapter_dtype),
        }
    }

    fn virtual_tokens(&self) -> VirtualTokens {
        self.num_virtual_tokens
            .map_or_else(VirtualTokens::default, |num_virtual_tokens| VirtualTokens { num_virtual_tokens })
    }

    /// The first field that only LoRA has, with its value.
    fn lora_field(&self) -> Option<(&'static str, String)> {
        let numbers = [
            ("train.peft.r", self.r.map(|r| r.to_string())),
            ("train.peft.lora_alpha", self.lora_alpha.map(|a| a.to_string())),
        ];
        let dropout = ("train.peft.lora_dropout", self.lora_dropout.map(|p| p.to_string()));
        let dora = ("train.peft.use_dora", self.use_dora.filter(|&on| on).map(|on| on.to_string()));
        numbers.into_iter().chain([dropout, dora]).find_map(|(name, value)| value.map(|value| (name, value)))
    }
}

impl TryFrom<PeftTable> for Peft {
    type Error = JobError;

    fn try_from(table: PeftTable) -> Result<Self, JobError> {
        if table.kind != "lora"
            && let Some((field, value)) = table.lora_field()
        {
            return Err(JobError::invalid(field, value, "only LoRA has it; set type = \"lora\" or remove it"));
        }
        let takes_tokens = matches!(table.kind.as_str(), "prefix_tuning" | "prompt_tuning");
        if let (Some(tokens), false) = (table.num_virtual_tokens, takes_tokens) {
            let fix = "only prefix_tuning and prompt_tuning have virtual tokens; set their type or remove it";
            return Err(JobError::invalid("train.peft.num_virtual_tokens", tokens, fix));
        }
        match table.kind.as_str() {
            "lora" => Ok(Self::Lora(table.lora())),
            "prefix_tuning" => Ok(Self::PrefixTuning(table.virtual_tokens())),
            "prompt_tuning" => Ok(Self::PromptTuning(table.virtual_tokens())),
            "ia3" => Ok(Self::Ia3),
            "adapter" => Ok(Self::Adapter),
            other => Err(JobError::Choice {
                value: other.to_owned(),
                expected: "lora, prefix_tuning, prompt_tuning, ia3, adapter".to_owned(),
            }),
        }
    }
}

impl From<Peft> for PeftTable {
    fn from(peft: Peft) -> Self {
        let kind = peft.type_name().to_owned();
        match peft {
            Peft::Lora(lora) => Self {
                kind,
                r: Some(lora.r),
                lora_alpha: Some(lora.lora_alpha),
                lora_dropout: Some(lora.lora_dropout),
                target_modules: lora.target_modules,
                use_dora: Some(lora.use_dora),
                use_rslora: Some(lora.use_rslora),
                modules_to_save: Some(lora.modules_to_save),
                autocast_adapter_dtype: Some(lora.autocast_adapter_dtype),
                num_virtual_tokens: None,
            },
            Peft::PrefixTuning(tokens) | Peft::PromptTuning(tokens) => {
                Self { kind, num_virtual_tokens: Some(tokens.num_virtual_tokens), ..Self::default() }
            }
            Peft::Ia3 | Peft::Adapter => Self { kind, ..Self::default() },
        }
    }
}
