//! Gzip (RFC 1952): a sequence of members, each with a header and a checksum.

use super::{DecodeProblem, IS_DAMAGED, Step, inflate};
use flate2::{Crc, Decompress};

/// The largest header, in bytes. Names and comments are short, and are ignored.
const MAX_HEADER: usize = 64 << 10;

/// How many bytes follow the data of a member: its checksum and its length.
const TRAILER_LENGTH: usize = 8;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA_FIELD: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED_FLAGS: u8 = 0b1110_0000;

/// A gzip stream, as far as it was read.
pub(super) struct Gzip {
    state: GzipState,
    members: usize,
}

enum GzipState {
    Header(Header),
    Data {
        decompress: Decompress,
        checksum: Crc,
    },
    /// The checksum and the length of the decoded data, as far as they have arrived.
    Trailer {
        checksum: Crc,
        bytes: Vec<u8>,
    },
}

/// A header, as far as it was read.
struct Header {
    field: Field,
    flags: u8,
    length: usize,
}

/// The field of a header that the next byte belongs to.
enum Field {
    /// One of the ten bytes that every header has.
    Fixed(u8),
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    Checksum(u8),
    End,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { state: GzipState::header(), members: 0 }
    }
}

impl Gzip {
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeProblem> {
        match &mut self.state {
            GzipState::Header(header) => {
                let mut consumed = 0;
                while !matches!(header.field, Field::End) {
                    let Some(&byte) = input.get(consumed) else {
                        return Ok(Step { consumed, produced: 0 });
                    };
                    header.read(byte)?;
                    consumed += 1;
                }
                self.state =
                    GzipState::Data { decompress: Decompress::new(false), checksum: Crc::new() };
                Ok(Step { consumed, produced: 0 })
            }
            GzipState::Data { decompress, checksum } => {
                let (step, ended) = inflate(decompress, input, output)?;
                checksum.update(&output[..step.produced]);
                if ended {
                    let checksum = std::mem::take(checksum);
                    self.state =
                        GzipState::Trailer { checksum, bytes: Vec::with_capacity(TRAILER_LENGTH) };
                    if step.is_none() {
                        return self.trailer(input);
                    }
                }
                Ok(step)
            }
            GzipState::Trailer { .. } => self.trailer(input),
        }
    }

    fn trailer(&mut self, input: &[u8]) -> Result<Step, DecodeProblem> {
        let GzipState::Trailer { checksum, bytes } = &mut self.state else {
            return Ok(Step::default());
        };
        let consumed = input.len().min(TRAILER_LENGTH - bytes.len());
        bytes.extend_from_slice(&input[..consumed]);
        if let Ok(trailer) = <[u8; TRAILER_LENGTH]>::try_from(bytes.as_slice()) {
            let expected = [checksum.sum().to_le_bytes(), checksum.amount().to_le_bytes()].concat();
            if trailer[..] != expected {
                return Err("has another checksum than what is in it");
            }
            self.members += 1;
            self.state = GzipState::header();
        }
        Ok(Step { consumed, produced: 0 })
    }

    /// True between two members, but not before the first.
    pub(super) fn may_end(&self) -> bool {
        self.members > 0
            && matches!(&self.state, GzipState::Header(Header { field: Field::Fixed(0), .. }))
    }
}

impl GzipState {
    fn header() -> Self {
        Self::Header(Header { field: Field::Fixed(0), flags: 0, length: 0 })
    }
}

impl Header {
    fn read(&mut self, byte: u8) -> Result<(), DecodeProblem> {
        self.length += 1;
        if self.length > MAX_HEADER {
            return Err("has a header without end");
        }
        self.field = match self.field {
            Field::Fixed(index) => {
                let expected = match index {
                    0 => Some(0x1f),
                    1 => Some(0x8b),
                    // The method: deflate.
                    2 => Some(8),
                    _ => None,
                };
                if expected.is_some_and(|expected| byte != expected) {
                    return Err("does not begin as one");
                }
                if index == 3 {
                    self.flags = byte;
                    if byte & RESERVED_FLAGS != 0 {
                        return Err(IS_DAMAGED);
                    }
                }
                if index < 9 { Field::Fixed(index + 1) } else { self.after_fixed() }
            }
            Field::ExtraLength(None) => Field::ExtraLength(Some(byte)),
            Field::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after_extra(),
                length => Field::Extra(length),
            },
            Field::Extra(1) => self.after_extra(),
            Field::Extra(left) => Field::Extra(left - 1),
            Field::Name if byte == 0 => self.after_name(),
            Field::Name => Field::Name,
            Field::Comment if byte == 0 => self.after_comment(),
            Field::Comment => Field::Comment,
            Field::Checksum(0) => Field::Checksum(1),
            Field::Checksum(_) | Field::End => Field::End,
        };
        Ok(())
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn after_fixed(&self) -> Field {
        if self.has(HAS_EXTRA_FIELD) { Field::ExtraLength(None) } else { self.after_extra() }
    }

    fn after_extra(&self) -> Field {
        if self.has(HAS_NAME) { Field::Name } else { self.after_name() }
    }

    fn after_name(&self) -> Field {
        if self.has(HAS_COMMENT) { Field::Comment } else { self.after_comment() }
    }

    fn after_comment(&self) -> Field {
        if self.has(HAS_CHECKSUM) { Field::Checksum(0) } else { Field::End }
    }
}
