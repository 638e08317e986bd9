//! Reading job files.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Infer, Job, JobError, Serve, Train, Workload};

/// How a job says which model it means.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelRef {
    /// A card's name, a path, a Hub id, or a size like `7b`.
    Named(String),
    /// A configuration written into the job.
    Inline(InlineModel),
}

/// A model described in the job itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineModel {
    /// What to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The contents of its config.json.
    pub config: serde_json::Map<String, serde_json::Value>,
}

// Not `untagged`, which would lose which field of an inline model is wrong.
impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = ModelRef;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name or a table with its config")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ModelRef, E> {
                Ok(ModelRef::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ModelRef, A::Error> {
                InlineModel::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(ModelRef::Inline)
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

/// A job file as written: any part may be missing, to be supplied from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// `[train]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Train>,
    /// `[infer]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infer: Option<Infer>,
    /// `[serve]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
}

impl FromStr for JobFile {
    type Err = JobError;

    /// Reads TOML, or JSON where the first character is a brace.
    ///
    /// # Errors
    /// Not well-formed, a field no job has, or a value of the wrong type.
    fn from_str(text: &str) -> Result<Self, JobError> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') { from_json(text) } else { from_toml(text) }
    }
}

impl FromStr for Job {
    type Err = JobError;

    /// Reads TOML, or JSON where the first character is a brace; [`Job::validate`] is left to the caller.
    ///
    /// # Errors
    /// As [`JobFile`]'s, and where the model or the workload is missing.
    fn from_str(text: &str) -> Result<Self, JobError> {
        text.parse::<JobFile>()?.try_into()
    }
}

impl TryFrom<JobFile> for Job {
    type Error = JobError;

    fn try_from(mut file: JobFile) -> Result<Self, JobError> {
        let workload = file.workload()?;
        let model = file.model.ok_or(JobError::Workload("names no model; add model = \"llama-2-7b\" or the like"))?;
        Ok(Self { model, workload })
    }
}

impl JobFile {
    /// The one table that says what is to be done.
    fn workload(&mut self) -> Result<Workload, JobError> {
        let several = [
            (self.train.is_some(), self.infer.is_some(), "has both [train] and [infer]; remove one of them"),
            (self.train.is_some(), self.serve.is_some(), "has both [train] and [serve]; remove one of them"),
            (self.infer.is_some(), self.serve.is_some(), "has both [infer] and [serve]; remove one of them"),
        ];
        if let Some((.., what)) = several.into_iter().find(|(one, other, _)| *one && *other) {
            return Err(JobError::Workload(what));
        }
        let train = self.train.take().map(Workload::Train);
        train
            .or_else(|| self.infer.take().map(Workload::Infer))
            .or_else(|| self.serve.take().map(Workload::Serve))
            .ok_or(JobError::Workload("has none of [train], [infer] and [serve]; add one of them"))
    }
}

impl From<Job> for JobFile {
    fn from(job: Job) -> Self {
        let mut file = Self { model: Some(job.model), ..Self::default() };
        match job.workload {
            Workload::Train(train) => file.train = Some(train),
            Workload::Infer(infer) => file.infer = Some(infer),
            Workload::Serve(serve) => file.serve = Some(serve),
        }
        file
    }
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, JobError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| explain(&error.path().to_string(), &error.inner().to_string()))?;
    deserializer.end().map_err(|error| explain(".", &error.to_string()))?;
    Ok(value)
}

fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, JobError> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
        explain(".", &format!("line {line}: {}", error.message()))
    })?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| explain(&error.path().to_string(), error.inner().message()))
}

/// What people write, in which table (any where empty), and what they should.
const HINTS: &[(&str, &str, &str)] = &[
    ("train", "batch_size", "did you mean `per_device_train_batch_size`?"),
    ("train.peft", "rank", "did you mean `r`?"),
    ("train.peft", "alpha", "did you mean `lora_alpha`?"),
    ("train.peft", "dropout", "did you mean `lora_dropout`?"),
    ("", "optimizer", "did you mean `optim`, in [train]?"),
    ("", "r", "it belongs in [train.peft]"),
    ("", "lora_alpha", "it belongs in [train.peft]"),
    ("", "lora_dropout", "it belongs in [train.peft]"),
    ("", "target_modules", "it belongs in [train.peft]"),
    ("", "use_dora", "it belongs in [train.peft]"),
    ("", "modules_to_save", "it belongs in [train.peft]"),
    ("", "precision", "it belongs in [train], [infer] or [serve]"),
    ("", "optim", "it belongs in [train]"),
    ("", "max_seq_length", "it belongs in [train]"),
    ("", "per_device_train_batch_size", "it belongs in [train]"),
    ("", "gradient_checkpointing", "it belongs in [train]"),
    ("", "max_model_len", "it belongs in [serve]"),
    ("", "gpu_memory_utilization", "it belongs in [serve]"),
    ("", "concurrency", "it belongs in [serve]"),
    ("serve", "max_concurrency", "did you mean `concurrency`?"),
    ("", "batch_size", "it belongs in [infer]"),
    ("", "prompt_length", "it belongs in [infer]"),
    ("", "max_new_tokens", "it belongs in [infer]"),
];

/// One line for what serde found wrong at `path`.
pub(crate) fn explain(path: &str, message: &str) -> JobError {
    let path = path.trim_end_matches(['?', '.']);
    let message = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ");
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let Some((name, expected)) = unknown else {
        let placed = path.is_empty() || message.starts_with(path);
        let message = if placed { message } else { format!("{path}: {message}") };
        return JobError::Syntax { message };
    };
    let table = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
    let field = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    JobError::UnknownField { field, fix: mend(table, name, &known) }
}

/// What to write instead of a field `name` that `table` has not.
pub(crate) fn mend(table: &str, name: &str, known: &[&str]) -> String {
    let hint = HINTS.iter().find(|(place, wrong, _)| (place.is_empty() || *place == table) && *wrong == name);
    if let Some((_, _, fix)) = hint {
        return (*fix).to_owned();
    }
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    match known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(known) if likeness(known) > 0.85 => format!("did you mean `{known}`?"),
        _ => format!("expected one of {}", known.join(", ")),
    }
}
