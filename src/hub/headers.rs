//! The headers of safetensors files: what is in them is told without their weights.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::HubErrorKind as Kind;
use super::cache::{read_capped, write_whole};
use super::client::{Hub, unreadable};
use super::error::one_line;
use super::request::{Part, Remote};
use super::{HubError, HubId};

/// As [`Checkpoint::MAX_SAFETENSORS_HEADER`](crate::model::Checkpoint::MAX_SAFETENSORS_HEADER): what is larger would not
/// be read.
const HEADER_LIMIT: u64 = 8 << 20;
/// Of all headers of a repository together; DeepSeek-V3's 163 come to some 11 MB.
const TOTAL_LIMIT: u64 = 4 * HEADER_LIMIT;
/// The first request, which most headers fit into.
const FIRST: u64 = 64 << 10;
/// The header's length, before it.
const LENGTH: u64 = 8;
/// The index of DeepSeek-V3's 163 files has 9 MB.
const INDEX_LIMIT: u64 = 64 << 20;
/// No model comes in more files.
const MOST_FILES: usize = 4096;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl Hub {
    /// The headers of a repository's weights: each file's name and its header, JSON text as it stands in the file.
    /// The weights themselves are not fetched. That a repository has none is remembered in the cache, for its commit.
    ///
    /// # Errors
    /// As of [`config`](Self::config), or a file is not what its name says.
    pub fn safetensors_headers(&self, id: &HubId) -> Result<Vec<(String, Vec<u8>)>, HubError> {
        match self.known_or(id, SINGLE, || self.safetensors_header(id, SINGLE)) {
            Ok(header) => return Ok(vec![(SINGLE.to_owned(), header)]),
            Err(error) if matches!(error.kind, Kind::NoSuchFile | Kind::Offline) => {}
            Err(error) => return Err(error),
        }
        let index = self.known_or(id, INDEX, || self.file(id, INDEX, INDEX_LIMIT))?;
        // All files of one commit, whatever happens to the branch meanwhile.
        let id = &index.commit.map_or_else(|| id.clone(), |commit| id.pinned(commit));
        let mut headers = Vec::new();
        let mut total = 0;
        for file in files(id, &index.bytes)? {
            let header = self.safetensors_header(id, &file)?;
            total += header.len() as u64;
            if total > TOTAL_LIMIT {
                let message = format!("its safetensors headers are more than {TOTAL_LIMIT} bytes: is it a model?");
                return Err(HubError::new(id, Kind::TooLarge, message));
            }
            headers.push((file, header));
        }
        Ok(headers)
    }

    /// What `ask` finds of a file, which is not asked again where there was none.
    fn known_or<T>(&self, id: &HubId, file: &str, ask: impl FnOnce() -> Result<T, HubError>) -> Result<T, HubError> {
        if self.cache.knows_absent(id, file) {
            return Err(self.not_cached(id, file));
        }
        ask().inspect_err(|error| {
            if error.kind == Kind::NoSuchFile {
                // It is asked for again where the cache cannot be written to.
                let _ = self.cache.remember_absent(id, file);
            }
        })
    }

    /// The header of one safetensors file, JSON text as it stands in the file.
    ///
    /// # Errors
    /// As of [`safetensors_headers`](Self::safetensors_headers).
    pub fn safetensors_header(&self, id: &HubId, file: &str) -> Result<Vec<u8>, HubError> {
        if let Some(path) = self.cache.find(id, file) {
            return local(id, file, &path);
        }
        // Headers are no files of the Hub, so they are kept where huggingface_hub has what is derived from those.
        let known = self.cache.commit(id).map(|commit| self.kept(id, &commit, file));
        if let Some(header) = known.and_then(|path| read_capped(&path, HEADER_LIMIT).ok()) {
            return Ok(header);
        }
        let remote = self.remote().ok_or_else(|| self.not_cached(id, file))?;
        let (header, commit) = fetched(&remote, id, file)?;
        if let Some(commit) = commit {
            // The header is here whether or not it can be kept.
            let _ = write_whole(&self.kept(id, &commit, file), &header);
        }
        Ok(header)
    }

    /// As `cached_assets_path("vramplan", namespace = "org/name", subfolder = commit)` of huggingface_hub.
    fn kept(&self, id: &HubId, commit: &str, file: &str) -> PathBuf {
        let name = format!("{}.header", file.replace('/', "--"));
        self.environment.assets.join("vramplan").join(id.repo().replace('/', "--")).join(commit).join(name)
    }
}

