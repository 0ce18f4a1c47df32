//! The last lines of a file, and how many of its lines match, also in rotated and compressed files.
//! Memory is limited whatever the files are: the size of a file, of a line and of a decompressed
//! stream.

mod line_time;

use super::decode::{DecodedFile, Encoding, SecretSearch};
use crate::bindings::runbook::files::types::{FileEnd, LineCount, LineSearch};
use crate::blocking::StopFlag;
use line_time::line_time;
use regex::bytes::{Regex, RegexBuilder};
use runbook_secrets::Scrubber;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

/// How many bytes of a line are looked at.
const MAX_LINE: usize = 64 << 10;

/// How many bytes of the last line that matches are returned.
const MAX_LAST_MATCH: usize = 1_000;

/// How many bytes are read at once.
const CHUNK: usize = 256 << 10;

/// The largest compiled form of a pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// A file to search.
pub(super) struct LogFile {
    pub(super) path: String,
    pub(super) file: File,
}

/// The limits of a search.
pub(super) struct SearchLimits<'a> {
    /// Bytes that may still be gone through, after decompression.
    pub(super) total: u64,
    /// Bytes that may be kept in memory and returned.
    pub(super) kept: u64,
    pub(super) scrubber: &'a Scrubber,
    pub(super) stop: &'a StopFlag,
}

/// The end of a compressed file was not reached.
#[derive(Debug, thiserror::Error)]
#[error("its end is beyond the `max_total` of the target")]
struct EndBeyondLimit;

/// A log was rotated while it was read.
#[derive(Debug, thiserror::Error)]
#[error("it was rotated or cut while it was read; try again")]
pub(super) struct RotationError;

/// True for the error that a log was rotated while it was read.
pub(super) fn is_rotation_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<RotationError>()
}

/// Why a search is refused.
#[derive(Debug, thiserror::Error)]
enum SearchError {
    #[error("the pattern is not usable: {0}")]
    Pattern(String),
    #[error("no line of it begins with a time that is understood")]
    NoTime,
}

fn too_large(error: EndBeyondLimit) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, error)
}

/// The last `max_lines` lines of these files, which are sorted from the newest to the oldest, and
/// how many bytes were gone through.
pub(super) fn tail(
    files: Vec<LogFile>,
    max_lines: usize,
    limits: &SearchLimits<'_>,
) -> io::Result<(FileEnd, u64)> {
    let mut end = FileEnd { lines: Vec::new(), more: false, cut: false, files: Vec::new() };
    let (mut total, mut kept) = (limits.total, limits.kept);
    for LogFile { path, file } in files {
        let wanted = max_lines - end.lines.len();
        if wanted == 0 {
            end.more = true;
            break;
        }
        if total == 0 || kept == 0 {
            end.cut = true;
            break;
        }
        let limits = SearchLimits { total, kept, ..*limits };
        let part = match Encoding::of(&path) {
            Encoding::Plain => plain_end(&file, wanted, &limits)?,
            encoding @ (Encoding::Gzip | Encoding::Zstd) => {
                decoded_end(file, encoding, wanted, &limits)?
            }
        };
        total -= part.bytes.min(total);
        let size: usize = part.lines.iter().map(String::len).sum();
        kept -= (size as u64).min(kept);
        end.lines.splice(..0, part.lines);
        end.files.insert(0, path);
        (end.more, end.cut) = (part.more, part.cut);
        if part.cut {
            break;
        }
    }
    Ok((end, limits.total - total))
}

/// The end of one file.
struct PartEnd {
    lines: Vec<String>,
    more: bool,
    cut: bool,
    bytes: u64,
}

