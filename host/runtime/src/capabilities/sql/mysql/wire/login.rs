//! The login: the driver's answers are passed on, the password is put in by the host, and the
//! connection is encrypted as the target demands.

use super::{COMPRESS, LOCAL_FILES, Packet, Relay, SSL, Server, Session, can, cannot};
use crate::capabilities::sql::stream::{Stream, does_not_encrypt, tls_fault, would_be_read};
use crate::net::tls;
use runbook_authority::targets::TlsMode;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};

/// A server that has said its greeting, and how it is reached from now on.
struct Greeted {
    greeting: Packet,
    link: Link,
}

/// How a server is reached once it has greeted.
enum Link {
    /// As it is: a socket, or a target or server without TLS.
    Plain(Box<dyn Stream>),
    /// By TLS, which the server has said that it can.
    ToEncrypt { stream: TcpStream, host: String, config: Arc<ClientConfig> },
}

/// How packets of the login are passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    /// As the driver and the server send them.
    AsSent,
    /// The server is asked for TLS, of which the driver does not know.
    Encrypted,
}

impl Passing {
    /// By how much the server's number of a packet is ahead of the driver's: one, after what the
    /// driver does not know of was sent.
    fn ahead(self) -> u8 {
        match self {
            Self::AsSent => 0,
            Self::Encrypted => 1,
        }
    }
}

/// Whether a greeting names the method by which a password is said as it is.
fn asks_for_clear_text(greeting: &[u8]) -> bool {
    let method = b"mysql_clear_password";
    greeting.windows(method.len()).any(|part| part == method)
}

impl Relay {
    /// Until the server has said yes or no.
    pub(super) async fn log_in(
        &self,
        driver: &mut UnixStream,
        server: Server,
    ) -> io::Result<Session> {
        let Greeted { mut greeting, link } = self.greeted(server).await?;
        cannot(&mut greeting.body, SSL | COMPRESS | LOCAL_FILES);
        greeting.write(driver).await?;
        let mut answer = Packet::read(driver).await?;
        let Some(&[a, b, c, d]) = answer.body.first_chunk() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let flags = u32::from_le_bytes([a, b, c, d]);
        let server = match link {
            Link::Plain(mut server) => {
                // Numbers of packets are the driver's own: nothing was sent that it does not know.
                self.authenticate(driver, &mut server, answer, Passing::AsSent).await?;
                server
            }
            Link::ToEncrypt { stream, host, config } => {
                answer.body[..4].copy_from_slice(&(flags | SSL).to_le_bytes());
                let request = answer.body.get(..32).ok_or(io::ErrorKind::InvalidData)?.to_vec();
                let mut server = self.encrypt(stream, &host, config, request).await?;
                self.authenticate(driver, &mut server, answer, Passing::Encrypted).await?;
                server
            }
        };
        Ok(Session { server, flags })
    }

    /// Reads the greeting, and decides whether the connection is to be encrypted.
    ///
    /// # Errors
    ///
    /// The server does not encrypt, and the target demands it; or it says nothing.
    async fn greeted(&self, server: Server) -> io::Result<Greeted> {
        let (mut stream, host, mode, config) = match server {
            Server::Socket(mut stream) => {
                let greeting = Packet::read(&mut stream).await?;
                return Ok(Greeted { greeting, link: Link::Plain(Box::new(stream)) });
            }
            Server::Tcp { stream, host, mode, config } => (stream, host, mode, config),
        };
        let greeting = Packet::read(&mut stream).await?;
        if greeting.body.first() != Some(&10) {
            // An error, which the driver reads.
            return Ok(Greeted { greeting, link: Link::Plain(Box::new(stream)) });
        }
        match config {
            Some(config) if can(&greeting.body, SSL) => {
                Ok(Greeted { greeting, link: Link::ToEncrypt { stream, host, config } })
            }
            Some(_) if mode != TlsMode::Prefer => Err(self.seen.refuse(does_not_encrypt())),
            // The driver would say the password as it is. It refuses to where the server asks for
            // it later.
            Some(_) | None if asks_for_clear_text(&greeting.body) => {
                Err(self.seen.refuse(would_be_read()))
            }
            Some(_) | None => Ok(Greeted { greeting, link: Link::Plain(Box::new(stream)) }),
        }
    }

    /// Asks the server for TLS by `request` (the first 32 bytes of the driver's answer), and
    /// encrypts.
    async fn encrypt(
        &self,
        mut stream: TcpStream,
        host: &str,
        config: Arc<ClientConfig>,
        request: Vec<u8>,
    ) -> io::Result<Box<dyn Stream>> {
        Packet { number: 1, body: request }.write(&mut stream).await?;
        let encrypted = tls::encrypt(stream, host, config).await;
        Ok(Box::new(encrypted.map_err(|failure| self.seen.refuse(tls_fault(failure)))?))
    }

    /// Carries packets between driver and server until the server says yes or no, which the driver
    /// is told.
    async fn authenticate(
        &self,
        driver: &mut UnixStream,
        server: &mut Box<dyn Stream>,
        mut answer: Packet,
        passing: Passing,
    ) -> io::Result<()> {
        let ahead = passing.ahead();
        loop {
            // A driver that sees no TLS asks for a key to encrypt the password with; over TLS a
            // server takes the password itself.
            if passing == Passing::Encrypted && matches!(answer.body.as_slice(), [1 | 2]) {
                let password = self.password.as_ref();
                answer.body = password.map(|secret| secret.expose().to_vec()).unwrap_or_default();
                answer.body.push(0);
            }
            answer.number = answer.number.wrapping_add(ahead);
            answer.write(server).await?;
            loop {
                let mut said = Packet::read(server).await?;
                said.number = said.number.wrapping_sub(ahead);
                said.write(driver).await?;
                match said.body.as_slice() {
                    [0 | 0xff, ..] => return Ok(()),
                    // The password was known already: the server's yes follows.
                    [1, 3] => {}
                    _ => break,
                }
            }
            answer = Packet::read(driver).await?;
        }
    }
}
