//! Connections that a gateway has made, and failures of those that it was asked for.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection through a gateway.
pub(crate) type ForwardedStream = Box<dyn Duplex>;

/// Why an SSH server has not connected to a destination.
#[derive(Debug)]
#[cfg_attr(not(feature = "ssh"), allow(dead_code, reason = "no session is ever opened"))]
pub(super) enum ForwardError {
    /// Its own rules forbid it.
    Forbidden,
    /// It could not connect.
    Unreachable,
    /// The session with it has ended.
    Lost,
}
