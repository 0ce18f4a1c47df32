//! `runbook doctor`: checks what is needed, and shows every setting.

mod targets;

use crate::completion;
use crate::context::{Context, LockPolicy};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::program_log::LogFormat;
use crate::shared_arguments::ListFormat;
use crate::{execution, secret_store, ui};
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_launch::protection::Protection;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time limit for an answer of the Docker engine.
const DOCKER_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket of the Docker engine.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Prefixes of variables that are never unknown: those of parameters, and those that the tests of
/// this program set.
const OPEN_PREFIXES: &[&str] = &["RUNBOOK_PARAM_", "RUNBOOK_TEST_"];

/// The arguments of `runbook doctor`.
#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    /// Try each target of a runbook or suite instead: connect, log in, and say what is wrong. Nothing
    /// is changed
    #[arg(long, value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub targets: Option<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside the runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// text, or json: each setting and each check as a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// Shows every setting with its origin, and checks the requirements of runs.
pub fn run(context: &Context, args: &DoctorArgs) -> Result<ExitStatus, Failure> {
    if let Some(file) = &args.targets {
        return targets::run(context, file, args.env.as_deref(), args.format);
    }
    let (checks, status) = checks(context);
    if args.format == ListFormat::Json {
        let settings = settings(context);
        let settings = settings
            .iter()
            .map(|row| json!({ "setting": row[0], "value": row[1], "origin": row[2] }));
        let checks = checks
            .iter()
            .map(|row| json!({ "check": row[0], "verdict": row[1], "detail": row[2] }));
        settings.chain(checks).try_for_each(|line| ui::json(&line))?;
        return Ok(status);
    }
    let mut text = format!(
        "runbook {}, {} bundled\n\nSettings\n",
        env!("CARGO_PKG_VERSION"),
        ui::pluralize(BUNDLED.len(), "plugin")
    );
    text.push_str(&runbook_report::table(&settings(context)));
    text.push_str("\n\nChecks\n");
    text.push_str(&runbook_report::table(&checks));
    ui::text(&text)?;
    Ok(status)
}

/// Every global option with its present value and where that comes from. A test compares the list
/// with the command line.
fn settings(context: &Context) -> Vec<Vec<String>> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let file = |path: &Path| {
        if path.exists() {
            path.display().to_string()
        } else {
            format!("{} (not there)", path.display())
        }
    };
    let identities: Vec<_> = context.identities.iter().map(|path| file(path)).collect();
    let files = |paths: &[PathBuf]| match paths
        .iter()
        .map(|path| file(path))
        .collect::<Vec<_>>()
        .join(" and ")
    {
        none if none.is_empty() => "none".to_owned(),
        all => all,
    };
    let values = [
        ("color", format!("{} on stderr", if context.color_stderr { "used" } else { "not used" })),
        (
            "no-input",
            format!(
                "questions: {}",
                if context.interactive { "asked here" } else { "nobody can be asked" }
            ),
        ),
        ("journal", context.journal.to_string()),
        ("identity", identities.join(":")),
        (
            "passphrase-file",
            context.passphrase_file.as_deref().map_or_else(|| "none".to_owned(), file),
        ),
        ("boundary", files(&context.boundaries)),
        ("audit-log", context.audit_log.display().to_string()),
        ("trust", files(&context.trust_files)),
        ("locked", yes_no(context.lock_policy == LockPolicy::Required)),
        ("cache", context.cache.display().to_string()),
        ("log", context.log.clone().unwrap_or_else(|| "none".to_owned())),
        (
            "log-format",
            if context.log_format == Some(LogFormat::Json) { "json" } else { "text" }.to_owned(),
        ),
    ];
    let row = |(name, value): (&str, String)| {
        let origin = context.origins.get(name).cloned().unwrap_or_default();
        vec![name.to_owned(), value, origin]
    };
    let mut rows: Vec<_> = values.into_iter().map(row).collect();
    let environment = std::env::var("RUNBOOK_ENV").ok().filter(|name| !name.is_empty());
    let origin = if environment.is_some() { "RUNBOOK_ENV" } else { "default" };
    rows.push(vec![
        "environment".to_owned(),
        environment.unwrap_or_else(|| "none".to_owned()),
        origin.to_owned(),
    ]);
    let project = context
        .project
        .file
        .as_deref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    rows.push(vec![
        "project".to_owned(),
        project,
        format!("the nearest {}", crate::kind_of_file::PROJECT_FILE),
    ]);
    rows.push(vec![
        "operator".to_owned(),
        context.operator.clone(),
        "the user id of this process".to_owned(),
    ]);
    rows
}

