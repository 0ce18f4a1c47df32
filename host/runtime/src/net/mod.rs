//! The one way to a network address, for every transport: resolve once, let the gate judge each
//! address, connect to a judged one.

pub(crate) mod connect;
pub(crate) mod handshake;
pub(crate) mod resolve;
pub(crate) mod tls;
