//! A model with what is known of the files it comes from.

use std::path::Path;

use serde_json::Value;

use super::error::one_line;
use super::resolve::{at_revision, config_of, from_hub_id, from_named, name_of, unknown};
use super::{Checkpoint, Gguf, Model, ModelError, Quantization, from_config};
use crate::hub::Hub;

/// What a name or a path of a model leads to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Source {
    /// The model.
    pub model: Model,
    /// The headers of its weights, where they are there.
    pub checkpoint: Option<Checkpoint>,
    /// `quantization_config` of its config.json.
    pub quantization: Option<Quantization>,
    /// Its config.json, or the one that a GGUF's metadata or a size stands for.
    pub config: Value,
    /// What could not be read beside the model, and why.
    pub notes: Vec<String>,
}

impl Source {
    /// What `spec` leads to: everything [`super::resolve`] takes, and `.safetensors` files, their indices and `.gguf`
    /// files.
    ///
    /// # Errors
    /// As [`super::resolve`].
    pub fn find(spec: &str) -> Result<Self, ModelError> {
        Self::find_here(spec).unwrap_or_else(|| Err(unknown(spec)))
    }

    /// As [`Source::find`], and a Hub id where `spec` is nothing on this machine.
    ///
    /// # Errors
    /// As [`super::resolve_with`].
    pub fn find_with(spec: &str, revision: Option<&str>, hub: &Hub) -> Result<Self, ModelError> {
        match revision {
            Some(revision) => at_revision(spec, revision, hub),
            None => Self::find_here(spec).unwrap_or_else(|| from_hub_id(spec, hub)),
        }
    }

    /// What needs no network.
    fn find_here(spec: &str) -> Option<Result<Self, ModelError>> {
        let path = Path::new(spec);
        if Checkpoint::is_named_like_one(path) {
            return Some(Self::of_checkpoint(path));
        }
        let inside = path.join("config.json");
        if !spec.is_empty() && path.is_dir() {
            match (inside.exists(), Checkpoint::find(path)) {
                (true, found) => return Some(Self::of_folder(&inside, found.as_deref())),
                (false, Some(found)) => return Some(Self::of_checkpoint(&found)),
                (false, None) => {}
            }
        }
        from_named(spec)
    }

    /// A model from the contents of its config.json.
    ///
    /// # Errors
    /// As [`from_config`], and where its `quantization_config` is malformed.
    pub fn from_config(name: &str, config: &Value) -> Result<Self, ModelError> {
        let model = from_config(name, config)?;
        let quantization = match config.get("quantization_config") {
            None | Some(Value::Null) => None,
            Some(value) => Some(Quantization::from_config(value)?),
        };
        Ok(Self { quantization, ..Self::plain(model, config.clone()) })
    }

    pub(super) const fn plain(model: Model, config: Value) -> Self {
        Self { model, checkpoint: None, quantization: None, config, notes: Vec::new() }
    }

    /// A folder whose config.json says what the model is, whatever its weights say.
    fn of_folder(config: &Path, checkpoint: Option<&Path>) -> Result<Self, ModelError> {
        let (name, value) = config_of(config)?;
        let mut source = Self::from_config(&name, &value)?;
        if let Some(path) = checkpoint {
            match Checkpoint::open(path) {
                Ok(checkpoint) => source.checkpoint = Some(checkpoint),
                Err(error) => source.notes.push(format!("its weights were not looked at: {error}")),
            }
        }
        Ok(source)
    }

    /// A checkpoint that was asked for itself, so it must be readable.
    fn of_checkpoint(path: &Path) -> Result<Self, ModelError> {
        let shown = one_line(&path.display().to_string());
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            let gguf = Gguf::open(path)?;
            let model = gguf.model(&name_of(path))?;
            let config = Value::Object(gguf.config()?);
            return Ok(Self { checkpoint: Some(gguf.checkpoint), ..Self::plain(model, config) });
        }
        let checkpoint = Checkpoint::open(path)?;
        let config = path.with_file_name("config.json");
        if !config.exists() {
            return Err(ModelError::NoModel {
                path: shown,
                reason:
                    "a safetensors header has tensors and no architecture, so put the model's config.json beside it \
                         (`vramplan params` counts it without)"
                        .to_owned(),
            });
        }
        let (name, value) = config_of(&config)?;
        Ok(Self { checkpoint: Some(checkpoint), ..Self::from_config(&name, &value)? })
    }
}