/// Reads backwards until there are enough lines.
fn plain_end(file: &File, wanted: usize, limits: &SearchLimits<'_>) -> io::Result<PartEnd> {
    let size = file.metadata()?.len();
    let most = limits.total.min(limits.kept).min(size);
    let (mut start, mut text, mut newlines) = (size, Vec::new(), 0);
    while size - start < most && newlines <= wanted {
        if limits.stop.is_set() {
            return Err(StopFlag::error());
        }
        let length = (CHUNK as u64).min(most - (size - start));
        start -= length;
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK)];
        if let Err(error) = file.read_exact_at(&mut chunk, start) {
            let is_shorter = error.kind() == io::ErrorKind::UnexpectedEof;
            return Err(if is_shorter { io::Error::other(RotationError) } else { error });
        }
        newlines += chunk.split(|byte| *byte == b'\n').count() - 1;
        chunk.extend_from_slice(&text);
        text = chunk;
    }
    refuse_secrets(file, start, &text, limits.scrubber)?;
    let is_whole = start == 0;
    let mut lines = split_lines(&text);
    // The first line may have begun before, unless it begins the file.
    if !is_whole && !lines.is_empty() && lines.len() <= wanted {
        lines.remove(0);
    }
    let found = lines.len();
    let lines = lines.split_off(found.saturating_sub(wanted));
    let cut = lines.len() < wanted && !is_whole;
    let more = found > lines.len() || !is_whole;
    Ok(PartEnd { lines, more, cut, bytes: size - start })
}

/// Searches a text for secrets, also for one that began before `start`.
fn refuse_secrets(file: &File, start: u64, text: &[u8], scrubber: &Scrubber) -> io::Result<()> {
    let mut search = SecretSearch::new(scrubber);
    let before = (scrubber.lookahead() as u64).min(start);
    let mut beginning = vec![0; usize::try_from(before).unwrap_or_default()];
    file.read_exact_at(&mut beginning, start - before)?;
    beginning.extend_from_slice(text);
    search.refuse(&beginning)
}

fn split_lines(text: &[u8]) -> Vec<String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == b'\n').map(line_text).collect()
}

fn line_text(line: &[u8]) -> String {
    let line = &line[..line.len().min(MAX_LINE)];
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// Reads a compressed file to its end and keeps the last lines.
fn decoded_end(
    file: File,
    encoding: Encoding,
    wanted: usize,
    limits: &SearchLimits<'_>,
) -> io::Result<PartEnd> {
    let decoded = DecodedFile::new(file, encoding, limits.total, limits.scrubber, limits.stop)?;
    let mut reader = BufReader::with_capacity(CHUNK, decoded);
    let (mut lines, mut kept) = (VecDeque::new(), 0);
    let (mut more, mut cut) = (false, false);
    let mut line = Vec::new();
    while next_line(&mut reader, &mut line)? {
        let text = line_text(&line);
        kept += text.len() as u64;
        lines.push_back(text);
        while lines.len() > wanted || (kept > limits.kept && lines.len() > 1) {
            cut = lines.len() <= wanted;
            more = true;
            kept -= lines.pop_front().map_or(0, |line| line.len() as u64);
        }
    }
    let decoded = reader.into_inner();
    if decoded.is_cut() {
        return Err(too_large(EndBeyondLimit));
    }
    cut = cut && lines.len() < wanted;
    Ok(PartEnd { lines: lines.into(), more, cut, bytes: decoded.bytes_read() })
}

/// Reads the next line, of which only the beginning is kept. False at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let length = reader.take(MAX_LINE as u64).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if length == MAX_LINE {
        reader.skip_until(b'\n')?;
    }
    Ok(length > 0)
}

/// Counts the lines of these files, which are sorted from the newest to the oldest, that match.
pub(super) fn count(
    files: Vec<LogFile>,
    search: &LineSearch,
    limits: &SearchLimits<'_>,
) -> io::Result<LineCount> {
    let mut counter = LineCounter {
        pattern: compile(&search.pattern)?,
        since_ms: search.since_ms.map(|since| i64::try_from(since).unwrap_or(i64::MAX)),
        zone_minutes: search.zone_minutes,
        matches: 0,
        lines: 0,
        timed_lines: 0,
        all_lines: 0,
    };
    let mut count = LineCount {
        matches: 0,
        lines: 0,
        last_match: None,
        bytes: 0,
        cut: false,
        files: Vec::new(),
    };
    for LogFile { path, mut file } in files {
        if counter.is_before_window(&file)? {
            continue;
        }
        let total = limits.total - count.bytes;
        if total == 0 {
            count.cut = true;
            break;
        }
        let (reader, is_end_only) = beginning(&mut file, &path, total, limits)?;
        let (last_match, decoded) = counter.read(reader)?;
        count.last_match = count.last_match.or(last_match);
        count.bytes = count.bytes.saturating_add(decoded.bytes_read()).min(limits.total);
        count.files.insert(0, path);
        count.cut = is_end_only || decoded.is_cut();
        if count.cut {
            break;
        }
    }
    if counter.since_ms.is_some() && counter.all_lines > 0 && counter.timed_lines == 0 {
        return Err(io::Error::other(SearchError::NoTime));
    }
    (count.matches, count.lines) = (counter.matches, counter.lines);
    Ok(count)
}

