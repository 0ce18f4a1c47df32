//! Connections to database servers, which the host makes itself: the drivers see neither the server
//! nor the environment.

use super::DatabaseAccess;
use crate::fault::{Fault, FaultClass};
use crate::net::allowed_addresses::ConnectError;
use crate::net::handshake::{TlsFailure, client_rejection};
use crate::net::route::ServerStream;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::UnixStream;

/// A connection to a server, or its replacement in a test.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The smallest row limit in bytes, even if the target allows less, because the host runs queries
/// of its own.
pub(super) const MIN_ROW_LIMIT: usize = 64 << 10;

/// The status of a relay: whether it has dropped a row, and why it has ended the connection.
#[derive(Debug, Default)]
pub(super) struct RelayStatus {
    is_row_dropped: AtomicBool,
    end_reason: Mutex<Option<Fault>>,
}

impl RelayStatus {
    /// Records that a row was dropped.
    pub(super) fn set_truncated(&self) {
        self.is_row_dropped.store(true, Ordering::Release);
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_truncated(&self) -> bool {
        self.is_row_dropped.load(Ordering::Acquire)
    }

    /// Records why the host ends the connection. Returns the error to end it with.
    pub(super) fn end_with(&self, fault: Fault) -> io::Error {
        *self.end_reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::ErrorKind::ConnectionAborted.into()
    }

    /// Records the reason if the server has ended the connection because it refused the client
    /// certificate.
    pub(super) fn record_client_rejection(&self, error: &io::Error) {
        if let Some(reason) = client_rejection(error) {
            self.end_with(tls_fault(TlsFailure::ClientRejected(reason)));
        }
    }

    /// The recorded reason why the connection ended; `default_fault` if there is none.
    pub(super) fn end_reason_or(&self, default_fault: Fault) -> Fault {
        self.end_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or(default_fault)
    }
}

/// The fault for a server that cannot be reached.
pub(super) fn unreachable_fault(error: io::Error) -> Fault {
    Fault::new(
        FaultClass::Transient,
        "sql.connect",
        format!("the database cannot be reached: {error}"),
    )
}

/// The fault for a local socket that cannot be created.
pub(super) fn local_socket_fault(error: io::Error) -> Fault {
    Fault::new(FaultClass::Transient, "sql.connect", format!("no socket can be made: {error}"))
}

/// The fault for a connection to a server that cannot be made.
pub(super) fn connect_fault(connect_fault: ConnectError) -> Fault {
    match connect_fault {
        ConnectError::Refused(fault) => fault,
        ConnectError::Connect(error) => unreachable_fault(error),
        ConnectError::Resolve(error) => Fault::new(
            FaultClass::Transient,
            "sql.resolve",
            format!("the name of the database server cannot be resolved: {error}"),
        ),
        ConnectError::TimedOut(timeout) => Fault::new(
            FaultClass::Timeout,
            "sql.timeout",
            format!("the database did not answer within {}", crate::limits::format_limit(timeout)),
        ),
    }
}

/// Connects over a network to the server of a target, on the route that the gate has allowed.
pub(super) async fn connect_network(access: &DatabaseAccess) -> Result<ServerStream, Fault> {
    let route = access.route.as_ref().expect("a server over a network was judged with its target");
    route.connect().await.map(|(stream, _)| stream).map_err(connect_fault)
}

pub(super) async fn connect_unix_socket(path: &Path) -> Result<UnixStream, Fault> {
    UnixStream::connect(path).await.map_err(unreachable_fault)
}

/// The fault for a connection that cannot be encrypted as the target requires. No statement was
/// sent, so nothing is unknown.
pub(super) fn tls_fault(failure: TlsFailure) -> Fault {
    let (class, code, reason) = match failure {
        TlsFailure::Interrupted(reason) => (FaultClass::Transient, "sql.tls-broken", reason),
        TlsFailure::Certificate(reason) => (FaultClass::Assertion, "sql.certificate", reason),
        TlsFailure::Protocol(reason) => (FaultClass::Assertion, "sql.tls-protocol", reason),
        TlsFailure::ClientRejected(reason) => {
            (FaultClass::Invalid, "sql.client-certificate", reason)
        }
        TlsFailure::LocalSetup(reason) => (FaultClass::Invalid, "sql.tls", reason),
    };
    Fault::new(class, code, format!("the database server: {reason}"))
}

/// The fault for a server that does not support TLS although the target requires it.
pub(super) fn tls_unsupported_fault() -> Fault {
    let message = "the server does not encrypt, and `sslmode` of the target demands it";
    Fault::new(FaultClass::Assertion, "sql.tls-protocol", message)
}

/// The fault for a password that would be sent in clear text over a network.
pub(super) fn clear_text_password_fault() -> Fault {
    let message = "the server asks for the password in clear text, and the connection is not \
                   encrypted; write `?sslmode=verify-full` behind the address";
    Fault::new(FaultClass::Denied, "sql.login", message)
}

/// Reads and discards `length` bytes.
pub(super) async fn discard(
    server: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> io::Result<()> {
    tokio::io::copy(&mut server.take(length as u64), &mut tokio::io::sink()).await.map(|_| ())
}
