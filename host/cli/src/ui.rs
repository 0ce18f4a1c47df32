//! The only file that prints or prompts. Data goes to stdout. Everything else goes to stderr, which
//! a separate thread writes.
//!
//! Control characters in texts of plugins, servers and files are escaped where the texts come in.
//! They are escaped here again, so that none can reach a terminal in any way. Only [`raw_data`]
//! writes bytes as they are.

use crate::failure::Failure;
use crate::screen::{BackgroundWriter, LiveArea, Stderr, columns, write_whole};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use runbook_document::{Diagnostic, Diagnostics, Severity};
pub use runbook_report::pluralize;
use runbook_report::{Format, Summary};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

/// Stderr of the program.
static STDERR: LazyLock<BackgroundWriter> = LazyLock::new(|| BackgroundWriter::new(Stderr));

/// Names that replace paths in all output, such as those of temporary folders. The longest path
/// comes first.
static NAMES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The journal to name in printed commands, if it is not the default one.
static JOURNAL: OnceLock<String> = OnceLock::new();

/// Whether `-q` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Turns notes off, for `-q`: only errors, questions and requested output are printed.
pub fn set_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether `-q` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Makes every command that is printed from now on name this journal.
pub fn name_journal(journal: String) {
    // It is set once, at the start of the program.
    let _ = JOURNAL.set(journal);
}

/// Whether every command that is printed names the journal.
pub fn has_named_journal() -> bool {
    JOURNAL.get().is_some()
}

/// The text with `--journal` in each command between backticks, if the journal is not the default.
pub fn with_journal_option(text: &str) -> Cow<'_, str> {
    runbook_report::with_journal_option(text, JOURNAL.get().map(String::as_str))
}

/// A report of a run, with `--journal` in its commands.
pub fn render_report(format: Format, summary: &Summary) -> String {
    if JOURNAL.get().is_none() {
        return runbook_report::render(format, summary);
    }
    let mut summary = summary.clone();
    summary.next_action =
        summary.next_action.as_deref().map(|next| with_journal_option(next).into_owned());
    let report = runbook_report::render(format, &summary);
    match format {
        Format::Text => with_journal_option(&report).into_owned(),
        Format::Json | Format::Junit | Format::Markdown | Format::Html => report,
    }
}

/// Makes `path` appear as `name` wherever it would be written from now on.
pub fn name_path(path: &str, name: &str) {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.push((path.to_owned(), name.to_owned()));
    names.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
}

/// The text with each renamed path replaced by its name.
pub fn with_path_names(text: &str) -> Cow<'_, str> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.iter().fold(Cow::Borrowed(text), |text, (path, name)| {
        if text.contains(path.as_str()) {
            Cow::Owned(text.replace(path.as_str(), name))
        } else {
            text
        }
    })
}

/// Writes data for programs to stdout. The caller has escaped it as its format requires.
pub fn data(text: &str) -> Result<(), Failure> {
    let text = with_path_names(text);
    let text = runbook_text::lines(&text);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    raw_data(format!("{text}{end}").as_bytes())
}

/// Writes one line of data to stdout, even if names in the text contain line breaks.
pub fn line(text: &str) -> Result<(), Failure> {
    data(&runbook_text::for_terminal(&runbook_text::line(text)))
}

/// Writes JSON to stdout. Control characters in its strings are escaped.
pub fn json(value: &serde_json::Value) -> Result<(), Failure> {
    data(&runbook_text::json(&value.to_string()))
}

/// Prints on stdout what the command has done, unless `-q` was given. A write error is only a
/// warning, because the command itself has succeeded.
pub fn report_done(text: &str) {
    if !is_quiet() {
        warn_if_unwritten(data(&runbook_text::for_terminal(text)), "what was done");
    }
}

/// As [`report_done`], on one line, even if names in the text contain line breaks.
pub fn report_done_line(text: &str) {
    if !is_quiet() {
        warn_if_unwritten(line(text), "what was done");
    }
}

/// Warns on stderr if output could not be written. The command itself has succeeded.
pub fn warn_if_unwritten(result: Result<(), Failure>, what: &str) {
    match result {
        Ok(()) | Err(Failure::BrokenPipe) => {}
        Err(Failure::Error { error, .. }) => {
            warning(&format!("{what} could not be written to stdout: {error}"));
        }
        Err(Failure::Findings { .. }) => warning(&format!("{what} could not be written to stdout")),
    }
}

/// Writes text for people to stdout, wrapped to the width of the terminal.
pub fn text(text: &str) -> Result<(), Failure> {
    let text = &*with_journal_option(text);
    match columns(std::io::stdout()) {
        Some(columns) => {
            data(&runbook_text::for_terminal(&runbook_report::wrap_to_width(text, columns)))
        }
        None => data(&runbook_text::for_terminal(text)),
    }
}

