//! `model.safetensors.index.json`: which file each tensor of a sharded checkpoint is in.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::open::read_safetensors;
use super::safetensors::{FORMAT, MOST_TENSORS, malformed};
use super::unique::Unique;
use super::{Checkpoint, StoredTensor};
use crate::model::error::one_line;
use crate::model::{ModelError, file};

/// The largest index read; 140,000 tensors take 15 MB.
const LIMIT: u64 = 24 << 20;
/// More shards than any model has.
const MOST_SHARDS: usize = 4096;

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
}

/// The checkpoint an index describes, from the headers of the files it names.
pub(super) fn read(path: &Path) -> Result<Checkpoint, ModelError> {
    let shown = one_line(&path.display().to_string());
    let wrong = |reason: String| ModelError::Syntax { path: shown.clone(), format: "safetensors index", reason };
    let text = file::read_text_up_to(path, LIMIT)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| wrong(one_line(&error.to_string())))?;
    let entries = index.weight_map.0;
    let shards: BTreeSet<&str> = entries.iter().map(|(_, shard)| shard.as_str()).collect();
    if shards.is_empty() || shards.len() > MOST_SHARDS {
        return Err(wrong(format!("it names {} files, and from 1 to {MOST_SHARDS} are read", shards.len())));
    }
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut tensors: Vec<StoredTensor> = Vec::new();
    let mut found: BTreeSet<(&str, String)> = BTreeSet::new();
    for shard in shards {
        if Path::new(shard).file_name().is_none_or(|name| name != shard) {
            return Err(wrong(format!("it names `{}`: a file beside it was expected", one_line(shard))));
        }
        let file = folder.join(shard);
        if !file.exists() {
            return Err(wrong(format!("it names `{}`, which is not beside it: download that too", one_line(shard))));
        }
        let part = read_safetensors(&file)?;
        found.extend(part.tensors.iter().map(|tensor| (shard, tensor.name.clone())));
        tensors.extend(part.tensors);
        if tensors.len() > MOST_TENSORS {
            return Err(wrong(format!("its files list more than {MOST_TENSORS} tensors")));
        }
    }
    for (name, shard) in &entries {
        if !found.contains(&(shard.as_str(), name.clone())) {
            return Err(wrong(format!("`{}` has no tensor `{}`, as it says", one_line(shard), one_line(name))));
        }
    }
    Checkpoint::new(&shown, FORMAT, tensors).map_err(|reason| malformed(&shown, &reason))
}
