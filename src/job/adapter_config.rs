//! PEFT's adapter_config.json, as `save_pretrained` writes it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{JobError, Peft};

/// Fields that no byte of a training step depends on: what the adapter is called and how it is initialised.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "beta1",
    "beta2",
    "corda_config",
    "deltaT",
    "eps",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "init_ia3_weights",
    "init_lora_weights",
    "init_weights",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "peft_type",
    "peft_version",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "token_dim",
    "tfinal",
    "tinit",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
    "total_step",
];
/// Without it some methods say nothing at all, so no other field can be tried alone.
const ALWAYS: &str = "num_virtual_tokens";

impl Peft {
    /// The method an adapter_config.json is for, as `[train.peft]` would say it.
    ///
    /// # Errors
    /// `peft_type` is missing or none of ours, or a field that changes what is trained has a value that is not modelled.
    ///
    /// ```
    /// use vramplan::job::Peft;
    ///
    /// let config = serde_json::json!({
    ///     "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 16, "lora_alpha": 32,
    ///     "target_modules": ["q_proj", "v_proj"], "bias": "none", "layers_to_transform": null,
    /// });
    /// let Peft::Lora(lora) = Peft::from_adapter_config(&config)? else { unreachable!() };
    /// assert_eq!(lora.r, 16);
    /// # Ok::<(), vramplan::job::JobError>(())
    /// ```
    pub fn from_adapter_config(config: &Value) -> Result<Self, JobError> {
        let Some(config) = config.as_object() else {
            return Err(JobError::Syntax { message: "an adapter_config.json must be an object".to_owned() });
        };
        let kind = match config.get("peft_type") {
            Some(Value::String(kind)) => kind.to_lowercase(),
            Some(other) => return Err(refuse("peft_type", other, "give PEFT's name of the method, such as \"LORA\"")),
            None => {
                let fix = "give PEFT's name of the method, such as \"LORA\"";
                return Err(refuse("peft_type", &Value::Null, fix));
            }
        };
        let mut table = Map::new();
        table.insert("type".to_owned(), json!(kind));
        table.extend(
            config.get(ALWAYS).filter(|value| !value.is_null()).map(|value| (ALWAYS.to_owned(), value.clone())),
        );
        let base = table.clone();
        Self::deserialize(Value::Object(base.clone()))
            .map_err(|error| refuse("peft_type", &json!(kind), &error.to_string()))?;
        let defaults = Self::of_type(&kind).map_or(Ok(Value::Null), serde_json::to_value);
        let defaults = defaults.map_err(|error| JobError::Syntax { message: error.to_string() })?;
        let projected = config.get("prefix_projection") == Some(&Value::Bool(true));
        for (field, value) in config {
            let unused = (field == "encoder_hidden_size" && !projected)
                || (field == "r" && kind == "adalora")
                || (field == "module_dropout" && value.as_f64() == Some(0.0));
            // what is on where nobody asks was turned off
            let usual = is_off(value) && defaults.get(field) != Some(&Value::Bool(true));
            if HARMLESS.contains(&field.as_str()) || field == ALWAYS || usual || unused {
                continue;
            }
            let mut alone = base.clone();
            alone.insert(field.clone(), value.clone());
            if let Err(error) = Self::deserialize(Value::Object(alone)) {
                let message = error.to_string();
                let unknown = message.contains("unknown field");
                let fix = if unknown { "it changes what is trained and is not modelled; remove it" } else { &message };
                return Err(refuse(field, value, fix));
            }
            table.insert(field.clone(), value.clone());
        }
        Self::deserialize(Value::Object(table)).map_err(|error| JobError::Syntax { message: error.to_string() })
    }
}

/// Whether a field is as PEFT leaves what nobody asked for.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "none",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn refuse(field: &str, value: &Value, fix: &str) -> JobError {
    let shown: String = value.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    let field: String = field.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    JobError::Adapter { field, value: shown, fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TargetModules;

    /// As PEFT 0.21 saves a LoRA.
    fn saved() -> Value {
        json!({
            "alora_invocation_tokens": null, "alpha_pattern": {}, "auto_mapping": null, "arrow_config": null,
            "base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "bias": "none", "corda_config": null,
            "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
            "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 32, "lora_bias": false, "lora_dropout": 0.05,
            "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": ["lm_head"],
            "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 64, "rank_pattern": {},
            "revision": null, "target_modules": ["v_proj", "q_proj"], "target_parameters": null,
            "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": true, "use_qalora": false,
            "use_rslora": false
        })
    }

    #[test]
    fn a_saved_lora_is_read() {
        let Ok(Peft::Lora(lora)) = Peft::from_adapter_config(&saved()) else { panic!("no LoRA") };
        assert_eq!((lora.r, lora.use_dora, lora.modules_to_save), (64, true, vec!["lm_head".to_owned()]));
        assert_eq!(lora.target_modules, Some(TargetModules::Names(vec!["v_proj".to_owned(), "q_proj".to_owned()])));
    }

    #[test]
    fn saved_configurations_of_other_methods_are_read() {
        let adalora = json!({
            "peft_type": "ADALORA", "r": 8, "init_r": 16, "target_r": 4, "beta1": 0.85, "beta2": 0.85, "deltaT": 1, "tinit": 0,
            "tfinal": 0, "total_step": 100, "orth_reg_weight": 0.5, "lora_alpha": 8, "rank_pattern": null
        });
        let Ok(Peft::AdaLora(read)) = Peft::from_adapter_config(&adalora) else { panic!("no AdaLoRA") };
        assert_eq!((read.init_r, read.target_r), (16, 4));
        let mut oft = json!({
            "peft_type": "OFT", "r": 0, "oft_block_size": 64, "module_dropout": 0.0, "coft": false, "eps": 6e-05,
            "use_cayley_neumann": true, "num_cayley_neumann_terms": 5
        });
        assert!(matches!(Peft::from_adapter_config(&oft), Ok(Peft::Oft(oft)) if oft.oft_block_size == 64));
        oft["use_cayley_neumann"] = json!(false);
        assert!(matches!(Peft::from_adapter_config(&oft), Ok(Peft::Oft(oft)) if !oft.use_cayley_neumann));
    }

    #[test]
    fn what_changes_the_memory_and_is_not_modelled_is_named() {
        for (field, value) in [
            ("layer_replication", json!([[0, 4], [2, 5]])),
            ("bias", json!("all")),
            ("r", json!("many")),
            ("trainable_token_indices", json!([1])),
            ("a_field_of_tomorrow", json!(3)),
        ] {
            let mut config = saved();
            config[field] = value;
            let error = Peft::from_adapter_config(&config).map(|_| ()).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(field)), "{field}: {error:?}");
        }
        let unknown = Peft::from_adapter_config(&json!({"peft_type": "POLY"}));
        assert!(unknown.is_err_and(|error| error.to_string().contains("poly")));
    }
}
