//! Why the Hub gives no answer: each message is one line that names the repository, what happened and the fix.

use std::fmt;

use super::HubId;

/// Why a repository on the Hub could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubError {
    /// The repository.
    pub id: HubId,
    /// What happened.
    pub kind: HubErrorKind,
    /// What happened and what to do, in words.
    pub(super) message: String,
}

/// What happened, for who wants to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// It is not cached and the network is not to be touched, or this build has none.
    Offline,
    /// There is no such repository, or it is private.
    NoSuchRepository,
    /// The repository has no such branch, tag or commit.
    NoSuchRevision,
    /// The repository has no such file.
    NoSuchFile,
    /// The repository is an adapter for another model.
    Adapter,
    /// Its licence has to be accepted first.
    Gated,
    /// The Hub does not accept the token.
    Unauthorized,
    /// Too many requests.
    RateLimited,
    /// No answer, or one that ended too early.
    Network,
    /// An answer that the Hub does not give.
    BadAnswer,
    /// More bytes than such a file may have.
    TooLarge,
    /// A cached file could not be read.
    Cache,
}

impl HubError {
    pub(super) fn new(id: &HubId, kind: HubErrorKind, message: impl Into<String>) -> Self {
        Self { id: id.clone(), kind, message: message.into() }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.id, self.message)
    }
}

impl std::error::Error for HubError {}

/// Text from elsewhere fit for one line of a message: control characters escaped, and cut where it is long.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 160;
    let mut line: String = text.chars().take(MOST).flat_map(printable).collect();
    if text.chars().nth(MOST).is_some() {
        line.push_str("...");
    }
    line
}

fn printable(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}
