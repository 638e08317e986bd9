//! What can be wrong with a model: each message is one line that names the field, its value and the fix.

use std::fmt;

use serde_json::Value;

use super::ModelType;

/// Why a model could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `model_type` is none of [`ModelType::ALL`].
    #[error("unknown model_type `{model_type}`: {}", nearest.or(&known_types()))]
    UnknownModelType {
        /// What was given.
        model_type: String,
        /// The known ones like it, if any.
        nearest: Nearest,
    },
    /// The configuration, or what should hold it, is not a JSON object.
    #[error(
        "{what} is {found}: it must be an object such as {{\"model_type\": \"llama\", \"hidden_size\": 4096, ...}}"
    )]
    NotAnObject {
        /// What was looked at.
        what: String,
        /// What it is instead.
        found: String,
    },
    /// A field without which nothing can be said.
    #[error("missing field `{field}`: {fix}")]
    MissingField {
        /// Its name.
        field: String,
        /// What to add.
        fix: String,
    },
    /// A field of the wrong JSON type, negative, or not whole.
    #[error("`{field}` is {value}: it must be {expected}")]
    WrongType {
        /// Its name.
        field: String,
        /// Its value as JSON.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A number no model has.
    #[error("`{field}` is {value}: it must be from {min} to {max}")]
    OutOfRange {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
        /// The smallest accepted.
        min: String,
        /// The largest accepted.
        max: String,
    },
    /// One number must be a multiple of another.
    #[error("`{field}` is {value}, which is not a multiple of `{divisor_field}` {divisor}: {fix}")]
    NotAMultiple {
        /// Its name.
        field: String,
        /// Its value.
        value: u64,
        /// The field it should be a multiple of.
        divisor_field: String,
        /// That field's value.
        divisor: u64,
        /// What to change.
        fix: String,
    },
    /// Two spellings of one field say different things.
    #[error("`{field}` is {value} and `{alias}` is {alias_value}: they mean the same, so keep one of them")]
    Disagree {
        /// The first spelling.
        field: String,
        /// Its value.
        value: u64,
        /// The second spelling.
        alias: String,
        /// Its value.
        alias_value: u64,
    },
    /// A list with one entry per layer has another length.
    #[error(
        "`{field}` has {found} entries but `num_hidden_layers` is {expected}: give one entry per layer, or leave it out"
    )]
    WrongLength {
        /// Its name.
        field: String,
        /// Its length.
        found: usize,
        /// The number of layers.
        expected: u64,
    },
    /// More parameters than can be counted safely.
    #[error(
        "the configuration describes about {parameters:.1e} parameters, more than 2^50: \
         check hidden_size, intermediate_size, vocab_size and num_hidden_layers"
    )]
    TooManyParameters {
        /// About how many.
        parameters: f64,
    },
    /// A feature of the model that is not modelled.
    #[error("`{field}` is {value}, which is not supported for model_type `{model_type}`: {fix}")]
    Unsupported {
        /// Its name.
        field: String,
        /// Its value as JSON.
        value: String,
        /// The model type it was met in.
        model_type: ModelType,
        /// What can be done.
        fix: String,
    },
    /// Neither a file, nor a card, nor a size.
    #[error("unknown model `{spec}`: {hint}; {}", nearest.or("`vramplan models` lists the known ones"))]
    UnknownModel {
        /// What was asked for.
        spec: String,
        /// Why it is not a path or a size.
        hint: String,
        /// The cards like it, if any.
        nearest: Nearest,
    },
    /// A bare size no model has.
    #[error("model size `{spec}` is out of range: give a size from 10m to 10t, such as 350m or 7b")]
    SizeOutOfRange {
        /// What was asked for.
        spec: String,
    },
    /// A file could not be opened or read.
    #[error("cannot read `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's message.
        reason: String,
    },
    /// A file larger than any configuration.
    #[error("`{path}` is {size} bytes: a model's configuration is at most {limit} bytes, so give its config.json")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
        /// The largest accepted.
        limit: u64,
    },
    /// Not an ordinary file.
    #[error("`{path}` is not a regular file: give a config.json, a model card, or a folder that has a config.json")]
    NotAFile {
        /// What was given.
        path: String,
    },
    /// Bytes that are not text.
    #[error("`{path}` is not UTF-8 text (byte {offset} is invalid): give a config.json or a model card")]
    NotText {
        /// The file.
        path: String,
        /// Where the first bad byte is.
        offset: usize,
    },
    /// A revision of what has none.
    #[error("`{spec}` has no revision `{revision}`: {reason}")]
    NoRevision {
        /// What was asked for.
        spec: String,
        /// The revision.
        revision: String,
        /// What has revisions.
        reason: crate::hub::HubIdError,
    },
    /// A repository on the Hub that could not be read.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// A checkpoint whose header does not say what model it is of.
    #[error("`{path}` does not say which model it is: {reason}")]
    NoModel {
        /// The file.
        path: String,
        /// What is missing, and the fix.
        reason: String,
    },
    /// Text that is neither JSON nor TOML, or a checkpoint's header that is malformed.
    #[error("`{path}` is not valid {format}: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// JSON, TOML, safetensors or GGUF.
        format: &'static str,
        /// The parser's message.
        reason: String,
    },
}

/// The names most like one that is not known, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nearest(pub Vec<String>);

impl Nearest {
    const MOST: usize = 5;
    /// Below it two names have little in common but letters.
    const ALIKE: f64 = 0.75;

    /// Of up to five groups the name most like `text`, where it is like it at all.
    pub(crate) fn among(text: &str, groups: impl Iterator<Item = Vec<String>>) -> Self {
        let text = shortened(text);
        let scored = groups.filter_map(|names| {
            let scored = names.into_iter().map(|name| (similarity(&text, &name), name));
            // The first of equals, which is the card's own name.
            scored.reduce(|best, next| if next.0 > best.0 { next } else { best })
        });
        Self::best(scored.filter(|(score, _)| *score >= Self::ALIKE).collect())
    }

    fn best(mut scored: Vec<(f64, String)>) -> Self {
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        Self(scored.into_iter().take(Self::MOST).map(|(_, name)| name).collect())
    }

    /// The names, or `otherwise` where there are none.
    fn or(&self, otherwise: &str) -> String {
        if self.0.is_empty() { otherwise.to_owned() } else { self.to_string() }
    }
}

/// Every model type that is known.
fn known_types() -> String {
    let known: Vec<&str> = ModelType::ALL.iter().map(|known| known.as_str()).collect();
    format!("the known are {}", known.join(", "))
}

/// Jaro-Winkler is quadratic, and no name is as long as this.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect::<String>().to_lowercase()
}

fn similarity(text: &str, name: &str) -> f64 {
    let name = name.to_lowercase();
    let base = text.rsplit('/').next().unwrap_or(text);
    strsim::jaro_winkler(text, &name).max(strsim::jaro_winkler(base, &name))
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0.len() == 1 { "is" } else { "are" };
        write!(f, "the nearest known {verb} {}", self.0.join(", "))
    }
}

/// Text fit for one line of a message: control characters escaped, and cut where it is long.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 80;
    let mut line = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == MOST {
            line.push_str("...");
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// A JSON value fit for one line of a message.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("\"{}\"", one_line(text)),
        other => one_line(&other.to_string()),
    }
}
