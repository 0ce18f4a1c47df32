//! The digest of a JSON value.

use runbook_contract::Json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The digest of the compact text of a value, `sha256:` and hexadecimal digits.
pub(crate) fn json_digest(value: &Json) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
