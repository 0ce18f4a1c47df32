//! A secret that a plugin may place, or see.

use runbook_document::Reader;

/// One place where a plugin may put the secret, unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPosition {
    /// The plugin's http slot.
    pub slot: String,
    /// The request header, in lower case.
    pub header: String,
    /// The value, with `{}` where the secret goes.
    pub format: String,
}

/// A `secret` target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretTarget {
    /// The name in `[secrets]`.
    pub secret: String,
    /// Where it may be put.
    pub positions: Vec<SecretPosition>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<SecretTarget> {
    let secret = reader.required::<String>("secret");
    let positions = reader.each("positions", "position", |reader| {
        let slot = reader.required::<String>("slot");
        let header = reader.required::<String>("header");
        let format = reader.optional::<String>("format");
        if let Some(format) = format.as_ref().filter(|format| format.value.matches("{}").count() != 1) {
            reader.error("E0103", format.span.clone(), "the format must have `{}` exactly once", "such as \"Bearer {}\"");
        }
        Some(SecretPosition {
            slot: slot?.value,
            header: header?.value.to_lowercase(),
            format: format.map_or_else(|| "{}".to_owned(), |format| format.value),
        })
    });
    Some(SecretTarget { secret: secret?.value, positions })
}
