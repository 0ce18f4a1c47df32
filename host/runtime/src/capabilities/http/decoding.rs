//! Decodes the bodies of answers: what a server compressed because the host asked for it.
//!
//! Each step takes and makes a bounded number of bytes, however much a stream unfolds to, so that a
//! limit, a deadline and other calls have their turn between two steps. Beside what is asked for, a
//! decoder holds the window of its format: 32 KiB for gzip and deflate, at most 16 MiB for Brotli
//! and 8 MiB for Zstandard.

mod gzip;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use gzip::Gzip;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

/// What the host asks for.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// A body that was encoded more often than that is refused.
const MAX_CODINGS: usize = 3;

/// Bytes that one step makes at most.
const STEP: usize = 16 << 10;

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

/// What an answer says of its encoding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The body is as it is.
    None,
    /// These were applied, in this order.
    Known(Vec<Coding>),
    /// One of them is not known here, so that the body stays as it is.
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

/// How the body below these headers is encoded.
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

/// What is wrong with an encoded body, as a clause about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage(pub(super) String);

impl Damage {
    fn of(coding: Coding, what: &str) -> Self {
        Self(format!("its {} stream {what}", coding.name()))
    }
}

/// What one step of a decoder took and made.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    taken: usize,
    made: usize,
}

impl Step {
    fn is_none(self) -> bool {
        self.taken == 0 && self.made == 0
    }
}

/// What came of one step of a [`Decoding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more to do.
    Made,
    /// Nothing can be done before more of the body has arrived.
    Hungry,
}

/// The decoders of one body, the coding that was applied last first.
pub(super) struct Decoding {
    layers: Vec<Layer>,
    scratch: Vec<u8>,
    received: bool,
}

struct Layer {
    coding: Coding,
    decoder: Decoder,
    /// What it has not taken yet.
    input: Bytes,
}

