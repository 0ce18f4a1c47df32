//! `config.toml` in the configuration directory: the settings of one person for every command.
//! Flags and variables override them. `boundary`, `trust` and `locked` are limits: they apply in
//! addition to those of flags and variables.

use crate::directories::config_directory;
use crate::failure::Failure;
use crate::global_arguments::{ColorChoice, GlobalArgs};
use crate::program_log::LogFormat;
use crate::{file_format, text_file, writable};
use clap::parser::ValueSource;
use clap::{ArgMatches, ValueEnum};
use runbook_document::{Diagnostics, FromNode, Reader, Source, Spanned};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file in the configuration directory.
const NAME: &str = "config.toml";

/// The keys of the file, except `format`. A test compares them with the global options.
pub const KEYS: [&str; 12] = [
    "color",
    "no_input",
    "journal",
    "identity",
    "passphrase_file",
    "boundary",
    "audit_log",
    "trust",
    "locked",
    "cache",
    "log",
    "log_format",
];

/// The content of the file. Keys that are not set are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    color: Option<ColorChoice>,
    no_input: Option<bool>,
    journal: Option<String>,
    identity: Option<Vec<PathBuf>>,
    passphrase_file: Option<PathBuf>,
    boundary: Option<PathBuf>,
    audit_log: Option<PathBuf>,
    trust: Option<PathBuf>,
    locked: Option<bool>,
    cache: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    /// Where each option is set, such as `/home/me/.config/runbook/config.toml:3`. The key is the
    /// name of the option.
    locations: BTreeMap<&'static str, String>,
}

impl Configuration {
    /// Reads the file of this account, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong. It is never used in part.
    pub fn load() -> Result<Self, Failure> {
        // Without a home directory there is no configuration. A command that needs one reports it.
        let Ok(folder) = config_directory() else { return Ok(Self::default()) };
        let path = folder.join(NAME);
        let source = match text_file::source(&path) {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::usage(format!(
                    "the configuration `{}` cannot be read: {error}",
                    path.display()
                )));
            }
        };
        writable::warn_if_world_writable("the configuration", &path);
        let mut diagnostics = Diagnostics::default();
        let read = parse(&source, &mut diagnostics);
        if diagnostics.has_errors() { Err(Failure::findings(diagnostics)) } else { Ok(read) }
    }

    /// Where the option is set, as `FILE:LINE`, if it is.
    pub fn location_of(&self, option: &str) -> Option<&str> {
        self.locations.get(option).map(String::as_str)
    }

    /// The boundary that it adds.
    pub fn boundary(&self) -> Option<&Path> {
        self.boundary.as_deref()
    }

    /// The trust file that it adds.
    pub fn trust(&self) -> Option<&Path> {
        self.trust.as_deref()
    }

    /// The arguments, with values from this configuration where neither a flag nor a variable is
    /// given.
    pub fn complete(&self, typed: GlobalArgs, matches: &ArgMatches) -> GlobalArgs {
        let matches = deepest_subcommand(matches);
        let is_unset = |option: &str| {
            !matches!(
                matches.value_source(option),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        };
        let color = self.color.filter(|_| is_unset("color")).unwrap_or(typed.color);
        let no_input = self.no_input.filter(|_| is_unset("no_input")).unwrap_or(typed.no_input);
        // A limit: `RUNBOOK_LOCKED=false` does not lift it.
        let locked = typed.locked || self.locked == Some(true);
        let identity = if typed.identity.is_empty() {
            self.identity.clone().unwrap_or_default()
        } else {
            typed.identity
        };
        GlobalArgs {
            color,
            no_input,
            locked,
            identity,
            journal: typed.journal.or_else(|| self.journal.clone()),
            passphrase_file: typed.passphrase_file.or_else(|| self.passphrase_file.clone()),
            audit_log: typed.audit_log.or_else(|| self.audit_log.clone()),
            cache: typed.cache.or_else(|| self.cache.clone()),
            log: typed.log.or_else(|| self.log.clone()),
            log_format: typed.log_format.or(self.log_format),
            boundary: typed.boundary,
            trust: typed.trust,
            verbose: typed.verbose,
            quiet: typed.quiet,
        }
    }
}

/// The matches of the innermost subcommand. They include the global options that were given before
/// it.
pub fn deepest_subcommand(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner_matches)| deepest_subcommand(inner_matches))
}

/// Reads a configuration. All mistakes are reported.
pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Configuration {
    let Some(table) = runbook_document::parse(source, diagnostics) else {
        return Configuration::default();
    };
    let mut keys = KeyReader {
        reader: Reader::new(source, &table, "the configuration", diagnostics),
        locations: BTreeMap::new(),
    };
    file_format::check(&mut keys.reader, "E0125", "a configuration");
    let read = Configuration {
        color: keys.word("color", "color"),
        no_input: keys.value("no_input", "no-input"),
        journal: keys.journal(),
        identity: keys.paths("identity", "identity"),
        passphrase_file: keys.path("passphrase_file", "passphrase-file"),
        boundary: keys.path("boundary", "boundary"),
        audit_log: keys.path("audit_log", "audit-log"),
        trust: keys.path("trust", "trust"),
        locked: keys.value("locked", "locked"),
        cache: keys.path("cache", "cache"),
        log: keys.value("log", "log"),
        log_format: keys.word("log_format", "log-format"),
        locations: BTreeMap::new(),
    };
    let KeyReader { reader, locations } = keys;
    reader.finish();
    Configuration { locations, ..read }
}

/// Reads keys, and records the location of each.
struct KeyReader<'a> {
    reader: Reader<'a>,
    locations: BTreeMap<&'static str, String>,
}

