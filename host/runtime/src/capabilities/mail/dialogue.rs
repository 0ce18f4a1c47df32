//! The dialogue with a mail server (RFC 5321, 3207, 4954).
//!
//! Invariant: one command is sent at a time, and nothing is sent while bytes are unread that the
//! server was not asked for. So an answer that somebody put into the connection before it was
//! encrypted is never taken for an answer that came after.

use super::EncodedLogin;
use super::failure::{Failure, Reply};
use super::message::Envelope;
use crate::host::Commit;
use crate::net::handshake::{TlsFailure, client_rejection};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A connection to a server, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How many bytes an answer may have, with all its lines.
const MAX_REPLY: usize = 32 << 10;

/// The name that the host gives itself: none. An address is what a client without a name says.
const OWN_NAME: &str = "[127.0.0.1]";

/// A connection on which answers are read.
pub(super) struct Dialogue<S> {
    stream: S,
    unread: Vec<u8>,
}

/// A dialogue with a server that has said what it can do.
pub(super) struct Greeted<S = Box<dyn Stream>> {
    dialogue: Dialogue<S>,
    /// The lines of its answer to `EHLO`, in upper case.
    extensions: Vec<String>,
}

impl<S: Stream> Dialogue<S> {
    /// A dialogue over `stream`. Nothing is sent yet.
    pub(super) fn open(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Waits for the server to speak first, and introduces the host.
    pub(super) async fn greet(mut self) -> Result<Greeted<S>, Failure> {
        let banner = self.reply().await?;
        if banner.code != 220 {
            return Err(Failure::Command("a connection", banner));
        }
        self.introduce().await
    }

    /// Introduces the host, and keeps what the server can do.
    pub(super) async fn introduce(mut self) -> Result<Greeted<S>, Failure> {
        let reply = self.ask(&format!("EHLO {OWN_NAME}")).await?;
        if reply.code != 250 {
            return Err(Failure::Command("EHLO", reply));
        }
        let extensions = reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(Greeted { dialogue: self, extensions })
    }

    /// Sends one command and reads the answer.
    async fn ask(&mut self, command: &str) -> Result<Reply, Failure> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.unread.is_empty() {
            return Err(Failure::OutOfTurn);
        }
        self.stream.write_all(bytes).await.map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }

    /// Reads one answer, with all its lines.
    async fn reply(&mut self) -> Result<Reply, Failure> {
        let mut read = 0;
        let mut lines = Vec::new();
        let mut first_code = None;
        loop {
            let line = self.line(MAX_REPLY - read).await?;
            read += line.len();
            let (code, is_last, text) = parse_line(&line)?;
            if *first_code.get_or_insert(code) != code {
                return Err(Failure::Protocol("the lines of an answer disagree".to_owned()));
            }
            lines.push(text);
            if is_last {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads up to the end of a line, which has at most `limit` bytes.
    async fn line(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                let line = std::mem::replace(&mut self.unread, rest);
                if line.len() <= limit {
                    return Ok(line);
                }
            }
            if self.unread.len() >= limit {
                let what = format!("an answer has more than {MAX_REPLY} bytes");
                return Err(Failure::Protocol(what));
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).await.map_err(|error| broken(&error))?;
            if count == 0 {
                return Err(Failure::Broken("the server closed it".to_owned()));
            }
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }
}

/// The code of a line, whether it is the last of its answer, and its text.
fn parse_line(line: &[u8]) -> Result<(u16, bool, String), Failure> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches(['\r', '\n']);
    let (digits, rest) = line.split_at_checked(3).unwrap_or((line, ""));
    let is_code = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let code = digits.parse().ok().filter(|code| is_code && (200..600).contains(code));
    match (code, rest.chars().next()) {
        (Some(code), None) => Ok((code, true, String::new())),
        (Some(code), Some(' ')) => Ok((code, true, rest[1..].to_owned())),
        (Some(code), Some('-')) => Ok((code, false, rest[1..].to_owned())),
        (Some(_) | None, _) => Err(Failure::Protocol(format!("it says `{line}`"))),
    }
}

impl<S: Stream> Greeted<S> {
    /// Asks the server to encrypt, and returns the connection on which the handshake is next.
    pub(super) async fn start_tls(mut self) -> Result<S, Failure> {
        if !self.extensions.iter().any(|line| line == "STARTTLS") {
            return Err(Failure::NoStartTls("it does not offer STARTTLS".to_owned()));
        }
        let reply = self.dialogue.ask("STARTTLS").await?;
        if reply.code != 220 {
            return Err(Failure::NoStartTls(format!("it does not accept STARTTLS: {reply}")));
        }
        if !self.dialogue.unread.is_empty() {
            return Err(Failure::InjectedBeforeTls);
        }
        Ok(self.dialogue.stream)
    }
}

impl Greeted {
    fn offers_login(&self, mechanism: &str) -> bool {
        self.extensions
            .iter()
            .filter_map(|line| {
                line.strip_prefix("AUTH").and_then(|rest| rest.strip_prefix([' ', '=']))
            })
            .any(|rest| rest.split(' ').any(|offered| offered == mechanism))
    }

