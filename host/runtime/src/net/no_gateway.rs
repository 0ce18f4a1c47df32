//! In the place of `gateway`, in a program that was built without the feature `ssh`: nothing is
//! connected to through a gateway.

use super::allowed_addresses::{ConnectError, Server};
use super::peer::Peer;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::Target;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::DuplexStream;

/// There is none.
pub(crate) struct GatewayRoute {
    never: Infallible,
    pub(super) dns: Duration,
}

/// There is none.
pub(crate) type ForwardedStream = DuplexStream;

impl GatewayRoute {
    pub(super) async fn connect(&self) -> Result<(ForwardedStream, Peer), ConnectError> {
        match self.never {}
    }
}

impl Host {
    pub(super) async fn gateway_route(
        &mut self,
        target: &Target,
        server: &Server<'_>,
    ) -> Result<GatewayRoute, ConnectError> {
        let gateway = self.gateway(server.slot).map_err(ConnectError::Refused)?;
        let message = format!(
            "target `{}` is reached through {}, and this program was built without the feature \
             `ssh`",
            target.name,
            gateway.describe()
        );
        Err(ConnectError::Refused(Fault::new(FaultClass::Invalid, "ssh.not-built", message)))
    }
}