impl Decoding {
    /// Decoders for `codings`, in the order in which they were applied.
    ///
    /// # Errors
    /// There are too many of them.
    pub(super) fn new(codings: &[Coding]) -> Result<Self, Damage> {
        if codings.len() > MAX_CODINGS {
            let count = codings.len();
            return Err(Damage(format!(
                "it was encoded {count} times, and at most {MAX_CODINGS} are decoded"
            )));
        }
        let layer = |coding: &Coding| -> Result<Layer, Damage> {
            Ok(Layer { coding: *coding, decoder: Decoder::new(*coding)?, input: Bytes::new() })
        };
        let layers = codings.iter().rev().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { layers, scratch: vec![0; STEP], received: false })
    }

    /// Takes what has arrived. Only if [`step`](Self::step) said that it is needed.
    pub(super) fn feed(&mut self, arrived: Bytes) {
        self.received |= !arrived.is_empty();
        if let Some(outermost) = self.layers.first_mut() {
            outermost.feed(arrived);
        }
    }

    /// One step, which adds to `decoded` until that has `cap` bytes.
    ///
    /// # Errors
    /// The stream is not one of its coding.
    pub(super) fn step(&mut self, decoded: &mut Vec<u8>, cap: usize) -> Result<Progress, Damage> {
        let innermost = self.layers.len().saturating_sub(1);
        // From the end, so that a layer gets more only when it has nothing left to do.
        for index in (0..self.layers.len()).rev() {
            let layer = &mut self.layers[index];
            let room = if index == innermost { STEP.min(cap - decoded.len()) } else { STEP };
            let step = layer
                .decoder
                .step(&layer.input, &mut self.scratch[..room])
                .map_err(|what| Damage::of(layer.coding, what))?;
            if step.is_none() {
                continue;
            }
            let _ = layer.input.split_to(step.taken);
            let made = &self.scratch[..step.made];
            if index == innermost {
                decoded.extend_from_slice(made);
            } else if !made.is_empty() {
                self.layers[index + 1].feed(Bytes::copy_from_slice(made));
            }
            return Ok(Progress::Made);
        }
        Ok(Progress::Hungry)
    }

    /// The body is at its end, and nothing more can be decoded.
    ///
    /// # Errors
    /// A stream ends in its middle. A body without any byte is one without any stream.
    pub(super) fn finish(&self) -> Result<(), Damage> {
        let open = self.layers.iter().find(|layer| !layer.decoder.may_end());
        match open {
            Some(layer) if self.received => {
                Err(Damage::of(layer.coding, "ends before it is complete"))
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

/// `deflate` is a zlib stream; some servers send a bare one, as browsers know.
enum Deflate {
    /// The first byte, as far as it is there.
    Undecided(Option<u8>),
    Runs(Decompress),
    Ended,
}

/// What is wrong, as the end of a sentence about the stream.
type Wrong = &'static str;

const DAMAGED: Wrong = "is damaged";
const MORE: Wrong = "is followed by something else";

impl Decoder {
    fn new(coding: Coding) -> Result<Self, Damage> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::default()),
            Coding::Deflate => Self::Deflate(Deflate::Undecided(None)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                let state = Brotli::new_strict(alloc(), alloc(), alloc());
                Self::Brotli { state: Box::new(state), ended: false }
            }
            Coding::Zstd => {
                let unusable = |_| Damage::of(coding, "cannot be decoded here");
                let mut decoder = ZstdDecoder::new().map_err(unusable)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map_err(unusable)?;
                Self::Zstd { decoder, ended: false }
            }
        })
    }

    /// Nothing taken and nothing made means that more input is needed.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Wrong> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(deflate) => deflate.step(input, output),
            Self::Brotli { ended: true, .. } if input.is_empty() => Ok(Step::default()),
            Self::Brotli { ended: true, .. } => Err(MORE),
            Self::Brotli { state, ended } => {
                let (mut left, mut taken) = (input.len(), 0);
                let (mut room, mut made) = (output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut taken, input, &mut room, &mut made, output, &mut 0, state,
                );
                match result {
                    BrotliResult::ResultSuccess => *ended = true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                    BrotliResult::ResultFailure => return Err(DAMAGED),
                }
                Ok(Step { taken, made })
            }
            Self::Zstd { decoder, ended } => {
                // At the end of a frame nothing is held back; asking would begin the next one.
                if *ended && input.is_empty() {
                    return Ok(Step::default());
                }
                let status = decoder.run_on_buffers(input, output).map_err(|error| {
                    if error.to_string().contains("too much memory") {
                        "needs a larger window than the 8 MiB that HTTP allows"
                    } else {
                        DAMAGED
                    }
                })?;
                *ended = status.remaining == 0;
                Ok(Step { taken: status.bytes_read, made: status.bytes_written })
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
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Wrong> {
        match self {
            Self::Undecided(first) => {
                let Some(&byte) = input.first() else { return Ok(Step::default()) };
                let Some(first) = *first else {
                    *first = Some(byte);
                    return Ok(Step { taken: 1, made: 0 });
                };
                let head = [first, byte];
                // RFC 1950, section 2.2: the method, and a checksum over both bytes.
                let is_zlib = first & 0x0f == 8 && u16::from_be_bytes(head).is_multiple_of(31);
                let mut decompress = Decompress::new(is_zlib);
                let (step, ended) = inflate(&mut decompress, &head, output)?;
                if step.taken < head.len() {
                    return Err(if ended { MORE } else { DAMAGED });
                }
                *self = if ended { Self::Ended } else { Self::Runs(decompress) };
                Ok(Step { taken: 1, made: step.made })
            }
            Self::Runs(decompress) => {
                let (step, ended) = inflate(decompress, input, output)?;
                if ended {
                    *self = Self::Ended;
                }
                Ok(step)
            }
            Self::Ended if input.is_empty() => Ok(Step::default()),
            Self::Ended => Err(MORE),
        }
    }
}

/// One step of a DEFLATE stream, and whether it is at its end.
fn inflate(
    decompress: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(Step, bool), Wrong> {
    let (taken, made) = (decompress.total_in(), decompress.total_out());
    let status =
        decompress.decompress(input, output, FlushDecompress::None).map_err(|_| DAMAGED)?;
    let since = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
    let step = Step {
        taken: since(decompress.total_in(), taken),
        made: since(decompress.total_out(), made),
    };
    Ok((step, matches!(status, Status::StreamEnd)))
}

#[cfg(test)]
pub(super) use tests::gzip as gzip_of;

#[cfg(test)]
mod tests;
