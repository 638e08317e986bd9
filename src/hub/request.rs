//! One file of a repository over the network: redirects, waiting, and what each status means.

use std::io::Read;
use std::time::Duration;

use super::HubErrorKind as Kind;
use super::cache::Identity;
use super::error::one_line;
use super::transport::{Response, Transport, TransportError};
use super::url::{joined, origin, quoted, quoted_path};
use super::{Environment, HubError, HubId};

/// The Hub redirects once, to a cache of its own or to a store of large files; a renamed repository once more.
const MOST_REDIRECTS: usize = 5;
/// How often one request is sent where the server asks to come back.
const MOST_TRIES: usize = 3;
/// A longer wait is left to the user, seconds.
const LONGEST_WAIT: u64 = 10;

/// The repositories of one Hub.
pub(super) struct Remote<'a> {
    pub(super) environment: &'a Environment,
    pub(super) transport: &'a dyn Transport,
}

/// A file's first bytes, or all of them.
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    /// What it is called in the cache; `None` where the server does not say.
    pub(super) identity: Option<Identity>,
}

/// Which bytes of a file, and how many at most.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// All, of which there may be this many.
    Whole(u64),
    /// From this byte to before that one.
    Range(u64, u64),
}

impl Remote<'_> {
    /// A file, or a part of it, at the id's revision.
    pub(super) fn file(&self, id: &HubId, file: &str, part: Part) -> Result<Fetched, HubError> {
        let revision = quoted(id.revision());
        let url = format!("{}/{}/resolve/{revision}/{}", self.environment.endpoint, id.repo(), quoted_path(file));
        self.get(id, file, &url, part)
    }

    /// What the Hub says of a repository, as JSON.
    pub(super) fn info(&self, id: &HubId, limit: u64) -> Result<Vec<u8>, HubError> {
        let revision = quoted(id.revision());
        let url = format!("{}/api/models/{}/revision/{revision}", self.environment.endpoint, id.repo());
        Ok(self.get(id, "the list of its files", &url, Part::Whole(limit))?.bytes)
    }

    fn get(&self, id: &HubId, file: &str, url: &str, part: Part) -> Result<Fetched, HubError> {
        let range = match part {
            // A range without a byte cannot be asked for.
            Part::Range(from, to) => Some(format!("bytes={from}-{}", to.saturating_sub(1).max(from))),
            Part::Whole(_) => None,
        };
        let mut tries = 1;
        loop {
            let (response, identity) = self.follow(id, url, range.as_deref())?;
            let seconds = match (response.status, retry_after(&response)) {
                (429, wait) => wait,
                (500 | 502 | 503 | 504, wait) => Some(wait.unwrap_or(1)),
                _ => None,
            };
            match seconds.filter(|seconds| *seconds <= LONGEST_WAIT && tries < MOST_TRIES) {
                Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
                None => return self.read(id, file, response, part).map(|bytes| Fetched { bytes, identity }),
            }
            tries += 1;
        }
    }

    /// Sends a request and follows where it leads. The token goes to the Hub alone.
    fn follow(&self, id: &HubId, url: &str, range: Option<&str>) -> Result<(Response, Option<Identity>), HubError> {
        let bad = |message: String| HubError::new(id, Kind::BadAnswer, message);
        let hub = origin(&self.environment.endpoint).ok_or_else(|| {
            let endpoint = one_line(&self.environment.endpoint);
            bad(format!("HF_ENDPOINT is `{endpoint}`: it must be an address such as https://huggingface.co"))
        })?;
        let bearer = self.environment.token.as_ref().map(super::Token::bearer);
        let mut url = url.to_owned();
        let (mut commit, mut etag) = (None, None);
        for _ in 0..=MOST_REDIRECTS {
            let here = origin(&url).ok_or_else(|| bad(format!("`{}` is no address", one_line(&url))))?;
            let at_home = here == hub;
            let mut headers = Vec::new();
            headers.extend(range.map(|range| ("Range", range)));
            headers.extend(bearer.as_deref().filter(|_| at_home).map(|bearer| ("Authorization", bearer)));
            let response =
                self.transport.get(&url, &headers).map_err(|error| unreachable(id, here.authority(), &error))?;
            if at_home {
                commit = response.header("X-Repo-Commit").map(str::to_owned).or(commit);
                let named = response.header("X-Linked-Etag").or(response.header("ETag"));
                etag = named.map(str::to_owned).or(etag);
            }
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok((response, Identity::new(commit.as_deref(), etag.as_deref())));
            }
            let location = response.header("Location").unwrap_or_default();
            let next = joined(&url, location).ok_or_else(|| {
                bad(format!("{} redirects to `{}`, which is no address", here.authority(), one_line(location)))
            })?;
            if here.is_https() && !origin(&next).is_some_and(|next| next.is_https()) {
                return Err(bad(format!("{} redirects from https to http, which is not followed", here.authority())));
            }
            url = next;
        }
        Err(bad(format!(
            "more than {MOST_REDIRECTS} redirects, the last to `{}`: check HF_ENDPOINT and the proxy",
            one_line(&url)
        )))
    }

    /// The body, as far as it is wanted.
    fn read(&self, id: &HubId, file: &str, response: Response, part: Part) -> Result<Vec<u8>, HubError> {
        let status = response.status;
        match (status, part) {
            (200, _) => {}
            (206, Part::Range(from, _)) => {
                let given = response.header("Content-Range").unwrap_or_default();
                if !given.strip_prefix("bytes ").is_some_and(|given| given.starts_with(&format!("{from}-"))) {
                    let message = format!("{file}: other bytes came than were asked for ({})", one_line(given));
                    return Err(HubError::new(id, Kind::BadAnswer, message));
                }
            }
            _ => return Err(self.refused(id, file, &response)),
        }
        if response
            .header("Content-Type")
            .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
        {
            let message = format!(
                "{file}: a web page came instead, from a proxy or a login page: check the network and HF_ENDPOINT ({})",
                self.environment.endpoint
            );
            return Err(HubError::new(id, Kind::BadAnswer, message));
        }
        // A server that does not know ranges sends all: what comes before is passed over, what comes after not read.
        let (skip, limit) = match part {
            Part::Whole(limit) => (0, limit),
            Part::Range(from, to) if status == 200 => (from, to.saturating_sub(from)),
            Part::Range(from, to) => (0, to.saturating_sub(from)),
        };
        let announced = response.header("Content-Length").and_then(|length| length.trim().parse::<u64>().ok());
        let whole = matches!(part, Part::Whole(_));
        let too_large = |size: String| {
            HubError::new(
                id,
                Kind::TooLarge,
                format!("{file} is {size} bytes, and at most {limit} are read: is it what its name says?"),
            )
        };
        if let Some(size) = announced.filter(|size| whole && *size > limit) {
            return Err(too_large(size.to_string()));
        }
        let mut body = response.body;
        let broken = |error: &std::io::Error| HubError::new(id, Kind::Network, interrupted(file, error));
        std::io::copy(&mut body.by_ref().take(skip), &mut std::io::sink()).map_err(|error| broken(&error))?;
        let mut bytes = Vec::new();
        let most = if whole { limit.saturating_add(1) } else { limit };
        body.take(most).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if whole && bytes.len() as u64 > limit {
            return Err(too_large(format!("more than {limit}")));
        }
        Ok(bytes)
    }

    /// What a status that is no answer means.
    fn refused(&self, id: &HubId, file: &str, response: &Response) -> HubError {
        let repo = id.repo();
        let page = format!("{}/{repo}", self.environment.endpoint);
        let has_token = self.environment.token.is_some();
        let code = response.header("X-Error-Code").unwrap_or_default();
        let said = one_line(response.header("X-Error-Message").unwrap_or_default());
        let (kind, message) = match (response.status, code) {
            (401 | 403, "GatedRepo") if has_token => (
                Kind::Gated,
                format!("it is gated and the token's account has no access: accept its licence at {page}"),
            ),
            (401 | 403, "GatedRepo") => (
                Kind::Gated,
                format!("it is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account"),
            ),
            (401, _) if said.contains("Invalid credentials") => (
                Kind::Unauthorized,
                "the Hub does not accept the token: set HF_TOKEN to a valid one, or unset it and remove the token file"
                    .to_owned(),
            ),
            // Without a token the Hub says 401 of what is not there, too.
            (401, _) | (404, "RepoNotFound") if !has_token => (
                Kind::NoSuchRepository,
                format!(
                    "there is no such public repository on {}: check its name, or set HF_TOKEN if it is private",
                    self.environment.endpoint
                ),
            ),
            (404, "RepoNotFound") => (
                Kind::NoSuchRepository,
                format!(
                    "there is no such repository on {} that the token may see: check its name",
                    self.environment.endpoint
                ),
            ),
            (401 | 403, _) => (
                Kind::Unauthorized,
                format!(
                    "the Hub refuses {file} ({}{}): give HF_TOKEN a token that may read it",
                    response.status,
                    after(&said)
                ),
            ),
            (404, "RevisionNotFound") => (
                Kind::NoSuchRevision,
                format!("it has no branch, tag or commit `{}`: see {page}/tree/main", id.revision()),
            ),
            (404, _) => {
                (Kind::NoSuchFile, format!("it has no {file}{}: see {page}/tree/{}", after(&said), id.revision()))
            }
            (429, _) => {
                let wait = retry_after(response).map_or("a while".to_owned(), |seconds| format!("{seconds} s"));
                let token = if has_token { "" } else { ", or set HF_TOKEN for a higher limit" };
                (Kind::RateLimited, format!("the Hub's rate limit is reached: try again in {wait}{token}"))
            }
            (status @ 500.., _) => {
                (Kind::Network, format!("the Hub failed with status {status}{}: try again later", after(&said)))
            }
            (status, _) => (Kind::BadAnswer, format!("{file}: status {status}{}: check HF_ENDPOINT", after(&said))),
        };
        HubError::new(id, kind, message)
    }
}

