//! HTTP to the base address that the runbook bound to a slot.

use crate::bindings::runbook::http::{health, reader, types, writer};
use crate::fault::{Fault, Result};
use crate::native::host;
use crate::slot::Slot;
use serde::de::DeserializeOwned;

pub use health::{HealthAnswer, ServingStatus};
pub use types::Timing;

/// A slot that is bound to one base address. A plugin gives paths below it and never names a host.
#[derive(Debug, Clone)]
pub struct Endpoint {
    slot: Slot,
    headers: Vec<types::Header>,
    body_secrets: Vec<types::BodySecret>,
}

impl Endpoint {
    /// The base address of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot, headers: Vec::new(), body_secrets: Vec::new() }
    }

    /// Sends this header with every request. The target must allow it, except for usual ones such
    /// as `content-type`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(types::Header {
            name: name.to_owned(),
            value: types::HeaderValue::Plain(value.to_owned()),
        });
        self
    }

    /// Sends the secret of a secrets slot as this header, unseen by the plugin. The secret's target
    /// must allow the position.
    #[must_use]
    pub fn secret_header(mut self, name: &str, secret: Slot) -> Self {
        let value = types::HeaderValue::Secret(secret.name().to_owned());
        self.headers.push(types::Header { name: name.to_owned(), value });
        self
    }

    /// Puts the secret of a secrets slot into the JSON of each body that is sent, unseen by the
    /// plugin. `pointer` is a JSON pointer, such as `/user/password`; the parent of the member must
    /// exist. The secret's target must allow the position.
    #[must_use]
    pub fn secret_json(self, pointer: &str, secret: Slot) -> Self {
        self.secret_in_body(types::BodyPlace::Json(pointer.to_owned()), secret)
    }

    /// Adds the secret of a secrets slot to the form of each body that is sent, as the field
    /// `name`, unseen by the plugin. The secret's target must allow the position.
    #[must_use]
    pub fn secret_form(self, name: &str, secret: Slot) -> Self {
        self.secret_in_body(types::BodyPlace::Form(name.to_owned()), secret)
    }

    fn secret_in_body(mut self, place: types::BodyPlace, secret: Slot) -> Self {
        self.body_secrets.push(types::BodySecret { place, slot: secret.name().to_owned() });
        self
    }

    /// Reads a path with GET. The path starts with `/`, may have a query, and is appended to the
    /// base address.
    ///
    /// # Errors
    /// `denied` if the grant does not allow the verb, the path, a header or the address; `invalid`
    /// if the path or a header is malformed; `transient` if nothing answers; `timeout` if the
    /// answer takes too long; `assertion` if the server's certificate is not trusted, or its answer
    /// is no HTTP or is encoded otherwise than it says. A status of 400 or more is no error.
    #[track_caller]
    pub fn get(&self, path: &str) -> Result<Response> {
        host!("http/reader.get", reader::get(self.slot.name(), path, &self.headers))
            .map(|raw| Response::from_raw(path, raw))
    }

    /// Reads the headers of a path with HEAD.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn head(&self, path: &str) -> Result<Response> {
        host!("http/reader.head", reader::head(self.slot.name(), path, &self.headers))
            .map(|raw| Response::from_raw(path, raw))
    }

    /// Asks by gRPC (`grpc.health.v1.Health/Check`) how a service is, by its full name, or the whole
    /// server, if the name is empty. The headers of this value are not sent.
    ///
    /// # Errors
    /// `denied` if the grant does not allow the verb, the service or the address; `transient` if
    /// nothing answers or the server says that it is unavailable; `timeout` if the answer takes too
    /// long; `invalid` if the server wants to know who asks or has no health service; `assertion` if
    /// the answer is no gRPC, or the status of the call is another one.
    #[track_caller]
    pub fn health(&self, service: &str) -> Result<HealthAnswer> {
        host!("http/health.check", health::check(self.slot.name(), service))
    }

    /// Sends a body to a path with POST.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `denied` if the secret's target does not allow its position.
    /// `unknown` if the connection broke after the request was sent.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Response> {
        host!(
            "http/writer.post",
            writer::post(self.slot.name(), path, &self.headers, body, &self.body_secrets)
        )
        .map(|raw| Response::from_raw(path, raw))
    }

    /// Sends a body to a path with PUT.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    #[track_caller]
    pub fn put(&self, path: &str, body: &[u8]) -> Result<Response> {
        host!(
            "http/writer.put",
            writer::put(self.slot.name(), path, &self.headers, body, &self.body_secrets)
        )
        .map(|raw| Response::from_raw(path, raw))
    }

    /// Sends a body to a path with PATCH.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    #[track_caller]
    pub fn patch(&self, path: &str, body: &[u8]) -> Result<Response> {
        host!(
            "http/writer.patch",
            writer::patch(self.slot.name(), path, &self.headers, body, &self.body_secrets)
        )
        .map(|raw| Response::from_raw(path, raw))
    }

    /// Deletes what is at a path, with DELETE.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    #[track_caller]
    pub fn delete(&self, path: &str) -> Result<Response> {
        host!("http/writer.delete", writer::delete(self.slot.name(), path, &self.headers))
            .map(|raw| Response::from_raw(path, raw))
    }
}

