//! Paths of HTTP requests, and of files below a directory.

/// Why a path is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A request path starts with `/`.
    #[error("the path does not start with `/`")]
    NotAbsolute,
    /// A file path is relative to its slot.
    #[error("the path is absolute")]
    Absolute,
    /// `.` and `..`, plain or encoded.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// An encoded slash, backslash or NUL, which servers read differently.
    #[error("the path has an encoded separator")]
    EncodedSeparator,
    /// Percent escapes that are not UTF-8, such as the overlong `%c0%ae`.
    #[error("the path has escapes that are not UTF-8")]
    NotUtf8,
    /// A character that has no place in a path.
    #[error("the path has a character that is not allowed there")]
    BadCharacter,
    /// More than 8,192 bytes, query included.
    #[error("the path is longer than {MAX_REQUEST_PATH} bytes")]
    TooLong,
    /// A file path has an empty segment, as in `a//b`.
    #[error("the path is empty")]
    Empty,
}

/// The most bytes of the path and query of a request. Servers accept 8,000 (RFC 9110, section 4.1);
/// the libraries of this host accept no more than 65,534 for the whole address.
pub const MAX_REQUEST_PATH: usize = 8192;

/// Checks the path of a request and splits it from its query. The path is accepted unchanged or
/// refused: nothing is normalised, so that the checked path is the one that is sent.
///
/// # Errors
/// [`PathError`] if the path does not start with `/`, is too long, or has dot segments, encoded separators,
/// escapes that are not UTF-8, or characters that have no place in a URL.
pub fn canonical_request_path(path: &str) -> Result<(&str, Option<&str>), PathError> {
    if path.len() > MAX_REQUEST_PATH {
        return Err(PathError::TooLong);
    }
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let is_allowed = |c: char| {
        c.is_ascii_graphic()
            && !matches!(c, '\\' | '#' | '"' | '<' | '>' | '`' | '{' | '}' | '^' | '|')
    };
    if !path.chars().all(is_allowed)
        || path.starts_with("//")
        || !query.unwrap_or("").chars().all(is_allowed)
    {
        return Err(PathError::BadCharacter);
    }
    let decoded = decode_repeatedly(path)?;
    if decoded.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))) {
        return Err(PathError::DotSegment);
    }
    Ok((path, query))
}

/// Decodes percent escapes until none is left, because a proxy and a server may each decode once.
fn decode_repeatedly(path: &str) -> Result<String, PathError> {
    let mut text = path.to_owned();
    for _ in 0..4 {
        let decoded = decode_once(&text)?;
        if decoded == text {
            return Ok(text);
        }
        text = decoded;
    }
    Err(PathError::EncodedSeparator)
}

