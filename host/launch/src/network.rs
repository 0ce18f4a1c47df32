//! The sockets and signals that a program may use.

use serde::{Deserialize, Serialize};

/// The sockets that a program may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// None, not even to a daemon of this host, which could act for the program. Pairs of connected
    /// sockets (`socketpair`) are allowed, except for datagram sockets: the others lead to no other
    /// process.
    Closed,
    /// TCP connections to this port: that of the database whose connection the target names.
    Port(u16),
    /// Connections to Unix sockets, for a database whose connection the target names. The kernel
    /// cannot limit which ones, so a program reaches those of all daemons of this host.
    Files,
    /// All sockets.
    Open,
}

/// The processes that a program may send signals to, whose limits and priority it may change, and
/// with which it may share memory, messages and locks (System V IPC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signals {
    /// Itself and, by signals, its descendants.
    Own,
    /// Every process of its user.
    Any,
}
