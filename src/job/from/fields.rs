//! The fields of one table of a configuration: read by type, and what was not read is accounted for.

use std::rc::Rc;

use super::FromError;
use super::draft::Draft;
use super::report::{Effect, Ignored, Mapped, NotModelled, Place, Unknown};
use super::words;
use super::yaml::{Node, Value};

/// Characters of a value that are shown.
const SHOWN: usize = 60;
/// Names nearer than this are taken for slips of the pen.
const ALIKE: f64 = 0.85;
/// Characters a word may have, and unknown fields that get a suggestion.
const LONG: usize = 4096;
const SUGGESTIONS: usize = 50;

/// Fields that are known but not read.
pub(super) struct Known {
    /// With an effect on memory that is not modelled, unless they are off. A final `*` stands for any ending.
    pub(super) effects: &'static [(&'static str, Effect, &'static str)],
    /// Without an effect, by the reason why.
    pub(super) ignored: &'static [(&'static str, &'static [&'static str])],
}

/// One table.
pub(super) struct Fields {
    file: String,
    prefix: String,
    entries: Vec<Entry>,
    asked: Vec<&'static str>,
}

struct Entry {
    name: String,
    node: Rc<Node>,
    read: bool,
}

/// A value that was read, and where.
#[derive(Clone, Debug)]
pub(super) struct Got<T> {
    pub(super) value: T,
    field: String,
    text: String,
    at: Place,
}

impl<T> Got<T> {
    /// An account of it: what of the job it sets.
    pub(super) fn to(&self, to: impl Into<String>) -> Mapped {
        let at = Some(self.at.clone());
        Mapped { field: self.field.clone(), value: self.text.clone(), to: to.into(), at, default_of: None }
    }

    /// It cannot be: why, and what would mend it.
    pub(super) fn error(&self, fix: impl Into<String>) -> FromError {
        FromError::Value {
            file: self.at.file.clone(),
            line: self.at.line.unwrap_or(0),
            field: self.field.clone(),
            value: self.text.clone(),
            fix: fix.into(),
        }
    }

    /// It changes memory in a way that is not modelled.
    pub(super) fn not_modelled(&self, draft: &mut Draft, effect: Effect, why: impl Into<String>) {
        draft.report.not_modelled.push(NotModelled {
            field: self.field.clone(),
            value: self.text.clone(),
            effect,
            why: why.into(),
            at: self.at.clone(),
        });
    }

    /// It makes no difference here.
    pub(super) fn ignored(&self, draft: &mut Draft, why: impl Into<String>) {
        let (field, value, at) = (self.field.clone(), self.text.clone(), self.at.clone());
        draft.report.ignored.push(Ignored { field, value, why: why.into(), at });
    }

    /// The same place with another value.
    pub(super) fn with<U>(&self, value: U) -> Got<U> {
        Got { value, field: self.field.clone(), text: self.text.clone(), at: self.at.clone() }
    }
}

/// An account of a default: where the tool's sources have it.
pub(super) fn default(field: &str, value: impl ToString, to: impl Into<String>, of: &'static str) -> Mapped {
    Mapped { field: field.to_owned(), value: value.to_string(), to: to.into(), at: None, default_of: Some(of) }
}

impl Fields {
    /// The top of a file.
    pub(super) fn new(file: &str, root: &Rc<Node>) -> Result<Self, FromError> {
        let Value::Map(entries) = &root.value else {
            let message = "not a table of fields; give a training configuration in YAML or JSON".to_owned();
            return Err(FromError::Syntax { file: file.to_owned(), line: root.line, message });
        };
        Ok(Self::of(file, String::new(), entries))
    }

    fn of(file: &str, prefix: String, entries: &[(String, Rc<Node>)]) -> Self {
        let entries =
            entries.iter().map(|(name, node)| Entry { name: name.clone(), node: Rc::clone(node), read: false });
        Self { file: file.to_owned(), prefix, entries: entries.collect(), asked: Vec::new() }
    }

