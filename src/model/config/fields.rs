//! Typed access to the fields of a config.json.

use serde_json::{Map, Value};

use super::limits::{self, Limit};
use crate::model::error::{one_line, show};
use crate::model::{Activation, ModelError, ModelType};

/// The fields of one config.json, of a known model type.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(super) model_type: ModelType,
}

/// A field that may be absent, null, or have a value, where the class tells the first two apart.
pub(super) enum Nullable<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Nullable<T> {
    /// `default` where the field is absent.
    pub(super) fn or_class_default(self, default: Option<T>) -> Option<T> {
        match self {
            Nullable::Absent => default,
            Nullable::Null => None,
            Nullable::Value(value) => Some(value),
        }
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, model_type: ModelType) -> Self {
        Self { map, model_type }
    }

    /// The value of `field`; TOML has no null, so the text `"none"` stands for it.
    fn get(&self, field: &str) -> Option<&'a Value> {
        match self.map.get(field) {
            Some(Value::String(text)) if text == "none" => Some(&Value::Null),
            other => other,
        }
    }

    fn non_null(&self, field: &str) -> Option<&'a Value> {
        self.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn nullable_integer(&self, field: &str, limit: Limit) -> Result<Nullable<u64>, ModelError> {
        match self.get(field) {
            None => Ok(Nullable::Absent),
            Some(Value::Null) => Ok(Nullable::Null),
            Some(value) => integer(field, value, limit).map(Nullable::Value),
        }
    }

    pub(super) fn integer(&self, field: &str, limit: Limit) -> Result<Option<u64>, ModelError> {
        self.non_null(field).map(|value| integer(field, value, limit)).transpose()
    }

    /// A whole number, or `"auto"`, which is as good as none.
    pub(super) fn integer_or_auto(&self, field: &str, limit: Limit) -> Result<Option<u64>, ModelError> {
        match self.non_null(field) {
            Some(Value::String(text)) if text == "auto" => Ok(None),
            _ => self.integer(field, limit),
        }
    }

    /// Refuses an activation other than the one the model type is modelled with.
    pub(super) fn only_activation(&self, field: &str, only: Activation) -> Result<(), ModelError> {
        if self.activation(field, only)? == only {
            return Ok(());
        }
        Err(ModelError::Unsupported {
            field: field.to_owned(),
            value: self.get(field).map(show).unwrap_or_default(),
            model_type: self.model_type,
            fix: "only the activation that the class has by default is modelled, so leave it out".to_owned(),
        })
    }

    /// A dimension under the first name it has, and its value; the names that are present must agree.
    pub(super) fn dimension(&self, names: &[&'static str], limit: Limit) -> Result<Option<u64>, ModelError> {
        let mut found: Option<(&str, u64)> = None;
        for &name in names {
            let Some(value) = self.integer(name, limit)? else {
                continue;
            };
            match found {
                None => found = Some((name, value)),
                Some((first, other)) if other != value => {
                    return Err(ModelError::Disagree {
                        field: first.to_owned(),
                        value: other,
                        alias: name.to_owned(),
                        alias_value: value,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(found.map(|(_, value)| value))
    }

    /// A dimension that must be given; `names[0]` is what it is called in messages.
    pub(super) fn required(&self, names: &[&'static str], limit: Limit) -> Result<u64, ModelError> {
        self.dimension(names, limit)?.ok_or_else(|| self.missing(names))
    }

    fn missing(&self, names: &[&'static str]) -> ModelError {
        let (field, others) = names.split_first().map_or(("", names), |(first, rest)| (*first, rest));
        let also = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(", ")) };
        ModelError::MissingField {
            field: field.to_owned(),
            fix: format!("a `{}` config.json must give it{also}", self.model_type),
        }
    }

    pub(super) fn boolean(&self, field: &str, default: bool) -> Result<bool, ModelError> {
        match self.non_null(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => Err(wrong_type(field, value, "true or false")),
        }
    }

    /// A number that may have a fraction.
    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.non_null(field)
            .map(|value| {
                value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| wrong_type(field, value, "a number"))
            })
            .transpose()
    }

    /// A dropout probability.
    pub(super) fn dropout(&self, field: &str, default: f64) -> Result<f64, ModelError> {
        match self.number(field)? {
            None => Ok(default),
            Some(p) if (0.0..=1.0).contains(&p) => Ok(p),
            Some(p) => Err(out_of_range(field, p, 0, 1)),
        }
    }

    /// Whether a soft cap is set: a number caps, null does not.
    pub(super) fn softcap(&self, field: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(value) if value.is_number() => Ok(true),
            Some(value) => Err(wrong_type(field, value, "a number or null")),
        }
    }

    /// The fields of an object within; `None` where there is none.
    pub(super) fn within(&self, field: &str) -> Result<Option<Self>, ModelError> {
        match self.non_null(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::new(map, self.model_type))),
            Some(value) => Err(wrong_type(field, value, "an object or null")),
        }
    }

    /// A text.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, ModelError> {
        self.non_null(field).map(|value| value.as_str().ok_or_else(|| wrong_type(field, value, "a text"))).transpose()
    }

    /// The first name among `architectures`, where there is one.
    pub(super) fn architecture(&self) -> Result<Option<&'a str>, ModelError> {
        Ok(self.list("architectures")?.and_then(|names| names.first()).and_then(Value::as_str))
    }

    /// `pad_token_id`, where the class gives it to the embedding.
    pub(super) fn pad_token_id(&self, default: Option<i64>) -> Result<Option<i64>, ModelError> {
        const FIELD: &str = "pad_token_id";
        match self.get(FIELD) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong_type(FIELD, value, "a whole number or null")),
        }
    }

    /// A dimension with the default its class has.
    pub(super) fn dimension_or(&self, names: &[&'static str], limit: Limit, default: u64) -> Result<u64, ModelError> {
        Ok(self.dimension(names, limit)?.unwrap_or(default))
    }

    /// A side of an image or of a patch: a number, or the first of two.
    pub(super) fn side(&self, field: &'static str, default: u64) -> Result<u64, ModelError> {
        match self.non_null(field) {
            Some(Value::Array(_)) => Ok(self.indices(field, limits::IMAGE_SIZE)?.first().copied().unwrap_or(default)),
            _ => self.dimension_or(&[field], limits::IMAGE_SIZE, default),
        }
    }

    pub(super) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    pub(super) fn list(&self, field: &str) -> Result<Option<&'a [Value]>, ModelError> {
        match self.non_null(field) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(value) => Err(wrong_type(field, value, "a list")),
        }
    }

    pub(super) fn activation(&self, field: &str, default: Activation) -> Result<Activation, ModelError> {
        const EXPECTED: &str = "one of silu, gelu, gelu_pytorch_tanh, gelu_new, gelu_fast, relu, relu2";
        match self.non_null(field) {
            None => Ok(default),
            Some(value) => match value.as_str() {
                Some("silu" | "swish") => Ok(Activation::Silu),
                Some("gelu") => Ok(Activation::Gelu),
                Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
                Some("gelu_new" | "gelu_fast") => Ok(Activation::GeluNew),
                Some("relu") => Ok(Activation::Relu),
                Some("relu2") => Ok(Activation::Relu2),
                // only a class that has its parameters
                Some("xielu") if default == Activation::Xielu => Ok(default),
                _ => Err(wrong_type(field, value, EXPECTED)),
            },
        }
    }

    /// `partial_rotary_factor`, first from the rope parameters, then from the field named `outer`.
    ///
    /// Both `rope_scaling` (until transformers 4) and `rope_parameters` may hold it; a `rope_scaling` that is not empty
    /// takes the place of `rope_parameters` (modeling_rope_utils.py, `convert_rope_params_to_dict`).
    pub(super) fn partial_rotary_factor(&self, outer: &str, default: f64) -> Result<f64, ModelError> {
        const FIELD: &str = "partial_rotary_factor";
        for holder in ["rope_scaling", "rope_parameters"] {
            match self.non_null(holder) {
                None => {}
                Some(Value::Object(map)) if map.is_empty() => {}
                Some(Value::Object(map)) => {
                    if let Some(factor) = Fields::new(map, self.model_type).factor(FIELD)? {
                        return Ok(factor);
                    }
                    break;
                }
                Some(value) => return Err(wrong_type(holder, value, "an object or null")),
            }
        }
        Ok(self.factor(outer)?.unwrap_or(default))
    }

    fn factor(&self, field: &str) -> Result<Option<f64>, ModelError> {
        match self.number(field)? {
            Some(factor) if !(0.0..=1.0).contains(&factor) => Err(out_of_range(field, factor, 0, 1)),
            other => Ok(other),
        }
    }

    /// A whole number that may be negative.
    pub(super) fn signed(&self, field: &str) -> Result<Option<i64>, ModelError> {
        self.non_null(field)
            .map(|value| value.as_i64().ok_or_else(|| wrong_type(field, value, "a whole number")))
            .transpose()
    }

    /// A list of indices; empty where it is absent.
    pub(super) fn indices(&self, field: &str, limit: Limit) -> Result<Vec<u64>, ModelError> {
        let list = self.list(field)?.unwrap_or_default();
        list.iter().enumerate().map(|(i, value)| integer(&format!("{field}[{i}]"), value, limit)).collect()
    }

    /// Refuses a number that is larger than another.
    pub(super) fn at_most(&self, field: &str, value: u64, most_field: &str, most: u64) -> Result<(), ModelError> {
        if value <= most {
            return Ok(());
        }
        Err(ModelError::OutOfRange {
            field: field.to_owned(),
            value: value.to_string(),
            min: "1".to_owned(),
            max: format!("{most}, the {most_field}"),
        })
    }

    /// Refuses a number that another does not divide.
    pub(super) fn multiple_of(
        &self,
        field: &str,
        value: u64,
        divisor_field: &str,
        divisor: u64,
    ) -> Result<(), ModelError> {
        if value.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(ModelError::NotAMultiple {
            field: field.to_owned(),
            value,
            divisor_field: divisor_field.to_owned(),
            divisor,
            fix: "every group has as many experts".to_owned(),
        })
    }

    /// A field this version has no model of.
    pub(super) fn unsupported(&self, field: &str, fix: &str) -> ModelError {
        ModelError::Unsupported {
            field: field.to_owned(),
            value: self.get(field).map(show).unwrap_or_default(),
            model_type: self.model_type,
            fix: fix.to_owned(),
        }
    }

    /// Refuses a field that is set to true.
    pub(super) fn refuse(&self, field: &str, fix: &str) -> Result<(), ModelError> {
        if self.boolean(field, false)? {
            return Err(ModelError::Unsupported {
                field: field.to_owned(),
                value: "true".to_owned(),
                model_type: self.model_type,
                fix: fix.to_owned(),
            });
        }
        Ok(())
    }
}

