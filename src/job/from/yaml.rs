//! YAML and JSON, read into a tree that knows its lines and cannot be made large.
//!
//! Events come from `saphyr-parser`: it is maintained, pure Rust, and leaves building the tree to its caller, so that
//! what an alias costs, how deep a tree may be and where each key stood are decided here.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::FromError;

/// Far more than any training configuration: axolotl's longest example has 4 KiB.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Levels of nesting, through aliases too.
const MAX_DEPTH: usize = 64;
/// Values in a file, those of merged tables counted again.
const MAX_NODES: usize = 1 << 16;
/// Fields of one table.
const MAX_FIELDS: usize = 1 << 12;

/// A value and the line it starts on.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
    /// Levels below it.
    depth: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Value {
    /// `plain`: without quotes, so that `true` and `~` mean what they mean.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    fn new(line: usize, value: Value) -> Self {
        let depth = match &value {
            Value::Scalar { .. } => 0,
            Value::Seq(items) => items.iter().map(|item| item.depth + 1).max().unwrap_or(1),
            Value::Map(entries) => entries.iter().map(|(_, item)| item.depth + 1).max().unwrap_or(1),
        };
        Self { line, value, depth }
    }
}

/// A collection whose end has not been seen.
struct Open {
    line: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    Seq(Vec<Rc<Node>>),
    Map { entries: Vec<(String, Rc<Node>)>, key: Option<String>, merged: Vec<(String, Rc<Node>)> },
}

/// The one document of a text.
pub(super) fn parse(file: &str, text: &str) -> Result<Rc<Node>, FromError> {
    let wrong = |line, message: &str| FromError::Syntax { file: file.to_owned(), line, message: message.to_owned() };
    if text.len() > MAX_BYTES {
        return Err(wrong(0, &format!("larger than {} KiB; is it a training configuration?", MAX_BYTES >> 10)));
    }
    let text = text.trim_start_matches('\u{feff}');
    match build(file, text) {
        // JSON that is not quite YAML: pairs of surrogates
        Err(error) if text.trim_start().starts_with('{') => {
            serde_json::from_str(text).map_or(Err(error), |value| Ok(Rc::new(from_json(&value))))
        }
        other => other,
    }
}

fn build(file: &str, text: &str) -> Result<Rc<Node>, FromError> {
    let wrong = |line, message: &str| FromError::Syntax { file: file.to_owned(), line, message: message.to_owned() };
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut root = None;
    let mut nodes = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span): (Event<'_>, Span) =
            event.map_err(|error| wrong(error.marker().line(), &format!("not YAML or JSON: {}", error.info())))?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { line, anchor, items: Items::Seq(Vec::new()) });
                if open.len() > MAX_DEPTH {
                    return Err(wrong(line, "nested too deeply for a training configuration"));
                }
                continue;
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open {
                    line,
                    anchor,
                    items: Items::Map { entries: Vec::new(), key: None, merged: Vec::new() },
                });
                if open.len() > MAX_DEPTH {
                    return Err(wrong(line, "nested too deeply for a training configuration"));
                }
                continue;
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                (Rc::new(Node::new(line, value)), anchor)
            }
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).ok_or_else(|| wrong(line, "an alias within what it stands for"))?;
                (Rc::clone(node), 0)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, items }) = open.pop() else {
                    return Err(wrong(line, "a collection ends that did not begin"));
                };
                let value = match items {
                    Items::Seq(items) => Value::Seq(items),
                    Items::Map { mut entries, merged, .. } => {
                        for (name, node) in merged {
                            if !entries.iter().any(|(known, _)| *known == name) {
                                entries.push((name, node));
                            }
                        }
                        Value::Map(entries)
                    }
                };
                (Rc::new(Node::new(line, value)), anchor)
            }
        };
        nodes += 1;
        if let Some(Open { items: Items::Map { merged, .. }, .. }) = open.last() {
            nodes += merged.len();
        }
        if nodes > MAX_NODES {
            return Err(wrong(line, "more values than a training configuration has"));
        }
        if node.depth + open.len() > MAX_DEPTH {
            return Err(wrong(line, "nested too deeply for a training configuration"));
        }
        if anchor > 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match open.last_mut() {
            Some(parent) => parent.items.add(node).map_err(|message| wrong(line, &message))?,
            None if root.is_none() => root = Some(node),
            None => return Err(wrong(line, "more than one document; give one training configuration a file")),
        }
    }
    root.ok_or_else(|| wrong(0, "empty; give a training configuration"))
}

impl Items {
    fn add(&mut self, node: Rc<Node>) -> Result<(), String> {
        match self {
            Self::Seq(items) => items.push(node),
            Self::Map { entries, key, merged } => match key.take() {
                None => match &node.value {
                    Value::Scalar { text, .. } => *key = Some(text.clone()),
                    _ => return Err("a key that is a list or a table".to_owned()),
                },
                // YAML's merge key: what is written beside it wins
                Some(name) if name == "<<" => {
                    let Value::Map(table) = &node.value else {
                        return Err("`<<` takes a table".to_owned());
                    };
                    merged.extend(table.iter().map(|(name, value)| (name.clone(), Rc::clone(value))));
                    if merged.len() > MAX_FIELDS {
                        return Err("too many fields for a training configuration".to_owned());
                    }
                }
                Some(_) if entries.len() >= MAX_FIELDS => {
                    return Err("too many fields for a training configuration".to_owned());
                }
                Some(name) if entries.iter().any(|(known, _)| *known == name) => {
                    return Err(format!("`{name}` is there twice; remove one of them"));
                }
                Some(name) => entries.push((name, node)),
            },
        }
        Ok(())
    }
}

/// The same tree without its lines; `serde_json` limits its depth itself.
fn from_json(value: &serde_json::Value) -> Node {
    let plain = |text: String| Value::Scalar { text, plain: true };
    let value = match value {
        serde_json::Value::String(text) => Value::Scalar { text: text.clone(), plain: false },
        serde_json::Value::Array(items) => Value::Seq(items.iter().map(|item| Rc::new(from_json(item))).collect()),
        serde_json::Value::Object(entries) => {
            Value::Map(entries.iter().map(|(name, item)| (name.clone(), Rc::new(from_json(item)))).collect())
        }
        other => plain(other.to_string()),
    };
    Node::new(0, value)
}
