//! The body of an answer: read up to a limit, decoded on the way.

use super::decoding::{Damage, Decoding, Encoding, Progress, encoding};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::http::response::Parts;
use std::time::Duration;
use tokio::time::Instant;

/// How long it is waited for what stands behind the part of a body that is shown.
const WAIT_BEHIND: Duration = Duration::from_secs(1);

/// The body of an answer, as far as it was read.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) end: BodyEnd,
}

/// Where the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// At its end, or where enough of it was read.
    Known,
    /// Behind the part that is shown, because no more came.
    Silent,
}

/// Whether anything of a body was left unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remainder {
    None,
    Some,
}

/// Why there is no body.
pub(super) enum Unread {
    Broken(hyper::Error),
    Damaged(Damage),
}

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Bytes that are shown to the guest, counted when they are decoded.
    pub(super) shown: usize,
    /// Bytes after them that are read if they arrive, but not shown.
    pub(super) behind: usize,
    pub(super) form: Form,
}

/// In which form a guest gets a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Decoded, because the host asked for its encoding.
    Decoded,
    /// As it came.
    Raw,
}

impl Reading {
    /// Reads a body. The headers of one that was decoded say no more how it was encoded, nor how
    /// long it was then.
    pub(super) async fn read(
        self,
        head: &mut Parts,
        body: Incoming,
    ) -> Result<(Body, Remainder), Unread> {
        let mut decoding = None;
        // Part of an encoded body cannot be decoded by itself.
        if self.form == Form::Decoded && head.status != StatusCode::PARTIAL_CONTENT {
            match encoding(&head.headers) {
                Encoding::Known(codings) => {
                    decoding = Some(Decoding::new(&codings).map_err(Unread::Damaged)?);
                    head.headers.remove(CONTENT_ENCODING);
                    head.headers.remove(CONTENT_LENGTH);
                }
                Encoding::None | Encoding::Unknown => {}
            }
        }
        Taking { body, decoding, bytes: Vec::new(), cap: self.shown.saturating_add(self.behind) }
            .up_to(self.shown)
            .await
    }
}

/// A body that is being read.
struct Taking {
    body: Incoming,
    decoding: Option<Decoding>,
    bytes: Vec<u8>,
    cap: usize,
}

/// What the next piece of a body is.
enum Piece {
    Some,
    End,
}

impl Taking {
    /// What is wrong behind what is shown is no error.
    async fn up_to(mut self, shown: usize) -> Result<(Body, Remainder), Unread> {
        let mut until = None;
        loop {
            let piece = if self.bytes.len() <= shown {
                self.next().await?
            } else {
                let until = *until.get_or_insert_with(|| Instant::now() + WAIT_BEHIND);
                match tokio::time::timeout_at(until, self.next()).await {
                    Ok(Ok(piece)) => piece,
                    Ok(Err(_)) | Err(_) => {
                        let body = Body { bytes: self.bytes, end: BodyEnd::Silent };
                        return Ok((body, Remainder::Some));
                    }
                }
            };
            let remainder = match piece {
                Piece::End => Remainder::None,
                Piece::Some if self.bytes.len() == self.cap => Remainder::Some,
                Piece::Some => continue,
            };
            return Ok((Body { bytes: self.bytes, end: BodyEnd::Known }, remainder));
        }
    }

    /// Adds a piece to what was read: what can be decoded of what is there, else what arrives.
    async fn next(&mut self) -> Result<Piece, Unread> {
        if let Some(decoding) = &mut self.decoding {
            // A small stream may take long to unfold: others have their turn between its pieces.
            tokio::task::yield_now().await;
            let step = decoding.step(&mut self.bytes, self.cap).map_err(Unread::Damaged)?;
            if step == Progress::Made {
                return Ok(Piece::Some);
            }
        }
        let Some(frame) = self.body.frame().await.transpose().map_err(Unread::Broken)? else {
            if let Some(decoding) = &self.decoding {
                decoding.finish().map_err(Unread::Damaged)?;
            }
            return Ok(Piece::End);
        };
        let Ok(data) = frame.into_data() else { return Ok(Piece::Some) };
        match &mut self.decoding {
            Some(decoding) => decoding.feed(data),
            None => {
                let left = self.cap - self.bytes.len();
                self.bytes.extend_from_slice(&data[..data.len().min(left)]);
            }
        }
        Ok(Piece::Some)
    }
}
