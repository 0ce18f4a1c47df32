//! A connection that a gateway has made, as a stream.

use super::Session;
use hyper::body::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

/// How long a dropped stream waits until its channel is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection through a gateway. Its end is an end only if the gateway says so: if the session
/// with the gateway ends before, reading fails, as for a connection that was cut.
pub(super) struct SshStream {
    received: mpsc::Receiver<io::Result<Bytes>>,
    unread: Bytes,
    /// Dropped with the stream, which closes the channel.
    _open: oneshot::Sender<()>,
    writer: Pin<Box<dyn AsyncWrite + Send + Sync>>,
    /// Keeps the session open.
    _session: Arc<Session>,
}

impl SshStream {
    pub(super) fn new(channel: Channel<Msg>, session: Arc<Session>) -> Self {
        let (read, write) = channel.split();
        let writer = Box::pin(write.make_writer());
        let (sender, received) = mpsc::channel(1);
        let (open, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let mut dropped = dropped;
            let end = receive(read, sender, &mut dropped).await;
            if end == End::OtherSide {
                // This side may still send.
                let _ = dropped.await;
            }
            if end != End::Session {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, write.close()).await;
            }
        });
        Self { received, unread: Bytes::new(), _open: open, writer, _session: session }
    }
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The other side of the connection.
    OtherSide,
    /// This side: the stream was dropped.
    ThisSide,
    /// The session with the gateway, before the connection.
    Session,
}

/// Passes on what comes through a channel, until the other side ends or the stream is dropped.
async fn receive(
    mut read: ChannelReadHalf,
    sender: mpsc::Sender<io::Result<Bytes>>,
    dropped: &mut oneshot::Receiver<()>,
) -> End {
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            _ = &mut *dropped => return End::ThisSide,
        };
        let is_passed_on = match message {
            Some(ChannelMsg::Data { data }) => sender.send(Ok(data)).await,
            Some(ChannelMsg::Eof | ChannelMsg::Close) => return End::OtherSide,
            // Another stream of the channel, and requests, are not part of the connection.
            Some(_) => Ok(()),
            None => {
                let what = "the session with the gateway has ended";
                let cut = io::Error::new(io::ErrorKind::ConnectionReset, what);
                let _ = sender.send(Err(cut)).await;
                return End::Session;
            }
        };
        if is_passed_on.is_err() {
            let _ = dropped.await;
            return End::ThisSide;
        }
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.received.poll_recv(cx)) {
                Some(Ok(bytes)) => self.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buf.remaining());
        let bytes = self.unread.split_to(count);
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}
