//! A connection that speaks the protocol of Redis over a stream of the host. The library `redis`
//! writes and reads the messages; it neither resolves a name nor opens a socket, and each answer has
//! a limit.

use super::failure::{Failure, ServerReply};
use crate::net::handshake::{TlsFailure, client_rejection};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture;
use runbook_secrets::Secret;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to a server, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The least that an answer of the server may have, even if the target allows less, because the
/// host itself asks for what the server knows of a command.
const MIN_LIMIT: usize = 64 << 10;

/// How much of what the server sent last is kept, for the message if it is no answer.
const HEARD_BYTES: usize = 160;

/// The value of [`StreamState::remaining`] after the limit was reached.
const EXCEEDED: usize = 0;

/// What a stream and its connection share.
#[derive(Debug)]
struct StreamState {
    /// How many bytes may still come, and one more.
    remaining: AtomicUsize,
    /// Why the server has refused the certificate of the host. The library does not pass it on.
    rejection: Mutex<Option<String>>,
    /// The beginning of what came since the last answer. A server without a free connection, or of
    /// another protocol, speaks before it is asked; the library drops that.
    heard: Mutex<Vec<u8>>,
}

/// A stream that ends with an error when more bytes come than are allowed.
struct LimitedStream {
    stream: Box<dyn Stream>,
    state: Arc<StreamState>,
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => {
                let new = &buffer.filled()[before..];
                let count = new.len();
                let mut heard = self.state.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let room = HEARD_BYTES.saturating_sub(heard.len());
                heard.extend_from_slice(&new[..count.min(room)]);
                drop(heard);
                let remaining = self.state.remaining.load(Ordering::Acquire);
                self.state.remaining.store(remaining.saturating_sub(count), Ordering::Release);
                if count >= remaining {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            }
            Poll::Ready(Err(error)) => {
                let rejection = client_rejection(error);
                *self.state.rejection.lock().unwrap_or_else(PoisonError::into_inner) = rejection;
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // If the server has closed the connection, what it said before is still to be read. The
        // next read then tells of the end.
        match Pin::new(&mut *self.stream).poll_write(context, bytes) {
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(bytes.len())),
            polled => polled,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut *self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// An open connection.
pub(super) struct Connection {
    sender: MultiplexedConnection,
    /// Reads and writes the stream, as long as it is polled.
    driver: Pin<Box<dyn FusedFuture<Output = ()> + Send>>,
    state: Arc<StreamState>,
    /// How many bytes the answer to the command of the plugin may have.
    limit: usize,
    /// Whether the server has answered anything.
    has_answered: bool,
}

impl Connection {
    /// A connection over `stream`. Nothing is sent yet.
    pub(super) async fn open(stream: Box<dyn Stream>, limit: usize) -> Result<Self, Failure> {
        let state = Arc::new(StreamState {
            remaining: AtomicUsize::new(MIN_LIMIT),
            rejection: Mutex::new(None),
            heard: Mutex::new(Vec::new()),
        });
        let stream = LimitedStream { stream, state: Arc::clone(&state) };
        // Without a login and a name, the library sends nothing by itself.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (sender, driver) = opened.map_err(|error| Failure::of(&error))?;
        let driver = Box::pin(driver.fuse());
        Ok(Self { sender, driver, state, limit, has_answered: false })
    }

    /// Logs in. The user is always sent, so that no other user is tried.
    pub(super) async fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        let login = [b"AUTH".as_slice(), user.as_bytes(), password.expose()];
        self.ask(&login).await.map(drop).map_err(|why| match why {
            Failure::Server(reply) => Failure::Login(reply),
            other => other,
        })
    }

    /// Chooses the database. Every connection begins with the first.
    pub(super) async fn select(&mut self, database: u32) -> Result<(), Failure> {
        if database == 0 {
            return Ok(());
        }
        self.ask(&[b"SELECT", database.to_string().as_bytes()]).await.map(drop)
    }

    /// A question of the host itself.
    pub(super) async fn ask(&mut self, command: &[&[u8]]) -> Result<Value, Failure> {
        let mut question = Cmd::new();
        for argument in command {
            question.arg(*argument);
        }
        self.round_trip(&question, MIN_LIMIT).await
    }

    /// The command of the plugin.
    pub(super) async fn send(&mut self, arguments: &[Vec<u8>]) -> Result<Value, Failure> {
        let mut command = Cmd::new();
        for argument in arguments {
            command.arg(argument.as_slice());
        }
        self.round_trip(&command, self.limit).await
    }

    async fn round_trip(&mut self, command: &Cmd, limit: usize) -> Result<Value, Failure> {
        self.state.remaining.store(limit.saturating_add(1), Ordering::Release);
        let answer = {
            let mut answer = std::pin::pin!(self.sender.send_packed_command(command));
            // The driver ends with the connection, and may have read the answer before.
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                () = &mut self.driver => answer.await,
            }
        };
        let heard =
            std::mem::take(&mut *self.state.heard.lock().unwrap_or_else(PoisonError::into_inner));
        let has_answered = std::mem::replace(&mut self.has_answered, answer.is_ok());
        let is_exceeded = self.state.remaining.load(Ordering::Acquire) == EXCEEDED;
        match answer {
            Ok(Value::ServerError(error)) => Err(Failure::Server(ServerReply {
                code: error.code().to_owned(),
                message: error.details().unwrap_or_default().to_owned(),
            })),
            Ok(value) => Ok(value),
            Err(_) if is_exceeded => Err(Failure::TooLarge(limit)),
            Err(error) => Err(match self.rejection() {
                Some(reason) => Failure::Tls(TlsFailure::ClientRejected(reason)),
                None => Failure::of(&error).after(&heard, has_answered),
            }),
        }
    }

    /// Why the server has refused the certificate of the host, if it has.
    fn rejection(&self) -> Option<String> {
        self.state.rejection.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
