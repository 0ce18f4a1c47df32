//! Reads the body of a response up to a limit, and decodes it.

use super::decoding::{BodyDecoder, DecodeError, Encoding, Progress, encoding};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::http::response::Parts;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for the bytes after the part of a body that the guest sees.
const LOOKAHEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a response, as far as it was read.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) end: BodyEnd,
}

/// The point at which the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// At its end, or at the limit.
    Known,
    /// After the part that the guest sees, because no more bytes arrived in time.
    Stalled,
}

/// The part of the body that was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remainder {
    None,
    Some,
}

/// Why a body cannot be read.
pub(super) enum BodyError {
    Broken(hyper::Error),
    Damaged(DecodeError),
}

/// Reads a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyReader {
    /// How many decoded bytes the guest gets at most.
    pub(super) max_shown: usize,
    /// How many bytes after those are read if they arrive in time; the guest does not get them.
    pub(super) lookahead: usize,
    pub(super) form: BodyForm,
}

/// The form in which the guest gets a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// Decoded, because the host asked for its encoding.
    Decoded,
    /// As the server sent it.
    Raw,
}

impl BodyReader {
    /// Reads a body. If it is decoded, `Content-Encoding` and `Content-Length` are removed from
    /// `head`.
    pub(super) async fn read(
        self,
        head: &mut Parts,
        body: Incoming,
    ) -> Result<(Body, Remainder), BodyError> {
        let mut decoder = None;
        // A part of an encoded body cannot be decoded.
        if self.form == BodyForm::Decoded && head.status != StatusCode::PARTIAL_CONTENT {
            match encoding(&head.headers) {
                Encoding::Known(codings) => {
                    decoder = Some(BodyDecoder::new(&codings).map_err(BodyError::Damaged)?);
                    head.headers.remove(CONTENT_ENCODING);
                    head.headers.remove(CONTENT_LENGTH);
                }
                Encoding::None | Encoding::Unknown => {}
            }
        }
        BodyStream {
            body,
            decoder,
            bytes: Vec::new(),
            cap: self.max_shown.saturating_add(self.lookahead),
        }
        .read_up_to(self.max_shown)
        .await
    }
}

/// A body that is being read.
struct BodyStream {
    body: Incoming,
    decoder: Option<BodyDecoder>,
    bytes: Vec<u8>,
    cap: usize,
}

/// The result of reading on: another piece of the body, or its end.
enum Piece {
    Data,
    End,
}

impl BodyStream {
    /// Reads at most `max_shown` bytes and the lookahead. An error in the lookahead is ignored.
    async fn read_up_to(mut self, max_shown: usize) -> Result<(Body, Remainder), BodyError> {
        let mut deadline = None;
        loop {
            let piece = if self.bytes.len() <= max_shown {
                self.next().await?
            } else {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + LOOKAHEAD_TIMEOUT);
                match tokio::time::timeout_at(deadline, self.next()).await {
                    Ok(Ok(piece)) => piece,
                    Ok(Err(_)) | Err(_) => {
                        let body = Body { bytes: self.bytes, end: BodyEnd::Stalled };
                        return Ok((body, Remainder::Some));
                    }
                }
            };
            let remainder = match piece {
                Piece::End => Remainder::None,
                Piece::Data if self.bytes.len() == self.cap => Remainder::Some,
                Piece::Data => continue,
            };
            return Ok((Body { bytes: self.bytes, end: BodyEnd::Known }, remainder));
        }
    }

    /// Adds the next piece to `bytes`: decoded from what has arrived, or else received now.
    async fn next(&mut self) -> Result<Piece, BodyError> {
        if let Some(decoder) = &mut self.decoder {
            // A small stream may take long to decompress, so other tasks run between its pieces.
            tokio::task::yield_now().await;
            let step = decoder.step(&mut self.bytes, self.cap).map_err(BodyError::Damaged)?;
            if step == Progress::Advanced {
                return Ok(Piece::Data);
            }
        }
        let Some(frame) = self.body.frame().await.transpose().map_err(BodyError::Broken)? else {
            if let Some(decoder) = &self.decoder {
                decoder.finish().map_err(BodyError::Damaged)?;
            }
            return Ok(Piece::End);
        };
        let Ok(data) = frame.into_data() else { return Ok(Piece::Data) };
        match &mut self.decoder {
            Some(decoder) => decoder.feed(data),
            None => {
                let left = self.cap - self.bytes.len();
                self.bytes.extend_from_slice(&data[..data.len().min(left)]);
            }
        }
        Ok(Piece::Data)
    }
}
