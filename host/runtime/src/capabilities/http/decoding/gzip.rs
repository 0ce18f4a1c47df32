//! Gzip (RFC 1952): members, one behind the other, each with a header and a checksum.

use super::{DAMAGED, Step, Wrong, inflate};
use flate2::{Crc, Decompress};

/// Bytes of a header. Names and comments are short, and nobody reads them.
const MAX_HEADER: usize = 64 << 10;

/// Bytes behind the data of a member: its checksum and its length.
const TRAILER: usize = 8;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// A gzip stream, as far as it was read.
pub(super) struct Gzip {
    part: Part,
    members: usize,
}

enum Part {
    Header(Header),
    Data {
        decompress: Decompress,
        checksum: Crc,
    },
    /// The checksum and the length of what was made, as far as they are there.
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
    /// One of the ten that are always there.
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
        Self { part: Part::header(), members: 0 }
    }
}

impl Gzip {
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Wrong> {
        match &mut self.part {
            Part::Header(header) => {
                let mut taken = 0;
                while !matches!(header.field, Field::End) {
                    let Some(&byte) = input.get(taken) else {
                        return Ok(Step { taken, made: 0 });
                    };
                    header.read(byte)?;
                    taken += 1;
                }
                self.part = Part::Data { decompress: Decompress::new(false), checksum: Crc::new() };
                Ok(Step { taken, made: 0 })
            }
            Part::Data { decompress, checksum } => {
                let (step, ended) = inflate(decompress, input, output)?;
                checksum.update(&output[..step.made]);
                if ended {
                    let checksum = std::mem::take(checksum);
                    self.part = Part::Trailer { checksum, bytes: Vec::with_capacity(TRAILER) };
                    if step.is_none() {
                        return self.trailer(input);
                    }
                }
                Ok(step)
            }
            Part::Trailer { .. } => self.trailer(input),
        }
    }

    fn trailer(&mut self, input: &[u8]) -> Result<Step, Wrong> {
        let Part::Trailer { checksum, bytes } = &mut self.part else {
            return Ok(Step::default());
        };
        let taken = input.len().min(TRAILER - bytes.len());
        bytes.extend_from_slice(&input[..taken]);
        if let Ok(whole) = <[u8; TRAILER]>::try_from(bytes.as_slice()) {
            let expected = [checksum.sum().to_le_bytes(), checksum.amount().to_le_bytes()].concat();
            if whole[..] != expected {
                return Err("has another checksum than what is in it");
            }
            self.members += 1;
            self.part = Part::header();
        }
        Ok(Step { taken, made: 0 })
    }

    /// Between two members, and not before the first.
    pub(super) fn may_end(&self) -> bool {
        self.members > 0
            && matches!(&self.part, Part::Header(Header { field: Field::Fixed(0), .. }))
    }
}

impl Part {
    fn header() -> Self {
        Self::Header(Header { field: Field::Fixed(0), flags: 0, length: 0 })
    }
}

impl Header {
    fn read(&mut self, byte: u8) -> Result<(), Wrong> {
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
                    if byte & RESERVED != 0 {
                        return Err(DAMAGED);
                    }
                }
                if index < 9 { Field::Fixed(index + 1) } else { self.behind_fixed() }
            }
            Field::ExtraLength(None) => Field::ExtraLength(Some(byte)),
            Field::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.behind_extra(),
                length => Field::Extra(length),
            },
            Field::Extra(1) => self.behind_extra(),
            Field::Extra(left) => Field::Extra(left - 1),
            Field::Name if byte == 0 => self.behind_name(),
            Field::Name => Field::Name,
            Field::Comment if byte == 0 => self.behind_comment(),
            Field::Comment => Field::Comment,
            Field::Checksum(0) => Field::Checksum(1),
            Field::Checksum(_) | Field::End => Field::End,
        };
        Ok(())
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn behind_fixed(&self) -> Field {
        if self.has(HAS_EXTRA) { Field::ExtraLength(None) } else { self.behind_extra() }
    }

    fn behind_extra(&self) -> Field {
        if self.has(HAS_NAME) { Field::Name } else { self.behind_name() }
    }

    fn behind_name(&self) -> Field {
        if self.has(HAS_COMMENT) { Field::Comment } else { self.behind_comment() }
    }

    fn behind_comment(&self) -> Field {
        if self.has(HAS_CHECKSUM) { Field::Checksum(0) } else { Field::End }
    }
}
