//! A `secret` target: a secret that the host puts into requests of a plugin, or that a plugin may
//! see.

use runbook_document::{Reader, Spanned};

/// The place in a request where the host puts a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    /// The request header, in lower case.
    Header(String),
    /// The member of a JSON body that this JSON pointer names.
    Json(String),
    /// The field of a form.
    Form(String),
}

impl std::fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => f.write_str(name),
            Self::Json(pointer) => write!(f, "json {pointer}"),
            Self::Form(name) => write!(f, "form {name}"),
        }
    }
}

/// The text that is made of a secret before it is put into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFormat {
    /// This text, with the secret in the place of `{}`.
    Text(String),
    /// `Basic` and the Base64 of this user, a colon and the secret.
    Basic {
        /// The name of the user, in plain text.
        user: String,
    },
}

impl std::fmt::Display for SecretFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) if text == "{}" => f.write_str("the secret alone"),
            Self::Text(text) => write!(f, "{text:?} with the secret for {{}}"),
            Self::Basic { user } => write!(f, "Basic of {user:?}"),
        }
    }
}

/// An entry of `positions`: the host may put the secret into requests of this slot, at this place
/// and in this format. The plugin does not see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPosition {
    /// The http slot of the plugin.
    pub slot: String,
    /// The place in the requests of that slot.
    pub place: SecretPlace,
    /// How the value is written there.
    pub format: SecretFormat,
}

/// One secret, as a `secret` target describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretTarget {
    /// The name in `[secrets]`.
    pub secret: String,
    /// Where the host may put the secret.
    pub positions: Vec<SecretPosition>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<SecretTarget> {
    let secret = reader.required::<String>("secret");
    let positions = reader.read_each("positions", "position", read_position);
    Some(SecretTarget { secret: secret?.value, positions })
}

fn read_position(reader: &mut Reader<'_>) -> Option<SecretPosition> {
    let span = reader.table().span.clone();
    let slot = reader.required::<String>("slot");
    let places = [
        reader
            .optional::<String>("header")
            .map(|name| (name.span, SecretPlace::Header(name.value.to_lowercase()))),
        reader
            .optional::<String>("basic")
            .map(|user| (user.span, SecretPlace::Header("authorization".to_owned()))),
        reader.optional::<String>("json").and_then(|pointer| read_pointer(reader, pointer)),
        reader.optional::<String>("form").map(|name| (name.span, SecretPlace::Form(name.value))),
    ];
    let mut places = places.into_iter().flatten();
    let (Some((_, place)), None) = (places.next(), places.next()) else {
        let message = "a position must have exactly one of header, basic, json, form";
        let help = "`header = \"X-Key\"`; `basic = \"user\"` for `Authorization: Basic`; \
                    `json = \"/password\"` or `form = \"password\"` for a body";
        reader.mark_known("format");
        reader.error_with_help("E0108", span, message, "where does the secret go?", help);
        return None;
    };
    let format = read_format(reader);
    Some(SecretPosition { slot: slot?.value, place, format: format? })
}

fn read_format(reader: &mut Reader<'_>) -> Option<SecretFormat> {
    let user =
        reader.table().get("basic").and_then(<String as runbook_document::FromNode>::from_node);
    let format = reader.optional::<String>("format");
    match (user, format) {
        (Some(user), None) if user.contains(':') => {
            let span = reader.table().span.clone();
            reader.error("E0103", span, "a user of Basic has no colon", "in this position");
            None
        }
        (Some(user), None) => Some(SecretFormat::Basic { user }),
        (Some(_), Some(format)) => {
            reader.error("E0108", format.span, "`basic` is a format already", "remove this");
            None
        }
        (None, None) => Some(SecretFormat::Text("{}".to_owned())),
        (None, Some(format)) if format.value.matches("{}").count() != 1 => {
            reader.error(
                "E0103",
                format.span,
                "the format must have `{}` exactly once",
                "such as \"Bearer {}\"",
            );
            None
        }
        (None, Some(format)) => Some(SecretFormat::Text(format.value)),
    }
}

fn read_pointer(
    reader: &mut Reader<'_>,
    pointer: Spanned<String>,
) -> Option<(runbook_document::Span, SecretPlace)> {
    if is_pointer(&pointer.value) {
        return Some((pointer.span, SecretPlace::Json(pointer.value)));
    }
    let message = format!("`{}` is not a JSON pointer to a member", pointer.value.escape_debug());
    reader.error("E0103", pointer.span, message, "such as \"/password\" or \"/user/password\"");
    None
}

/// A JSON pointer (RFC 6901) that is not the whole document.
pub(crate) fn is_pointer(text: &str) -> bool {
    let has_valid_escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    text.starts_with('/') && has_valid_escapes
}
