//! A stream that records when the last byte of a request was written and the first byte of its
//! response was read.

use crate::host::Commit;
use crate::net::handshake::client_rejection;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Times of one exchange, in nanoseconds since its start; 0 means "not yet".
#[derive(Debug)]
pub(super) struct ExchangeTimings {
    start: Instant,
    last_write: AtomicU64,
    first_read: AtomicU64,
}

impl ExchangeTimings {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last_write: AtomicU64::new(0),
            first_read: AtomicU64::new(0),
        })
    }

    /// The time from the last byte of the request to the first byte of the response.
    pub(super) fn first_byte(&self) -> Duration {
        let (last_write, first_read) =
            (self.last_write.load(Ordering::Relaxed), self.first_read.load(Ordering::Relaxed));
        Duration::from_nanos(first_read.saturating_sub(last_write))
    }

    /// Whether any byte of the request was sent.
    pub(super) fn has_sent(&self) -> bool {
        self.last_write.load(Ordering::Relaxed) > 0
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn record_write(&self) {
        if self.first_read.load(Ordering::Relaxed) == 0 {
            self.last_write.store(self.now(), Ordering::Relaxed);
        }
    }

    fn record_read(&self) {
        if self.first_read.load(Ordering::Relaxed) == 0 {
            self.first_read.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// The exchange that a stream carries now, if any: a connection carries one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct CurrentExchange(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    active: Option<ActiveExchange>,
    /// Why the server refused the client certificate.
    client_rejection_reason: Option<String>,
}

#[derive(Debug)]
struct ActiveExchange {
    /// Marked as sent before the first byte of the request is written.
    commit: Commit,
    timings: Arc<ExchangeTimings>,
}

impl CurrentExchange {
    /// Begins an exchange.
    pub(super) fn begin(&self, commit: &Commit) -> Arc<ExchangeTimings> {
        let timings = ExchangeTimings::new();
        self.state().active =
            Some(ActiveExchange { commit: commit.clone(), timings: Arc::clone(&timings) });
        timings
    }

    /// Ends the exchange. Bytes that the protocol writes between two exchanges belong to neither.
    pub(super) fn end(&self) {
        self.state().active = None;
    }

    /// Why the server refused the client certificate. It is kept here because hyper passes on only
    /// the text of an error.
    pub(super) fn client_rejection_reason(&self) -> Option<String> {
        self.state().client_rejection_reason.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of one connection.
pub(super) struct TimedStream<S> {
    inner: S,
    current_exchange: CurrentExchange,
}

impl<S> TimedStream<S> {
    pub(super) fn new(inner: S, current_exchange: CurrentExchange) -> Self {
        Self { inner, current_exchange }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let mut state = self.current_exchange.state();
        if buf.filled().len() > filled_before
            && let Some(active) = &state.active
        {
            active.timings.record_read();
        }
        if let Poll::Ready(Err(error)) = &result
            && let Some(reason) = client_rejection(error)
        {
            state.client_rejection_reason = Some(reason);
        }
        drop(state);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let current_exchange = self.current_exchange.clone();
        let state = current_exchange.state();
        if let Some(active) = &state.active
            && active.commit.mark_sent().is_err()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the call is over",
            )));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Some(active) = &state.active
            && matches!(result, Poll::Ready(Ok(written)) if written > 0)
        {
            active.timings.record_write();
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