fn compile(pattern: &str) -> io::Result<Regex> {
    let unusable = |error: regex::Error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        io::Error::other(SearchError::Pattern(reason.to_owned()))
    };
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build().map_err(unusable)
}

/// A reader of the file, and whether it begins in the middle: of a plain file that is too large, the
/// end is read, from the beginning of a line.
fn beginning(
    file: &mut File,
    path: &str,
    total: u64,
    limits: &SearchLimits<'_>,
) -> io::Result<(BufReader<DecodedFile>, bool)> {
    let encoding = Encoding::of(path);
    let size = file.metadata()?.len();
    let is_end_only = encoding == Encoding::Plain && size > total;
    let mut limit = total;
    if is_end_only {
        // A secret that begins before the part that is compared is found too.
        let start = size - total;
        let before = (limits.scrubber.lookahead() as u64).min(start);
        file.seek(SeekFrom::Start(start - before))?;
        limit += before;
    }
    let decoded =
        DecodedFile::new(file.try_clone()?, encoding, limit, limits.scrubber, limits.stop)?;
    let mut reader = BufReader::with_capacity(CHUNK, decoded);
    if is_end_only {
        let before = limit - total;
        io::copy(&mut (&mut reader).take(before), &mut io::sink())?;
        reader.skip_until(b'\n')?;
    }
    Ok((reader, is_end_only))
}

/// Counts lines in one file after another.
struct LineCounter {
    pattern: Regex,
    since_ms: Option<i64>,
    zone_minutes: i32,
    matches: u64,
    /// Lines in the window of time.
    lines: u64,
    timed_lines: u64,
    all_lines: u64,
}

impl LineCounter {
    /// Whether a file was changed for the last time before the window begins. Its time of change is
    /// trusted as the time of its last line.
    fn is_before_window(&self, file: &File) -> io::Result<bool> {
        let Some(since) = self.since_ms else { return Ok(false) };
        let modified = file.metadata()?.modified()?;
        let modified_ms = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        Ok(modified_ms < since)
    }

    /// Counts the lines of a file. Returns the last one that matches.
    fn read(
        &mut self,
        mut reader: BufReader<DecodedFile>,
    ) -> io::Result<(Option<String>, DecodedFile)> {
        let mut last_match: Option<Vec<u8>> = None;
        let mut is_in_window = self.since_ms.is_none();
        let mut line = Vec::new();
        while next_line(&mut reader, &mut line)? {
            self.all_lines += 1;
            if let Some(since) = self.since_ms
                && let Some(time) = line_time(&line, self.zone_minutes)
            {
                self.timed_lines += 1;
                is_in_window = time >= since;
            }
            if !is_in_window {
                continue;
            }
            self.lines += 1;
            let text = line.strip_suffix(b"\r").unwrap_or(&line);
            if self.pattern.is_match(text) {
                self.matches += 1;
                let last = last_match.get_or_insert_default();
                last.clear();
                last.extend_from_slice(&text[..text.len().min(MAX_LAST_MATCH)]);
            }
        }
        let last_match = last_match.map(|line| String::from_utf8_lossy(&line).into_owned());
        Ok((last_match, reader.into_inner()))
    }
}

/// Whether `name` is a file that was rotated away from `base`: `base.1`, `base-20261122.gz`.
pub(super) fn is_rotated(base: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(base) else { return false };
    let rest = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".zst")).unwrap_or(rest);
    let Some(number) = rest.strip_prefix(['.', '-']) else { return false };
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | 'T' | '_'))
}

#[cfg(test)]
pub(super) mod tests;
