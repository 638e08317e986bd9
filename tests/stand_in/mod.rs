//! Stand-ins for NVIDIA's libraries, compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What `name.rs` is called as a library: one that plays several has all their names.
fn files(name: &str) -> &'static [&'static str] {
    match name {
        "nvml" => &["libnvidia-ml.so.1"],
        "cuda" => &["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10"],
        _ => unreachable!("{name}"),
    }
}

/// The folder with the library `name.rs`, compiled once; `old`: as it was in older drivers.
pub(super) fn library(name: &str, old: bool) -> PathBuf {
    static FOLDERS: Mutex<BTreeMap<(String, bool), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut folders = FOLDERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    folders.entry((name.to_owned(), old)).or_insert_with(|| compiled(name, old)).clone()
}

fn compiled(name: &str, old: bool) -> PathBuf {
    let folder = format!("{}-{name}{}", env!("CARGO_CRATE_NAME"), if old { "-old" } else { "" });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).expect("a folder for the library");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stand_in/{name}.rs"));
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2021", "--crate-type", "cdylib", "-D", "warnings", "--crate-name", name]);
    if old {
        rustc.args(["--cfg", "old", "-A", "dead_code"]);
    }
    let (first, others) = files(name).split_first().expect("a library has a name");
    let first = folder.join(first);
    assert!(rustc.arg("-o").arg(&first).arg(source).status().expect("rustc runs").success());
    for other in others {
        // one file, which the loader takes for one library
        let other = folder.join(other);
        let _ = std::fs::remove_file(&other);
        std::fs::hard_link(&first, other).expect("a second name");
    }
    folder
}
