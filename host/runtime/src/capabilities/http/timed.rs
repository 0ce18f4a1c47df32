//! A stream that notes when its last byte went out and its first byte came in.

use crate::host::Commit;
use crate::net::handshake::refused_client;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Moments of one exchange, as nanoseconds since its start; 0 is "not yet".
#[derive(Debug)]
pub(super) struct Marks {
    start: Instant,
    last_write: AtomicU64,
    first_read: AtomicU64,
}

impl Marks {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last_write: AtomicU64::new(0),
            first_read: AtomicU64::new(0),
        })
    }

    /// The time from the last byte of the request to the first byte of the answer.
    pub(super) fn first_byte(&self) -> Duration {
        let (last_write, first_read) =
            (self.last_write.load(Ordering::Relaxed), self.first_read.load(Ordering::Relaxed));
        Duration::from_nanos(first_read.saturating_sub(last_write))
    }

    /// Whether any byte of the request went out.
    pub(super) fn sent(&self) -> bool {
        self.last_write.load(Ordering::Relaxed) > 0
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn wrote(&self) {
        if self.first_read.load(Ordering::Relaxed) == 0 {
            self.last_write.store(self.now(), Ordering::Relaxed);
        }
    }

    fn read(&self) {
        if self.first_read.load(Ordering::Relaxed) == 0 {
            self.first_read.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// Which exchange a stream carries, if it carries one: a connection may serve one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    under: Option<Under>,
    /// Why the server refused who this host says it is.
    refused: Option<String>,
}

#[derive(Debug)]
struct Under {
    /// It is sent before the first byte of the request goes out.
    commit: Commit,
    marks: Arc<Marks>,
}

impl Turn {
    /// An exchange begins.
    pub(super) fn begin(&self, commit: &Commit) -> Arc<Marks> {
        let marks = Marks::new();
        self.state().under = Some(Under { commit: commit.clone(), marks: Arc::clone(&marks) });
        marks
    }

    /// It is over. What a protocol writes between two exchanges belongs to none.
    pub(super) fn end(&self) {
        self.state().under = None;
    }

    /// Why the server refused who this host says it is. What stands between the stream and the
    /// caller keeps only the words of an error.
    pub(super) fn refused(&self) -> Option<String> {
        self.state().refused.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of one connection.
pub(super) struct Timed<S> {
    inner: S,
    turn: Turn,
}

impl<S> Timed<S> {
    pub(super) fn new(inner: S, turn: Turn) -> Self {
        Self { inner, turn }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let mut state = self.turn.state();
        if buf.filled().len() > before
            && let Some(under) = &state.under
        {
            under.marks.read();
        }
        if let Poll::Ready(Err(error)) = &polled
            && let Some(reason) = refused_client(error)
        {
            state.refused = Some(reason);
        }
        drop(state);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let turn = self.turn.clone();
        let state = turn.state();
        if let Some(under) = &state.under
            && under.commit.send().is_err()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the call is over",
            )));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Some(under) = &state.under
            && matches!(polled, Poll::Ready(Ok(written)) if written > 0)
        {
            under.marks.wrote();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
