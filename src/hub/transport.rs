//! The seam to the network: everything above it is tested without one.

use std::io::Read;

/// Asks a server, once: no redirect is followed and no status is an error.
pub trait Transport: Send + Sync {
    /// Sends a GET request.
    ///
    /// # Errors
    /// There is no answer.
    fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, TransportError>;
}

/// What a server answers.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names, in any case, and values.
    pub headers: Vec<(String, String)>,
    /// What follows; reading it fails where it ends before its announced length.
    pub body: Box<dyn Read + Send>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The server's name means no address.
    HostNotFound,
    /// It took longer than the timeout.
    Timeout,
    /// The connection could not be made safe.
    Tls(String),
    /// The proxy's settings are wrong or it refuses.
    Proxy(String),
    /// Anything else, in the system's words.
    Other(String),
}
