//! The network itself: HTTP by `ureq`, TLS by `rustls` with cryptography in Rust.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsConfigBuilder, TlsProvider};

use super::cache::read_capped;
use super::transport::{Response, Transport, TransportError};
use super::{Environment, error::one_line};

/// The largest bundle of certificates; the common ones are some hundred kilobytes.
const LARGEST_BUNDLE: u64 = 16 << 20;
/// A body may take this many times as long as an answer.
const BODY_TIMEOUTS: u32 = 6;

/// A pool of connections, made when it is first used.
pub(super) struct Http {
    timeout: Duration,
    certificates: Option<PathBuf>,
    pool: OnceLock<Pool>,
}

struct Pool {
    agent: ureq::Agent,
    /// Why https is not to be had.
    no_tls: Option<TransportError>,
}

impl Http {
    pub(super) fn new(environment: &Environment) -> Self {
        let Environment { timeout, certificates, .. } = environment;
        Self { timeout: *timeout, certificates: certificates.clone(), pool: OnceLock::new() }
    }

    fn pool(&self) -> Pool {
        let timeout = self.timeout;
        let config = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("vramplan/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_send_request(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout.saturating_mul(BODY_TIMEOUTS)));
        let (config, no_tls) = match tls(self.certificates.as_deref()) {
            Ok(tls) => (config.tls_config(tls), None),
            Err(error) => (config, Some(error)),
        };
        Pool { agent: config.build().into(), no_tls }
    }
}

impl Transport for Http {
    fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, TransportError> {
        let Pool { agent, no_tls } = self.pool.get_or_init(|| self.pool());
        if let Some(error) = no_tls.as_ref().filter(|_| url.starts_with("https:")) {
            return Err(error.clone());
        }
        let request = headers.iter().fold(agent.get(url), |request, (name, value)| request.header(*name, *value));
        let (parts, body) = request.call().map_err(|error| explained(&error))?.into_parts();
        let headers = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        Ok(Response {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: Box::new(Body(body.into_with_config().limit(u64::MAX).reader())),
        })
    }
}

/// Turns ureq's own errors back into those of the system.
struct Body<R>(R);

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(ureq::Error::Timeout(_)) => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

fn explained(error: &ureq::Error) -> TransportError {
    match error {
        ureq::Error::HostNotFound => TransportError::HostNotFound,
        ureq::Error::Timeout(_) => TransportError::Timeout,
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => TransportError::Timeout,
        // What the standard library says where the system knows no address; it has no kind of its own.
        ureq::Error::Io(error) if error.to_string().contains("lookup address") => TransportError::HostNotFound,
        // So rustls says through a stream what is wrong with a certificate.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            TransportError::Tls(one_line(&error.to_string()))
        }
        ureq::Error::Io(error) => TransportError::Other(one_line(&error.to_string())),
        ureq::Error::Rustls(error) => TransportError::Tls(one_line(&error.to_string())),
        ureq::Error::Tls(text) => TransportError::Tls((*text).to_owned()),
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => {
            TransportError::Proxy(one_line(&error.to_string()))
        }
        other => TransportError::Other(one_line(&other.to_string())),
    }
}

fn tls(certificates: Option<&Path>) -> Result<TlsConfig, TransportError> {
    let roots = match certificates {
        Some(path) => from_bundle(path)?,
        None => RootCerts::WebPki,
    };
    let config = TlsConfig::builder().provider(TlsProvider::Rustls).root_certs(roots);
    Ok(with_cryptography(config)?.build())
}

fn from_bundle(path: &Path) -> Result<RootCerts, TransportError> {
    let failed = |reason: &str| TransportError::Tls(format!("the certificates in {}: {reason}", path.display()));
    let bundle = read_capped(path, LARGEST_BUNDLE).map_err(|error| failed(&error.to_string()))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(failed("there are none in PEM format"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn with_cryptography(config: TlsConfigBuilder) -> Result<TlsConfigBuilder, TransportError> {
    // Where an instruction is missing the library would panic.
    if !has_instructions() {
        return Err(TransportError::Tls("this processor lacks the instructions for AES that it needs".to_owned()));
    }
    Ok(config.unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider())))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn with_cryptography(_: TlsConfigBuilder) -> Result<TlsConfigBuilder, TransportError> {
    Err(TransportError::Tls("this build has no cryptography for this processor".to_owned()))
}

/// What graviola requires (`is_cpu_supported` of its src/low).
#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("aes") && has!("pclmulqdq") && has!("bmi1") && has!("bmi2") && has!("adx") && has!("avx") && has!("avx2")
}

/// What graviola requires (`is_cpu_supported` of its src/low).
#[cfg(target_arch = "aarch64")]
fn has_instructions() -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    has!("neon") && has!("aes") && has!("pmull") && has!("sha2")
}
