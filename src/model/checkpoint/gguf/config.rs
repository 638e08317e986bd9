//! From GGUF metadata to the config.json it was made from.

use serde_json::{Map, Value, json};

use super::{Gguf, GgufValue, without_controls};
use crate::model::error::one_line;
use crate::model::{Model, ModelError, from_config};

/// An architecture of llama.cpp and the `transformers` class its weights are for.
struct Architecture {
    /// `general.architecture`
    name: &'static str,
    /// `model_type` of its config.json.
    model_type: &'static str,
    /// `model_type` where it has experts, and what their number is called there.
    experts: Option<(&'static str, &'static str)>,
    /// Whether a head's width is its own (`attention.key_length`), rather than `hidden_size / num_attention_heads`.
    own_head_dim: bool,
    /// What the share of a head that turns is called, where not all of it does.
    partial_rotary: Option<&'static str>,
    /// Fields that follow from whether the first layer has a tensor of this name.
    by_tensor: &'static [(&'static str, &'static str)],
    /// Further metadata, and the field it is.
    by_key: &'static [(&'static str, &'static str)],
}

const PLAIN: Architecture = Architecture {
    name: "",
    model_type: "",
    experts: None,
    own_head_dim: true,
    partial_rotary: None,
    by_tensor: &[],
    by_key: &[],
};

const ATTENTION_BIAS: (&str, &str) = ("attn_q.bias", "attention_bias");
const WINDOW: (&str, &str) = ("attention.sliding_window", "sliding_window");

/// Names from `MODEL_ARCH_NAMES` (llama.cpp, `gguf-py/gguf/constants.py`); what each writes from the classes of
/// `convert_hf_to_gguf.py`; fields as `transformers` 5.17 reads them back (`integrations/ggml.py`, `GGUF_CONFIG_MAPPING`).
const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "llama",
        model_type: "llama",
        experts: Some(("mixtral", "num_local_experts")),
        by_tensor: &[ATTENTION_BIAS, ("ffn_up.bias", "mlp_bias")],
        ..PLAIN
    },
    Architecture { name: "mistral3", model_type: "mistral", ..PLAIN },
    Architecture { name: "qwen2", model_type: "qwen2", own_head_dim: false, ..PLAIN },
    Architecture {
        name: "qwen2moe",
        model_type: "qwen2_moe",
        experts: Some(("qwen2_moe", "num_experts")),
        own_head_dim: false,
        by_key: MOE_KEYS,
        ..PLAIN
    },
    Architecture { name: "qwen3", model_type: "qwen3", by_tensor: &[ATTENTION_BIAS], ..PLAIN },
    Architecture {
        name: "qwen3moe",
        model_type: "qwen3_moe",
        experts: Some(("qwen3_moe", "num_experts")),
        by_key: MOE_KEYS,
        ..PLAIN
    },
    Architecture {
        name: "olmoe",
        model_type: "olmoe",
        experts: Some(("olmoe", "num_experts")),
        own_head_dim: false,
        ..PLAIN
    },
    Architecture {
        name: "gpt-oss",
        model_type: "gpt_oss",
        experts: Some(("gpt_oss", "num_local_experts")),
        by_key: &[WINDOW],
        ..PLAIN
    },
    Architecture { name: "gemma", model_type: "gemma", ..PLAIN },
    Architecture { name: "gemma2", model_type: "gemma2", by_key: &[WINDOW], ..PLAIN },
    Architecture { name: "gemma3", model_type: "gemma3_text", by_key: &[WINDOW], ..PLAIN },
    Architecture {
        name: "phi2",
        model_type: "phi",
        own_head_dim: false,
        partial_rotary: Some("partial_rotary_factor"),
        ..PLAIN
    },
    Architecture {
        name: "phi3",
        model_type: "phi3",
        own_head_dim: false,
        partial_rotary: Some("partial_rotary_factor"),
        by_key: &[WINDOW],
        ..PLAIN
    },
    Architecture { name: "olmo2", model_type: "olmo2", own_head_dim: false, by_tensor: &[ATTENTION_BIAS], ..PLAIN },
    Architecture {
        name: "granite",
        model_type: "granite",
        by_tensor: &[ATTENTION_BIAS, ("ffn_up.bias", "mlp_bias")],
        by_key: &[("residual_scale", "residual_multiplier")],
        ..PLAIN
    },
    Architecture {
        name: "starcoder2",
        model_type: "starcoder2",
        own_head_dim: false,
        by_tensor: &[("attn_q.bias", "use_bias")],
        ..PLAIN
    },
    Architecture {
        name: "stablelm",
        model_type: "stablelm",
        own_head_dim: false,
        partial_rotary: Some("partial_rotary_factor"),
        by_tensor: &[("attn_q.bias", "use_qkv_bias"), ("attn_q_norm.weight", "qk_layernorm")],
        by_key: &[("use_parallel_residual", "use_parallel_residual")],
        ..PLAIN
    },
    Architecture { name: "falcon", model_type: "falcon", own_head_dim: false, ..PLAIN },
    Architecture { name: "gpt2", model_type: "gpt2", own_head_dim: false, ..PLAIN },
    Architecture {
        name: "gptneox",
        model_type: "gpt_neox",
        own_head_dim: false,
        partial_rotary: Some("rotary_pct"),
        by_tensor: &[("attn_qkv.bias", "attention_bias")],
        by_key: &[("use_parallel_residual", "use_parallel_residual")],
        ..PLAIN
    },
    Architecture { name: "bloom", model_type: "bloom", own_head_dim: false, ..PLAIN },
];

const MOE_KEYS: &[(&str, &str)] = &[
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
];