impl KeyReader<'_> {
    /// Reads a key, and records its location for the option.
    fn located<T: FromNode>(
        &mut self,
        key: &'static str,
        option: &'static str,
    ) -> Option<Spanned<T>> {
        let read = self.reader.optional::<T>(key)?;
        self.locations.insert(option, self.reader.source().place(&read.span));
        Some(read)
    }

    fn value<T: FromNode>(&mut self, key: &'static str, option: &'static str) -> Option<T> {
        self.located(key, option).map(|read| read.value)
    }

    /// One of the values that the option takes.
    fn word<T: ValueEnum>(&mut self, key: &'static str, option: &'static str) -> Option<T> {
        let raw_value = self.located::<String>(key, option)?;
        let known = T::from_str(&raw_value.value, false).ok();
        if known.is_none() {
            let words = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let words: Vec<_> = words.map(|word| format!("`{}`", word.get_name())).collect();
            let message =
                format!("`{key}` is one of {}, not `{}`", words.join(", "), raw_value.value);
            self.reader.error("E0125", raw_value.span, message, "not known");
        }
        known
    }

    /// A path. A relative path is relative to the folder of the file.
    fn path(&mut self, key: &'static str, option: &'static str) -> Option<PathBuf> {
        let raw_value = self.value::<String>(key, option)?;
        Some(self.relative_to_file(&raw_value))
    }

    fn paths(&mut self, key: &'static str, option: &'static str) -> Option<Vec<PathBuf>> {
        let raw_value = self.value::<Vec<String>>(key, option)?;
        Some(raw_value.iter().map(|path| self.relative_to_file(path)).collect())
    }

    /// The URL of a server, or a file.
    fn journal(&mut self) -> Option<String> {
        let raw_value = self.value::<String>("journal", "journal")?;
        Some(if raw_value.contains("://") {
            raw_value
        } else {
            self.relative_to_file(&raw_value).display().to_string()
        })
    }

    fn relative_to_file(&self, raw_value: &str) -> PathBuf {
        Path::new(self.reader.source().name()).parent().unwrap_or(Path::new("")).join(raw_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::Args;
    use clap::{CommandFactory as _, FromArgMatches as _};

    fn read(text: &str) -> Result<Configuration, String> {
        let mut diagnostics = Diagnostics::default();
        let found = parse(&Source::new("/home/me/config.toml", text), &mut diagnostics);
        match diagnostics.iter().next() {
            None => Ok(found),
            Some(diagnostic) => Err(diagnostic.message.clone()),
        }
    }

    /// A value of each key, in their order.
    const VALUES: [&str; 12] = [
        "\"never\"",
        "true",
        "\"postgres://me@db/journal\"",
        "[\"one.txt\", \"/two.txt\"]",
        "\"word\"",
        "\"boundary.toml\"",
        "\"/var/log/runbook\"",
        "\"trust.toml\"",
        "true",
        "\"/var/cache/runbook\"",
        "\"debug\"",
        "\"json\"",
    ];

    fn all_keys() -> String {
        KEYS.iter().zip(VALUES).fold("format = 1\n".to_owned(), |text, (key, value)| {
            format!("{text}{key} = {value}\n")
        })
    }

    #[test]
    fn every_global_option_but_verbose_and_quiet_has_a_key() {
        let read = read(&all_keys()).expect("it is right");
        let command = Args::command();
        let options = command
            .get_opts()
            .filter(|option| option.is_global_set())
            .filter_map(clap::Arg::get_long);
        for option in options.filter(|option| !["verbose", "quiet"].contains(option)) {
            assert!(read.location_of(option).is_some(), "{option}");
        }
        assert_eq!(read.locations.len(), KEYS.len());
    }

    #[test]
    fn a_flag_overrides_the_configuration_and_the_rest_is_taken_from_it() {
        let read = read(&all_keys()).expect("it is right");
        let complete = |words: &[&str]| {
            let matches = Args::command().try_get_matches_from(words).expect("it is right");
            let args = Args::from_arg_matches(&matches).expect("it is right");
            read.complete(args.global, &matches)
        };
        let merged = complete(&["runbook", "doctor"]);
        assert_eq!(merged.color, ColorChoice::Never);
        assert!(merged.no_input && merged.locked);
        assert_eq!(merged.journal.as_deref(), Some("postgres://me@db/journal"));
        assert_eq!(merged.identity, [Path::new("/home/me/one.txt"), Path::new("/two.txt")]);
        assert_eq!(merged.passphrase_file.as_deref(), Some(Path::new("/home/me/word")));
        assert_eq!(merged.cache.as_deref(), Some(Path::new("/var/cache/runbook")));
        assert_eq!(merged.log_format, Some(LogFormat::Json));
        let typed = complete(&[
            "runbook",
            "--journal",
            "j.db",
            "doctor",
            "--color",
            "always",
            "--identity",
            "mine",
            "--cache",
            "c",
            "--log",
            "info",
        ]);
        assert_eq!(typed.color, ColorChoice::Always);
        assert_eq!(typed.journal.as_deref(), Some("j.db"));
        assert_eq!(typed.identity, [Path::new("mine")]);
        assert_eq!(typed.cache.as_deref(), Some(Path::new("c")));
        assert_eq!(typed.log.as_deref(), Some("info"));
    }

    #[test]
    fn a_configuration_with_any_mistake_is_refused() {
        assert_eq!(read("format = 1\n"), Ok(Configuration::default()));
        let wrong_texts = [
            "",
            "format = 2\n",
            "format = 1\ncolor = \"red\"\n",
            "format = 1\nlog_format = \"xml\"\n",
        ];
        for text in wrong_texts.into_iter().chain([
            "format = 1\njournals = \"x\"\n",
            "format = 1\nidentity = \"one\"\n",
            "format = \n",
        ]) {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
