//! The sockets and signals that a program may use.

use serde::{Deserialize, Serialize};

/// The sockets that a program may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// None, not even to a daemon of this host, which could act for it. A pair of sockets that are
    /// connected with each other is no way out and stays.
    Closed,
    /// Connections by TCP to this port: those that a lent database needs.
    Port(u16),
    /// Connections to sockets that are files: those that a lent database needs.
    Files,
    /// All.
    Open,
}

/// The processes that a program may send signals to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signals {
    /// Itself and what it started.
    Own,
    /// Whatever its user may.
    Any,
}
