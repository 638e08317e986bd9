//! A repository's files: from the cache where they are in it, else from the network and into the cache.

use std::path::Path;

use super::HubErrorKind as Kind;
use super::cache::{Cache, read_capped};
use super::error::one_line;
use super::request::{Part, Remote};
use super::transport::Transport;
use super::{CONFIG_LIMIT, Environment, HubError, HubId, listing};

/// The Hub, as this process sees it.
///
/// What is cached is taken as it is, with no request: a branch is not asked for anew. Where the cache cannot be written
/// to, files are read all the same.
///
/// # Example
/// ```
/// use vramplan::hub::{Environment, Hub, HubErrorKind};
///
/// let nowhere = |name: &str| (name == "HF_HOME").then(|| "/nowhere".to_owned());
/// let hub = Hub::new(Environment::from_variables(nowhere)).offline("the test asks for it");
/// let error = hub.config(&"org/name".parse()?).expect_err("nothing is cached");
/// assert_eq!(error.kind, HubErrorKind::Offline);
/// # Ok::<(), vramplan::hub::HubIdError>(())
/// ```
pub struct Hub {
    pub(super) environment: Environment,
    pub(super) cache: Cache,
    transport: Option<Box<dyn Transport>>,
    /// Why the network is not to be touched, and what to do about it.
    offline: Option<(String, String)>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubFile {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// The commit it is of, where that is known.
    pub commit: Option<String>,
}

impl Hub {
    /// The Hub that this process's environment names. Nothing is asked yet.
    pub fn from_process() -> Self {
        Self::new(Environment::from_process())
    }

    /// The Hub that `environment` names.
    pub fn new(environment: Environment) -> Self {
        #[cfg(feature = "hub")]
        let transport: Option<Box<dyn Transport>> = match environment.offline {
            None => Some(Box::new(super::http::Http::new(&environment))),
            Some(_) => None,
        };
        #[cfg(not(feature = "hub"))]
        let transport = None;
        Self::over(environment, transport)
    }

    /// The Hub that `environment` names, asked through `transport`.
    pub fn with_transport(environment: Environment, transport: Box<dyn Transport>) -> Self {
        Self::over(environment, Some(transport))
    }

    fn over(environment: Environment, transport: Option<Box<dyn Transport>>) -> Self {
        let offline = match (environment.offline, &transport) {
            (Some(variable), _) => Some((format!("{variable} is set"), "unset it".to_owned())),
            (None, None) => Some(("this build has no network".to_owned(), "build with `--features hub`".to_owned())),
            (None, Some(_)) => None,
        };
        Self { cache: Cache::new(&environment.cache, environment.symlinks), environment, transport, offline }
    }

    /// The same Hub, whose network is not touched, because `why`.
    pub fn offline(mut self, why: &str) -> Self {
        self.transport = None;
        self.offline = self.offline.or_else(|| Some((why.to_owned(), "leave that out".to_owned())));
        self
    }

    /// The host that is asked where the cache does not have what is wanted; `None` where none is asked.
    pub fn host(&self) -> Option<&str> {
        self.transport.as_ref().map(|_| self.environment.endpoint.as_str())
    }

    /// A repository's config.json.
    ///
    /// # Errors
    /// There is none, the Hub does not hand it out, or there is no network and nothing cached. For an adapter's
    /// repository the message names its base model.
    pub fn config(&self, id: &HubId) -> Result<HubFile, HubError> {
        self.file(id, "config.json", CONFIG_LIMIT).map_err(|error| match error.kind {
            Kind::NoSuchFile | Kind::Offline => listing::instead_of_config(self, id, error),
            _ => error,
        })
    }

    /// A file of at most `limit` bytes.
    ///
    /// # Errors
    /// As of [`config`](Self::config), or it is larger.
    pub fn file(&self, id: &HubId, file: &str, limit: u64) -> Result<HubFile, HubError> {
        if let Some(path) = self.cache.find(id, file) {
            let bytes = read_capped(&path, limit).map_err(|error| unreadable(id, &path, &error))?;
            return Ok(HubFile { bytes, commit: self.cache.commit(id) });
        }
        let remote = self.remote().ok_or_else(|| self.not_cached(id, file))?;
        let here = |error: HubError| HubError { id: id.clone(), ..error };
        // Another file of the same snapshot belongs to the commit that is cached, whatever the branch is by now.
        let pinned = self.cache.commit(id).map(|commit| remote.file(&id.pinned(commit), file, Part::Whole(limit)));
        let fetched = match pinned {
            // Its history was rewritten.
            Some(Err(error)) if error.kind == Kind::NoSuchRevision => remote.file(id, file, Part::Whole(limit))?,
            Some(answer) => answer.map_err(here)?,
            None => remote.file(id, file, Part::Whole(limit))?,
        };
        if let Some(identity) = &fetched.identity {
            // The file is here whether or not the cache can be written to.
            let _ = self.cache.store(id, file, identity, &fetched.bytes);
        }
        Ok(HubFile { bytes: fetched.bytes, commit: fetched.identity.map(|identity| identity.commit) })
    }

    pub(super) fn remote(&self) -> Option<Remote<'_>> {
        Some(Remote { environment: &self.environment, transport: self.transport.as_deref()? })
    }

    pub(super) fn not_cached(&self, id: &HubId, file: &str) -> HubError {
        let (why, fix) = self.offline.clone().unwrap_or_default();
        let cache = self.environment.cache.display();
        if self.cache.knows_absent(id, file) {
            return HubError::new(id, Kind::NoSuchFile, format!("it has no {file}, as the cache in {cache} knows"));
        }
        let known = if self.cache.commit(id).is_some() { format!("its {file} is not") } else { "it is not".to_owned() };
        let revision = if id.revision() == "main" { String::new() } else { format!(" --revision {}", id.revision()) };
        let download = format!("`hf download {} {file}{revision}`", id.repo());
        HubError::new(
            id,
            Kind::Offline,
            format!("{known} in the cache {cache} and {why}: {fix}, or fetch it with {download}"),
        )
    }
}

/// Why a file that is cached could not be read.
pub(super) fn unreadable(id: &HubId, path: &Path, error: &std::io::Error) -> HubError {
    let reason = one_line(&error.to_string());
    HubError::new(id, Kind::Cache, format!("cannot read {}: {reason}; remove it to fetch it again", path.display()))
}
