//! Detects the kind of a TOML file from its keys and its name.

use crate::failure::Failure;
use runbook_document::{Diagnostics, Source};
use std::path::Path;
use std::sync::Arc;

/// The file that makes a folder a project.
pub const PROJECT_FILE: &str = ".runbook.toml";

/// A kind of TOML file that people write for this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindOfFile {
    /// A runbook or a suite of checks.
    Runbook,
    /// The kind cannot be detected. A file that was named on the command line is then read as a
    /// runbook, so that its mistakes are reported.
    Unknown,
    /// Targets and secrets, which runbooks include or take by `--env`.
    Targets,
    /// `waivers.toml`, which lies beside suites.
    Waivers,
    /// Inputs of a call, which a runbook names by `with_file`.
    Inputs,
    /// `boundary.toml`, the outer limit of every grant.
    Boundary,
    /// A trust file, which says whose signatures are accepted.
    Trust,
    /// The settings of a host.
    Settings,
    /// `config.toml`, what one person sets for every command.
    Configuration,
    /// `.runbook.toml`, which makes a folder a project.
    Project,
    /// `plugin.toml`, beside the code of a plugin.
    Manifest,
}

/// How a kind of file is recognized.
struct Row {
    kind: KindOfFile,
    /// What people call it.
    noun: &'static str,
    /// Its top-level keys. None of them is a key of another kind.
    keys: &'static [&'static str],
    /// Whether a file name is that of this kind. It decides if the file is empty or has a mistake.
    name: fn(&str) -> bool,
}

/// Every kind except runbooks.
const ROWS: &[Row] = &[
    Row {
        kind: KindOfFile::Targets,
        noun: "a file of targets",
        keys: &["targets", "secrets"],
        name: |name| {
            name.strip_prefix("targets.")
                .is_some_and(|rest| rest == "toml" || rest.strip_suffix(".toml").is_some())
        },
    },
    Row {
        kind: KindOfFile::Waivers,
        noun: "a file of waivers",
        keys: &["waiver"],
        name: |name| name == "waivers.toml",
    },
    Row {
        kind: KindOfFile::Inputs,
        noun: "a file of inputs",
        keys: &["cases", "cleanup", "statement", "statements"],
        name: |name| name.ends_with(".with.toml"),
    },
    Row {
        kind: KindOfFile::Boundary,
        noun: "a boundary",
        keys: &["allow"],
        name: |name| name == "boundary.toml",
    },
    Row {
        kind: KindOfFile::Trust,
        noun: "a trust file",
        keys: &["key"],
        name: |name| name == "trust.toml",
    },
    Row {
        kind: KindOfFile::Settings,
        noun: "a settings file",
        keys: &["audit_log"],
        name: |name| name == "settings.toml",
    },
    Row {
        kind: KindOfFile::Configuration,
        noun: "a configuration",
        keys: &[
            "color",
            "no_input",
            "journal",
            "identity",
            "passphrase_file",
            "cache",
            "log",
            "log_format",
        ],
        name: |name| name == "config.toml",
    },
    Row {
        kind: KindOfFile::Project,
        noun: "a project",
        keys: &["runbooks"],
        name: |name| name == PROJECT_FILE,
    },
    Row {
        kind: KindOfFile::Manifest,
        noun: "the manifest of a plugin",
        keys: &["plugin", "slots", "operation"],
        name: |name| name == "plugin.toml",
    },
];

/// The top-level keys that only a runbook or a suite has, except `[runbook]`.
const RUNBOOK_KEYS: &[&str] =
    &["params", "defaults", "step", "check", "preflight", "verify", "finally", "guard", "notify"];

impl KindOfFile {
    /// The kind of a file. Its top-level keys decide, then its name.
    pub fn of(source: &Arc<Source>) -> Self {
        let name = Path::new(source.name()).file_name().unwrap_or_default().to_string_lossy();
        let by_name =
            || ROWS.iter().find(|row| (row.name)(&name)).map_or(Self::Unknown, |row| row.kind);
        // Syntax errors are reported when the file is read as its kind.
        let Some(table) = runbook_document::parse(source, &mut Diagnostics::default()) else {
            let has_runbook_table =
                source.text().lines().any(|line| line.trim_start().starts_with("[runbook]"));
            return if has_runbook_table { Self::Runbook } else { by_name() };
        };
        if table.get("runbook").is_some() {
            return Self::Runbook;
        }
        if RUNBOOK_KEYS.iter().any(|key| table.get(key).is_some()) {
            return Self::Unknown;
        }
        let kind_with_key =
            |key: &str| ROWS.iter().find(|row| row.keys.contains(&key)).map(|row| row.kind);
        let kinds: Vec<Self> =
            table.entries.iter().filter_map(|(key, _)| kind_with_key(&key.name)).collect();
        match kinds.split_first() {
            Some((kind, others)) if others.iter().all(|other| other == kind) => *kind,
            Some(_) | None => by_name(),
        }
    }

    /// The noun for the kind, such as `a trust file`, if it is certainly not a runbook.
    pub fn non_runbook_noun(self) -> Option<&'static str> {
        ROWS.iter().find(|row| row.kind == self).map(|row| row.noun)
    }
}

/// Fails if a file is certainly not a runbook.
pub fn refuse_non_runbook(source: &Arc<Source>) -> Result<(), Failure> {
    match KindOfFile::of(source).non_runbook_noun() {
        None => Ok(()),
        Some(noun) => Err(Failure::usage(format!("`{}` is {noun}, not a runbook", source.name()))
            .hint("name a file that has `[runbook]`; `runbook validate` checks the others, too")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, text: &str) -> KindOfFile {
        KindOfFile::of(&Source::new(name, text))
    }

    #[test]
    fn the_kind_of_a_file_is_detected_by_its_keys_and_then_by_its_name() {
        for row in ROWS {
            for key in row.keys {
                assert_eq!(kind("any.toml", &format!("format = 1\n[{key}]\n")), row.kind, "{key}");
                assert_eq!(
                    kind("any.toml", &format!("format = 1\n[{key}]\n[runbook]\nname = \"a\"\n")),
                    KindOfFile::Runbook
                );
            }
        }
        let names = [
            "targets.prod.toml",
            "waivers.toml",
            "shop.with.toml",
            "boundary.toml",
            "trust.toml",
            "settings.toml",
            "config.toml",
            ".runbook.toml",
            "plugin.toml",
        ];
        for (name, row) in names.iter().zip(ROWS) {
            for text in ["", "format = 1\n", "format = \n"] {
                assert_eq!(kind(&format!("a/{name}"), text), row.kind, "{name} {text:?}");
                assert_eq!(kind("a/other.toml", text), KindOfFile::Unknown);
            }
        }
        assert_eq!(
            kind("boundary.toml", "[[step]]\nid = \"a\"\n"),
            KindOfFile::Unknown,
            "keys are stronger than a name"
        );
        assert_eq!(
            kind("any.toml", "[targets]\n[[allow]]\n"),
            KindOfFile::Unknown,
            "two kinds at once are none"
        );
        assert_eq!(
            kind("boundary.toml", "[runbook]\nname = \n"),
            KindOfFile::Runbook,
            "a broken runbook is one"
        );
        assert_eq!(kind("Cargo.toml", "[package]\nname = \"a\"\n"), KindOfFile::Unknown);
    }

    #[test]
    fn no_key_belongs_to_two_kinds() {
        let mut keys: Vec<_> = ROWS.iter().flat_map(|row| row.keys).chain(RUNBOOK_KEYS).collect();
        let n_keys = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), n_keys);
    }
}
