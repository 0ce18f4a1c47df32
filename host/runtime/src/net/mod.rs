//! The one way to a network address, for every transport: resolve once, let the gate judge each
//! address, connect to a judged one.

mod connect;
pub(crate) mod dns;
pub(crate) mod handshake;
pub(crate) mod issuer;
pub(crate) mod judged;
pub(crate) mod recording;
pub(crate) mod resolve;
pub(crate) mod tls;
