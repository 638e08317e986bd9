//! Reading a `quantization_config`.

use serde_json::{Map, Value};

use super::{CompressedTensors, QuantMethod, Quantization, Scales};
use crate::model::ModelError;
use crate::model::error::{one_line, show};

const FIELD: &str = "quantization_config";
/// Where each library keeps the names of what it leaves alone.
const NOT_CONVERTED: &[&str] =
    &["modules_to_not_convert", "ignored_layers", "ignore", "llm_int8_skip_modules", "exclude_modules"];
/// More patterns than any config has.
const MOST_PATTERNS: usize = 10_000;

impl Quantization {
    /// Reads the value of a config.json's `quantization_config`.
    ///
    /// # Errors
    /// Not an object, or a field has a value that no checkpoint has.
    pub fn from_config(config: &Value) -> Result<Self, ModelError> {
        let Some(map) = config.as_object() else {
            return Err(wrong(FIELD, config, "an object such as {\"quant_method\": \"gptq\", \"bits\": 4}"));
        };
        let method = match map.get("quant_method") {
            None | Some(Value::Null) if flag(map, "load_in_4bit")? || flag(map, "load_in_8bit")? => "bitsandbytes",
            Some(Value::String(name)) => name.as_str(),
            None | Some(Value::Null) => {
                return Err(ModelError::MissingField {
                    field: format!("{FIELD}.quant_method"),
                    fix: "give the method, such as \"gptq\", or leave quantization_config out".to_owned(),
                });
            }
            Some(other) => return Err(wrong("quant_method", other, "a text such as \"gptq\"")),
        };
        let method = match method {
            "bitsandbytes" | "bitsandbytes_4bit" | "bitsandbytes_8bit" => bitsandbytes(map)?,
            "gptq" => QuantMethod::Gptq { bits: bits(map)?, group_size: group_size(map)? },
            "awq" => QuantMethod::Awq { bits: bits(map)?, group_size: group_size(map)? },
            "fp8" => fp8(map)?,
            "fbgemm_fp8" => QuantMethod::FbgemmFp8,
            "compressed-tensors" => QuantMethod::CompressedTensors(compressed_tensors(map)?),
            "mxfp4" => QuantMethod::Mxfp4,
            other => QuantMethod::Other(one_line(other)),
        };
        Ok(Self { method, not_converted: not_converted(map)? })
    }
}

fn bitsandbytes(map: &Map<String, Value>) -> Result<QuantMethod, ModelError> {
    if flag(map, "load_in_8bit")? || flag(map, "_load_in_8bit")? {
        return Ok(QuantMethod::Bnb8bit);
    }
    let nf4 = match map.get("bnb_4bit_quant_type") {
        None | Some(Value::Null) => false,
        Some(Value::String(kind)) if kind == "nf4" => true,
        Some(Value::String(kind)) if kind == "fp4" => false,
        Some(other) => return Err(wrong("bnb_4bit_quant_type", other, "\"nf4\" or \"fp4\"")),
    };
    Ok(QuantMethod::Bnb4bit { nf4, double_quant: flag(map, "bnb_4bit_use_double_quant")? })
}

fn fp8(map: &Map<String, Value>) -> Result<QuantMethod, ModelError> {
    let block = match map.get("weight_block_size") {
        Some(Value::Null) => None,
        // `FineGrainedFP8Config`'s default
        None => Some((128, 128)),
        Some(value) => Some(pair("weight_block_size", value)?),
    };
    Ok(QuantMethod::Fp8 {
        block,
        scales_in_bytes: map.get("scale_fmt").is_some_and(|format| format == "ue8m0"),
        static_activations: map.get("activation_scheme").is_some_and(|scheme| scheme == "static"),
    })
}

