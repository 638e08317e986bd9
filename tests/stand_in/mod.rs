//! The stand-in for NVIDIA's library, compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with it, compiled once; `old`: without the calls that came with driver 510.
pub(super) fn library(old: bool) -> &'static Path {
    static FOLDERS: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    FOLDERS[usize::from(old)].get_or_init(|| {
        let name = format!("{}-nvml{}", env!("CARGO_CRATE_NAME"), if old { "-old" } else { "" });
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in/nvml.rs");
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2021", "--crate-type", "cdylib", "-D", "warnings", "--crate-name", "nvml"]);
        if old {
            rustc.args(["--cfg", "old", "-A", "dead_code"]);
        }
        let status = rustc.arg("-o").arg(folder.join("libnvidia-ml.so.1")).arg(source).status().unwrap();
        assert!(status.success());
        folder
    })
}
