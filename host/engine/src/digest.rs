//! `sha256:…` of JSON.

use runbook_contract::Json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The digest of a value's compact text.
pub(crate) fn of_json(value: &Json) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