/// Pings the Docker engine, because its socket exists even when it does not answer.
fn ping_docker() -> Result<String, String> {
    let answer = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(DOCKER_SOCKET)?;
        stream.set_read_timeout(Some(DOCKER_TIMEOUT))?;
        stream.set_write_timeout(Some(DOCKER_TIMEOUT))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match answer() {
        Ok(answer) if answer.split_whitespace().nth(1) == Some("200") => {
            Ok(format!("answers at {DOCKER_SOCKET}"))
        }
        Ok(answer) => {
            Err(format!("{DOCKER_SOCKET} answers `{}`", answer.lines().next().unwrap_or_default()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("none at {DOCKER_SOCKET}; needed only by docker targets"))
        }
        Err(error) => {
            Err(format!("{DOCKER_SOCKET} does not answer: {error}; needed only by docker targets"))
        }
    }
}

/// The checks as rows of name, verdict and detail, and the exit status.
fn checks(context: &Context) -> (Vec<Vec<String>>, ExitStatus) {
    let journal = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        journal.count().await.map_err(Failure::engine)
    });
    let identities = secret_store::identities(context).map(|identities| identities.len());
    let mut status = ExitStatus::Success;
    let mut rows = Vec::new();
    let mut row = |what: &str, verdict: Result<String, String>, help: &str| {
        let (word, detail) = match verdict {
            Ok(detail) => ("ok", detail),
            Err(detail) => {
                status = ExitStatus::Engine;
                ("FAIL", format!("{detail}; {help}"))
            }
        };
        rows.push(vec![what.to_owned(), word.to_owned(), detail]);
    };
    row(
        "journal can be written",
        journal
            .map(|runs| ui::pluralize(usize::try_from(runs).unwrap_or(usize::MAX), "run"))
            .map_err(|failure| failure.to_single_line()),
        "name another with --journal",
    );
    let keys = identities.map(|count| {
        if count == 0 {
            "none yet: runbook secret keygen".to_owned()
        } else {
            ui::pluralize(count, "key")
        }
    });
    row(
        "private keys",
        keys.map_err(|failure| failure.to_single_line()),
        "see `runbook secret keygen`",
    );
    let boundaries = crate::boundary::load(context)
        .map(|found| counted_or_none(found.len(), "boundary", "boundaries"));
    row(
        "boundary",
        boundaries.map_err(|failure| failure.to_single_line()),
        "without it nothing runs",
    );
    let trust = crate::signatures::TrustFiles::load(context);
    let trust =
        trust.map(|_| counted_or_none(context.trust_files.len(), "trust file", "trust files"));
    row("trust", trust.map_err(|failure| failure.to_single_line()), "without it nothing runs");
    row(
        "variables",
        variables(&unknown_variables(std::env::vars_os())),
        "what it should set is not set",
    );
    // Proxy variables are meant for other programs, so they are not a failure.
    let proxies = ignored_variables(&PROXY_VARIABLES, std::env::vars_os());
    let (word, detail) = match proxies.as_slice() {
        [] => ("ok", "none is named by the environment".to_owned()),
        names => {
            let (names, are) = (names.join(", "), if names.len() == 1 { "is" } else { "are" });
            let sentence = format!("{names} {are} set and ignored: every connection is direct");
            ("no", format!("{sentence}; a target names each host that a runbook reaches"))
        }
    };
    rows.push(vec!["proxy".to_owned(), word.to_owned(), detail]);
    // Most hosts need no Docker, so its absence is not a failure.
    let (word, detail) = ping_docker().map_or_else(|why| ("no", why), |found| ("ok", found));
    let detail = detail + &ignored_engines(std::env::vars_os());
    rows.push(vec!["Docker engine".to_owned(), word.to_owned(), detail]);
    // Only targets that say `read_only` need it, and they refuse to run without it.
    let (word, detail) = match runbook_launch::sandbox::available() {
        Ok(()) => ("ok", "Landlock and seccomp are there".to_owned()),
        Err(missing) => {
            ("no", format!("targets with `read_only = true` are refused here: {missing}"))
        }
    };
    rows.push(vec!["programs that only read".to_owned(), word.to_owned(), detail]);
    rows.push(program_confinement_row());
    (rows, status)
}

/// The row about the confinement of programs: the parts that this kernel lacks. A run reports the
/// same for each program. Without the filter of system calls, no program is started.
fn program_confinement_row() -> Vec<String> {
    let lacks: Vec<_> = Protection::missing(Protection::ALL)
        .into_iter()
        .map(|protection| {
            format!(
                "`{protection}` needs {}: {}",
                protection.requirement(),
                protection.effect_of_absence()
            )
        })
        .collect();
    let (word, detail) = if lacks.is_empty() {
        ("ok", format!("all are there: {}", Protection::ALL.map(Protection::name).join(", ")))
    } else {
        ("no", format!("this kernel lacks {}", lacks.join("; ")))
    };
    vec!["sandbox of programs".to_owned(), word.to_owned(), detail]
}

/// `none`, or the number with its noun, such as `2 boundaries can be read`.
fn counted_or_none(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => "none".to_owned(),
        1 => format!("1 {one} can be read"),
        count => format!("{count} {many} can be read"),
    }
}

/// Environment variables for proxies, in lower case.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "ftp_proxy"];

/// Environment variables by which clients of Docker and Podman find an engine, in lower case.
const ENGINE_VARIABLES: [&str; 6] = [
    "docker_host",
    "docker_context",
    "docker_config",
    "docker_tls_verify",
    "docker_cert_path",
    "container_host",
];