fn decode_once(text: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = (*first == b'%').then(|| tail.get(..2).and_then(hex_byte));
        match escape {
            Some(Some(b'/' | b'\\' | 0)) => return Err(PathError::EncodedSeparator),
            Some(Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            Some(None) => return Err(PathError::BadCharacter),
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    // Overlong encodings of `.` and `/` are not UTF-8, but some servers decode them.
    String::from_utf8(bytes).map_err(|_| PathError::NotUtf8)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.chars().all(|c| c.is_ascii_hexdigit()))
        .and_then(|text| u8::from_str_radix(text, 16).ok())
}

/// Checks a path below a slot's directory and returns its segments joined by `/`. `""` is the
/// directory itself.
///
/// # Errors
/// [`PathError`] if the path is absolute, has dot segments, or characters that are not allowed.
pub fn relative_file_path(path: &str) -> Result<&str, PathError> {
    if path.is_empty() {
        return Ok(path);
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if path.contains(['\0', '\\', '\n']) {
        return Err(PathError::BadCharacter);
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(PathError::DotSegment);
    }
    if path.split('/').any(str::is_empty) {
        return Err(PathError::Empty);
    }
    Ok(path)
}

/// A pattern of paths: `*` is any one segment (or a part of one), `**` at the end is everything
/// below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern(String);

impl PathPattern {
    /// A pattern; `**` is allowed only as the last segment.
    pub fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let double_star = segments.iter().position(|segment| segment.contains("**"));
        let is_misplaced =
            double_star.is_some_and(|index| index + 1 != segments.len() || segments[index] != "**");
        (!text.is_empty() && !is_misplaced).then(|| Self(text.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` (without query) is one of the pattern's.
    pub fn matches(&self, path: &str) -> bool {
        let mut pattern = self.0.split('/');
        let mut path = path.split('/');
        loop {
            match (pattern.next(), path.next()) {
                (Some("**"), Some(_)) | (None, None) => return true,
                (Some(pattern_segment), Some(segment))
                    if segment_matches(pattern_segment, segment) => {}
                _ => return false,
            }
        }
    }
}

/// Whether a glob pattern matches the whole text. `*` stands for any run of characters. The time is
/// at most the product of both lengths: after a mismatch, only the last star is extended, because
/// the text before it has its earliest match already.
pub(crate) fn segment_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut pattern_index, mut text_index) = (0, 0);
    // The position after the last star in the pattern, and where its match ends in the text.
    let mut last_star: Option<(usize, usize)> = None;
    while text_index < text.len() {
        match pattern.get(pattern_index) {
            Some(b'*') => {
                last_star = Some((pattern_index + 1, text_index));
                pattern_index += 1;
            }
            Some(byte) if *byte == text[text_index] => {
                pattern_index += 1;
                text_index += 1;
            }
            Some(_) | None => {
                let Some((after_star, match_end)) = last_star else { return false };
                last_star = Some((after_star, match_end + 1));
                pattern_index = after_star;
                text_index = match_end + 1;
            }
        }
    }
    pattern[pattern_index..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_path_with_a_parent_segment_is_refused_in_any_encoding() {
        for path in ["/a/../b", "/a/%2e%2e/b", "/a/%2E./b", "/..;/admin", "/%252e%252e/x"] {
            assert_eq!(canonical_request_path(path), Err(PathError::DotSegment), "{path}");
        }
        for path in ["/a%2fb", "/a%5cb", "/a%00b", "/a%252fb"] {
            assert_eq!(canonical_request_path(path), Err(PathError::EncodedSeparator), "{path}");
        }
        for path in [
            "/%c0%ae%c0%ae/x",
            "/%c0%af",
            "/%e0%80%ae",
            "/%f8%80%80%80%ae",
            "/%ff",
            "/%25c0%25ae",
            "/caf%e9",
        ] {
            assert_eq!(canonical_request_path(path), Err(PathError::NotUtf8), "{path}");
        }
        for path in ["/a b", "/a\r\nHost: x", "//evil.example/", "/a\\b", "/a#b", "/%zz", "/a?b\nc"]
        {
            assert_eq!(canonical_request_path(path), Err(PathError::BadCharacter), "{path}");
        }
        for long in ["/".to_owned() + &"a".repeat(8192), "/?".to_owned() + &"a".repeat(8191)] {
            assert_eq!(canonical_request_path(&long), Err(PathError::TooLong));
            assert!(canonical_request_path(&long[..8192]).is_ok());
        }
        assert_eq!(canonical_request_path("health"), Err(PathError::NotAbsolute));
        assert_eq!(canonical_request_path("/health?full=1"), Ok(("/health", Some("full=1"))));
        assert_eq!(canonical_request_path("/a%20b/caf%C3%A9"), Ok(("/a%20b/caf%C3%A9", None)));
    }

    #[test]
    fn a_file_path_stays_below_its_directory() {
        assert_eq!(relative_file_path("../x"), Err(PathError::DotSegment));
        assert_eq!(relative_file_path("a/../../x"), Err(PathError::DotSegment));
        assert_eq!(relative_file_path("/etc/passwd"), Err(PathError::Absolute));
        assert_eq!(relative_file_path("a//b"), Err(PathError::Empty));
        assert_eq!(relative_file_path("a\0b"), Err(PathError::BadCharacter));
        assert_eq!(relative_file_path("a/b.zst"), Ok("a/b.zst"));
    }

    #[test]
    fn stars_match_any_run_of_characters_quickly() {
        let start = std::time::Instant::now();
        assert!(segment_matches(&"a*".repeat(200), &"a".repeat(5_000)));
        assert!(!segment_matches(&format!("{}c", "*a".repeat(300)), &"a".repeat(3_000)));
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        for (pattern, text, expected) in [
            ("*", "", true),
            ("**", "x", true),
            ("a*b", "ab", true),
            ("a*b", "aXbYb", true),
            ("a*b", "abX", false),
            ("*é*", "caffè é", true),
            ("a*", "b", false),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a1b2b3c", true),
            ("*a", "ba", true),
            ("*a*", "bbb", false),
        ] {
            assert_eq!(segment_matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_match_segments() {
        let matches = |pattern: &str, path: &str| {
            PathPattern::parse(pattern).expect("good pattern").matches(path)
        };
        assert!(matches("/orders/*", "/orders/1"));
        assert!(!matches("/orders/*", "/orders/1/items"));
        assert!(matches("/orders/**", "/orders/1/items"));
        assert!(!matches("/orders/**", "/orders"));
        assert!(matches("/v*/x", "/v12/x"));
        assert!(!matches("/orders", "/orders/"));
        assert_eq!(PathPattern::parse("/a/**/b"), None);
        assert_eq!(PathPattern::parse(""), None);
    }
}
