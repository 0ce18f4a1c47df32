//! Decodes the bodies of responses that a server compressed because the host asked for it.
//!
//! Each step consumes and produces a bounded number of bytes, so that limits and deadlines are
//! checked and other tasks run between two steps. A decoder also holds the window of its format: 32
//! KiB for gzip and deflate, at most 16 MiB for Brotli and 8 MiB for Zstandard.

mod gzip;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use gzip::Gzip;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

/// The value of `Accept-Encoding` that the host sends.
pub(super) const ACCEPTED_ENCODINGS: &str = "gzip, deflate, br, zstd";

/// How often a body may be encoded; one with more codings is refused.
const MAX_CODINGS: usize = 3;

/// How many bytes one step produces at most.
const MAX_STEP: usize = 16 << 10;

/// The largest window of a Zstandard frame, as a power of two: what RFC 9659 demands of a client.
const ZSTD_WINDOW: u32 = 23;

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The encoding that the headers of a response name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The body is not encoded.
    None,
    /// These codings were applied, in this order.
    Known(Vec<Coding>),
    /// A coding is unknown, so the body is not decoded.
    Unknown,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd];

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn find(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Self::ALL.into_iter().find(|coding| coding.name().eq_ignore_ascii_case(name))
    }
}

/// The encoding of the body with these headers.
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let Ok(value) = value.to_str() else { return Encoding::Unknown };
        for name in value.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            let Some(coding) = Coding::find(name) else { return Encoding::Unknown };
            codings.push(coding);
        }
    }
    if codings.is_empty() { Encoding::None } else { Encoding::Known(codings) }
}

/// The problem of an encoded body, as a clause about the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capabilities) struct DecodeError(pub(super) String);

impl DecodeError {
    fn of(coding: Coding, what: &str) -> Self {
        Self(format!("its {} stream {what}", coding.name()))
    }
}

/// How many bytes one step of a decoder has consumed and produced.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    consumed: usize,
    produced: usize,
}

impl Step {
    fn is_none(self) -> bool {
        self.consumed == 0 && self.produced == 0
    }
}

/// The result of one step of a [`BodyDecoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The step has consumed or produced bytes.
    Advanced,
    /// The next step needs more of the body.
    NeedsInput,
}

/// The decoders of one body, the coding that was applied last first.
pub(super) struct BodyDecoder {
    layers: Vec<Layer>,
    scratch: Vec<u8>,
    received: bool,
}

struct Layer {
    coding: Coding,
    decoder: Decoder,
    /// The bytes that it has not consumed yet.
    input: Bytes,
}

