//! `[train.peft]` as written: what it may say depends on its `type`.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Peft;

/// The table's place in a job file.
const TABLE: &str = "train.peft";

impl<'de> Deserialize<'de> for Peft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let kind = match table.remove("type") {
            Some(Value::String(kind)) => kind,
            Some(other) => return Err(D::Error::custom(format!("{TABLE}.type = {other}: give one of {}", types()))),
            None => return Err(D::Error::missing_field("type")),
        };
        if !Self::TYPES.contains(&kind.as_str()) {
            return Err(D::Error::custom(format!("`{kind}` is not one of {}", types())));
        }
        read(&kind, &table).map_err(|wrong| D::Error::custom(wrong.message(&kind, &table)))
    }
}

fn types() -> String {
    Peft::TYPES.join(", ")
}

/// What serde found wrong, and in which field.
struct Wrong {
    path: String,
    message: String,
}

impl Wrong {
    fn unknown_field(&self) -> Option<&str> {
        self.message.strip_prefix("unknown field `")?.split_once('`').map(|(name, _)| name)
    }

    /// In one line; a field that other methods have is said to be theirs.
    fn message(&self, kind: &str, table: &Map<String, Value>) -> String {
        let Some(name) = self.unknown_field() else {
            return format!("{TABLE}.{}: {}", self.path, self.message);
        };
        let Some(value) = table.get(name) else { return self.message.clone() };
        let only: Map<String, Value> = std::iter::once((name.to_owned(), value.clone())).collect();
        let owns = |other: &&&str| read(other, &only).is_ok_and(|_| **other != kind);
        let owners: Vec<&str> = Peft::TYPES.iter().filter(owns).copied().collect();
        match owners.as_slice() {
            [] => self.message.clone(),
            [owner] => {
                format!("{TABLE}.{name} = {value}: {kind} has no such field; set type = \"{owner}\" or remove it")
            }
            owners => {
                format!("{TABLE}.{name} = {value}: {kind} has no such field, {} have; remove it", owners.join(", "))
            }
        }
    }
}

fn read(kind: &str, table: &Map<String, Value>) -> Result<Peft, Wrong> {
    Ok(match kind {
        "lora" => Peft::Lora(fields(table)?),
        "adalora" => Peft::AdaLora(fields(table)?),
        "loha" => Peft::LoHa(fields(table)?),
        "lokr" => Peft::LoKr(fields(table)?),
        "oft" => Peft::Oft(fields(table)?),
        "vera" => Peft::Vera(fields(table)?),
        "ia3" => Peft::Ia3(fields(table)?),
        "prefix_tuning" => Peft::PrefixTuning(fields(table)?),
        "prompt_tuning" => Peft::PromptTuning(fields(table)?),
        _ => Peft::Adapter(fields(table)?),
    })
}

fn fields<T: DeserializeOwned>(table: &Map<String, Value>) -> Result<T, Wrong> {
    serde_path_to_error::deserialize(Value::Object(table.clone()))
        .map_err(|error| Wrong { path: error.path().to_string(), message: error.inner().to_string() })
}
