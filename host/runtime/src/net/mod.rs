//! Network connections: a name is resolved once, the gate decides about each address, and only
//! allowed addresses are connected to. No other code of the host connects over a network.

pub(crate) mod allowed_addresses;
mod connect;
pub(crate) mod dns;
pub(crate) mod handshake;
pub(crate) mod issuer;
pub(crate) mod recording;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod unix_socket;