impl BodyDecoder {
    /// Decoders for `codings`, in the order in which they were applied.
    ///
    /// # Errors
    /// There are too many of them.
    pub(super) fn new(codings: &[Coding]) -> Result<Self, DecodeError> {
        if codings.len() > MAX_CODINGS {
            let count = codings.len();
            return Err(DecodeError(format!(
                "it was encoded {count} times, and at most {MAX_CODINGS} are decoded"
            )));
        }
        let layer = |coding: &Coding| -> Result<Layer, DecodeError> {
            Ok(Layer { coding: *coding, decoder: Decoder::new(*coding)?, input: Bytes::new() })
        };
        let layers = codings.iter().rev().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { layers, scratch: vec![0; MAX_STEP], received: false })
    }

    /// Adds received bytes. Call it only after [`step`](Self::step) has returned
    /// [`Progress::NeedsInput`].
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.received |= !bytes.is_empty();
        if let Some(outermost) = self.layers.first_mut() {
            outermost.feed(bytes);
        }
    }

    /// Runs one step, which adds to `decoded` until that has `cap` bytes.
    ///
    /// # Errors
    /// The stream is not valid for its coding.
    pub(super) fn step(
        &mut self,
        decoded: &mut Vec<u8>,
        cap: usize,
    ) -> Result<Progress, DecodeError> {
        let innermost = self.layers.len().saturating_sub(1);
        // The innermost layer first, so that a layer gets more input only when it has none left.
        for index in (0..self.layers.len()).rev() {
            let layer = &mut self.layers[index];
            let room =
                if index == innermost { MAX_STEP.min(cap - decoded.len()) } else { MAX_STEP };
            let step = layer
                .decoder
                .step(&layer.input, &mut self.scratch[..room])
                .map_err(|what| DecodeError::of(layer.coding, what))?;
            if step.is_none() {
                continue;
            }
            let _ = layer.input.split_to(step.consumed);
            let produced = &self.scratch[..step.produced];
            if index == innermost {
                decoded.extend_from_slice(produced);
            } else if !produced.is_empty() {
                self.layers[index + 1].feed(Bytes::copy_from_slice(produced));
            }
            return Ok(Progress::Advanced);
        }
        Ok(Progress::NeedsInput)
    }

    /// Checks at the end of the body that every stream is complete.
    ///
    /// # Errors
    /// A stream is incomplete. An empty body has no streams, so it is accepted.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        let incomplete_layer = self.layers.iter().find(|layer| !layer.decoder.may_end());
        match incomplete_layer {
            Some(layer) if self.received => {
                Err(DecodeError::of(layer.coding, "ends before it is complete"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Layer {
    fn feed(&mut self, more: Bytes) {
        self.input = if self.input.is_empty() {
            more
        } else {
            Bytes::from([self.input.as_ref(), more.as_ref()].concat())
        };
    }
}

/// The decoder of one coding.
enum Decoder {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    Brotli { state: Box<Brotli>, ended: bool },
    Zstd { decoder: ZstdDecoder<'static>, ended: bool },
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// `deflate` is a zlib stream; like browsers, the host also accepts a raw DEFLATE stream.
enum Deflate {
    /// It is not yet known whether the stream is zlib; the first byte, if it has arrived.
    Undecided(Option<u8>),
    Runs(Decompress),
    Ended,
}

/// A problem of a stream, as the end of a sentence about the stream.
type DecodeProblem = &'static str;

const IS_DAMAGED: DecodeProblem = "is damaged";
const HAS_TRAILING_DATA: DecodeProblem = "is followed by something else";

impl Decoder {
    fn new(coding: Coding) -> Result<Self, DecodeError> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::default()),
            Coding::Deflate => Self::Deflate(Deflate::Undecided(None)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                let state = Brotli::new_strict(alloc(), alloc(), alloc());
                Self::Brotli { state: Box::new(state), ended: false }
            }
            Coding::Zstd => {
                let setup_error = |_| DecodeError::of(coding, "cannot be decoded here");
                let mut decoder = ZstdDecoder::new().map_err(setup_error)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
                    .map_err(setup_error)?;
                Self::Zstd { decoder, ended: false }
            }
        })
    }

    /// Runs one step. An empty step (nothing consumed, nothing produced) means that more input is
    /// needed.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeProblem> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(deflate) => deflate.step(input, output),
            Self::Brotli { ended: true, .. } if input.is_empty() => Ok(Step::default()),
            Self::Brotli { ended: true, .. } => Err(HAS_TRAILING_DATA),
            Self::Brotli { state, ended } => {
                let (mut left, mut consumed) = (input.len(), 0);
                let (mut room, mut produced) = (output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut consumed,
                    input,
                    &mut room,
                    &mut produced,
                    output,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultSuccess => *ended = true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                    BrotliResult::ResultFailure => return Err(IS_DAMAGED),
                }
                Ok(Step { consumed, produced })
            }
            Self::Zstd { decoder, ended } => {
                // At the end of a frame no output is pending, and a call would begin the next
                // frame.
                if *ended && input.is_empty() {
                    return Ok(Step::default());
                }
                let status = decoder.run_on_buffers(input, output).map_err(|error| {
                    if error.to_string().contains("too much memory") {
                        "needs a larger window than the 8 MiB that HTTP allows"
                    } else {
                        IS_DAMAGED
                    }
                })?;
                *ended = status.remaining == 0;
                Ok(Step { consumed: status.bytes_read, produced: status.bytes_written })
            }
        }
    }

    /// Whether the stream may end here.
    fn may_end(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.may_end(),
            Self::Deflate(deflate) => matches!(deflate, Deflate::Ended),
            Self::Brotli { ended, .. } | Self::Zstd { ended, .. } => *ended,
        }
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeProblem> {
        match self {
            Self::Undecided(first) => {
                let Some(&byte) = input.first() else { return Ok(Step::default()) };
                let Some(first) = *first else {
                    *first = Some(byte);
                    return Ok(Step { consumed: 1, produced: 0 });
                };
                let head = [first, byte];
                // RFC 1950, section 2.2: the method, and a checksum over both bytes.
                let is_zlib = first & 0x0f == 8 && u16::from_be_bytes(head).is_multiple_of(31);
                let mut decompress = Decompress::new(is_zlib);
                let (step, ended) = inflate(&mut decompress, &head, output)?;
                if step.consumed < head.len() {
                    return Err(if ended { HAS_TRAILING_DATA } else { IS_DAMAGED });
                }
                *self = if ended { Self::Ended } else { Self::Runs(decompress) };
                Ok(Step { consumed: 1, produced: step.produced })
            }
            Self::Runs(decompress) => {
                let (step, ended) = inflate(decompress, input, output)?;
                if ended {
                    *self = Self::Ended;
                }
                Ok(step)
            }
            Self::Ended if input.is_empty() => Ok(Step::default()),
            Self::Ended => Err(HAS_TRAILING_DATA),
        }
    }
}

/// Runs one step of a DEFLATE stream. Returns true if the stream has ended.
fn inflate(
    decompress: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(Step, bool), DecodeProblem> {
    let (consumed, produced) = (decompress.total_in(), decompress.total_out());
    let status =
        decompress.decompress(input, output, FlushDecompress::None).map_err(|_| IS_DAMAGED)?;
    let difference = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
    let step = Step {
        consumed: difference(decompress.total_in(), consumed),
        produced: difference(decompress.total_out(), produced),
    };
    Ok((step, matches!(status, Status::StreamEnd)))
}

#[cfg(test)]
pub(super) use tests::gzip as gzip_of;

#[cfg(test)]
mod tests;
