//! Everything that the program takes from its surroundings, read once: directories, terminal, operator.

use crate::failure::Failure;
use crate::process;
use runbook_engine::ProcessIdentity;
use runbook_journal::Location;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub struct GlobalArgs {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", env = "RUNBOOK_COLOR")]
    pub color: Color,
    /// Never ask a question; a question that would be needed is an error
    #[arg(long, global = true, env = "RUNBOOK_NO_INPUT")]
    pub no_input: bool,
    /// The journal of runs: a file, or `postgres://user@host/database` [default: runbook/journal.db in the state directory]
    #[arg(long, global = true, value_name = "FILE|URL", env = "RUNBOOK_JOURNAL", hide_env_values = true)]
    pub journal: Option<String>,
    /// An age or SSH private key that opens secret stores; may be given several times [default: runbook/identity.txt in the configuration directory]
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_IDENTITY", value_delimiter = ':')]
    pub identity: Vec<PathBuf>,
    /// A file with the passphrase of a store or a private key, where nobody can be asked
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The outermost limit of what any runbook may be granted [default: /etc/runbook/boundary.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_BOUNDARY")]
    pub boundary: Option<PathBuf>,
    /// The folder of the audit log [default: runbook/audit in the state directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// Whose signatures are accepted for which plugins [default: /etc/runbook/trust.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_TRUST")]
    pub trust: Option<PathBuf>,
    /// Refuse every runbook that has no lock entry: for CI
    #[arg(long, global = true, env = "RUNBOOK_LOCKED")]
    pub locked: bool,
    /// Where compiled plugins are kept [default: runbook in the cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_CACHE")]
    pub cache: Option<PathBuf>,
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it; what it names need not be there.
    Default,
    /// The operator, by flag or environment.
    Given,
}

/// Where the boundary of this host is, if an administrator made one.
const BOUNDARY: &str = "/etc/runbook/boundary.toml";

/// Where the trust file of this host is, if an administrator made one.
const TRUST: &str = "/etc/runbook/trust.toml";

/// Whether a runbook must be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPolicy {
    /// A lockfile holds for the runbooks beside it; where there is none, nothing is locked.
    WherePresent,
    /// A runbook without a lock entry is refused.
    Required,
}

/// The program's surroundings.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whether stderr may be coloured.
    pub color_stderr: bool,
    /// Whether progress may be drawn on stderr.
    pub live: bool,
    /// Whether a question can be asked.
    pub interactive: bool,
    /// Where the journal is.
    pub journal: Location,
    /// Private keys to try, in order.
    pub identities: Vec<PathBuf>,
    /// Where `identities` comes from.
    pub identity_origin: Origin,
    /// Where passphrases are read from instead of the terminal.
    pub passphrase_file: Option<PathBuf>,
    /// The boundary's file.
    pub boundary: PathBuf,
    /// Where `boundary` comes from.
    pub boundary_origin: Origin,
    /// The trust file.
    pub trust: PathBuf,
    /// Where `trust` comes from.
    pub trust_origin: Origin,
    /// The folder of the audit log.
    pub audit_log: PathBuf,
    /// Whether a runbook must be locked.
    pub lock_policy: LockPolicy,
    /// Where compiled plugins are kept.
    pub cache: PathBuf,
    /// Who runs the program: `user@host`.
    pub operator: String,
    /// This machine's name.
    pub host: String,
    /// What tells this process from every other one, if the system says.
    pub process: Option<ProcessIdentity>,
}

impl Context {
    /// Whether there is a journal to look into. Looking makes none.
    pub fn has_journal(&self) -> bool {
        self.journal.file().is_none_or(Path::exists)
    }

    /// Reads the environment, once.
    pub fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colored = |terminal: bool| match args.color {
            Color::Auto => terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        let stderr_terminal = std::io::stderr().is_terminal();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
        let identities = if args.identity.is_empty() {
            vec![directory("XDG_CONFIG_HOME", ".config")?.join("identity.txt")]
        } else {
            args.identity.clone()
        };
        Ok(Self {
            color_stderr: colored(stderr_terminal),
            live: stderr_terminal && std::env::var("TERM").is_ok_and(|term| term != "dumb"),
            interactive: !args.no_input && stderr_terminal && std::io::stdin().is_terminal(),
            journal: journal(args.journal.as_deref())?,
            identities,
            identity_origin: if args.identity.is_empty() { Origin::Default } else { Origin::Given },
            passphrase_file: args.passphrase_file.clone(),
            boundary: args.boundary.clone().unwrap_or_else(|| PathBuf::from(BOUNDARY)),
            boundary_origin: if args.boundary.is_some() { Origin::Given } else { Origin::Default },
            trust: args.trust.clone().unwrap_or_else(|| PathBuf::from(TRUST)),
            trust_origin: if args.trust.is_some() { Origin::Given } else { Origin::Default },
            audit_log: args
                .audit_log
                .clone()
                .map_or_else(|| directory("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("audit")), Ok)?,
            lock_policy: if args.locked { LockPolicy::Required } else { LockPolicy::WherePresent },
            cache: args.cache.clone().map_or_else(|| directory("XDG_CACHE_HOME", ".cache"), Ok)?,
            operator: format!("{user}@{host}"),
            host,
            process: process::identity(),
        })
    }
}

/// Not read by clap, which shows what it refuses: somebody may have put a password into the URL.
fn journal(given: Option<&str>) -> Result<Location, Failure> {
    match given {
        Some(text) => Location::parse(text).map_err(|error| Failure::usage(format!("`--journal`: {error}"))),
        None => Ok(Location::File(directory("XDG_STATE_HOME", ".local/state")?.join("journal.db"))),
    }
}

/// `runbook` below an XDG base directory.
fn directory(variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(below_home));
    match set.or_else(home) {
        Some(base) => Ok(base.join("runbook")),
        None => Err(Failure::usage(format!("neither `{variable}` nor `HOME` is set")).hint(format!("set `{variable}`"))),
    }
}