fn compressed_tensors(map: &Map<String, Value>) -> Result<CompressedTensors, ModelError> {
    let format = map.get("format").and_then(Value::as_str).unwrap_or("dense");
    let mut scheme =
        CompressedTensors { format: one_line(format), bits: None, scales: Scales::Channel, symmetric: true };
    let groups = match map.get("config_groups") {
        None | Some(Value::Null) => return Ok(scheme),
        Some(Value::Object(groups)) => groups,
        Some(other) => return Err(wrong("config_groups", other, "an object")),
    };
    // Several groups need each layer matched against their targets.
    let (Some(Value::Object(group)), 1) = (groups.values().next(), groups.len()) else { return Ok(scheme) };
    if let Some(Value::String(own)) = group.get("format") {
        scheme.format = one_line(own);
    }
    let Some(Value::Object(weights)) = group.get("weights") else { return Ok(scheme) };
    let all_linear = group.get("targets").and_then(Value::as_array).is_some_and(|t| t.len() == 1 && t[0] == "Linear");
    if !all_linear {
        return Ok(scheme);
    }
    scheme.bits = whole(weights, "num_bits", 64)?;
    scheme.symmetric = !matches!(weights.get("symmetric"), Some(Value::Bool(false)));
    let grouped = whole(weights, "group_size", 1 << 20)?;
    scheme.scales = match (weights.get("strategy").and_then(Value::as_str), grouped) {
        (Some("tensor"), _) => Scales::Tensor,
        (Some("group" | "tensor_group") | None, Some(size)) => Scales::Group(size),
        (Some("block"), _) => match weights.get("block_structure") {
            Some(value @ Value::Array(_)) => {
                let (height, width) = pair("block_structure", value)?;
                Scales::Block(height, width)
            }
            _ => Scales::Block(128, 128),
        },
        (None, None) if scheme.bits == Some(8) => Scales::Tensor,
        _ => Scales::Channel,
    };
    Ok(scheme)
}

fn bits(map: &Map<String, Value>) -> Result<u64, ModelError> {
    let field = if map.contains_key("bits") { "bits" } else { "w_bit" };
    match whole(map, field, 8)?.unwrap_or(4) {
        bits @ (2 | 3 | 4 | 8) => Ok(bits),
        other => Err(wrong(field, &other.into(), "2, 3, 4 or 8")),
    }
}

/// -1 stands for all inputs.
fn group_size(map: &Map<String, Value>) -> Result<Option<u64>, ModelError> {
    let field = if map.contains_key("group_size") { "group_size" } else { "q_group_size" };
    if map.get(field).and_then(Value::as_i64) == Some(-1) {
        return Ok(None);
    }
    Ok(Some(whole(map, field, 1 << 20)?.unwrap_or(128)))
}

fn whole(map: &Map<String, Value>, field: &str, most: u64) -> Result<Option<u64>, ModelError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(field, value, &format!("a whole number from 1 to {most}"))),
        },
    }
}

fn pair(field: &str, value: &Value) -> Result<(u64, u64), ModelError> {
    let numbers: Vec<u64> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .filter(|number| (1..=1 << 20).contains(number))
        .collect();
    match numbers.as_slice() {
        [height, width] => Ok((*height, *width)),
        _ => Err(wrong(field, value, "two whole numbers such as [128, 128]")),
    }
}

fn flag(map: &Map<String, Value>, field: &str) -> Result<bool, ModelError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(wrong(field, other, "true or false")),
    }
}

fn not_converted(map: &Map<String, Value>) -> Result<Vec<String>, ModelError> {
    let mut patterns = Vec::new();
    for field in NOT_CONVERTED {
        let list = match map.get(*field) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) if list.len() <= MOST_PATTERNS => list,
            Some(other) => return Err(wrong(field, other, "a list of module names")),
        };
        for pattern in list {
            match pattern {
                Value::String(text) => patterns.push(text.clone()),
                other => return Err(wrong(field, other, "a list of module names")),
            }
        }
    }
    Ok(patterns)
}

fn wrong(field: &str, value: &Value, expected: &str) -> ModelError {
    let field = if field == FIELD { field.to_owned() } else { format!("{FIELD}.{field}") };
    ModelError::WrongType { field, value: show(value), expected: expected.to_owned() }
}
