//! The connection to a PostgreSQL server, between the driver and the network.
//!
//! The driver reads its options from the environment of the process (`PGOPTIONS`, `PGPASSWORD`,
//! `PGSSLROOTCERT`) and takes a message of any size into memory. So it is not let near the server:
//! it speaks to a socket of our own, in a directory that nobody else may enter, and what it would
//! say first is replaced by what the target says. TLS is ours, too. Rows that are larger than the
//! target allows are dropped on their way, before anybody has them in memory.

use super::super::Access;
use super::super::stream::{
    LEAST_ROW, Seen, Stream, away, does_not_encrypt, no_socket, over_a_socket, over_tcp, skip,
    tls_fault, would_be_read,
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

/// Asks a server whether it can do TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A server that asks for the password as it is.
const CLEAR_TEXT: u32 = 3;

/// Version 3.0 of the protocol.
const PROTOCOL: u32 = 196_608;

/// The largest message that is no row: an error, a description of columns, a notice.
const MOST_BESIDE_ROWS: usize = 1 << 20;

/// The way to one server, for one connection of the driver.
pub(super) struct Wire {
    folder: TempDir,
    seen: Arc<Seen>,
    relay: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl Wire {
    /// Connects to the server of a target, and waits for the driver at [`folder`](Self::folder).
    pub(super) async fn open(access: &Access, settings: &[(&str, &str)]) -> Result<Self, Fault> {
        let SqlAddress::Server { user, database, .. } = &access.sql().address else {
            unreachable!("only PostgreSQL targets come here");
        };
        let folder =
            tempfile::Builder::new().prefix("runbook-sql-").tempdir().map_err(no_socket)?;
        let listener =
            UnixListener::bind(folder.path().join(".s.PGSQL.5432")).map_err(no_socket)?;
        let Reached { server, is_open } = reach(access).await?;
        let seen = Arc::new(Seen::default());
        let startup = startup(
            &[&[("user", user.as_str()), ("database", database.as_str())], settings].concat(),
        );
        let relay = Relay {
            seen: Arc::clone(&seen),
            most: usize::try_from(access.sql().max_bytes.0).unwrap_or(usize::MAX).max(LEAST_ROW),
            has_password: access.password.is_some(),
            is_open,
        };
        let relay = tokio::spawn(async move {
            // Whatever ends it, both sides see the end of their stream.
            let Ok((driver, _)) = listener.accept().await else { return };
            let _ = relay.run(driver, server, startup).await;
        });
        Ok(Self { folder, seen, relay })
    }

    /// The directory of the socket at which the driver finds the server, at the port 5432.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_cut(&self) -> bool {
        self.seen.is_cut()
    }

    /// Why the connection was ended from this side; `otherwise` if it was not.
    pub(super) fn reason(&self, otherwise: Fault) -> Fault {
        self.seen.reason(otherwise)
    }
}

/// The first message of a session: who asks for what.
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

/// A server, and whether what is said to it goes over a network as it is.
struct Reached {
    server: Box<dyn Stream>,
    is_open: bool,
}

async fn reach(access: &Access) -> Result<Reached, Fault> {
    let SqlAddress::Server { host, port, tls: mode, .. } = &access.sql().address else {
        unreachable!("only PostgreSQL targets come here");
    };
    if host.starts_with('/') {
        let socket = over_a_socket(&Path::new(host).join(format!(".s.PGSQL.{port}"))).await?;
        return Ok(Reached { server: Box::new(socket), is_open: false });
    }
    let mut stream = over_tcp(access).await?;
    let Some(config) = access.tls.clone() else {
        return Ok(Reached { server: Box::new(stream), is_open: true });
    };
    stream.write_all(&TLS_REQUEST).await.map_err(away)?;
    let answer = stream.read_u8().await.map_err(away)?;
    match (answer, mode) {
        (b'S', _) => {
            let encrypted = tls::encrypt(stream, host, config).await.map_err(tls_fault)?;
            Ok(Reached { server: Box::new(encrypted), is_open: false })
        }
        (b'N', TlsMode::Prefer) => Ok(Reached { server: Box::new(stream), is_open: true }),
        (b'N', _) => Err(does_not_encrypt()),
        (_, _) => Err(Fault::new(
            FaultClass::Transient,
            "sql.protocol",
            "what answers there is no PostgreSQL server",
        )),
    }
}

/// Carries messages to and fro.
struct Relay {
    seen: Arc<Seen>,
    /// The largest row that is let through, in bytes.
    most: usize,
    has_password: bool,
    /// Whether what is said goes over a network as it is.
    is_open: bool,
}

impl Relay {
    async fn run(
        &self,
        mut driver: UnixStream,
        server: Box<dyn Stream>,
        startup: Vec<u8>,
    ) -> io::Result<()> {
        let done = self.carry(&mut driver, server, startup).await;
        // The driver sees the end only after this.
        done.inspect_err(|error| self.seen.explain(error))
    }

    async fn carry(
        &self,
        driver: &mut UnixStream,
        mut server: Box<dyn Stream>,
        startup: Vec<u8>,
    ) -> io::Result<()> {
        let length = driver.read_u32().await?;
        let mut said =
            vec![0; usize::try_from(length).unwrap_or(0).saturating_sub(4).min(MOST_BESIDE_ROWS)];
        driver.read_exact(&mut said).await?;
        server.write_all(&startup).await?;
        server.flush().await?;
        let (mut from_driver, mut to_driver) = driver.split();
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let up = async {
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
        let down = self.down(&mut from_server, &mut to_driver);
        // When either side is gone, so is the other: a server learns at once that nobody waits for
        // it any more.
        tokio::select! {
            done = up => done,
            done = down => done,
        }
    }

    async fn down(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        driver: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut server = tokio::io::BufReader::with_capacity(64 << 10, server);
        let mut drops = false;
        loop {
            let kind = server.read_u8().await?;
            let length = server.read_u32().await?;
            let body = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .checked_sub(4)
                .ok_or(io::ErrorKind::InvalidData)?;
            match kind {
                // After one that was dropped the rest of this result would have a hole before it.
                b'D' if drops || body > self.most => {
                    drops = true;
                    self.seen.cut();
                    skip(&mut server, body).await?;
                    continue;
                }
                b'D' => {}
                b'N' | b'A' => {
                    // Nobody reads notices.
                    skip(&mut server, body).await?;
                    continue;
                }
                _ if body > MOST_BESIDE_ROWS => {
                    let message = format!(
                        "the server sent a message of {body} bytes that is no row, which is too \
                         much"
                    );
                    let fault = Fault::new(FaultClass::Limit, "sql.too-big", message);
                    return Err(self.seen.refuse(fault));
                }
                b'C' | b's' | b'E' | b'Z' => drops = false,
                _ => {}
            }
            let mut rest = body;
            driver.write_all(&[&[kind][..], &length.to_be_bytes()].concat()).await?;
            if kind == b'R' && body >= 4 {
                let method = server.read_u32().await?;
                if matches!(method, CLEAR_TEXT | 5 | 10) && !self.has_password {
                    let message = "the server asks for a password, and the target names none; \
                                   write `password = \"secret:NAME\"`";
                    let fault = Fault::new(FaultClass::Denied, "sql.login", message);
                    return Err(self.seen.refuse(fault));
                }
                if method == CLEAR_TEXT && self.is_open {
                    return Err(self.seen.refuse(would_be_read()));
                }
                driver.write_all(&method.to_be_bytes()).await?;
                rest -= 4;
            }
            tokio::io::copy(&mut (&mut server).take(rest as u64), driver).await?;
        }
    }
}