fn integer(field: &str, value: &Value, limit: Limit) -> Result<u64, ModelError> {
    const EXPECTED: &str = "a whole number that is not negative";
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    let Some(number) = value.as_u64() else {
        return Err(match value {
            Value::String(text) if text.parse::<u64>().is_ok() => {
                wrong_type(field, value, "a whole number: leave the quotes out")
            }
            Value::Number(large) if large.as_f64().is_some_and(|large| large >= TWO_TO_64) => {
                out_of_range(field, large, limit.min, limit.max)
            }
            _ => wrong_type(field, value, EXPECTED),
        });
    };
    if number < limit.min || number > limit.max {
        return Err(ModelError::OutOfRange {
            field: field.to_owned(),
            value: number.to_string(),
            min: limit.min.to_string(),
            max: limit.max.to_string(),
        });
    }
    Ok(number)
}

pub(super) fn wrong_type(field: &str, value: &Value, expected: &str) -> ModelError {
    ModelError::WrongType { field: one_line(field), value: show(value), expected: expected.to_owned() }
}

fn out_of_range(field: &str, value: impl ToString, min: u64, max: u64) -> ModelError {
    ModelError::OutOfRange {
        field: field.to_owned(),
        value: value.to_string(),
        min: min.to_string(),
        max: max.to_string(),
    }
}