    /// Whether a field is there and is not empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name && !is_null(&entry.node))
    }

    /// Whether a field is there and empty.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name && is_null(&entry.node))
    }

    /// A field that is there, whatever it is.
    pub(super) fn any(&mut self, name: &'static str) -> Option<Got<Rc<Node>>> {
        self.asked.push(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name == name && !is_null(&entry.node))?;
        entry.read = true;
        let node = Rc::clone(&entry.node);
        Some(self.got(name, node))
    }

    fn got(&self, name: &str, node: Rc<Node>) -> Got<Rc<Node>> {
        let text = shown(&node);
        let name: String = name.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
        Got { field: format!("{}{name}", self.prefix), text, at: self.place(&node), value: node }
    }

    fn place(&self, node: &Node) -> Place {
        Place { file: self.file.clone(), line: Some(node.line).filter(|&line| line > 0) }
    }

    /// A truth value as PyYAML reads it, or one in quotes.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<Got<bool>>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        match truth(&got.value) {
            Some(value) => Ok(Some(got.with(value))),
            None => Err(got.error("give true or false")),
        }
    }

    /// Whether a flag is set and true.
    pub(super) fn is_on(&mut self, name: &'static str) -> Result<bool, FromError> {
        Ok(self.flag(name)?.is_some_and(|got| got.value))
    }

    /// A whole number.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<Got<u64>>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        match scalar(&got.value).and_then(whole) {
            Some(value) => Ok(Some(got.with(value))),
            None => Err(got.error("give a whole number, such as 4")),
        }
    }

    /// A number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<Got<f64>>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        match scalar(&got.value).and_then(|text| text.replace('_', "").parse::<f64>().ok()).filter(|n| n.is_finite()) {
            Some(value) => Ok(Some(got.with(value))),
            None => Err(got.error("give a number, such as 0.5")),
        }
    }

    /// A word.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<Got<String>>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        match scalar(&got.value) {
            Some("") => Ok(None),
            Some(text) if text.len() <= LONG => Ok(Some(got.with(text.to_owned()))),
            _ => Err(got.error("give one word")),
        }
    }

    /// A list of words, or one word, or words with commas between them.
    pub(super) fn names(&mut self, name: &'static str) -> Result<Option<Got<Vec<String>>>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        let words = match &got.value.value {
            Value::Scalar { text, .. } => {
                Some(text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect())
            }
            Value::Seq(items) => {
                items.iter().map(|item| scalar(item).map(|text| text.trim().to_owned())).collect::<Option<Vec<_>>>()
            }
            Value::Map(_) => None,
        };
        match words {
            Some(words) if words.is_empty() => Ok(None),
            Some(words) => Ok(Some(got.with(words))),
            None => Err(got.error("give a list of names")),
        }
    }

    /// A table within; one in quotes, as command lines pass it, is read too.
    pub(super) fn table(&mut self, name: &'static str) -> Result<Option<Self>, FromError> {
        let Some(got) = self.any(name) else { return Ok(None) };
        let prefix = format!("{}{name}.", self.prefix);
        match &got.value.value {
            Value::Map(entries) => Ok(Some(Self::of(&self.file, prefix, entries))),
            Value::Scalar { text, .. } if text.trim_start().starts_with('{') => {
                let node = super::yaml::parse(&self.file, text)?;
                match &node.value {
                    Value::Map(entries) => Ok(Some(Self::of(&self.file, prefix, entries))),
                    _ => Err(got.error("give a table")),
                }
            }
            _ => Err(got.error("give a table")),
        }
    }

    /// Whether DeepSpeed leaves the field to the training arguments; it is then read, and ignored.
    pub(super) fn is_auto(&mut self, name: &'static str, draft: &mut Draft) -> bool {
        let auto = |entry: &&mut Entry| entry.name == name && scalar(&entry.node) == Some("auto");
        let Some(entry) = self.entries.iter_mut().find(auto) else { return false };
        entry.read = true;
        let node = Rc::clone(&entry.node);
        self.asked.push(name);
        self.got(name, node).ignored(draft, "the training arguments say it");
        true
    }

    /// A field is missing without which there is no answer.
    pub(super) fn missing(&self, message: impl Into<String>) -> FromError {
        FromError::Missing { file: self.file.clone(), message: message.into() }
    }

    /// Accounts for every field that was not read.
    pub(super) fn rest(self, draft: &mut Draft, known: &[&Known]) {
        for entry in self.entries.iter().filter(|entry| !entry.read) {
            let got = self.got(&entry.name, Rc::clone(&entry.node));
            let effect = known.iter().flat_map(|known| known.effects).find(|(name, ..)| matches(name, &entry.name));
            let why = known.iter().flat_map(|known| known.ignored);
            let why = why.clone().find(|(_, names)| names.iter().any(|name| matches(name, &entry.name)));
            match (effect, why) {
                _ if is_null(&entry.node) => got.ignored(draft, "empty"),
                (Some(_), _) if is_off(&entry.node) => got.ignored(draft, "off"),
                (Some((_, effect, why)), _) => got.not_modelled(draft, *effect, *why),
                (None, Some((why, _))) => got.ignored(draft, *why),
                (None, None) => {
                    let few = draft.report.unknown.len() < SUGGESTIONS && entry.name.len() <= SHOWN;
                    let nearest = if few { self.nearest(&entry.name, known) } else { None };
                    let (field, value, at) = (got.field, got.text, got.at);
                    draft.report.unknown.push(Unknown { field, value, nearest, at });
                }
            }
        }
    }

    fn nearest(&self, name: &str, known: &[&Known]) -> Option<String> {
        let effects = known.iter().flat_map(|known| known.effects).map(|(name, ..)| *name);
        let ignored = known.iter().flat_map(|known| known.ignored).flat_map(|(_, names)| *names).copied();
        super::nearest(name, self.asked.iter().copied().chain(effects).chain(ignored), ALIKE)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// The text of a value that is neither list nor table.
pub(super) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
        || matches!(&node.value, Value::Scalar { text, plain: false } if text == "None")
}

