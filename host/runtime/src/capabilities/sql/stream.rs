//! The network under a driver of a database: our own, so that the driver sees neither the server
//! nor the environment.

use super::Access;
use crate::fault::{Fault, FaultClass};
use crate::net::handshake::{TlsFailure, refused_client};
use crate::net::judged::Unreached;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A server, or what stands in its place in a test.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The least limit of a row, in bytes, even if the target allows less: the host asks questions of
/// its own.
pub(super) const LEAST_ROW: usize = 64 << 10;

/// What happened on the way.
#[derive(Debug, Default)]
pub(super) struct Seen {
    cut: AtomicBool,
    refused: Mutex<Option<Fault>>,
}

impl Seen {
    /// Notes that a row was dropped.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The connection is ended from this side, for this reason.
    pub(super) fn refuse(&self, fault: Fault) -> io::Error {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::ErrorKind::ConnectionAborted.into()
    }

    /// Keeps why the server ended the connection, if it is that it does not accept who this host
    /// says it is.
    pub(super) fn explain(&self, error: &io::Error) {
        if let Some(reason) = refused_client(error) {
            self.refuse(tls_fault(TlsFailure::Client(reason)));
        }
    }

    /// Why the connection was ended from this side; `otherwise` if it was not.
    pub(super) fn reason(&self, otherwise: Fault) -> Fault {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(otherwise)
    }
}

/// Why a server was not reached.
pub(super) fn away(error: io::Error) -> Fault {
    Fault::new(
        FaultClass::Transient,
        "sql.connect",
        format!("the database cannot be reached: {error}"),
    )
}

/// Why there is no socket of ours.
pub(super) fn no_socket(error: io::Error) -> Fault {
    Fault::new(FaultClass::Transient, "sql.connect", format!("no socket can be made: {error}"))
}

/// Why there is no connection to a server.
pub(super) fn unreached(unreached: Unreached) -> Fault {
    match unreached {
        Unreached::Refused(fault) => fault,
        Unreached::Connect(error) => away(error),
        Unreached::Resolve(error) => Fault::new(
            FaultClass::Transient,
            "sql.resolve",
            format!("the name of the database server cannot be resolved: {error}"),
        ),
        Unreached::Late(within) => Fault::new(
            FaultClass::Timeout,
            "sql.timeout",
            format!("the database did not answer within {} ms", within.as_millis()),
        ),
    }
}

/// Connects to the server of a target that is reached over a network, at an address that the gate
/// has let through.
pub(super) async fn over_tcp(access: &Access) -> Result<TcpStream, Fault> {
    let judged = access.judged.as_ref().expect("a server over TCP was judged with its target");
    judged.connect().await.map_err(unreached)
}

pub(super) async fn over_a_socket(path: &Path) -> Result<UnixStream, Fault> {
    UnixStream::connect(path).await.map_err(away)
}

/// Why a connection cannot be encrypted as the target demands. Nothing of a statement was sent, so
/// none of these leaves anything unknown.
pub(super) fn tls_fault(failure: TlsFailure) -> Fault {
    let (class, code, reason) = match failure {
        TlsFailure::Cut(reason) => (FaultClass::Transient, "sql.tls-broken", reason),
        TlsFailure::Certificate(reason) => (FaultClass::Assertion, "sql.certificate", reason),
        TlsFailure::Protocol(reason) => (FaultClass::Assertion, "sql.tls-protocol", reason),
        TlsFailure::Client(reason) => (FaultClass::Invalid, "sql.client-certificate", reason),
        TlsFailure::Here(reason) => (FaultClass::Invalid, "sql.tls", reason),
    };
    Fault::new(class, code, format!("the database server: {reason}"))
}

/// The server cannot do what the target demands.
pub(super) fn does_not_encrypt() -> Fault {
    let message = "the server does not encrypt, and `sslmode` of the target demands it";
    Fault::new(FaultClass::Assertion, "sql.tls-protocol", message)
}

/// A password that anybody on the way could read is not sent.
pub(super) fn would_be_read() -> Fault {
    let message = "the server asks for the password in clear text, and the connection is not \
                   encrypted; write `?sslmode=verify-full` behind the address";
    Fault::new(FaultClass::Denied, "sql.login", message)
}

/// Reads so much, and keeps none of it.
pub(super) async fn skip(server: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<()> {
    tokio::io::copy(&mut server.take(length as u64), &mut tokio::io::sink()).await.map(|_| ())
}