    /// The number of bytes that the server takes in one message, if it says so.
    fn size_limit(&self) -> Option<usize> {
        let size = self.extensions.iter().find_map(|line| line.strip_prefix("SIZE "))?;
        size.trim().parse().ok().filter(|limit| *limit > 0)
    }

    /// Logs in.
    pub(super) async fn log_in(&mut self, login: &EncodedLogin) -> Result<(), Failure> {
        let reply = if self.offers_login("PLAIN") {
            self.dialogue.ask(&format!("AUTH PLAIN {}", login.plain)).await?
        } else if self.offers_login("LOGIN") {
            let mut reply = self.dialogue.ask("AUTH LOGIN").await?;
            for answer in [&login.user, &login.password] {
                if reply.code != 334 {
                    return Err(Failure::Login(reply));
                }
                reply = self.dialogue.ask(answer).await?;
            }
            reply
        } else {
            return Err(Failure::NoLogin);
        };
        if reply.code == 235 { Ok(()) } else { Err(Failure::Login(reply)) }
    }

    /// Gives the server a message for all its recipients, and returns what it says when it has
    /// taken it. If it refuses one of them, nobody gets the message.
    pub(super) async fn deliver(
        &mut self,
        envelope: &Envelope<'_>,
        commit: &Commit,
    ) -> Result<String, Failure> {
        let bytes = envelope.len();
        let mut from = format!("MAIL FROM:<{}>", envelope.from);
        if let Some(limit) = self.size_limit() {
            if bytes > limit {
                return Err(Failure::TooLarge { bytes, limit });
            }
            from = format!("{from} SIZE={bytes}");
        }
        let reply = self.dialogue.ask(&from).await?;
        if !reply.is_good() {
            return Err(Failure::Command("the sender", reply));
        }
        let mut refused = Vec::new();
        for recipient in envelope.to {
            let reply = self.dialogue.ask(&format!("RCPT TO:<{recipient}>")).await?;
            if !reply.is_good() {
                refused.push((recipient.clone(), reply));
            }
        }
        if !refused.is_empty() {
            return Err(Failure::Recipients(refused));
        }
        let reply = self.dialogue.ask("DATA").await?;
        if reply.code != 354 {
            return Err(Failure::Command("a message", reply));
        }
        self.dialogue.send(&envelope.stuffed()).await?;
        // The server takes nothing before the line of one dot.
        commit.mark_sent().map_err(Failure::Refused)?;
        let reply = self.dialogue.ask(".").await?;
        match reply.code {
            200..300 => Ok(reply.to_string()),
            400..600 => {
                commit.mark_rolled_back();
                Err(Failure::Command("the message", reply))
            }
            _ => Err(Failure::Protocol(format!("it answers a message with {reply}"))),
        }
    }

    /// Ends the dialogue. What the server says to that is of no importance.
    pub(super) async fn quit(mut self) {
        // After a part of a message, this line would belong to it; the server then discards all.
        let _ = self.dialogue.send(b"QUIT\r\n").await;
        let _ = self.dialogue.stream.shutdown().await;
    }
}

fn broken(error: &io::Error) -> Failure {
    match client_rejection(error) {
        Some(reason) => Failure::Tls(TlsFailure::ClientRejected(reason)),
        None => Failure::Broken(error.to_string()),
    }
}