fn truth(node: &Node) -> Option<bool> {
    words::truth(scalar(node)?)
}

/// A whole number, also one written as DeepSpeed's `5e8`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, clippy::float_cmp)]
fn whole(text: &str) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    let text = text.replace('_', "");
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        // every whole number up to here has its own f64
        ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
    })
}

/// Whether a value says that its field is not used.
fn is_off(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { text, .. } => {
            truth(node) == Some(false) || matches!(text.as_str(), "" | "none" | "None") || text.parse() == Ok(0.0)
        }
        Value::Seq(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

/// A value in one short line.
fn shown(node: &Node) -> String {
    let mut text = String::new();
    write(node, &mut text);
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN - 3).collect::<String>() + "...";
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes until it is too long to be shown: aliases may make a tree of any size.
fn write(node: &Node, text: &mut String) {
    if text.len() > 4 * SHOWN {
        return;
    }
    match &node.value {
        Value::Scalar { text: value, plain } => {
            let value: String = value.chars().take(SHOWN + 1).collect();
            if *plain || !value.is_empty() { text.push_str(&value) } else { text.push_str("\"\"") }
        }
        Value::Seq(items) => {
            text.push('[');
            for (index, item) in items.iter().take(SHOWN).enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write(item, text);
            }
            text.push(']');
        }
        Value::Map(entries) => {
            text.push('{');
            for (index, (name, item)) in entries.iter().take(SHOWN).enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                text.extend(name.chars().take(SHOWN));
                text.push_str(": ");
                write(item, text);
            }
            text.push('}');
        }
    }
}
