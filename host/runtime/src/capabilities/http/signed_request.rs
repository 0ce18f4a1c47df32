//! Requests of another capability that are signed for AWS. They go through the connector of `http`
//! slots: the gate decides about each address, and no redirect is followed.

use super::auth::sign_request;
use super::connection::{Connection, Protocols};
use super::failure::Failure;
use super::{exchange, own_headers};
use crate::fault::Fault;
use crate::host::{Commit, Host};
use crate::net::allowed_addresses::ConnectError;
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::http::response::Parts;
use runbook_authority::Verb;
use runbook_authority::targets::{AwsSigV4, TlsKeys};
use std::time::{Duration, SystemTime};
use url::Url;

/// One request to the server of a target.
pub(in crate::capabilities) struct SignedRequest<'a> {
    pub(in crate::capabilities) caller: (&'a str, Verb),
    pub(in crate::capabilities) method: &'a Method,
    /// The address, with each byte of the path encoded as the signature has it.
    pub(in crate::capabilities) url: &'a Url,
    pub(in crate::capabilities) headers: HeaderMap,
    pub(in crate::capabilities) body: Bytes,
    pub(in crate::capabilities) keys: &'a AwsSigV4,
    pub(in crate::capabilities) tls_keys: &'a TlsKeys,
    /// For resolving and connecting.
    pub(in crate::capabilities) timeout: Duration,
}

/// The head of a response, and its body, which is read next.
pub(in crate::capabilities) struct SignedResponse {
    pub(in crate::capabilities) head: Parts,
    pub(in crate::capabilities) body: Incoming,
    /// The body comes over it, so it is kept until then.
    _connection: Connection,
}

impl Host {
    /// Signs a request and sends it on a connection of its own. `commit` is marked as sent before
    /// the first byte is written.
    pub(in crate::capabilities) async fn send_signed(
        &mut self,
        request: SignedRequest<'_>,
        commit: &Commit,
    ) -> Result<SignedResponse, Failure> {
        let refused = |fault: Fault| Failure::ConnectError(ConnectError::Refused(fault));
        let SignedRequest { caller, method, url, headers, body, keys, tls_keys, timeout } = request;
        // No key is read for an address that is not allowed.
        let mut connection =
            self.open_within(caller, (url, tls_keys), Protocols::Any, timeout).await?;
        let aws_keys = self.aws_keys(keys).await.map_err(refused)?;
        let mut all_headers = own_headers();
        all_headers.extend(headers);
        sign_request(
            keys,
            &aws_keys,
            SystemTime::now(),
            (method, url, body.as_ref()),
            &mut all_headers,
        )
        .map_err(refused)?;
        let version = connection.version();
        let request = exchange::request((method, url), all_headers, body, version)?;
        let (response, _) = exchange::send(&mut connection, request, commit).await?;
        let (head, body) = response.into_parts();
        Ok(SignedResponse { head, body, _connection: connection })
    }
}