/// What every architecture says in the same way.
const COMMON: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("context_length", "max_position_embeddings"),
];

impl Gguf {
    /// The model its metadata describes.
    ///
    /// # Errors
    /// An architecture whose `transformers` class is not known here, a missing key, or layers of different widths.
    pub fn model(&self, name: &str) -> Result<Model, ModelError> {
        from_config(name, &Value::Object(self.config()?))
    }

    /// The config.json its metadata stands for: the fields that matter for memory.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub fn config(&self) -> Result<Map<String, Value>, ModelError> {
        let Some(GgufValue::Text(name)) = self.metadata.get("general.architecture") else {
            return Err(self.unusable("it names no general.architecture"));
        };
        if self.integer("split.count").is_some_and(|parts| parts > 1) {
            return Err(self.unusable("it is one part of several: join them with `llama-gguf-split --merge` first"));
        }
        let Some(architecture) = ARCHITECTURES.iter().find(|known| known.name == name) else {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
            return Err(self.unusable(&format!(
                "the architecture `{}` cannot be turned into a config.json yet (these can: {}); give the model's config.json",
                one_line(name),
                known.join(", ")
            )));
        };
        let key = |suffix: &str| format!("{name}.{suffix}");
        let mut config = Map::new();
        config.insert("model_type".to_owned(), json!(architecture.model_type));
        for (suffix, field) in COMMON.iter().chain(architecture.by_key) {
            if let Some(value) = self.plain(&key(suffix))? {
                config.insert((*field).to_owned(), value);
            }
        }
        let heads =
            self.plain(&key("attention.head_count"))?.and_then(|heads| heads.as_u64()).filter(|&heads| heads > 0);
        let kv_heads = self.plain(&key("attention.head_count_kv"))?.and_then(|heads| heads.as_u64()).or(heads);
        if let Some(kv_heads) = kv_heads {
            config.insert("num_key_value_heads".to_owned(), json!(kv_heads));
        }
        let derived = self.integer(&key("embedding_length")).zip(heads).map(|(width, heads)| width / heads);
        let head_dim = self.integer(&key("attention.key_length")).or(derived).filter(|&dim| dim > 0);
        if let Some(head_dim) = head_dim.filter(|_| architecture.own_head_dim) {
            config.insert("head_dim".to_owned(), json!(head_dim));
        }
        if let (Some(field), Some(head_dim), Some(turned)) =
            (architecture.partial_rotary, head_dim, self.integer(&key("rope.dimension_count")))
        {
            #[expect(clippy::cast_precision_loss, reason = "widths of a head")]
            config.insert(field.to_owned(), json!(turned.min(head_dim) as f64 / head_dim as f64));
        }
        if let Some((model_type, field)) = architecture.experts
            && let Some(experts) = self.integer(&key("expert_count")).filter(|&experts| experts > 0)
        {
            config.insert("model_type".to_owned(), json!(model_type));
            config.insert(field.to_owned(), json!(experts));
            config
                .insert("num_experts_per_tok".to_owned(), json!(self.integer(&key("expert_used_count")).unwrap_or(1)));
        }
        for (tensor, field) in architecture.by_tensor {
            config.insert((*field).to_owned(), json!(self.first_layer_has(tensor)));
        }
        if architecture.name == "falcon" {
            config.insert("new_decoder_architecture".to_owned(), json!(kv_heads.is_some_and(|heads| heads > 1)));
            let norms = if self.first_layer_has("attn_norm_2.weight") { 2 } else { 1 };
            config.insert("num_ln_in_parallel_attn".to_owned(), json!(norms));
            config.insert("num_kv_heads".to_owned(), json!(kv_heads));
        }
        if let Some(rows) = self.vocab_size() {
            config.insert("vocab_size".to_owned(), json!(rows));
        }
        // a head that shares the embedding's weight is not written
        config.insert("tie_word_embeddings".to_owned(), json!(self.checkpoint.tensor("output.weight").is_none()));
        Ok(config)
    }

    /// Rows of the token embedding, else the tokens listed.
    fn vocab_size(&self) -> Option<u64> {
        let rows = self.checkpoint.tensor("token_embd.weight").and_then(|table| table.shape.first().copied());
        rows.or_else(|| match self.metadata.get("tokenizer.ggml.tokens") {
            Some(GgufValue::Array(tokens, _)) => Some(*tokens),
            _ => None,
        })
    }

    fn first_layer_has(&self, tensor: &str) -> bool {
        self.checkpoint.tensor(&format!("blk.0.{tensor}")).is_some()
    }

    fn integer(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key) {
            Some(GgufValue::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// A value that is the same for all layers, as JSON.
    fn plain(&self, key: &str) -> Result<Option<Value>, ModelError> {
        Ok(match self.metadata.get(key) {
            None => None,
            Some(GgufValue::Integer(value)) => Some(json!(value)),
            Some(GgufValue::Number(value)) => Some(json!(value)),
            Some(GgufValue::Bool(value)) => Some(json!(value)),
            Some(GgufValue::Array(_, values)) => match values.split_first() {
                Some((GgufValue::Integer(first), rest)) if rest.iter().all(|v| *v == GgufValue::Integer(*first)) => {
                    Some(json!(first))
                }
                _ => {
                    return Err(
                        self.unusable(&format!("`{key}` differs from layer to layer: give the model's config.json"))
                    );
                }
            },
            Some(GgufValue::Text(_)) => return Err(self.unusable(&format!("`{key}` is a text and not a number"))),
        })
    }

    fn unusable(&self, reason: &str) -> ModelError {
        ModelError::NoModel { path: self.checkpoint.name.clone(), reason: without_controls(reason) }
    }
}