/// Writes text for people to stdout. `code` gives the color of each line as an SGR code, such as
/// `31`.
pub fn colored_text(
    text: &str,
    color: Color,
    code: impl Fn(&str) -> &'static str,
) -> Result<(), Failure> {
    let wrapped = columns(std::io::stdout())
        .map_or_else(|| text.to_owned(), |columns| runbook_report::wrap_to_width(text, columns));
    let mut styled = StyledText::default();
    for line in runbook_text::lines(&wrapped).lines() {
        styled.push(line, code(line), color);
        styled.push("\n", "", Color::Off);
    }
    raw_data(styled.0.as_bytes())
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes a report to stdout.
pub fn report(format: Format, summary: &Summary) -> Result<(), Failure> {
    let report = render_report(format, summary);
    match format {
        Format::Text => text(&report),
        Format::Json | Format::Junit | Format::Markdown | Format::Html => data(&report),
    }
}

/// The text wrapped to the width of stderr, if that is a terminal.
pub fn wrapped(text: &str) -> String {
    columns(std::io::stderr())
        .map_or_else(|| text.to_owned(), |columns| runbook_report::wrap_to_width(text, columns))
}

/// Writes bytes to stdout without escaping them: made by this program, or requested as they are.
pub fn raw_data(bytes: &[u8]) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        // Stderr is mostly the same terminal: what was printed earlier must come first.
        flush();
    }
    let mut out = std::io::stdout().lock();
    out.flush().map_err(stdout_failure)?;
    write_whole(rustix::stdio::stdout(), bytes).map_err(stdout_failure)
}

/// The failure for a write error of stdout. A closed pipe is not reported to the operator.
fn stdout_failure(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::engine(format!("the answer cannot be written to stdout: {error}")),
    }
}

/// Text whose control characters are escaped, with the color codes that this program adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StyledText(String);

/// Whether colors are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Texts are colored by escape sequences.
    On,
    /// Texts are written without colors.
    Off,
}

impl From<bool> for Color {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

impl StyledText {
    /// Adds text in a color. `code` is an SGR code, such as `31`; empty for no color.
    pub fn push(&mut self, text: &str, code: &str, color: Color) {
        let text = runbook_text::for_terminal(text);
        // Writing to a string cannot fail.
        let _ = match color {
            Color::On if !code.is_empty() => write!(self.0, "\u{1b}[{code}m{text}\u{1b}[0m"),
            Color::On | Color::Off => write!(self.0, "{text}"),
        };
    }

    /// Adds the lines of a text. Each but the first begins with `|`, so that text from outside
    /// cannot look like a message of this program.
    fn push_quoted(&mut self, text: &str) {
        for (index, line) in runbook_text::lines(text).lines().enumerate() {
            self.push(
                &if index == 0 { line.to_owned() } else { format!("\n  | {line}") },
                "",
                Color::Off,
            );
        }
    }
}

/// Prints text on stderr, unless `-q` was given. Write errors are ignored, because a run must
/// neither stop nor wait for a terminal.
pub fn note(text: &str) {
    if !is_quiet() {
        print_stderr(text);
    }
}

/// Prints text on stderr, even with `-q`: for questions, what is needed to answer them, and
/// requested output.
pub fn print_stderr(text: &str) {
    STDERR.print(&runbook_text::for_terminal(&with_path_names(&with_journal_option(text))));
}

/// Warns the operator that something was not done or needs a person. It is one line, even if names
/// in it contain line breaks.
pub fn warning(text: &str) {
    print_stderr(&format!("warning: {}", runbook_text::line(text)));
}

/// A warning about something that needs no action: not printed with `-q`.
pub fn minor_warning(text: &str) {
    if !is_quiet() {
        warning(text);
    }
}

/// Shows findings that do not stop the command, unless `-q` was given.
pub fn findings(diagnostics: &Diagnostics, color: Color) {
    if !diagnostics.is_empty() && !is_quiet() {
        print_stderr_styled(&render_diagnostics(diagnostics, color));
    }
}

/// As [`print_stderr`], with colors.
pub fn print_stderr_styled(text: &StyledText) {
    STDERR.print(&with_path_names(&text.0));
}

/// Shows what is wrong with the command line. The error quotes arguments, which can be the names of
/// files with control characters.
pub fn wrong_command_line(error: &clap::Error) {
    let text = error.render().to_string();
    if runbook_text::is_plain(&text) {
        // Clap prints colors, and help to stdout. A write error is ignored.
        let _ = error.print();
    } else {
        print_stderr(text.trim_end());
    }
}

/// Draws the live area below all text on stderr.
pub fn show(live_area: LiveArea) {
    STDERR.show(live_area);
}

/// Waits until all text for stderr is written.
pub fn flush() {
    STDERR.flush();
}

/// Whether stderr still has a reader: its terminal was not closed.
pub fn stderr_has_reader() -> bool {
    !STDERR.is_gone()
}

/// Whether stdout may still have a reader: it is not a pipe whose other end was closed.
pub fn stdout_has_reader() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut poll_fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If this cannot be checked, a reader is assumed; the next write will fail otherwise.
    poll(&mut poll_fds, Some(&now)).is_err() || !poll_fds[0].revents().contains(PollFlags::ERR)
}

