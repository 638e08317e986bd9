//! Models from the Hugging Face Hub, against a server on the loopback that answers as huggingface.co does, and against
//! caches laid out as `huggingface_hub` lays them out. No test reaches the network.

#![allow(clippy::unwrap_used)]

mod cache;
mod cli;
mod headers;
mod network;
mod server;

use std::path::Path;

use server::{Reply, Request};
use vramplan::hub::{Environment, Hub, HubError, HubErrorKind, HubId};

const COMMIT: &str = "0e9e39f249a16976918f6564b8830bc894c89659";
const ETAG: &str = "d7edf6bd2a681fb0175f7735299831ee1b22b812";
const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 100, "tie_word_embeddings": false}"#;

/// Embedding and head 2 x 100 x 64, per layer 4 x 64 x 64 + 3 x 64 x 128 + 2 x 64, the last norm 64.
const PARAMETERS: u64 = 2 * 6400 + 2 * (16384 + 24576 + 128) + 64;

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

/// The Hub at `endpoint`, cached under `home`.
fn hub_with(home: &Path, endpoint: &str, more: &[(&str, &str)]) -> Hub {
    Hub::new(Environment::from_variables(|name| match name {
        "HF_HOME" => Some(home.to_str().unwrap().to_owned()),
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    }))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A file that is not in large file storage: the answer names its commit and git hash.
fn file(body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200)
        .with("Content-Type", "text/plain; charset=utf-8")
        .with("X-Repo-Commit", COMMIT)
        .with("ETag", format!("\"{ETAG}\""))
        .body(body)
}

fn not_found(code: &str) -> Reply {
    Reply::new(404).with("X-Error-Code", code).with("X-Error-Message", "Not Found")
}

/// A repository `org/name` that has a config.json.
fn one_repository(request: &Request) -> Reply {
    match request.path.as_str() {
        "/org/name/resolve/main/config.json" => file(CONFIG),
        path if path.starts_with("/org/name/resolve/") => not_found("EntryNotFound").with("X-Repo-Commit", COMMIT),
        _ => Reply::new(401).with("X-Error-Code", "RepoNotFound").with("X-Error-Message", "Repository not found"),
    }
}

/// The error's kind and its one line.
fn failure<T: std::fmt::Debug>(result: Result<T, HubError>) -> (HubErrorKind, String) {
    let error = result.unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n') && line.contains(error.id.repo()), "{line}");
    (error.kind, line)
}

/// Every file and link under a folder, relative to it, sorted.
fn tree(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                paths.push(entry.path().strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths.sort();
    paths
}
