//! From a path to the headers of the checkpoint there.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::safetensors::malformed;
use super::{Checkpoint, Gguf, index};
use crate::model::ModelError;
use crate::model::error::one_line;

/// What the names of indices end in.
const INDEX: &str = ".safetensors.index.json";

impl Checkpoint {
    /// Reads the headers of a `.safetensors` file, a `.safetensors.index.json` with the files it names, or a `.gguf`.
    ///
    /// # Errors
    /// It cannot be read, or is not what its name says.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if is_index(path) {
            index::read(path)
        } else if has_extension(path, "gguf") {
            Ok(Gguf::open(path)?.checkpoint)
        } else {
            read_safetensors(path)
        }
    }

    /// Where the checkpoint of a folder starts, as `from_pretrained` looks for it: `model.safetensors`, then its index;
    /// else the only `.safetensors` or `.gguf` file.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        let usual = ["model.safetensors", "model.safetensors.index.json"].map(|name| folder.join(name));
        if let Some(path) = usual.into_iter().find(|path| path.is_file()) {
            return Some(path);
        }
        let files = fs::read_dir(folder).ok()?.take(MOST_FILES).filter_map(Result::ok).map(|entry| entry.path());
        let mut files = files.filter(|path| has_extension(path, "safetensors") || has_extension(path, "gguf"));
        let only = files.next()?;
        files.next().is_none().then_some(only)
    }

    /// Whether a path's name is one of a checkpoint's.
    pub fn is_named_like_one(path: &Path) -> bool {
        is_index(path) || has_extension(path, "gguf") || has_extension(path, "safetensors")
    }
}

/// Files of a folder that are looked at.
const MOST_FILES: usize = 10_000;

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX))
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// A regular file and its size: opening a pipe would wait for its other end.
pub(super) fn open_file(path: &Path) -> Result<(File, u64), ModelError> {
    let shown = || one_line(&path.display().to_string());
    let unreadable =
        |error: std::io::Error| ModelError::Unreadable { path: shown(), reason: one_line(&error.to_string()) };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ModelError::NotAFile { path: shown() });
    }
    Ok((File::open(path).map_err(unreadable)?, metadata.len()))
}

/// The header of one safetensors file.
pub(super) fn read_safetensors(path: &Path) -> Result<Checkpoint, ModelError> {
    let shown = one_line(&path.display().to_string());
    let (mut file, size) = open_file(path)?;
    let mut first = [0; 8];
    let cut = |_| malformed(&shown, &format!("it is {size} bytes, too few for the header it announces"));
    file.read_exact(&mut first).map_err(cut)?;
    let length = Checkpoint::safetensors_header_length(&shown, first)?;
    let Some(data) = size.checked_sub(8).and_then(|rest| rest.checked_sub(length)) else {
        return Err(malformed(&shown, &format!("it is {size} bytes, too few for its header of {length}")));
    };
    let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact(&mut header).map_err(cut)?;
    Checkpoint::from_safetensors_header(&shown, &header, Some(data))
}
