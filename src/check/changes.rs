//! How the inputs of a job differ.

use serde_json::{Map, Value};

use super::inputs::Inputs;

/// Fields of a config.json that say most, in the order they are told.
const FIRST: &[&str] = &[
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_intermediate_size",
    "num_experts_per_tok",
    "tie_word_embeddings",
];
/// More fields of a model than this are no changes to it, but another model.
const MOST_FIELDS: usize = 16;
/// So many fields are named.
const NAMED: usize = 6;
/// The longest value that is shown whole.
const LONGEST: usize = 60;

/// Something that was changed, as one.
pub(super) struct Change {
    /// What, as people are told.
    pub(super) what: String,
    /// Values to set; `None`: to take away.
    edits: Vec<Edit>,
}

struct Edit {
    part: Part,
    path: Vec<String>,
    value: Option<Value>,
    what: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Model,
    Config,
    Job,
    Limit,
}

impl Change {
    /// Makes it.
    pub(super) fn apply(&self, inputs: &mut Inputs) {
        for Edit { part, path, value, .. } in &self.edits {
            let target = match part {
                Part::Model => {
                    inputs.model = value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                    continue;
                }
                Part::Config => &mut inputs.config,
                Part::Job => &mut inputs.job,
                Part::Limit => &mut inputs.limit,
            };
            set(target, path, value.as_ref());
        }
    }
}

/// What was changed from `old` to `new`: the model's fields, then the job's.
pub(super) fn changes(old: &Inputs, new: &Inputs) -> Vec<Change> {
    let mut found = Vec::new();
    let mut config = edits(Part::Config, &old.config, &new.config);
    let rank = |edit: &Edit| {
        let name = edit.path.last().map_or("", String::as_str);
        FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
    };
    config.sort_by_key(rank);
    let another = config.len() > MOST_FIELDS || config.iter().any(|edit| rank(edit) == 0);
    let renamed = (old.model != new.model).then(|| Edit {
        part: Part::Model,
        path: Vec::new(),
        value: Some(new.model.as_str().into()),
        what: format!("model {} -> {}", crate::model::one_line(&old.model), crate::model::one_line(&new.model)),
    });
    if another {
        found.push(together(renamed.into_iter().chain(config).collect()));
    } else if config.is_empty() {
        found.extend(renamed.map(alone));
    } else {
        // a name explains nothing: its fields do
        let mut config = config.into_iter().map(alone);
        let first = config.next().map(|first| match renamed {
            Some(name) => Change {
                what: format!("{}: {}", name.what, first.what),
                edits: std::iter::once(name).chain(first.edits).collect(),
            },
            None => first,
        });
        found.extend(first.into_iter().chain(config));
    }
    let workload = |inputs: &Inputs| inputs.job.as_object().and_then(|tables| tables.keys().next().cloned());
    let job = edits(Part::Job, &old.job, &new.job);
    if workload(old) == workload(new) {
        let kind = |inputs: &Inputs| inputs.job.pointer("/train/peft/type").cloned();
        let method = kind(old) != kind(new);
        let (peft, other): (Vec<Edit>, Vec<Edit>) =
            job.into_iter().partition(|edit| method && edit.path.get(1).is_some_and(|name| name == "peft"));
        if method {
            let name = |kind: Option<Value>| kind.map_or_else(|| "none".to_owned(), |kind| shown(Some(&kind)));
            let what = format!("train.peft {} -> {}", name(kind(old)), name(kind(new)));
            found.push(Change { what, edits: peft });
        }
        found.extend(other.into_iter().map(alone));
    } else {
        let name = |inputs| workload(inputs).unwrap_or_default();
        found.push(Change { what: format!("{} -> {}", name(old), name(new)), edits: job });
    }
    found.extend(edits(Part::Limit, &old.limit, &new.limit).into_iter().map(alone));
    found
}

fn alone(edit: Edit) -> Change {
    Change { what: edit.what.clone(), edits: vec![edit] }
}

fn together(edits: Vec<Edit>) -> Change {
    let mut what: Vec<&str> = edits.iter().map(|edit| edit.what.as_str()).take(NAMED).collect();
    let more = format!("{} more", edits.len().saturating_sub(NAMED));
    if edits.len() > NAMED {
        what.push(&more);
    }
    Change { what: what.join(", "), edits }
}

/// What leads from `old` to `new`, field by field.
fn edits(part: Part, old: &Value, new: &Value) -> Vec<Edit> {
    let mut found = Vec::new();
    walk(part, &mut Vec::new(), Some(old), Some(new), &mut found);
    found
}

fn walk(part: Part, path: &mut Vec<String>, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Edit>) {
    let empty = Map::new();
    let (before, after) = match (old, new) {
        _ if old == new => return,
        (Some(Value::Object(before)), Some(Value::Object(after))) => (before, after),
        // a table that came or went is told by its fields
        (Some(Value::Object(before)), None) if path.len() < 2 => (before, &empty),
        (None, Some(Value::Object(after))) if path.len() < 2 => (&empty, after),
        _ => {
            let what = format!("{} {} -> {}", path.join("."), shown(old), shown(new));
            found.push(Edit { part, path: path.clone(), value: new.cloned(), what });
            return;
        }
    };
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    for name in names {
        path.push(name.clone());
        walk(part, path, before.get(name), after.get(name), found);
        path.pop();
    }
    if new.is_none() {
        found.push(Edit { part, path: path.clone(), value: None, what: format!("no {}", path.join(".")) });
    }
}

/// A value as a job file has it, in short.
fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "unset".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let line = crate::model::one_line(&text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Sets what stands at `path`, or takes it away.
fn set(target: &mut Value, path: &[String], value: Option<&Value>) {
    let [name, rest @ ..] = path else {
        *target = value.cloned().unwrap_or_default();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    match (rest, value) {
        ([], None) => drop(fields.remove(name)),
        ([], Some(value)) => drop(fields.insert(name.clone(), value.clone())),
        (rest, value) => set(fields.entry(name.clone()).or_insert(Value::Null), rest, value),
    }
}
