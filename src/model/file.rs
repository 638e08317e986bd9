//! Reading configuration files that may be anything: sizes are looked at before contents.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::ModelError;
use super::error::one_line;

pub(crate) use crate::hub::CONFIG_LIMIT as LIMIT;

/// The text of a regular file of at most [`LIMIT`] bytes.
pub(crate) fn read_text(path: &Path) -> Result<String, ModelError> {
    read_text_up_to(path, LIMIT)
}

/// The text of a regular file of at most `limit` bytes.
pub(crate) fn read_text_up_to(path: &Path, limit: u64) -> Result<String, ModelError> {
    let shown = || one_line(&path.display().to_string());
    let unreadable =
        |error: std::io::Error| ModelError::Unreadable { path: shown(), reason: one_line(&error.to_string()) };
    let too_large = |size: u64| ModelError::FileTooLarge { path: shown(), size, limit };

    // Before it is opened: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ModelError::NotAFile { path: shown() });
    }
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may grow meanwhile, or be of those that say they are empty.
    File::open(path).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let size = bytes.len() as u64;
    if size > limit {
        return Err(too_large(size));
    }
    String::from_utf8(bytes)
        .map_err(|error| ModelError::NotText { path: shown(), offset: error.utf8_error().valid_up_to() })
}

/// JSON text as a value; `path` is for the message.
pub(crate) fn parse_json(path: &str, text: &str) -> Result<Value, ModelError> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let mut reason = one_line(&error.to_string());
        if let Some(name) = non_finite_near(text, error.line(), error.column()) {
            reason = format!("{name} at line {} is not a JSON number: replace it by a number or null", error.line());
        } else if text.trim().is_empty() {
            "it is empty".clone_into(&mut reason);
        } else if error.to_string().starts_with("recursion limit") {
            reason = format!("it is nested deeper than 128 levels at line {}", error.line());
        }
        ModelError::Syntax { path: one_line(path), format: "JSON", reason }
    })
}

/// Python writes NaN and Infinity into JSON, which has neither.
fn non_finite_near(text: &str, line: usize, column: usize) -> Option<&'static str> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let reached = line.get(..column.min(line.len()))?;
    let start = reached.rfind(|c: char| !c.is_ascii_alphabetic() && c != '-').map_or(0, |index| index + 1);
    let rest = line.get(start..)?;
    ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| rest.starts_with(name))
}

/// TOML text as a JSON value; `path` is for the message.
pub(crate) fn parse_toml(path: &str, text: &str) -> Result<Value, ModelError> {
    let syntax = |reason: String| ModelError::Syntax { path: one_line(path), format: "TOML", reason };
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.lines().count().max(1)));
        syntax(one_line(&format!("{} at line {line}", error.message())))
    })?;
    to_json(toml::Value::Table(table)).map_err(|found| syntax(format!("{found} has no place in a config: replace it")))
}

fn to_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("the number {number}"))?
        }
        toml::Value::Datetime(date) => return Err(format!("the date {date}")),
        toml::Value::Array(list) => Value::Array(list.into_iter().map(to_json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let map: Map<String, Value> =
                table.into_iter().map(|(key, value)| Ok((key, to_json(value)?))).collect::<Result<_, String>>()?;
            Value::Object(map)
        }
    })
}
