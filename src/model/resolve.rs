//! From what a user writes to a model.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{one_line, show};
use super::{Checkpoint, Model, ModelError, Nearest, Source, card, file, guess};
use crate::hub::{Hub, HubErrorKind, HubId, HubIdError};

/// The model that `spec` stands for. In this order: a path that ends in `.json` or `.toml`, or a folder that has a
/// config.json or a checkpoint; a `.safetensors` or `.gguf` file; the name or an alias of a [card](super::cards); a bare
/// size such as `7b`. The Hub is not asked: [`resolve_with`] does that.
///
/// # Errors
/// It is none of these, or what it names cannot be read.
///
/// # Example
/// ```
/// let model = vramplan::model::resolve("Llama-2-7B")?;
/// assert_eq!((model.hidden_size(), model.num_hidden_layers()), (4096, 32));
/// # Ok::<(), vramplan::model::ModelError>(())
/// ```
pub fn resolve(spec: &str) -> Result<Model, ModelError> {
    Source::find(spec).map(|source| source.model)
}

/// As [`resolve`], and where `spec` is none of those but a Hub id, `org/name` or `org/name@revision`: the repository's
/// config.json, from the Hub's cache or over the network.
///
/// # Errors
/// As of [`resolve`], or the Hub does not hand the config.json out.
pub fn resolve_with(spec: &str, revision: Option<&str>, hub: &Hub) -> Result<Model, ModelError> {
    Source::find_with(spec, revision, hub).map(|source| source.model)
}

/// The revision of a Hub id.
pub(super) fn at_revision(spec: &str, revision: &str, hub: &Hub) -> Result<Source, ModelError> {
    // A card is of no revision in particular.
    let id = spec.trim().parse::<HubId>().and_then(|id| id.at(revision));
    let no_revision = |reason| ModelError::NoRevision { spec: one_line(spec), revision: one_line(revision), reason };
    from_hub(&id.map_err(no_revision)?, hub)
}

/// The model of a Hub id that is nothing on this machine.
pub(super) fn from_hub_id(spec: &str, hub: &Hub) -> Result<Source, ModelError> {
    if Path::new(spec).exists() {
        return Err(unknown(spec));
    }
    from_hub(&spec.trim().parse().map_err(|reason| not_on_the_hub(spec, &reason))?, hub)
}

fn from_hub(id: &HubId, hub: &Hub) -> Result<Source, ModelError> {
    let shown = format!("{id}/config.json");
    let config = hub.config(id)?;
    let text = String::from_utf8(config.bytes)
        .map_err(|error| ModelError::NotText { path: shown.clone(), offset: error.utf8_error().valid_up_to() })?;
    let mut source = Source::from_config(&id.to_string(), &file::parse_json(&shown, &text)?)?;
    match checkpoint_on_hub(&id.of_commit(config.commit), hub) {
        Ok(found) => source.checkpoint = found,
        Err(error) => source.notes.push(format!("its weights were not looked at: {error}")),
    }
    Ok(source)
}

/// The tensors of a repository, from the headers of its safetensors files; `None`: it has none, or they are not cached
/// and the network is not to be touched.
fn checkpoint_on_hub(id: &HubId, hub: &Hub) -> Result<Option<Checkpoint>, ModelError> {
    match hub.safetensors_headers(id) {
        Ok(headers) => Checkpoint::from_safetensors_headers(&id.to_string(), &headers).map(Some),
        Err(error) if matches!(error.kind, HubErrorKind::NoSuchFile | HubErrorKind::Offline) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The model of a config.json or a card's file, of a card, or of a size.
pub(super) fn from_named(spec: &str) -> Option<Result<Source, ModelError>> {
    let path = Path::new(spec);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("json") || extension.eq_ignore_ascii_case("toml") => {
            return Some(config_of(path).and_then(|(name, config)| Source::from_config(&name, &config)));
        }
        _ => {}
    }
    if let Some(card) = card(spec) {
        return Some(Source::from_config(&card.name, &card.config));
    }
    guess::guess(spec).map(|guessed| guessed.map(|(model, config)| Source::plain(model, config)))
}

/// What the model of a file is called, and its configuration.
pub(super) fn config_of(path: &Path) -> Result<(String, Value), ModelError> {
    let shown = path.display().to_string();
    let text = file::read_text(path)?;
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let value = if is_toml { file::parse_toml(&shown, &text)? } else { file::parse_json(&shown, &text)? };
    let Some(map) = value.as_object() else {
        return Err(ModelError::NotAnObject { what: format!("`{}`", one_line(&shown)), found: show(&value) });
    };
    let name = match map.get("name") {
        Some(Value::String(name)) => one_line(name),
        _ => name_of(path),
    };
    // A model card, or an inline model of a job file, keeps the configuration one level down.
    match map.get("config") {
        Some(inner @ Value::Object(_)) if !map.contains_key("model_type") => Ok((name, inner.clone())),
        _ => Ok((name, value)),
    }
}

/// The folder's name of a `config.json`, else the file's without its ending.
pub(super) fn name_of(path: &Path) -> String {
    let absolute: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stem = absolute.file_stem();
    let folder = absolute.parent().and_then(Path::file_name);
    let named = if stem.is_some_and(|stem| stem == "config") { folder.or(stem) } else { stem };
    named.map_or_else(|| "model".to_owned(), |name| one_line(&name.to_string_lossy()))
}

/// As [`unknown`], where a slash shows that a Hub id may have been meant.
fn not_on_the_hub(spec: &str, reason: &HubIdError) -> ModelError {
    match unknown(spec) {
        ModelError::UnknownModel { spec, hint, nearest } if spec.contains(['/', '@']) => {
            ModelError::UnknownModel { spec, hint: format!("{hint} ({reason})"), nearest }
        }
        other => other,
    }
}

pub(super) fn unknown(spec: &str) -> ModelError {
    let path = Path::new(spec);
    let is_path = ['/', '\\'].iter().filter(|&&separator| spec.contains(separator)).count() > 0;
    let exists = path.exists();
    let hint = if spec.trim().is_empty() {
        "give a card's name, a path to a config.json, or a size such as 7b"
    } else if path.is_dir() {
        "this folder has no config.json"
    } else if exists {
        "only files that end in .json or .toml are read"
    } else if is_path || path.extension().is_some_and(|extension| extension == "gguf" || extension == "safetensors") {
        "no such file or folder, and no card of that name"
    } else {
        "no card of that name, and not a size such as 7b"
    };
    // What was meant is there, and no card's name will help.
    let nearest = if exists { Nearest::default() } else { Nearest::among(spec, card::names()) };
    ModelError::UnknownModel { spec: one_line(spec), hint: hint.to_owned(), nearest }
}