/// The header's length, where it can be one.
fn length(id: &HubId, file: &str, start: &[u8]) -> Result<u64, HubError> {
    let not = |what: String| HubError::new(id, Kind::BadAnswer, format!("{file} is no safetensors file: {what}"));
    let first = start.first_chunk().ok_or_else(|| not("it ends before its header".to_owned()))?;
    let length = u64::from_le_bytes(*first);
    if !(2..=HEADER_LIMIT).contains(&length) {
        return Err(not(format!("its header would be {length} bytes, and the most is {HEADER_LIMIT}")));
    }
    Ok(length)
}

fn whole(id: &HubId, file: &str, header: Vec<u8>, length: u64) -> Result<Vec<u8>, HubError> {
    if header.len() as u64 == length {
        return Ok(header);
    }
    let message = format!("the header of {file} was cut off before its end: try again");
    Err(HubError::new(id, Kind::Network, message))
}

/// Over the network: one request, and a second where the header is long.
fn fetched(remote: &Remote<'_>, id: &HubId, file: &str) -> Result<(Vec<u8>, Option<String>), HubError> {
    let first = remote.file(id, file, Part::Range(0, FIRST))?;
    let length = length(id, file, &first.bytes)?;
    let end = LENGTH + length;
    let mut bytes = first.bytes;
    let commit = first.identity.map(|identity| identity.commit);
    let have = bytes.len() as u64;
    if have < end {
        // The second part must be of the same file.
        let pinned = commit.clone().map_or_else(|| id.clone(), |commit| id.pinned(commit));
        bytes.extend(remote.file(&pinned, file, Part::Range(have, end))?.bytes);
    }
    let header = bytes.into_iter().skip(8).take(usize::try_from(length).unwrap_or(usize::MAX)).collect();
    Ok((whole(id, file, header, length)?, commit))
}

/// From a file that is cached whole.
fn local(id: &HubId, file: &str, path: &Path) -> Result<Vec<u8>, HubError> {
    let failed = |error: std::io::Error| unreadable(id, path, &error);
    let mut open = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    open.by_ref().take(LENGTH).read_to_end(&mut start).map_err(failed)?;
    let length = length(id, file, &start)?;
    let mut header = Vec::new();
    open.take(length).read_to_end(&mut header).map_err(failed)?;
    whole(id, file, header, length)
}

/// The files an index names, each once.
fn files(id: &HubId, index: &[u8]) -> Result<BTreeSet<String>, HubError> {
    let bad = |what: String| HubError::new(id, Kind::BadAnswer, format!("{INDEX} {what}"));
    let index: Value =
        serde_json::from_slice(index).map_err(|error| bad(format!("is not JSON: {}", one_line(&error.to_string()))))?;
    let map =
        index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("has no `weight_map`".to_owned()))?;
    let files: BTreeSet<String> = map.values().filter_map(Value::as_str).map(str::to_owned).collect();
    if files.is_empty() || files.len() > MOST_FILES {
        return Err(bad(format!("names {} files", files.len())));
    }
    let odd = |file: &&String| {
        file.len() > 255 || file.contains('\\') || file.split('/').any(|part| part.is_empty() || part.starts_with('.'))
    };
    match files.iter().find(odd) {
        Some(file) => Err(bad(format!("names `{}`, which is no file of a repository", one_line(file)))),
        None => Ok(files),
    }
}
