//! A server of Redis for one test, and a client of it that owes nothing to the host.

use crate::certificates::{CertificateAuthority, IssuedCertificate};
use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running server with 16 databases and a user `probe` (password `probe-word`) who may do all
/// that the default user may.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1, without TLS.
    pub port: u16,
    /// Its TCP port on 127.0.0.1 with TLS, if it has one.
    pub tls_port: u16,
}

/// The password of `probe`.
pub const PASSWORD: &str = "probe-word";

/// An answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is nothing.
    Nil,
    /// A number.
    Number(i64),
    /// A string of either kind; bytes that are no UTF-8 are replaced.
    Text(String),
    /// An error.
    Error(String),
    /// Several answers.
    List(Vec<Self>),
}

impl Redis {
    /// Starts a server without TLS.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start() -> Self {
        Self::start_with(&[], |_| Vec::new())
    }

    /// Starts a server that logs in nobody without a password: the default user has `password`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_password(password: &str) -> Self {
        let server = Self::start();
        server.command(&["CONFIG", "SET", "requirepass", password]);
        server
    }

    /// Starts a server that also listens with TLS and this certificate. If `clients` is given, a
    /// client must have a certificate of it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_tls(
        certificate: &IssuedCertificate,
        clients: Option<&CertificateAuthority>,
    ) -> Self {
        let tls_port = free_port();
        let port = tls_port.to_string();
        Self::start_with(&["--tls-port", &port], |folder| {
            certificate.write(folder, "server");
            let file = |name: &str| folder.join(name).display().to_string();
            let mut arguments = vec![
                "--tls-cert-file".to_owned(),
                file("server.pem"),
                "--tls-key-file".to_owned(),
                file("server.key"),
                "--tls-auth-clients".to_owned(),
                if clients.is_some() { "yes" } else { "no" }.to_owned(),
            ];
            if let Some(clients) = clients {
                std::fs::write(folder.join("clients.pem"), clients.certificate())
                    .expect("a file can be written");
            } else {
                std::fs::copy(folder.join("server.pem"), folder.join("clients.pem"))
                    .expect("a file can be written");
            }
            arguments.extend(["--tls-ca-cert-file".to_owned(), file("clients.pem")]);
            arguments
        })
        .with_tls_port(tls_port)
    }

    fn with_tls_port(self, tls_port: u16) -> Self {
        Self { tls_port, ..self }
    }

    fn start_with(arguments: &[&str], more: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = free_port();
        let more = more(folder.path());
        let mut command = Command::new(program(&["/usr/bin/redis-server"], "redis-server"));
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"])
            .args(["--user", "probe", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"])
            .arg("--dir")
            .arg(folder.path())
            .args(arguments)
            .args(more)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let server = Server::start(&mut command, Stop::Terminate, folder.path());
        let started = Self { server, folder, port, tls_port: 0 };
        wait_for("the server of Redis answers", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                && started.command(&["PING"]) == Answer::Text("PONG".to_owned())
        });
        started
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends a command on a connection of its own and returns the answer.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub fn command(&self, words: &[&str]) -> Answer {
        self.commands(&[words]).remove(0)
    }

    /// Sends commands one after the other on one connection and returns the answers.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub fn commands(&self, commands: &[&[&str]]) -> Vec<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        let mut answers = Vec::new();
        for words in commands {
            (&stream).write_all(&packed(words)).expect("the server reads");
            answers.push(read_answer(&mut reader));
        }
        answers
    }
}

/// A command in the protocol of Redis.
pub fn packed(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// Reads a command that a client sends; `None` at the end of the connection.
pub fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    match read_answer(reader) {
        Answer::List(words) => Some(
            words
                .into_iter()
                .map(|word| match word {
                    Answer::Text(text) => text,
                    other => format!("{other:?}"),
                })
                .collect(),
        ),
        Answer::Nil | Answer::Number(_) | Answer::Text(_) | Answer::Error(_) => None,
    }
}

/// The end of a connection reads as an error.
fn read_answer(reader: &mut BufReader<TcpStream>) -> Answer {
    let mut line = Vec::new();
    let ended = || Answer::Error("the connection ended".to_owned());
    if !reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 2) {
        return ended();
    }
    let rest = String::from_utf8_lossy(&line[1..line.len() - 2]).into_owned();
    let number = rest.parse::<i64>().unwrap_or_default();
    match line[0] {
        b'+' => Answer::Text(rest),
        b'-' => Answer::Error(rest),
        b':' => Answer::Number(number),
        b'*' | b'$' if number < 0 => Answer::Nil,
        b'*' => Answer::List((0..number).map(|_| read_answer(reader)).collect()),
        b'$' => {
            let mut bytes = vec![0; usize::try_from(number).unwrap_or_default() + 2];
            if reader.read_exact(&mut bytes).is_err() {
                return ended();
            }
            bytes.truncate(bytes.len() - 2);
            Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => ended(),
    }
}
