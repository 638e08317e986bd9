//! Where CUDA's libraries may lie besides the loader's own places.

use std::env;
use std::path::{Path, PathBuf};

/// Folders of a toolkit that hold its libraries.
const INSIDE: [&str; 3] = ["lib64", "lib", "targets/x86_64-linux/lib"];

/// Every path one of `names` may be found at, the loader's own places first.
pub(super) fn of(names: &[&str]) -> Vec<PathBuf> {
    let plain = names.iter().map(PathBuf::from);
    let folders = folders();
    let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    plain.chain(files.filter(|file| file.is_file())).collect()
}

/// The folders, for people.
pub(super) fn list() -> String {
    let toolkits: Vec<String> = toolkits().iter().map(|toolkit| toolkit.display().to_string()).collect();
    format!("{} and the nvidia packages of Python environments", toolkits.join(", "))
}

fn toolkits() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(env::var_os).map(PathBuf::from);
    let mut all: Vec<PathBuf> = named.chain(["/usr/local/cuda".into(), "/opt/cuda".into()]).collect();
    all.dedup();
    all
}

fn folders() -> Vec<PathBuf> {
    let toolkits = toolkits().into_iter().flat_map(|toolkit| INSIDE.map(|inside| toolkit.join(inside)));
    toolkits.chain(packages()).collect()
}

/// `lib/python3.*/{site,dist}-packages/nvidia/*/lib`, as PyTorch's own CUDA libraries are installed.
fn packages() -> Vec<PathBuf> {
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from);
    let mut all = Vec::new();
    for prefix in environments.chain(["/usr/local".into(), "/usr".into(), "/opt/conda".into(), "/opt/venv".into()]) {
        for python in entries(&prefix.join("lib"), "python3") {
            for kind in ["site-packages", "dist-packages"] {
                let parts = entries(&python.join(kind).join("nvidia"), "");
                all.extend(parts.into_iter().map(|part| part.join("lib")));
            }
        }
    }
    all
}

/// What a folder holds whose name begins so, in order; nothing where there is no folder.
fn entries(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(read) = folder.read_dir() else { return Vec::new() };
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin));
    let mut all: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).filter(named).collect();
    all.sort();
    all
}
