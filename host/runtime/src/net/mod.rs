//! Network connections: a name is resolved once, the gate decides about each address, and only
//! allowed addresses are connected to, directly or through the gateway of a target. No other code of
//! the host connects over a network.

pub(crate) mod allowed_addresses;
mod connect;
pub(crate) mod dns;
mod forward;
mod gateway;
pub(crate) mod handshake;
pub(crate) mod issuer;
pub(crate) mod peer;
mod proxy;
pub(crate) mod recording;
pub(crate) mod resolve;
pub(crate) mod route;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(not(feature = "ssh"))]
#[path = "no_ssh.rs"]
mod ssh;
#[cfg(test)]
mod testing;
pub(crate) mod tls;
pub(crate) mod unix_socket;
