//! HTTP to the base address that the runbook bound to a slot.

use crate::bindings::runbook::http::{reader, types, writer};
use crate::fault::{Fault, Result};
use serde::de::DeserializeOwned;

pub use types::Timing;

/// The slot of one base address.
#[derive(Debug, Clone)]
pub struct Endpoint {
    slot: String,
    headers: Vec<types::Header>,
}

impl Endpoint {
    /// The slot called `name` in `plugin.toml`.
    pub fn slot(name: &str) -> Self {
        Self { slot: name.to_owned(), headers: Vec::new() }
    }

    /// Sends this header with every request. The target must allow it, but for the usual ones such as `content-type`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(types::Header { name: name.to_owned(), value: types::HeaderValue::Plain(value.to_owned()) });
        self
    }

    /// Sends the secret of a secrets slot as this header, unseen by the plugin. The secret's target must allow the position.
    #[must_use]
    pub fn secret_header(mut self, name: &str, secret_slot: &str) -> Self {
        self.headers.push(types::Header { name: name.to_owned(), value: types::HeaderValue::Secret(secret_slot.to_owned()) });
        self
    }

    /// Reads a path, which starts with `/` and is appended to the base address.
    pub fn get(&self, path: &str) -> Result<Response> {
        reader::get(&self.slot, path, &self.headers).map(Response::from)
    }

    /// Reads the headers of a path.
    pub fn head(&self, path: &str) -> Result<Response> {
        reader::head(&self.slot, path, &self.headers).map(Response::from)
    }

    /// Sends a body with POST.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Response> {
        writer::post(&self.slot, path, &self.headers, body).map(Response::from)
    }

    /// Sends a body with PUT.
    pub fn put(&self, path: &str, body: &[u8]) -> Result<Response> {
        writer::put(&self.slot, path, &self.headers, body).map(Response::from)
    }

    /// Sends a body with PATCH.
    pub fn patch(&self, path: &str, body: &[u8]) -> Result<Response> {
        writer::patch(&self.slot, path, &self.headers, body).map(Response::from)
    }

    /// Deletes what is at a path.
    pub fn delete(&self, path: &str) -> Result<Response> {
        writer::delete(&self.slot, path, &self.headers).map(Response::from)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// At most as much as the grant allows.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub truncated: bool,
    /// Who answered, as `ip:port`.
    pub peer: String,
    /// How long each part took.
    pub timing: Timing,
}

impl From<types::Response> for Response {
    fn from(raw: types::Response) -> Self {
        let types::Response { status, headers, body, truncated, peer, timing } = raw;
        Self { status, headers, body, truncated, peer, timing }
    }
}

impl Response {
    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Fault::assertion("http.not-json", format!("the body is not the expected JSON: {error}")))
    }
}
