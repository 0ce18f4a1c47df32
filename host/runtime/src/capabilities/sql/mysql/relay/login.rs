//! Relays the login, encrypts the connection as the target requires, and inserts the password where
//! the driver cannot.

use super::{
    COMPRESS, LOCAL_FILES, Packet, Relay, SSL, Server, Session, clear_capabilities, has_capability,
};
use crate::capabilities::sql::stream::{
    Stream, clear_text_password_fault, tls_fault, tls_unsupported_fault,
};
use crate::net::route::ServerStream;
use crate::net::tls;
use runbook_authority::targets::TlsMode;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;

/// The greeting of a server, and the transport to use after it.
struct ServerHandshake {
    greeting: Packet,
    transport: Transport,
}

/// The transport to a server after its greeting.
enum Transport {
    /// Not encrypted: a Unix socket, or a target or server without TLS.
    Plain(Box<dyn Stream>),
    /// To be encrypted by TLS, which the server supports.
    UpgradeToTls { stream: ServerStream, host: String, config: Arc<ClientConfig> },
}

/// Whether the connection to the server was encrypted before the login.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoginMode {
    /// Not encrypted: packets are passed on unchanged.
    Plain,
    /// Encrypted by the host; the driver does not know of it.
    Tls,
}

impl LoginMode {
    /// How much larger packet numbers are on the server's side: 1 after the TLS request, which the
    /// driver has not sent.
    fn packet_number_offset(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Tls => 1,
        }
    }
}

/// Whether a greeting names the authentication method that sends the password in clear text.
fn asks_for_clear_text(greeting: &[u8]) -> bool {
    let method = b"mysql_clear_password";
    greeting.windows(method.len()).any(|part| part == method)
}

impl Relay {
    /// Relays the login until the server has accepted or refused it.
    pub(super) async fn log_in(
        &self,
        driver: &mut UnixStream,
        server: Server,
    ) -> io::Result<Session> {
        let ServerHandshake { mut greeting, transport } = self.read_greeting(server).await?;
        clear_capabilities(&mut greeting.body, SSL | COMPRESS | LOCAL_FILES);
        greeting.write(driver).await?;
        let mut answer = Packet::read(driver).await?;
        let Some(&[a, b, c, d]) = answer.body.first_chunk() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let flags = u32::from_le_bytes([a, b, c, d]);
        let server = match transport {
            Transport::Plain(mut server) => {
                // Packet numbers stay as they are, because the relay has sent no packet of its own.
                self.authenticate(driver, &mut server, answer, LoginMode::Plain).await?;
                server
            }
            Transport::UpgradeToTls { stream, host, config } => {
                answer.body[..4].copy_from_slice(&(flags | SSL).to_le_bytes());
                let request = answer.body.get(..32).ok_or(io::ErrorKind::InvalidData)?.to_vec();
                let mut server = self.encrypt(stream, &host, config, request).await?;
                self.authenticate(driver, &mut server, answer, LoginMode::Tls).await?;
                server
            }
        };
        Ok(Session { server, flags })
    }

    /// Reads the greeting, and decides whether to encrypt the connection.
    ///
    /// # Errors
    ///
    /// The server does not support TLS although the target requires it, or it sends no greeting.
    async fn read_greeting(&self, server: Server) -> io::Result<ServerHandshake> {
        let (mut stream, host, mode, config) = match server {
            Server::Socket(mut stream) => {
                let greeting = Packet::read(&mut stream).await?;
                return Ok(ServerHandshake {
                    greeting,
                    transport: Transport::Plain(Box::new(stream)),
                });
            }
            Server::Network { stream, host, mode, config } => (stream, host, mode, config),
        };
        let greeting = Packet::read(&mut stream).await?;
        if greeting.body.first() != Some(&10) {
            // The packet is an error, which the driver reports.
            return Ok(ServerHandshake { greeting, transport: Transport::Plain(Box::new(stream)) });
        }
        match config {
            Some(config) if has_capability(&greeting.body, SSL) => Ok(ServerHandshake {
                greeting,
                transport: Transport::UpgradeToTls { stream, host, config },
            }),
            Some(_) if mode != TlsMode::Prefer => {
                Err(self.status.end_with(tls_unsupported_fault()))
            }
            // The driver would send the password in clear text. (If the server asks for that later,
            // the driver refuses.)
            Some(_) | None if asks_for_clear_text(&greeting.body) => {
                Err(self.status.end_with(clear_text_password_fault()))
            }
            Some(_) | None => {
                Ok(ServerHandshake { greeting, transport: Transport::Plain(Box::new(stream)) })
            }
        }
    }

    /// Sends the TLS request (the first 32 bytes of the driver's answer), and encrypts the
    /// connection.
    async fn encrypt(
        &self,
        mut stream: ServerStream,
        host: &str,
        config: Arc<ClientConfig>,
        request: Vec<u8>,
    ) -> io::Result<Box<dyn Stream>> {
        Packet { number: 1, body: request }.write(&mut stream).await?;
        let encrypted = tls::encrypt(stream, host, config).await;
        Ok(Box::new(encrypted.map_err(|failure| self.status.end_with(tls_fault(failure)))?))
    }

    /// Relays packets between driver and server until the server accepts or refuses the login.
    async fn authenticate(
        &self,
        driver: &mut UnixStream,
        server: &mut Box<dyn Stream>,
        mut answer: Packet,
        mode: LoginMode,
    ) -> io::Result<()> {
        let packet_number_offset = mode.packet_number_offset();
        loop {
            // Without TLS the driver asks for a public key to encrypt the password. Over TLS the
            // server expects the password itself, so the relay sends that instead.
            if mode == LoginMode::Tls && matches!(answer.body.as_slice(), [1 | 2]) {
                let password = self.password.as_ref();
                answer.body = password.map(|secret| secret.expose().to_vec()).unwrap_or_default();
                answer.body.push(0);
            }
            answer.number = answer.number.wrapping_add(packet_number_offset);
            answer.write(server).await?;
            loop {
                let mut reply = Packet::read(server).await?;
                reply.number = reply.number.wrapping_sub(packet_number_offset);
                reply.write(driver).await?;
                match reply.body.as_slice() {
                    [0 | 0xff, ..] => return Ok(()),
                    // The server has the password in its cache; its OK packet follows.
                    [1, 3] => {}
                    _ => break,
                }
            }
            answer = Packet::read(driver).await?;
        }
    }
}
