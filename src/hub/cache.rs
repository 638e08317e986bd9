//! The Hub's cache on disk, laid out as `huggingface_hub` lays it out, so that each reads what the other wrote:
//! `models--org--name/refs/REVISION` holds a commit, `snapshots/COMMIT/FILE` links to `blobs/ETAG`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::HubId;
use super::ids::is_commit;

/// What `_create_cachedir_tag` of huggingface_hub writes, so that backups can leave the cache out.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by huggingface_hub.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";

/// A folder of repositories.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    symlinks: bool,
}

/// What the Hub says of a file beside its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The commit its revision meant.
    pub(super) commit: String,
    /// What its blob is called.
    pub(super) etag: String,
}

impl Identity {
    /// `None` where either is missing or is nothing that may become a file's name.
    pub(super) fn new(commit: Option<&str>, etag: Option<&str>) -> Option<Self> {
        let commit = commit.filter(|commit| is_commit(commit))?;
        // `_normalize_etag` of huggingface_hub.
        let etag = etag?.trim_start_matches(['W', '/']).trim_matches('"');
        let named = !etag.is_empty() && etag.len() <= 128 && !etag.starts_with('.');
        let plain = etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        (named && plain).then(|| Self { commit: commit.to_owned(), etag: etag.to_owned() })
    }
}

impl Cache {
    pub(super) fn new(root: &Path, symlinks: bool) -> Self {
        Self { root: root.to_owned(), symlinks }
    }

    fn folder(&self, id: &HubId) -> PathBuf {
        self.root.join(format!("models--{}", id.repo().replace('/', "--")))
    }

    /// The commit that the id's revision means, as far as the cache knows.
    pub(super) fn commit(&self, id: &HubId) -> Option<String> {
        if is_commit(id.revision()) {
            return Some(id.revision().to_owned());
        }
        let text = read_capped(&self.folder(id).join("refs").join(id.revision()), 64).ok()?;
        let commit = std::str::from_utf8(&text).ok()?.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Where the id's file is, if it is cached whole.
    pub(super) fn find(&self, id: &HubId, file: &str) -> Option<PathBuf> {
        let path = self.folder(id).join("snapshots").join(self.commit(id)?).join(file);
        path.is_file().then_some(path)
    }

    /// Whether the cache knows that there is no such file.
    pub(super) fn knows_absent(&self, id: &HubId, file: &str) -> bool {
        self.commit(id).is_some_and(|commit| self.folder(id).join(".no_exist").join(commit).join(file).is_file())
    }

    /// Keeps that the id's commit, where that is known, has no such file; as huggingface_hub does, which reads it too.
    pub(super) fn remember_absent(&self, id: &HubId, file: &str) -> io::Result<()> {
        match self.commit(id) {
            Some(commit) => write_whole(&self.folder(id).join(".no_exist").join(commit).join(file), b""),
            None => Ok(()),
        }
    }

    /// Keeps a whole file. Every step is one rename or one link, blob before snapshot before reference: whoever is
    /// stopped in between leaves a blob that nothing names, never a name without its contents.
    pub(super) fn store(&self, id: &HubId, file: &str, identity: &Identity, contents: &[u8]) -> io::Result<()> {
        let folder = self.folder(id);
        let pointer = folder.join("snapshots").join(&identity.commit).join(file);
        if !pointer.is_file() {
            let blob = folder.join("blobs").join(&identity.etag);
            if !(self.symlinks && blob.is_file()) {
                self.point_to_new(&blob, &pointer, contents)?;
            } else if link(&blob, &pointer).is_err() {
                write_whole(&pointer, contents)?;
            }
        }
        if id.revision() != identity.commit && self.commit(id).as_deref() != Some(identity.commit.as_str()) {
            write_whole(&folder.join("refs").join(id.revision()), identity.commit.as_bytes())?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            write_whole(&tag, CACHEDIR_TAG.as_bytes())?;
        }
        Ok(())
    }

    /// A blob and a link to it; where links are not to be had, the file itself in the link's place.
    fn point_to_new(&self, blob: &Path, pointer: &Path, contents: &[u8]) -> io::Result<()> {
        if self.symlinks {
            write_whole(blob, contents)?;
            if link(blob, pointer).is_ok() {
                return Ok(());
            }
            create_parent(pointer)?;
            return fs::rename(blob, pointer);
        }
        write_whole(pointer, contents)
    }
}

/// A relative link, as the cache may be moved.
fn link(blob: &Path, pointer: &Path) -> io::Result<()> {
    create_parent(pointer)?;
    // A link whose blob was removed is in the way.
    if pointer.symlink_metadata().is_ok() && !pointer.exists() {
        fs::remove_file(pointer)?;
    }
    let name = blob.file_name().ok_or(ErrorKind::InvalidInput)?;
    // `blobs` is beside `snapshots`, whose folders of commits hold the pointers.
    let target = Path::new("..").join("..").join("blobs").join(name);
    match symlink(&target, pointer) {
        // Somebody else was as fast.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && pointer.is_file() => Ok(()),
        other => other,
    }
}

#[cfg(unix)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(windows)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, pointer)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Writes a file under another name first, so that it is there whole or not at all.
pub(super) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    create_parent(path)?;
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}-{}.incomplete", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let incomplete = path.with_file_name(name);
    let written = File::create_new(&incomplete).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&incomplete, path));
    if moved.is_err() {
        // It may be that nothing was written; there is nothing else to be done.
        let _ = fs::remove_file(&incomplete);
    }
    moved
}

