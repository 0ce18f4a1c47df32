//! Keys of objects, below the prefix of a target.

/// The most bytes of a key, with the prefix of its target. Every store has this limit.
pub const MAX_OBJECT_KEY: usize = 1024;

/// Why a key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKeyError {
    /// There is no object without a name.
    #[error("the key is empty")]
    Empty,
    /// A key is relative to the prefix of its target.
    #[error("the key starts with `/`")]
    Absolute,
    /// `.` and `..`, which stores that keep their objects in folders would follow.
    #[error("the key has a `.` or `..` segment")]
    DotSegment,
    /// As in `a//b` or `a/`, which some stores take for `a/b` and `a`.
    #[error("the key has an empty segment")]
    EmptySegment,
    /// A control character, or a backslash.
    #[error("the key has a control character or a backslash")]
    BadCharacter,
    /// More than [`MAX_OBJECT_KEY`] bytes, with the prefix of the target.
    #[error("the key is longer than {MAX_OBJECT_KEY} bytes")]
    TooLong,
}

/// Checks the key of one object. It is accepted unchanged or refused: nothing is normalised, so
/// that the checked key is the one that is sent.
///
/// # Errors
/// [`ObjectKeyError`] if stores do not agree about which object the key names.
pub fn check_object_key(key: &str) -> Result<(), ObjectKeyError> {
    if key.is_empty() {
        return Err(ObjectKeyError::Empty);
    }
    if key.starts_with('/') {
        return Err(ObjectKeyError::Absolute);
    }
    if key.len() > MAX_OBJECT_KEY {
        return Err(ObjectKeyError::TooLong);
    }
    if key.contains(|c: char| c.is_control() || c == '\\') {
        return Err(ObjectKeyError::BadCharacter);
    }
    if key.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(ObjectKeyError::DotSegment);
    }
    if key.split('/').any(str::is_empty) {
        return Err(ObjectKeyError::EmptySegment);
    }
    Ok(())
}

/// Checks the beginning of keys: empty, or a key that may end in one `/`.
///
/// # Errors
/// As [`check_object_key`].
pub fn check_object_prefix(prefix: &str) -> Result<(), ObjectKeyError> {
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix == "/" {
        return Err(ObjectKeyError::Absolute);
    }
    check_object_key(prefix.strip_suffix('/').unwrap_or(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_only_if_every_store_names_the_same_object_by_it() {
        use ObjectKeyError::{Absolute, BadCharacter, DotSegment, Empty, EmptySegment, TooLong};
        let long = "a".repeat(1025);
        for (key, expected) in [
            ("", Err(Empty)),
            ("/", Err(Absolute)),
            ("/a", Err(Absolute)),
            ("//a", Err(Absolute)),
            (".", Err(DotSegment)),
            ("..", Err(DotSegment)),
            ("../a", Err(DotSegment)),
            ("a/..", Err(DotSegment)),
            ("a/../b", Err(DotSegment)),
            ("a/./b", Err(DotSegment)),
            ("a/", Err(EmptySegment)),
            ("a//b", Err(EmptySegment)),
            ("a\\..\\b", Err(BadCharacter)),
            ("a\0b", Err(BadCharacter)),
            ("a\nb", Err(BadCharacter)),
            ("a\u{7f}b", Err(BadCharacter)),
            ("a\u{85}b", Err(BadCharacter)),
            (&long, Err(TooLong)),
            (&long[1..], Ok(())),
            ("a", Ok(())),
            ("...", Ok(())),
            (".a/b..", Ok(())),
            ("%2e%2e/a%2f", Ok(())),
            ("a b+c=d&e?f#g", Ok(())),
            ("ü/日本", Ok(())),
        ] {
            assert_eq!(check_object_key(key), expected, "{key:?}");
        }
        for c in (0..=127u8).map(char::from) {
            let is_refused = c.is_ascii_control() || c == '\\';
            assert_eq!(check_object_key(&format!("a{c}b")).is_err(), is_refused, "{c:?}");
        }
    }

    #[test]
    fn a_prefix_is_empty_or_a_key_that_may_end_in_one_slash() {
        for (prefix, is_accepted) in [
            ("", true),
            ("a", true),
            ("a/", true),
            ("a/b/", true),
            ("/", false),
            ("a//", false),
            ("../", false),
            ("a/../", false),
            ("/a/", false),
        ] {
            assert_eq!(check_object_prefix(prefix).is_ok(), is_accepted, "{prefix:?}");
        }
    }
}