/// Seconds; a date is not read, as the Hub sends none.
fn retry_after(response: &Response) -> Option<u64> {
    response.header("Retry-After")?.trim().parse().ok()
}

/// What a server said, behind what we say.
fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(", \"{said}\"") }
}

fn interrupted(file: &str, error: &std::io::Error) -> String {
    let what = match error.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "did not come in time".to_owned(),
        std::io::ErrorKind::UnexpectedEof => "was cut off before its end".to_owned(),
        _ => format!("could not be read ({})", one_line(&error.to_string())),
    };
    format!("{file} {what}: try again")
}

/// What to do where there is no answer.
fn unreachable(id: &HubId, host: &str, error: &TransportError) -> HubError {
    let offline = format!("or fetch it elsewhere with `hf download {} config.json` and give the file", id.repo());
    let message = match error {
        TransportError::HostNotFound => format!("{host} is not found: check the network, {offline}"),
        TransportError::Timeout => {
            format!("{host} did not answer in time: try again, raise HF_HUB_DOWNLOAD_TIMEOUT, {offline}")
        }
        TransportError::Tls(reason) => {
            format!(
                "no safe connection to {host}, {reason}: set SSL_CERT_FILE where a proxy has its own certificates, {offline}"
            )
        }
        TransportError::Proxy(reason) => {
            format!("the proxy to {host}, {reason}: check HTTPS_PROXY and NO_PROXY, {offline}")
        }
        TransportError::Other(reason) => format!("no connection to {host}, {reason}: check the network, {offline}"),
    };
    HubError::new(id, Kind::Network, message)
}