/// What a server answered to a request.
#[derive(Debug, Clone)]
pub struct Response {
    /// The path that was asked for, as the plugin gave it.
    pub path: String,
    /// The status code, such as 200.
    pub status: u16,
    /// The headers, as name in lower case and value, in the order of arrival; without
    /// `content-encoding` and `content-length` if the host decoded the body.
    pub headers: Vec<(String, String)>,
    /// The body, at most as many bytes of it as the grant allows.
    pub body: Vec<u8>,
    /// Whether the body was longer than the grant allows, so that `body` is its beginning only.
    pub truncated: bool,
    /// The address of the server that answered, as `ip:port`.
    pub peer: String,
    /// How long each part of the exchange took, in microseconds; 0 for a part that did not happen.
    pub timing: Timing,
}

impl Response {
    fn from_raw(path: &str, raw: types::Response) -> Self {
        let types::Response { status, headers, body, truncated, peer, timing } = raw;
        Self { path: path.to_owned(), status, headers, body, truncated, peer, timing }
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The whole body.
    ///
    /// # Errors
    /// `limit` if the body was longer than the target's `max_body`.
    pub fn whole(&self) -> Result<&[u8]> {
        if self.truncated {
            let kept = self.body.len();
            let message = format!(
                "the body is longer than the {kept} bytes that the target's `max_body` lets through"
            );
            return Err(Fault::limit("http.truncated", message));
        }
        Ok(&self.body)
    }

    /// The body as text, with U+FFFD in the place of bytes that are not UTF-8. It may have been
    /// cut: see [`whole`](Self::whole).
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a successful response as JSON. A body that was cut is not parsed: see
    /// [`whole`](Self::whole).
    ///
    /// # Errors
    /// `assertion` if the status is not 200 to 299 or the body is not the JSON of a `T`, `limit` if
    /// the body was cut.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if !self.is_success() {
            return Err(Fault::assertion(
                "http.status",
                format!(
                    "`{}` answered with status {}, expected 200 to 299",
                    self.path, self.status
                ),
            ));
        }
        self.json_of_any_status()
    }

    /// The body of any response as JSON, also that of an error page.
    ///
    /// # Errors
    /// `assertion` if the body is not the JSON of a `T`, `limit` if it was cut.
    pub fn json_of_any_status<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.whole()?).map_err(|error| {
            Fault::assertion("http.not-json", format!("the body is not the expected JSON: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &[u8]) -> Response {
        let timing = Timing { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 0 };
        let headers =
            vec![("etag".to_owned(), "a".to_owned()), ("etag".to_owned(), "b".to_owned())];
        Response {
            path: "/stats".to_owned(),
            status,
            headers,
            body: body.to_vec(),
            truncated: false,
            peer: String::new(),
            timing,
        }
    }

    #[test]
    fn only_200_to_299_is_success() {
        let success: Vec<_> =
            [199, 200, 299, 300].iter().map(|status| response(*status, b"").is_success()).collect();
        assert_eq!(success, [false, true, true, false]);
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_first_counts() {
        assert_eq!(response(200, b"").header("ETag"), Some("a"));
        assert_eq!(response(200, b"").header("server"), None);
    }

    #[test]
    fn a_body_that_is_not_what_was_expected_is_an_assertion() {
        assert_eq!(response(200, b"[1,2]").json::<Vec<u8>>().expect("it is a list"), [1, 2]);
        let fault = response(200, b"<p>").json::<Vec<u8>>().expect_err("it is no JSON");
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (crate::FaultClass::Assertion, "http.not-json")
        );
        for status in [100, 199, 300, 301, 404, 500, 503] {
            let fault =
                response(status, b"[1,2]").json::<Vec<u8>>().expect_err("it is an error page");
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (crate::FaultClass::Assertion, "http.status"),
                "{status}"
            );
            assert!(
                fault.message.contains(&status.to_string()) && fault.message.contains("/stats"),
                "{}",
                fault.message
            );
            assert_eq!(
                response(status, b"[1,2]").json_of_any_status::<Vec<u8>>().expect("it is a list"),
                [1, 2]
            );
        }
        assert_eq!(response(299, b"[1]").json::<Vec<u8>>().expect("it is a list"), [1]);
        assert_eq!(response(200, b"a\xff").text(), "a\u{fffd}");
        let cut_response = Response { truncated: true, ..response(200, b"[1,2]") };
        let fault = cut_response.json::<Vec<u8>>().expect_err("there was more");
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (crate::FaultClass::Limit, "http.truncated")
        );
    }
}
