//! Where a report goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::error::CliError;
use super::super::files::Whole;

/// The place of a report that is not written yet.
pub(super) enum Destination {
    /// A file, which is there once it is whole.
    File(Whole),
    /// A pipe, a terminal or a device, which stays what it is.
    Stream { file: File, path: PathBuf },
}

impl Destination {
    /// What is, or will be, at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        // what /dev/stdout stands for is somebody's, a file too
        if !path.starts_with("/dev") && !std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Whole::at(path).map(Self::File);
        }
        match OpenOptions::new().append(true).open(path) {
            Ok(file) => Ok(Self::Stream { file, path: path.to_owned() }),
            Err(source) => Err(CliError::WriteFile { path: path.to_owned(), source }),
        }
    }

    /// Writes the report, without colours.
    pub(super) fn write(self, text: &str) -> Result<(), CliError> {
        let text = anstream::adapter::strip_str(text).to_string();
        match self {
            Self::File(file) => file.write(&text),
            Self::Stream { mut file, path } => {
                file.write_all(text.as_bytes()).map_err(|source| CliError::WriteFile { path, source })
            }
        }
    }
}
