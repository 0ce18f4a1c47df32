//! Parameters as declared.

use runbook_contract::Json;
use runbook_document::{Key, Spanned};

/// One parameter, as `[params.NAME]` declares it.
#[derive(Debug, Clone)]
pub struct Param {
    /// The `NAME` of `[params.NAME]`.
    pub name: Key,
    /// The type of its value.
    pub kind: ParamType,
    /// Whether `--set` must give it.
    pub required: bool,
    /// Its value if `--set` does not give it; of its type.
    pub default: Option<Json>,
    /// The regular expression that its whole text must match.
    pub pattern: Option<Spanned<String>>,
    /// The least value of a number, duration, size or timestamp, or the least length of a list.
    pub min: Option<Json>,
    /// The greatest value of these, or the greatest length of a list.
    pub max: Option<Json>,
    /// The values of an enum.
    pub choices: Vec<String>,
    /// One line for the operator.
    pub help: Option<String>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// Any text that matches `pattern`, if there is one.
    String,
    /// A whole number that fits into 64 bits.
    Int,
    /// A number, with or without a fraction.
    Float,
    /// One of the words `true` and `false`.
    Bool,
    /// `5m`; text in templates, a number by the filter `seconds`.
    Duration,
    /// `10MiB`; text in templates, a number by the filter `bytes`.
    Size,
    /// RFC 3339 with a zone.
    Timestamp,
    /// One of the texts in `choices`.
    Enum,
    /// Texts; `--set` gives them with commas between them, one by one, or as a JSON list.
    List,
}

impl ParamType {
    /// All types with their names in runbooks and an example each.
    pub const ALL: &[(Self, &str, &str)] = &[
        (Self::String, "string", "orders"),
        (Self::Int, "int", "5"),
        (Self::Float, "float", "0.5"),
        (Self::Bool, "bool", "true"),
        (Self::Duration, "duration", "5m"),
        (Self::Size, "size", "10MiB"),
        (Self::Timestamp, "timestamp", "2026-01-31T02:00:00Z"),
        (Self::Enum, "enum", "one of the choices"),
        (Self::List, "list", "a,b,c"),
    ];

    /// The name in runbooks.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// `a` or `an`, before the name.
    pub fn article(self) -> &'static str {
        if self.name().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
    }

    /// An example of a value, as `--set` takes it.
    pub fn example(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., example)| example)
    }
}
