//! The published figures and what is known of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A published figure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// `owner/repository:path`, or a thread.
    pub(crate) source: String,
    pub(crate) gpu: String,
    pub(crate) versions: String,
    /// What of an estimate it is; [`crate::predict`] has them.
    pub(crate) figure: String,
    /// Bytes.
    pub(crate) published: u64,
    /// As it was printed.
    pub(crate) printed: String,
    /// A card's name, or the fields of a config.json.
    #[serde(default)]
    pub(crate) model: Value,
    /// `{"train": ...}` or `{"infer": ...}` of a job file.
    #[serde(default)]
    pub(crate) job: Value,
    /// An adapter_config.json.
    pub(crate) adapter: Option<Value>,
    pub(crate) quantization_config: Option<Value>,
    /// A single operation instead of a model.
    pub(crate) operation: Option<Operation>,
    #[serde(default)]
    pub(crate) causes: Vec<Cause>,
}

/// What makes a figure differ from the estimate: bytes more (or less) than that, for a reason that was traced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cause {
    /// A key of `causes` in `published.toml`.
    pub(crate) why: String,
    pub(crate) bytes: i64,
    /// How many bytes that comes to.
    pub(crate) how: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    pub(crate) op: String,
    pub(crate) rows: u64,
    pub(crate) vocab: u64,
    #[serde(default)]
    pub(crate) hidden: u64,
}

/// `published.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notes {
    pub(crate) causes: BTreeMap<String, String>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// Published figures that cannot be predicted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeftOut {
    pub(crate) what: String,
    pub(crate) source: String,
    pub(crate) rows: u64,
    pub(crate) reason: String,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let text = read("published.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

impl Notes {
    pub(crate) fn read() -> Self {
        toml::from_str(&read("published.toml")).unwrap_or_else(|e| panic!("published.toml: {e}"))
    }
}