/// A regular file's contents where they are at most `limit` bytes.
pub(super) fn read_capped(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Before it is opened: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut contents = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut contents)?;
    if contents.len() as u64 > limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(contents) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "bbc77c8132af1cc5cf678da3f1ddf2de43606d48";

    fn id(text: &str) -> HubId {
        text.parse().expect("an id")
    }

    #[test]
    fn names_from_the_network_stay_inside_the_cache() {
        assert_eq!(Identity::new(Some(COMMIT), Some("W/\"abc-1\"")).map(|it| it.etag).as_deref(), Some("abc-1"));
        for etag in [None, Some(""), Some("\"\""), Some("../x"), Some(".."), Some("a/b"), Some("a\\b"), Some(".x")] {
            assert_eq!(Identity::new(Some(COMMIT), etag), None, "{etag:?}");
        }
        for commit in [None, Some("main"), Some("../../x"), Some(&COMMIT[1..]), Some(&COMMIT.to_uppercase())] {
            assert_eq!(Identity::new(commit, Some("abc")), None, "{commit:?}");
        }
    }

    #[test]
    fn what_is_stored_is_found() {
        for symlinks in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let cache = Cache::new(folder.path(), symlinks);
            let identity = Identity::new(Some(COMMIT), Some("\"e1\"")).expect("an identity");
            for text in ["a/b", "a/b@refs/pr/1"] {
                assert_eq!(cache.find(&id(text), "config.json"), None);
                cache.store(&id(text), "config.json", &identity, b"{}").expect("stored");
                // Once more changes nothing.
                cache.store(&id(text), "config.json", &identity, b"{}").expect("stored");
                let path = cache.find(&id(text), "config.json").expect("found");
                assert_eq!(fs::read(path).expect("read"), b"{}");
            }
            assert!(cache.find(&id(&format!("a/b@{COMMIT}")), "config.json").is_some());
            let repo = folder.path().join("models--a--b");
            assert_eq!(fs::read_to_string(repo.join("refs/main")).expect("a ref"), COMMIT);
            assert_eq!(repo.join("blobs/e1").exists(), symlinks);
            let names: Vec<_> = walk(folder.path());
            assert!(names.iter().all(|name| !name.contains("incomplete")), "{names:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_snapshot_links_to_its_blob_by_a_relative_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path(), true);
        let identity = Identity::new(Some(COMMIT), Some("\"e1\"")).expect("an identity");
        cache.store(&id("a/b"), "config.json", &identity, b"{}").expect("stored");
        let pointer = folder.path().join("models--a--b/snapshots").join(COMMIT).join("config.json");
        assert_eq!(fs::read_link(&pointer).expect("a link"), Path::new("../../blobs/e1"));
        // A link whose blob somebody removed is mended.
        fs::remove_file(folder.path().join("models--a--b/blobs/e1")).expect("removed");
        assert_eq!(cache.find(&id("a/b"), "config.json"), None);
        cache.store(&id("a/b"), "config.json", &identity, b"{}").expect("stored");
        assert!(cache.find(&id("a/b"), "config.json").is_some());
    }

    #[test]
    fn a_reference_that_is_none_is_no_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path(), true);
        let refs = folder.path().join("models--a--b/refs");
        fs::create_dir_all(&refs).expect("made");
        for text in ["", "../../../etc", "bbc77c8", &"f".repeat(100_000)] {
            fs::write(refs.join("main"), text).expect("written");
            assert_eq!(cache.commit(&id("a/b")), None);
        }
        fs::write(refs.join("main"), format!("{COMMIT}\n")).expect("written");
        assert_eq!(cache.commit(&id("a/b")).as_deref(), Some(COMMIT));
    }

    fn walk(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
    }
}
