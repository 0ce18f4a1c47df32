//! Base URLs of `http` targets.

use crate::pattern::canonical_request_path;
use url::Url;

/// Where the requests of an `http` target go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpBase {
    /// Scheme, host, port and path prefix.
    Url(Url),
    /// The whole base URL is the secret of this name.
    Secret(String),
}

/// Reads a base URL: http or https, a host, no user, no query.
///
/// # Errors
/// The reason, as a clause for a message: it is no URL, has another scheme, a user, a query or no
/// host, or its path is not canonical.
pub fn parse_base(text: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(text).map_err(|_| "it is not a URL such as `https://api.internal:8443/v1`")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its scheme is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name or a password; `auth` says who asks");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a query or a fragment; a plugin gives those with its path");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    canonical_request_path(url.path())
        .map_err(|_| "its path has dot segments or encoded separators")?;
    Ok(url)
}
