//! What a model is called on the Hub.

use std::fmt;

/// The branch that is meant where no revision is given.
const MAIN: &str = "main";

/// The longest name of an organisation, a repository or a revision.
const LONGEST: usize = 96;

/// Endings of files: what has one is meant as a path, even where it could be a repository's name.
const FILES: [&str; 9] = [".json", ".toml", ".gguf", ".safetensors", ".bin", ".pt", ".pth", ".yaml", ".yml"];

/// A repository on the Hub at a revision.
///
/// ```
/// let id: vramplan::hub::HubId = "meta-llama/Llama-3.1-8B@main".parse()?;
/// assert_eq!((id.repo(), id.revision()), ("meta-llama/Llama-3.1-8B", "main"));
/// assert!("./llama/config.json".parse::<vramplan::hub::HubId>().is_err());
/// # Ok::<(), vramplan::hub::HubIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    repo: String,
    revision: Option<String>,
}

/// Why a text cannot be a Hub id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Hub id is org/name or org/name@revision, {0}")]
pub struct HubIdError(&'static str);

impl HubId {
    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// A branch, a tag or a commit; `main` where none was given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The same repository at a commit.
    pub(super) fn pinned(&self, commit: String) -> Self {
        Self { repo: self.repo.clone(), revision: Some(commit) }
    }

    /// The same repository at a commit, where that is known.
    pub(crate) fn of_commit(&self, commit: Option<String>) -> Self {
        commit.map_or_else(|| self.clone(), |commit| self.pinned(commit))
    }

    /// The same repository at another revision.
    ///
    /// # Errors
    /// The id has one already, or `revision` is none.
    pub fn at(mut self, revision: &str) -> Result<Self, HubIdError> {
        if self.revision.as_deref().is_some_and(|own| own != revision) {
            return Err(HubIdError("and it says its revision already: give one of the two"));
        }
        self.revision = Some(checked_revision(revision)?.to_owned());
        Ok(self)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl std::str::FromStr for HubId {
    type Err = HubIdError;

    /// Reads `org/name`, `org/name@revision`, and both behind `hf://` or the Hub's address. The rules for names are
    /// those of `validate_repo_id` in `huggingface_hub`.
    fn from_str(text: &str) -> Result<Self, HubIdError> {
        let prefixes = ["hf://", "https://huggingface.co/", "https://hf.co/"];
        let text = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(checked_revision(revision)?.to_owned())),
            None => (text, None),
        };
        let Some((organisation, name)) = repo.split_once('/') else {
            return Err(HubIdError("and this has no /"));
        };
        if name.contains('/') {
            return Err(HubIdError("and this has more than one /"));
        }
        for part in [organisation, name] {
            if part.is_empty() || part.len() > LONGEST {
                return Err(HubIdError("each of 1 to 96 characters"));
            }
            if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                return Err(HubIdError("of letters, digits, -, _ and . alone"));
            }
            let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            if !word(part.as_bytes().first()) || !word(part.as_bytes().last()) {
                return Err(HubIdError("and neither begins or ends with - or ."));
            }
        }
        if repo.contains("--") || repo.contains("..") {
            return Err(HubIdError("without -- or .. in it"));
        }
        let lower = repo.to_ascii_lowercase();
        if lower.ends_with(".git") {
            return Err(HubIdError("without .git at its end"));
        }
        if FILES.iter().any(|ending| lower.ends_with(ending)) {
            return Err(HubIdError("and this ends as a file does"));
        }
        Ok(Self { repo: repo.to_owned(), revision })
    }
}

/// A revision becomes part of a path in the cache, so it must not lead out of it.
fn checked_revision(revision: &str) -> Result<&str, HubIdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte);
    if revision.is_empty() || revision.len() > LONGEST || !revision.bytes().all(allowed) {
        return Err(HubIdError("where a revision is a branch, a tag or a commit"));
    }
    if revision.split('/').any(|part| part.is_empty() || part.starts_with('.')) || revision.contains("..") {
        return Err(HubIdError("where no part of a revision is empty or begins with a dot"));
    }
    Ok(revision)
}

/// Whether this is a whole commit hash, which never comes to mean something else.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> Option<String> {
        text.parse::<HubId>().ok().map(|id| id.to_string())
    }

    // Accepted and refused as by `validate_repo_id` of huggingface_hub 1.33 (tests/test_utils_validators.py).
    #[test]
    fn names_are_those_of_the_hub() {
        for id in ["foo/bar", "Foo-BAR_foo.bar123/Foo-BAR_foo.bar123", "meta-llama/Llama-3.1-8B", "123/1", "a_/_b"] {
            assert_eq!(reads(id).as_deref(), Some(id));
        }
        for id in ["foo", "", "/", "foo/", "/bar", "datasets/foo/bar", ".repo/id", "foo/bar.", "foo/-bar", "foo--bar/x"]
        {
            assert_eq!(reads(id), None, "{id}");
        }
        for id in
            ["foo/b..r", "foo/bar.git", "café/bar", "foo/b r", "foo\\bar/x", "c:/x", "~/x", "./x", "../x", "a/b\n"]
        {
            assert_eq!(reads(id), None, "{id}");
        }
        assert_eq!(reads(&format!("a/{}", "b".repeat(97))), None);
    }

    #[test]
    fn files_are_no_repositories() {
        for path in ["llama/config.json", "models/x.gguf", "x/model.Safetensors", "cards/llama.toml"] {
            assert_eq!(reads(path), None, "{path}");
        }
        assert!(reads("TheBloke/Llama-2-7B-GGUF").is_some());
    }

    #[test]
    fn revisions_stay_inside_the_cache() {
        assert_eq!(reads("a/b@v1.0").as_deref(), Some("a/b@v1.0"));
        assert_eq!(reads("a/b@refs/pr/1").as_deref(), Some("a/b@refs/pr/1"));
        for id in
            ["a/b@", "a/b@..", "a/b@../../x", "a/b@x/../y", "a/b@/etc", "a/b@x//y", "a/b@.x", "a/b@x y", "a/b@x@y"]
        {
            assert_eq!(reads(id), None, "{id}");
        }
    }

    #[test]
    fn addresses_and_revisions_are_read() {
        assert_eq!(reads("https://huggingface.co/a/b").as_deref(), Some("a/b"));
        assert_eq!(reads("hf://a/b@v2").as_deref(), Some("a/b@v2"));
        let id: HubId = "a/b".parse().expect("an id");
        assert_eq!(id.revision(), "main");
        assert_eq!(id.at("v1").map(|id| id.revision().to_owned()), Ok("v1".to_owned()));
        let id: HubId = "a/b@v2".parse().expect("an id");
        assert!(id.at("v1").is_err());
    }
}