/// The variables that would lead other programs to another engine, as the end of a sentence.
fn ignored_engines(all: impl Iterator<Item = (OsString, OsString)>) -> String {
    let names = ignored_variables(&ENGINE_VARIABLES, all);
    if names.is_empty() {
        return String::new();
    }
    let are = if names.len() == 1 { "is" } else { "are" };
    let names = names.join(", ");
    format!("; {names} {are} set and ignored: a target names its engine by `socket` or `engine`")
}

/// The variables with these names that are set. This program ignores them, because a reviewer cannot
/// see them. Their values are not shown, because they may contain a password.
fn ignored_variables(
    names: &[&str],
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<String> {
    let is_listed = |name: &String| names.contains(&name.to_ascii_lowercase().as_str());
    let mut found: Vec<_> = all
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(is_listed)
        .collect();
    found.sort();
    found
}

/// A variable that begins with `RUNBOOK_` and that this program does not read.
#[derive(Debug, PartialEq, Eq)]
struct UnknownVariable {
    name: String,
    /// The known variable with the most similar name.
    near: Option<String>,
}

fn unknown_variables(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<UnknownVariable> {
    let known = known_variables(&<crate::command_line::Args as clap::CommandFactory>::command());
    let names = all.filter_map(|(name, _)| name.into_string().ok());
    let with_our_prefix =
        names.filter(|name| name.starts_with("RUNBOOK_") && !known.contains(name.as_str()));
    let unknown =
        with_our_prefix.filter(|name| !OPEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let mut found: Vec<_> = unknown
        .map(|name| {
            let near = runbook_document::nearest(&name, known.iter().map(String::as_str))
                .map(str::to_owned);
            UnknownVariable { name, near }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The verdict about unknown variables. A name similar to a setting is a failure, because it is
/// probably a mistyped limit. Other names may belong to a script.
fn variables(unknown: &[UnknownVariable]) -> Result<String, String> {
    let suggestion = |variable: &UnknownVariable| {
        Some(format!(
            "`{}`: no such setting; did you mean `{}`?",
            variable.name,
            variable.near.as_ref()?
        ))
    };
    let mistyped: Vec<_> = unknown.iter().filter_map(suggestion).collect();
    if !mistyped.is_empty() {
        return Err(mistyped.join(" "));
    }
    let others: Vec<_> = unknown.iter().map(|variable| format!("`{}`", variable.name)).collect();
    Ok(if others.is_empty() {
        "each is a setting".to_owned()
    } else {
        format!("no setting of this program: {}", others.join(", "))
    })
}

fn known_variables(command: &clap::Command) -> BTreeSet<String> {
    let own_variables = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()));
    own_variables.chain(command.get_subcommands().flat_map(known_variables)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(names: &[&str]) -> Vec<UnknownVariable> {
        unknown_variables(names.iter().map(|name| (OsString::from(*name), OsString::from("x"))))
    }

    #[test]
    fn every_proxy_variable_is_listed_without_its_value() {
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let found = |pairs: Vec<_>| ignored_variables(&PROXY_VARIABLES, pairs.into_iter());
        for name in PROXY_VARIABLES {
            for name in [name.to_owned(), name.to_uppercase()] {
                assert_eq!(found(vec![variable(&name, "http://u:p@proxy:3128")]), [name.as_str()]);
                assert!(found(vec![variable(&name, "")]).is_empty(), "{name}");
            }
        }
        assert!(found(vec![variable("NO_PROXY", "localhost"), variable("PROXY", "x")]).is_empty());
    }

    #[test]
    fn every_variable_that_names_another_engine_is_listed_without_its_value() {
        for name in ENGINE_VARIABLES {
            let name = name.to_uppercase();
            let variable = (OsString::from(&name), OsString::from("tcp://u:p@engine:2375"));
            let shown = ignored_engines(std::iter::once(variable));
            assert!(shown.starts_with(&format!("; {name} is set and ignored")), "{shown}");
            assert!(!shown.contains("u:p"), "{shown}");
        }
        assert_eq!(ignored_engines(std::iter::once(("DOCKER".into(), "x".into()))), "");
    }

    #[test]
    fn a_mistyped_variable_of_any_option_is_reported_with_a_suggestion() {
        let known =
            known_variables(&<crate::command_line::Args as clap::CommandFactory>::command());
        assert!(known.len() > 8, "{known:?}");
        for name in &known {
            assert!(unknown(&[name]).is_empty(), "{name}");
            let mistyped = format!("{}{}", &name[..name.len() - 2], &name[name.len() - 1..]);
            if known.contains(&mistyped) {
                continue;
            }
            let found = variables(&unknown(&[&mistyped]));
            assert!(
                found.as_ref().is_err_and(|message| message.contains("did you mean")),
                "{mistyped}: {found:?}"
            );
        }
        assert!(unknown(&["PATH", "MY_RUNBOOK_X", "RUNBOOK_PARAM_incident"]).is_empty());
        let found = variables(&unknown(&["RUNBOOK_OF_THE_TEAM"]));
        assert_eq!(found, Ok("no setting of this program: `RUNBOOK_OF_THE_TEAM`".to_owned()));
    }
}
