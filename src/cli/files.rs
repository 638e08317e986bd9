//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::CliError;

/// A file that is not at its place yet.
pub(super) struct Whole {
    file: tempfile::NamedTempFile,
    target: PathBuf,
}

impl Whole {
    /// One that will be at `path`, in the place of what is there.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        // a link stays one
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
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
        Ok(Self { file: builder.tempfile_in(folder).map_err(failed(path))?, target })
    }

    /// Writes `text` and puts it in its place.
    pub(super) fn write(self, text: &str) -> Result<(), CliError> {
        let Self { mut file, target } = self;
        file.write_all(text.as_bytes()).map_err(failed(&target))?;
        file.persist(&target).map_err(|error| failed(&target)(error.error))?;
        Ok(())
    }
}

/// Puts `text` in the place of what is at `path`.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    Whole::at(path)?.write(text)
}

/// Writes `text` where nothing is.
pub(super) fn create(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed(path))?;
    file.write_all(text.as_bytes()).map_err(failed(path))
}

/// Adds `text` to the end of a file.
pub(super) fn append(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed(path))?;
    file.write_all(text.as_bytes()).map_err(failed(path))
}

/// Whether lines can be added to a file, before there is one.
pub(super) fn can_be_appended_to(path: &Path) -> Result<(), CliError> {
    let is_new = !path.exists();
    appendable(path).map_err(failed(path))?;
    if is_new {
        // it was made to see whether it can be
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Adds a line to the end of a file, whole or not at all; a line there that is not ended is ended first.
pub(super) fn append_line(path: &Path, line: &str) -> Result<(), CliError> {
    let mut file = appendable(path).map_err(failed(path))?;
    let end = file.seek(SeekFrom::End(0)).map_err(failed(path))?;
    let mut last = *b"\n";
    if end > 0 {
        file.seek(SeekFrom::Start(end - 1)).and_then(|_| file.read_exact(&mut last)).map_err(failed(path))?;
    }
    let text = format!("{}{line}\n", if last == *b"\n" { "" } else { "\n" });
    // in one piece, so that lines of several runs do not mix
    file.write_all(text.as_bytes()).map_err(|error| {
        // a part of a line is no line
        let _ = file.set_len(end);
        failed(path)(error)
    })
}

/// The end of a line that is there has to be seen.
fn appendable(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    |source| CliError::WriteFile { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_what_was_not_ended_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.jsonl");
        can_be_appended_to(&path).expect("a place");
        assert!(!path.exists());
        append_line(&path, "{}").expect("a line");
        std::fs::write(&path, "{}\n{\"half").expect("a half line");
        append_line(&path, "{}").expect("a line");
        assert_eq!(std::fs::read_to_string(&path).expect("lines"), "{}\n{\"half\n{}\n");
        can_be_appended_to(&path).expect("a file");
        assert!(path.exists());
    }
}
