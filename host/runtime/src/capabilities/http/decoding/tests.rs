use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write as _;

/// [`text`] and 64 MiB of zeros in `br`, because there is no encoder for it here.
const BROTLI_TEXT: &str = "1bdf0600a4411458c236239250e398b404cd5398cfd36ee601";
const BROTLI_ZEROS: &str = "cbffff3f002400e2b14072effff8ffff078004401c1680eefd1fffffff00900088c302\
                            d0bdffe3ffff1f001200715800baf77ffcffff034002200e0b40f7fe8fffff7f004800\
                            c46101e8defff1ffff0f000980382c00ddfb3ffeffff012001108705a07bff37";
const ZEROS: usize = 64 << 20;

fn text() -> Vec<u8> {
    b"a long answer, a long answer, a long answer\n".repeat(40)
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_with(bytes: &[u8], window: Option<u32>) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    if let Some(window) = window {
        encoder.window_log(window).unwrap();
    }
    encoder.write_all(bytes).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

/// Each coding with the text in it.
fn streams() -> Vec<(Coding, Vec<u8>)> {
    let text = text();
    vec![
        (Coding::Gzip, gzip(&text)),
        (Coding::Deflate, zlib(&text)),
        (Coding::Deflate, bare_deflate(&text)),
        (Coding::Brotli, unhex(BROTLI_TEXT)),
        (Coding::Zstd, zstd_with(&text, None)),
    ]
}

/// Decodes a stream that arrives in pieces of this size.
fn decode(
    codings: &[Coding],
    stream: &[u8],
    piece: usize,
    cap: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoding = BodyDecoder::new(codings)?;
    let mut decoded = Vec::new();
    for piece in stream.chunks(piece) {
        decoding.feed(Bytes::copy_from_slice(piece));
        while decoding.step(&mut decoded, cap)? == Progress::Advanced {
            assert!(decoded.len() <= cap);
            for inner in &decoding.layers[1..] {
                assert!(
                    inner.input.len() <= MAX_STEP,
                    "{} bytes between layers",
                    inner.input.len()
                );
            }
            if decoded.len() == cap {
                return Ok(decoded);
            }
        }
    }
    decoding.finish()?;
    Ok(decoded)
}

#[test]
fn every_coding_is_decoded_however_it_arrives() {
    for (coding, stream) in streams() {
        for piece in [1, 2, 3, 7, 10, 100, stream.len()] {
            let decoded = decode(&[coding], &stream, piece, usize::MAX);
            assert_eq!(decoded.as_ref(), Ok(&text()), "{coding:?} in pieces of {piece}");
        }
    }
    let thrice = zstd_with(&zlib(&gzip(&text())), None);
    let codings = [Coding::Gzip, Coding::Deflate, Coding::Zstd];
    assert_eq!(decode(&codings, &thrice, 5, usize::MAX), Ok(text()));
    assert!(decode(&[Coding::Gzip; 4], &thrice, 5, usize::MAX).unwrap_err().0.contains("4 times"));
}

#[test]
fn a_stream_that_ends_early_is_damaged_and_an_empty_body_is_none() {
    for (coding, stream) in streams() {
        assert_eq!(decode(&[coding], &[], 1, usize::MAX), Ok(Vec::new()), "{coding:?}");
        for end in 1..stream.len() {
            let Err(DecodeError(what)) = decode(&[coding], &stream[..end], 16, usize::MAX) else {
                panic!("{coding:?} of {end} bytes of {}", stream.len())
            };
            assert!(what.contains(coding.name()), "{what}");
        }
        let followed = [stream.as_slice(), b"and more"].concat();
        assert!(decode(&[coding], &followed, 16, usize::MAX).is_err(), "{coding:?}");
    }
}

#[test]
fn a_damaged_byte_is_found_where_the_format_has_a_checksum_and_does_no_harm_elsewhere() {
    for (coding, stream) in streams() {
        let is_checked = coding != Coding::Brotli && stream[0] != bare_deflate(&text())[0];
        for index in 0..stream.len() {
            for flipped in [0x01, 0x80, 0xff] {
                let mut damaged = stream.clone();
                damaged[index] ^= flipped;
                if let Ok(decoded) = decode(&[coding], &damaged, 16, 10_000)
                    && is_checked
                {
                    assert_eq!(decoded, text(), "{coding:?} at {index}");
                }
            }
        }
    }
}

#[test]
fn decompression_stops_at_the_size_limit() {
    let zeros = vec![0; ZEROS];
    let once = gzip(&zeros);
    for (codings, stream) in [
        (vec![Coding::Gzip], once.clone()),
        (vec![Coding::Deflate], zlib(&zeros)),
        (vec![Coding::Deflate], bare_deflate(&zeros)),
        (vec![Coding::Brotli], unhex(BROTLI_ZEROS)),
        (vec![Coding::Zstd], zstd_with(&zeros, None)),
        (vec![Coding::Gzip, Coding::Gzip], gzip(&once)),
        (vec![Coding::Gzip, Coding::Gzip, Coding::Zstd], zstd_with(&gzip(&once), None)),
    ] {
        for cap in [1, 1000, 1 << 20] {
            let decoded = decode(&codings, &stream, stream.len(), cap).unwrap();
            assert_eq!(decoded.len(), cap, "{codings:?}");
        }
    }
    // A stream that decompresses to nothing: each step still ends.
    let empty_body = gzip(&gzip(b"").repeat(20_000));
    let mut decoding = BodyDecoder::new(&[Coding::Gzip, Coding::Gzip]).unwrap();
    decoding.feed(Bytes::from(empty_body));
    let (mut decoded, mut steps) = (Vec::new(), 0);
    while decoding.step(&mut decoded, 1000).unwrap() == Progress::Advanced {
        steps += 1;
    }
    assert_eq!((decoded.len(), decoding.finish()), (0, Ok(())));
    assert!(steps > 20_000, "{steps}");
}

#[test]
fn a_window_is_no_larger_than_http_allows() {
    let with = |window| decode(&[Coding::Zstd], &zstd_with(&text(), Some(window)), 50, 10_000);
    assert_eq!(with(ZSTD_WINDOW), Ok(text()));
    assert!(with(ZSTD_WINDOW + 1).unwrap_err().0.contains("8 MiB"));
    // A Brotli stream with a large window (not of RFC 7932) begins with these bits.
    assert!(decode(&[Coding::Brotli], &[0x11, 0x3f, 0, 0, 0], 5, 10_000).is_err());
}

#[test]
fn every_header_of_a_gzip_member_is_read_and_every_member() {
    let plain = gzip(b"one ");
    let body = &plain[10..];
    let header = |flags: u8| [0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 5, 6];
    for (flags, more) in [
        (0, &b""[..]),
        (HAS_ALL & 0b10, b"cc"),
        (HAS_ALL & 0b100, b"\x03\x00xyz"),
        (HAS_ALL & 0b100, b"\x00\x00"),
        (HAS_ALL & 0b1000, b"name\0"),
        (HAS_ALL & 0b1_0000, b"comment\0"),
        (HAS_ALL, b"\x01\x00xname\0comment\0cc"),
    ] {
        let member = [&header(flags), more, body].concat();
        let two = [member.as_slice(), &gzip(b"two")].concat();
        for piece in [1, 3, two.len()] {
            let decoded = decode(&[Coding::Gzip], &two, piece, 100);
            assert_eq!(decoded, Ok(b"one two".to_vec()), "{flags:b}");
        }
    }
    let endless = [&header(0b1000)[..], &vec![b'x'; 100_000]].concat();
    assert!(decode(&[Coding::Gzip], &endless, 100, 100).unwrap_err().0.contains("without end"));
    assert!(decode(&[Coding::Gzip], &header(0b1000_0000), 100, 100).is_err());
    assert!(decode(&[Coding::Gzip], b"plain text", 100, 100).unwrap_err().0.contains("begin"));
}

/// Every field that a header of gzip can have.
const HAS_ALL: u8 = 0b1_1110;

#[test]
fn the_encoding_of_an_answer_is_read_as_servers_write_it() {
    let read = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        encoding(&headers)
    };
    for none in [&[][..], &[""], &["identity"], &["identity, Identity"], &[" , "]] {
        assert_eq!(read(none), Encoding::None, "{none:?}");
    }
    let known = |codings: &[Coding]| Encoding::Known(codings.to_vec());
    assert_eq!(read(&["GZip"]), known(&[Coding::Gzip]));
    assert_eq!(read(&["x-gzip"]), known(&[Coding::Gzip]));
    assert_eq!(read(&["br, identity,zstd"]), known(&[Coding::Brotli, Coding::Zstd]));
    assert_eq!(read(&["deflate", "gzip"]), known(&[Coding::Deflate, Coding::Gzip]));
    for unknown in ["compress", "gzip, aes128gcm", "gzip;q=1", "dcz"] {
        assert_eq!(read(&[unknown]), Encoding::Unknown, "{unknown}");
    }
    for encoding_name in ACCEPTED_ENCODINGS.split(", ") {
        assert!(Coding::find(encoding_name).is_some(), "{encoding_name}");
    }
}
