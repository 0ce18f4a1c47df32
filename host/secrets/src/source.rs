//! The source of a secret, as a runbook writes it: `age:secrets/prod.age#orders-db`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The source of a secret: a reference to one secret of one store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretReference {
    path: PathBuf,
    name: String,
}

impl SecretReference {
    /// The store's file as written. A relative path is relative to the folder of the runbook.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the secret in the store.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for SecretReference {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text_owned = || text.to_owned();
        let rest =
            text.strip_prefix("age:").ok_or_else(|| SourceError::Scheme { text: text_owned() })?;
        // The last `#` separates path and name, because a path may contain `#`, and a name may not.
        let (path, name) =
            rest.rsplit_once('#').ok_or_else(|| SourceError::NoName { text: text_owned() })?;
        if path.is_empty() {
            return Err(SourceError::NoPath { text: text_owned() });
        }
        check_name(name)?;
        Ok(Self { path: path.into(), name: name.to_owned() })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "age:{}#{}", self.path.display(), self.name)
    }
}

/// Why a text is no source of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The text does not begin with `age:`.
    #[error("`{text}` is not a source of a secret; write it like `age:secrets/prod.age#orders-db`")]
    Scheme {
        /// The text as it was written.
        text: String,
    },
    /// No file before the `#`.
    #[error("`{text}` names no store; write it like `age:secrets/prod.age#orders-db`")]
    NoPath {
        /// The text as it was written.
        text: String,
    },
    /// No `#` and name at the end.
    #[error("`{text}` names no secret in the store; add its name, as in `{text}#orders-db`")]
    NoName {
        /// The text as it was written.
        text: String,
    },
    /// The name has a character that names may not have, or a wrong length.
    #[error(
        "`{name}` is not a name of a secret; use 1 to 128 letters, digits, `-`, `_` or `.`, \
             beginning with a letter or digit"
    )]
    Name {
        /// The name as it was written.
        name: String,
    },
}

/// Checks a name of a secret: 1 to 128 of `A-Za-z0-9-_.`, the first a letter or digit.
pub(crate) fn check_name(name: &str) -> Result<(), SourceError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_valid = (1..=128).contains(&name.len())
        && name.chars().all(is_allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_valid { Ok(()) } else { Err(SourceError::Name { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_path_and_a_name_and_is_written_as_it_was_read() {
        let source: SecretReference = "age:secrets/prod.age#orders-db".parse().unwrap();
        assert_eq!((source.path(), source.name()), (Path::new("secrets/prod.age"), "orders-db"));
        assert_eq!(source.to_string(), "age:secrets/prod.age#orders-db");
    }

    #[test]
    fn the_error_about_a_wrong_source_shows_how_to_write_one() {
        let message = |text: &str| text.parse::<SecretReference>().unwrap_err().to_string();
        assert!(message("env:DB").contains("age:secrets/prod.age#orders-db"));
        assert!(message("age:prod.age").contains("add its name"));
        assert!(message("age:#x").contains("names no store"));
        assert!(message("age:a.age#no spaces").contains("letters, digits"));
        assert!(message("age:a.age#").contains("1 to 128"));
    }
}
