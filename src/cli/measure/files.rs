//! Where reports and lines go.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::error::CliError;

/// A report that is not written yet.
pub(super) enum Report {
    /// A file that is put in the place of what is there, once it is whole.
    Whole { file: tempfile::NamedTempFile, target: PathBuf },
    /// A pipe, a terminal or a device, which stays what it is.
    Stream { file: File, path: PathBuf },
}

impl Report {
    /// One that will be at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::WriteFile { path: path.to_owned(), source };
        // a link stays one
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // what /dev/stdout stands for is somebody's, a file too
        if path.starts_with("/dev") || std::fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
            return Ok(Self::Stream { file, path: path.to_owned() });
        }
        let folder = match target.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".vramplan-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // as any new file: less what the process masks
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        Ok(Self::Whole { file: builder.tempfile_in(folder).map_err(failed)?, target })
    }

    pub(super) fn write(self, text: &str) -> Result<(), CliError> {
        let text = anstream::adapter::strip_str(text).to_string();
        match self {
            Self::Whole { mut file, target } => {
                let failed = |source| CliError::WriteFile { path: target.clone(), source };
                file.write_all(text.as_bytes()).map_err(failed)?;
                file.persist(&target).map_err(|error| failed(error.error))?;
                Ok(())
            }
            Self::Stream { mut file, path } => {
                file.write_all(text.as_bytes()).map_err(|source| CliError::WriteFile { path, source })
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Whether lines can be added to a file, before there is one.
pub(super) fn check_appendable(path: &Path) -> Result<(), CliError> {
    let is_new = !path.exists();
    open(path).map_err(|source| CliError::WriteFile { path: path.to_owned(), source })?;
    if is_new {
        // it was made to see whether it can be
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Adds a line to the end of a file, whole or not at all; a line there that is not ended is ended first.
pub(super) fn append(path: &Path, line: &str) -> Result<(), CliError> {
    let failed = |source| CliError::WriteFile { path: path.to_owned(), source };
    let mut file = open(path).map_err(failed)?;
    let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut last = *b"\n";
    if end > 0 {
        file.seek(SeekFrom::Start(end - 1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    }
    let text = format!("{}{line}\n", if last == *b"\n" { "" } else { "\n" });
    // in one piece, so that lines of several runs do not mix
    file.write_all(text.as_bytes()).map_err(|error| {
        // a part of a line is no line
        let _ = file.set_len(end);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_what_was_not_ended_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.jsonl");
        check_appendable(&path).expect("a place");
        assert!(!path.exists());
        append(&path, "{}").expect("a line");
        std::fs::write(&path, "{}\n{\"half").expect("a half line");
        append(&path, "{}").expect("a line");
        assert_eq!(std::fs::read_to_string(&path).expect("lines"), "{}\n{\"half\n{}\n");
        check_appendable(&path).expect("a file");
        assert!(path.exists());
    }
}
