//! Relays the connection between the driver and a PostgreSQL server.
//!
//! The driver reads options from the environment of the process (`PGOPTIONS`, `PGPASSWORD`,
//! `PGSSLROOTCERT`), and reads a message of any size into memory. So it connects to a Unix socket
//! of the host, in a private directory, and the host relays messages to the server. The relay
//! replaces the startup message by one with the settings of the target, and encrypts the
//! connection. It drops rows that are larger than the target allows, before they are in memory.

use super::super::DatabaseAccess;
use super::super::stream::{
    MIN_ROW_LIMIT, RelayStatus, Stream, clear_text_password_fault, connect_network,
    connect_unix_socket, discard, local_socket_fault, tls_fault, tls_unsupported_fault,
    unreachable_fault,
};
use crate::fault::{Fault, FaultClass};
use crate::net::tls;
use runbook_authority::targets::{SqlAddress, TlsMode};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// The message that asks a server whether it supports TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The authentication method in which the password is sent in clear text.
const AUTH_CLEAR_TEXT: u32 = 3;

/// Version 3.0 of the protocol.
const PROTOCOL: u32 = 196_608;

/// The largest message other than a row (an error, a description of columns, a notice), in bytes.
const MAX_NON_ROW_MESSAGE: usize = 1 << 20;

/// A running relay for one connection of the driver; dropping it ends the connection.
pub(super) struct RelayHandle {
    folder: TempDir,
    status: Arc<RelayStatus>,
    relay: tokio::task::JoinHandle<()>,
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl RelayHandle {
    /// Connects to the server of a target, and waits for the driver at [`folder`](Self::folder).
    pub(super) async fn open(
        access: &DatabaseAccess,
        settings: &[(&str, &str)],
    ) -> Result<Self, Fault> {
        let SqlAddress::Server { user, database, .. } = &access.sql().address else {
            unreachable!("only PostgreSQL targets come here");
        };
        let folder = tempfile::Builder::new()
            .prefix("runbook-sql-")
            .tempdir()
            .map_err(local_socket_fault)?;
        let listener =
            UnixListener::bind(folder.path().join(".s.PGSQL.5432")).map_err(local_socket_fault)?;
        let ServerConnection { server, is_clear_text } = connect_to_server(access).await?;
        let status = Arc::new(RelayStatus::default());
        let startup = startup(
            &[&[("user", user.as_str()), ("database", database.as_str())], settings].concat(),
        );
        let relay = Relay {
            status: Arc::clone(&status),
            max_row: usize::try_from(access.sql().max_bytes.0)
                .unwrap_or(usize::MAX)
                .max(MIN_ROW_LIMIT),
            has_password: access.password.is_some(),
            is_clear_text,
        };
        let relay = tokio::spawn(async move {
            // However the relay ends, both sides see the end of their stream.
            let Ok((driver, _)) = listener.accept().await else { return };
            let _ = relay.run(driver, server, startup).await;
        });
        Ok(Self { folder, status, relay })
    }

    /// The directory of the Unix socket for the driver, which has the port 5432.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_truncated(&self) -> bool {
        self.status.is_truncated()
    }

    /// The recorded reason why the connection ended; `default_fault` if there is none.
    pub(super) fn end_reason_or(&self, default_fault: Fault) -> Fault {
        self.status.end_reason_or(default_fault)
    }
}

/// The startup message of a session.
fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// A connection to a server, and whether it goes over a network without encryption.
struct ServerConnection {
    server: Box<dyn Stream>,
    is_clear_text: bool,
}

async fn connect_to_server(access: &DatabaseAccess) -> Result<ServerConnection, Fault> {
    let SqlAddress::Server { host, port, tls: mode, .. } = &access.sql().address else {
        unreachable!("only PostgreSQL targets come here");
    };
    if host.starts_with('/') {
        let socket = connect_unix_socket(&Path::new(host).join(format!(".s.PGSQL.{port}"))).await?;
        return Ok(ServerConnection { server: Box::new(socket), is_clear_text: false });
    }
    let mut stream = connect_network(access).await?;
    let Some(config) = access.tls.clone() else {
        return Ok(ServerConnection { server: Box::new(stream), is_clear_text: true });
    };
    stream.write_all(&TLS_REQUEST).await.map_err(unreachable_fault)?;
    let answer = stream.read_u8().await.map_err(unreachable_fault)?;
    match (answer, mode) {
        (b'S', _) => {
            let encrypted = tls::encrypt(stream, host, config).await.map_err(tls_fault)?;
            Ok(ServerConnection { server: Box::new(encrypted), is_clear_text: false })
        }
        (b'N', TlsMode::Prefer) => {
            Ok(ServerConnection { server: Box::new(stream), is_clear_text: true })
        }
        (b'N', _) => Err(tls_unsupported_fault()),
        (_, _) => Err(Fault::new(
            FaultClass::Transient,
            "sql.protocol",
            "what answers there is no PostgreSQL server",
        )),
    }
}

