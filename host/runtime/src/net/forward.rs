//! Failures of connections that a gateway is asked for.

/// Why a gateway has not connected to a destination.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// Its own rules forbid it.
    Forbidden,
    /// It could not connect.
    Unreachable,
    /// The session with the gateway has ended.
    Lost,
}
