//! Models by their Hugging Face Hub id: config.json and the headers of weights, from the cache that `huggingface_hub`
//! keeps or, where they are not in it, over the network.

/// The largest configuration read, bytes; the largest on the Hub are some hundred kilobytes.
pub const CONFIG_LIMIT: u64 = 4 << 20;

mod cache;
mod client;
mod environment;
mod error;
mod headers;
#[cfg(feature = "hub")]
mod http;
mod ids;
mod listing;
mod request;
mod transport;
mod url;

pub use client::{Hub, HubFile};
pub use environment::{Environment, Token};
pub use error::{HubError, HubErrorKind};
pub use ids::{HubId, HubIdError};
pub use transport::{Response, Transport, TransportError};