/// Relays messages between the driver and the server.
struct Relay {
    status: Arc<RelayStatus>,
    /// The largest row that is passed on, in bytes.
    max_row: usize,
    has_password: bool,
    /// Whether the connection goes over a network without encryption.
    is_clear_text: bool,
}

impl Relay {
    async fn run(
        &self,
        mut driver: UnixStream,
        server: Box<dyn Stream>,
        startup: Vec<u8>,
    ) -> io::Result<()> {
        let result = self.forward(&mut driver, server, startup).await;
        // The reason is recorded before the driver sees the end of its stream.
        result.inspect_err(|error| self.status.record_client_rejection(error))
    }

    async fn forward(
        &self,
        driver: &mut UnixStream,
        mut server: Box<dyn Stream>,
        startup: Vec<u8>,
    ) -> io::Result<()> {
        let length = driver.read_u32().await?;
        let mut driver_startup =
            vec![
                0;
                usize::try_from(length).unwrap_or(0).saturating_sub(4).min(MAX_NON_ROW_MESSAGE)
            ];
        driver.read_exact(&mut driver_startup).await?;
        server.write_all(&startup).await?;
        server.flush().await?;
        let (mut from_driver, mut to_driver) = driver.split();
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let forward_from_driver = async {
            let mut chunk = vec![0; 16 << 10];
            loop {
                let length = from_driver.read(&mut chunk).await?;
                if length == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&chunk[..length]).await?;
                to_server.flush().await?;
            }
        };
        let forward_from_server = self.forward_from_server(&mut from_server, &mut to_driver);
        // When one side ends, the other is closed too, so that the server learns at once that its
        // client is gone.
        tokio::select! {
            result = forward_from_driver => result,
            result = forward_from_server => result,
        }
    }

    async fn forward_from_server(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        driver: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut server = tokio::io::BufReader::with_capacity(64 << 10, server);
        let mut is_dropping = false;
        loop {
            let kind = server.read_u8().await?;
            let length = server.read_u32().await?;
            let body = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .checked_sub(4)
                .ok_or(io::ErrorKind::InvalidData)?;
            match kind {
                // After a dropped row the rest of the result is dropped, too.
                b'D' if is_dropping || body > self.max_row => {
                    is_dropping = true;
                    self.status.set_truncated();
                    discard(&mut server, body).await?;
                    continue;
                }
                b'D' => {}
                b'N' | b'A' => {
                    // Notices are not used.
                    discard(&mut server, body).await?;
                    continue;
                }
                _ if body > MAX_NON_ROW_MESSAGE => {
                    let message = format!(
                        "the server sent a message of {body} bytes that is no row, which is too \
                         much"
                    );
                    let fault = Fault::new(FaultClass::Limit, "sql.too-big", message);
                    return Err(self.status.end_with(fault));
                }
                b'C' | b's' | b'E' | b'Z' => is_dropping = false,
                _ => {}
            }
            let mut rest = body;
            driver.write_all(&[&[kind][..], &length.to_be_bytes()].concat()).await?;
            if kind == b'R' && body >= 4 {
                let method = server.read_u32().await?;
                if matches!(method, AUTH_CLEAR_TEXT | 5 | 10) && !self.has_password {
                    let message = "the server asks for a password, and the target names none; \
                                   write `password = \"secret:NAME\"`";
                    let fault = Fault::new(FaultClass::Denied, "sql.login", message);
                    return Err(self.status.end_with(fault));
                }
                if method == AUTH_CLEAR_TEXT && self.is_clear_text {
                    return Err(self.status.end_with(clear_text_password_fault()));
                }
                driver.write_all(&method.to_be_bytes()).await?;
                rest -= 4;
            }
            tokio::io::copy(&mut (&mut server).take(rest as u64), driver).await?;
        }
    }
}
