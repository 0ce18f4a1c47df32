//! SSH sessions with gateways: the host key is compared, the host logs in with a key, and the
//! gateway is asked for connections. No shell, no command, no forwarding back to this host.
//!
//! Nothing is taken from `~/.ssh`, the configuration of OpenSSH or the environment.

mod host_keys;
mod login;
mod stream;

pub(super) use login::Login;

use super::connect::connect;
use super::forward::{ForwardError, ForwardedStream};
use crate::fault::{Fault, FaultClass};
use host_keys::TrustedKeys;
use runbook_authority::targets::Gateway;
use russh::client::{self, ChannelOpenHandle, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelOpenFailure};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use stream::SshStream;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Bytes that are kept between the socket and the library.
const RELAY_BUFFER: usize = 64 << 10;

/// An open session with a gateway. It ends when this and all streams through it are dropped.
pub(super) struct Session {
    handle: Handle<Client>,
    /// The task that copies between the socket and the library. The library drives its own task,
    /// which cannot be stopped; it ends when this one does.
    _relay: Relay,
}

struct Relay(JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    /// Starts to copy, and returns the other end.
    fn start(mut socket: TcpStream) -> (Self, tokio::io::DuplexStream) {
        let (mut near, far) = tokio::io::duplex(RELAY_BUFFER);
        let task = tokio::spawn(async move {
            // However one side ends, the other sees the end of its stream.
            let _ = tokio::io::copy_bidirectional(&mut socket, &mut near).await;
        });
        (Self(task), far)
    }
}

/// Connects to one of the addresses, which the gate has allowed, and logs in.
pub(super) async fn open(
    addresses: &[SocketAddr],
    login: Login,
    gateway: &Gateway,
) -> Result<Session, Fault> {
    let fault = |class, code, what: String| {
        Fault::new(class, code, format!("{}: {what}", gateway.describe()))
    };
    let socket = connect(addresses).await.map_err(|error| {
        fault(FaultClass::Transient, "ssh.connect", format!("cannot be connected to: {error}"))
    })?;
    let (relay, stream) = Relay::start(socket);
    let Login { trusted_keys, credential, user } = login;
    let shown = Arc::new(Mutex::new(None));
    let preferred = russh::Preferred {
        key: Cow::Owned(trusted_keys.algorithms()),
        ..russh::Preferred::default()
    };
    let config = client::Config { preferred, ..client::Config::default() };
    let trusted_keys = Arc::new(trusted_keys);
    let client = Client { trusted_keys: Arc::clone(&trusted_keys), shown: Arc::clone(&shown) };
    let connected = client::connect_stream(Arc::new(config), stream, client).await;
    let mut handle = connected.map_err(|error| {
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (class, code, what) = handshake_failure(&error, shown, &trusted_keys);
        fault(class, code, what)
    })?;
    login::authenticate(&mut handle, &user, credential)
        .await
        .map_err(|(class, code, what)| fault(class, code, what))?;
    Ok(Session { handle, _relay: relay })
}

/// Class, code and description of a failed handshake. `shown` is the refused key of the server.
fn handshake_failure(
    error: &russh::Error,
    shown: Option<String>,
    trusted_keys: &TrustedKeys,
) -> (FaultClass, &'static str, String) {
    if let Some(shown) = shown {
        let what = format!(
            "it shows the host key {shown}, and the target trusts {}: its key was changed, or \
             another server has taken its place",
            trusted_keys.describe()
        );
        return (FaultClass::Assertion, "ssh.host-key", what);
    }
    match error {
        russh::Error::NoCommonAlgo { kind, .. } => {
            let what = format!(
                "it offers no {kind:?} algorithm that this host accepts; the target trusts {}",
                trusted_keys.describe()
            );
            (FaultClass::Assertion, "ssh.protocol", what.to_lowercase())
        }
        russh::Error::Version => {
            let what = "what answers there is no SSH server".to_owned();
            (FaultClass::Assertion, "ssh.protocol", what)
        }
        other => {
            (FaultClass::Transient, "ssh.connect", format!("the handshake did not end: {other}"))
        }
    }
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Asks the gateway for a connection.
    pub(super) async fn forward(
        self: &Arc<Self>,
        host: &str,
        port: u16,
    ) -> Result<ForwardedStream, ForwardError> {
        // The address of the asking side: the gateway does not need to know it.
        let opened = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await;
        let channel = opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                ForwardError::Forbidden
            }
            russh::Error::ChannelOpenFailure(_) => ForwardError::Unreachable,
            _ => ForwardError::Lost,
        })?;
        Ok(Box::new(SshStream::new(channel, Arc::clone(self))))
    }
}

/// Compares the host key, and refuses everything that a server may ask of a client.
struct Client {
    trusted_keys: Arc<TrustedKeys>,
    /// The key of the server, if it was refused.
    shown: Arc<Mutex<Option<String>>>,
}

/// The answer to every channel that a server opens.
async fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server_public_key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let (is_trusted, shown) = match server_public_key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                (self.trusted_keys.trusts(key), host_keys::describe(key))
            }
            PublicKeyOrCertificate::Certificate(_) => (false, "of a certificate".to_owned()),
        };
        if !is_trusted {
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
        Ok(is_trusted)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }
}

#[cfg(test)]
mod tests;
