//! In the place of `ssh`, in a program that was built without the feature `ssh`: no session is ever
//! opened.

#![allow(dead_code, clippy::unused_async, reason = "it has the form of what it replaces")]

use super::forward::{ForwardError, ForwardedStream};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::targets::{Gateway, SshGateway};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

/// There is none.
pub(super) struct Login(Infallible);

/// There is none.
pub(super) struct Session(Infallible);

pub(super) async fn open(
    _addresses: &[SocketAddr],
    login: Login,
    _gateway: &Gateway,
) -> Result<Session, Fault> {
    match login.0 {}
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        match self.0 {}
    }

    pub(super) async fn forward(
        self: &Arc<Self>,
        _host: &str,
        _port: u16,
    ) -> Result<ForwardedStream, ForwardError> {
        match self.0 {}
    }
}

impl Host {
    pub(super) async fn ssh_login(
        &self,
        gateway: &Gateway,
        _ssh: &SshGateway,
    ) -> Result<Login, Fault> {
        let what = "this program was built without the feature `ssh`";
        let message = format!("{}: {what}", gateway.describe());
        Err(Fault::new(FaultClass::Invalid, "ssh.not-built", message))
    }
}