/// Shows why a command failed, with its causes and hints.
pub fn failure(color: Color, failure: &Failure) {
    match failure {
        Failure::BrokenPipe => {}
        Failure::Findings { diagnostics, .. } => {
            print_stderr_styled(&render_diagnostics(diagnostics, color));
        }
        Failure::Error { error, hints, .. } => {
            let mut text = StyledText::default();
            let code =
                Failure::code(error.as_ref()).map_or_else(String::new, |code| format!("[{code}]"));
            text.push(&format!("error{code}:"), "1;31", color);
            text.push_quoted(&with_journal_option(&format!(" {error}")));
            for cause in Failure::causes(error.as_ref()) {
                text.push("\n  because ", "", color);
                text.push_quoted(&with_journal_option(&cause));
            }
            for hint in hints {
                text.push("\n", "", color);
                text.push("help:", "1;36", color);
                text.push_quoted(&with_journal_option(&format!(" {hint}")));
            }
            print_stderr_styled(&StyledText(wrapped(&text.0)));
        }
    }
}

/// The greatest width of findings, and their width where there is no terminal.
const MAX_FINDING_COLUMNS: usize = 100;

/// The diagnostics from top to bottom of each file, with the files in the order of their first
/// diagnostic. The stages of parsing find them in another order.
pub fn in_file_order(diagnostics: &Diagnostics) -> Vec<&Diagnostic> {
    let mut files: Vec<&str> = Vec::new();
    for diagnostic in diagnostics.iter() {
        if !files.contains(&diagnostic.source.name()) {
            files.push(diagnostic.source.name());
        }
    }
    let mut ordered: Vec<&Diagnostic> = diagnostics.iter().collect();
    ordered.sort_by_cached_key(|found| {
        (files.iter().position(|file| *file == found.source.name()), found.span.start)
    });
    ordered
}

/// The diagnostics with the lines of their files, then their number. Their messages are escaped
/// already; the lines of the files are escaped here.
pub fn render_diagnostics(diagnostics: &Diagnostics, color: Color) -> StyledText {
    let theme = match color {
        Color::On => GraphicalTheme::unicode(),
        Color::Off => GraphicalTheme::unicode_nocolor(),
    };
    // Lines are broken at spaces only, so that a name such as `prod.age#orders-db` can be copied.
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(
            columns(std::io::stderr())
                .map_or(MAX_FINDING_COLUMNS, |found| found.min(MAX_FINDING_COLUMNS)),
        )
        .with_break_words(false)
        .with_word_separator(textwrap::WordSeparator::AsciiSpace)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation);
    let mut text = String::new();
    for diagnostic in in_file_order(diagnostics) {
        let source = runbook_text::snippet(&diagnostic.source.quotable()).into_owned();
        let shown = MietteDiagnostic {
            diagnostic,
            source: NamedSource::new(diagnostic.source.name(), source),
        };
        let _ = handler.render_report(&mut text, &shown);
    }
    let errors =
        diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let _ = write!(text, "{}", pluralize(errors, "error"));
    if warnings > 0 {
        let _ = write!(text, ", {}", pluralize(warnings, "warning"));
    }
    match color {
        Color::On => StyledText(text),
        // CI services interpret some lines of a log as commands.
        Color::Off => StyledText(runbook_text::for_terminal(&text).into_owned()),
    }
}

/// Prints a question, wrapped at words, without a line break after it.
pub fn prompt(question: &str) {
    let end = &question[question.trim_end().len()..];
    STDERR.prompt(&runbook_text::for_terminal(&format!("{}{end}", wrapped(question.trim_end()))));
}

/// Implements miette's trait for a [`Diagnostic`].
#[derive(Debug)]
struct MietteDiagnostic<'a> {
    diagnostic: &'a Diagnostic,
    source: NamedSource<String>,
}

impl std::fmt::Display for MietteDiagnostic<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for MietteDiagnostic<'_> {}

impl miette::Diagnostic for MietteDiagnostic<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = &self.diagnostic.span;
        let label = LabeledSpan::at(span.start..span.end.max(span.start), &self.diagnostic.label);
        Some(Box::new(std::iter::once(label)))
    }
}
