//! Network connections: a name is resolved once, the gate decides about each address, and only
//! allowed addresses are connected to, directly or through the gateway of a target. No other code of
//! the host connects over a network.

pub(crate) mod allowed_addresses;
mod connect;
pub(crate) mod dns;
#[cfg(feature = "ssh")]
mod forward;
#[cfg(feature = "ssh")]
mod gateway;
#[cfg(not(feature = "ssh"))]
#[path = "no_gateway.rs"]
mod gateway;
pub(crate) mod handshake;
pub(crate) mod issuer;
pub(crate) mod peer;
pub(crate) mod recording;
pub(crate) mod resolve;
pub(crate) mod route;
#[cfg(feature = "ssh")]
mod ssh;
pub(crate) mod tls;
pub(crate) mod unix_socket;
