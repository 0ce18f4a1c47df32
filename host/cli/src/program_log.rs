//! The diagnostic log of the program, on stderr. It is off unless `-v`, `RUNBOOK_LOG` or
//! `--log-format` turns it on.
//!
//! Only crates of this program may log. Libraries would log what they send, such as statements,
//! headers and passwords.

use crate::failure::Failure;
use crate::ui;
use std::io;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The prefix of the `tracing` targets of all crates of this program.
const OWN_TARGET: &str = "runbook";

/// The filter of the log; `None` if it is off.
///
/// # Errors
/// `filter` cannot be parsed, or names a target outside of this program.
fn targets(verbosity: u8, filter: Option<&str>) -> Result<Option<Targets>, String> {
    let Some(filter) = filter.map(str::trim).filter(|filter| !filter.is_empty()) else {
        let level = match verbosity {
            0 => return Ok(None),
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            3.. => LevelFilter::TRACE,
        };
        return Ok(Some(Targets::new().with_target(OWN_TARGET, level)));
    };
    let given: Targets =
        filter.parse().map_err(|error| format!("`{filter}` is no filter: {error}"))?;
    let mut allowed = Targets::new();
    if let Some(level) = given.default_level() {
        allowed = allowed.with_target(OWN_TARGET, level);
    }
    for (target, level) in &given {
        if target != OWN_TARGET && !target.starts_with("runbook_") {
            return Err(format!(
                "`{target}` is not a part of runbook; libraries would log what they send"
            ));
        }
        allowed = allowed.with_target(target, level);
    }
    Ok(Some(allowed))
}

/// Starts the log, if an option or `RUNBOOK_LOG` turns it on.
///
/// # Errors
/// The filter cannot be used.
pub fn start(
    verbosity: u8,
    filter: Option<&str>,
    format: Option<LogFormat>,
) -> Result<(), Failure> {
    // `--log-format` alone turns the log on.
    let verbosity = verbosity.max(u8::from(format.is_some()));
    let filter_failure = |error: String| {
        Failure::usage(format!("`RUNBOOK_LOG`: {error}")).hint(
            "write a level (`error`, `warn`, `info`, `debug`, `trace`), or parts with \
                   levels: `runbook_runtime=debug,info`",
        )
    };
    let Some(targets) = targets(verbosity, filter).map_err(filter_failure)? else { return Ok(()) };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(StderrWriter)
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE);
    let layer = match format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // An error means that the log was started already, which only this function does.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    Ok(())
}

/// Writes each line by [`ui::print_stderr`], so that it neither delays a run nor breaks the live
/// lines.
struct StderrWriter;

impl io::Write for StderrWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        ui::print_stderr(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for StderrWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::targets;
    use tracing::Level;

    #[test]
    fn nothing_is_logged_unless_somebody_asks() {
        assert_eq!(targets(0, None), Ok(None));
        assert_eq!(targets(0, Some(" ")), Ok(None));
    }

    #[test]
    fn no_filter_lets_a_library_log() {
        for filter in
            ["trace", "runbook=trace", "runbook_runtime=trace", "trace,runbook_engine=debug"]
        {
            let targets = targets(0, Some(filter)).expect(filter).expect("something is logged");
            for library in ["hyper", "sqlx::query", "rustls", "reqwest", "bollard", "wasmtime"] {
                assert!(!targets.would_enable(library, &Level::ERROR), "{filter}: {library}");
            }
            assert!(
                targets.would_enable("runbook_runtime::host", &Level::TRACE)
                    || filter == "trace,runbook_engine=debug"
            );
        }
        for filter in ["hyper=trace", "info,sqlx=debug", "runtime=debug"] {
            let error = targets(0, Some(filter)).expect_err(filter);
            assert!(
                error.ends_with("is not a part of runbook; libraries would log what they send"),
                "{error}"
            );
        }
    }

    #[test]
    fn each_v_raises_the_level() {
        let is_logged = |verbosity, level| {
            targets(verbosity, None)
                .expect("good")
                .expect("on")
                .would_enable("runbook_engine", level)
        };
        assert!(is_logged(1, &Level::INFO) && !is_logged(1, &Level::DEBUG));
        assert!(is_logged(2, &Level::DEBUG) && !is_logged(2, &Level::TRACE));
        assert!(is_logged(3, &Level::TRACE) && is_logged(200, &Level::TRACE));
    }
}
