//! A stream that notes when its last byte went out and its first byte came in.

use crate::host::Commit;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(super) fn new() -> Arc<Self> {
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

/// The stream of one exchange.
pub(super) struct Timed<S> {
    pub(super) inner: S,
    /// It is sent before the first byte of the request goes out.
    pub(super) commit: Commit,
    pub(super) marks: Arc<Marks>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.marks.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.commit.send().is_err() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the call is over",
            )));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if matches!(polled, Poll::Ready(Ok(written)) if written > 0) {
            self.marks.wrote();
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
