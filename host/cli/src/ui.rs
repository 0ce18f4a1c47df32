//! The only file that prints or prompts. Data goes to stdout, everything else to stderr, which a
//! thread of its own writes.
//!
//! Texts of plugins, servers and files were made text where they came in. They are once more here,
//! so that whatever the way they came, nothing but text reaches a terminal. Only [`raw_data`]
//! writes bytes as they are.

use crate::failure::Failure;
use crate::screen::{LiveArea, Screen, Stderr, columns, write_whole};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use runbook_document::{Diagnostic, Diagnostics, Severity};
pub use runbook_report::counted;
use runbook_report::{Format, Summary};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

/// Stderr of the program.
static SCREEN: LazyLock<Screen> = LazyLock::new(|| Screen::new(Stderr));

/// Names that replace paths in all output, the longest path first: a temporary folder means nothing
/// to people.
static NAMES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The journal to name in printed commands, if it is not the default one.
static JOURNAL: OnceLock<String> = OnceLock::new();

/// Whether `-q` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Turns notes off, for `-q`: only errors, questions and requested output are printed.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether `-q` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Makes every command that is printed from now on name this journal.
pub fn name_journal(journal: String) {
    // A program has one.
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
    summary.to_continue =
        summary.to_continue.as_deref().map(|next| with_journal_option(next).into_owned());
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

/// Writes data for programs to stdout, in a format whose own rules were kept.
pub fn data(text: &str) -> Result<(), Failure> {
    let text = with_path_names(text);
    let text = runbook_text::lines(&text);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    raw_data(format!("{text}{end}").as_bytes())
}

/// Writes one line of data to stdout, even if names in it hold line breaks.
pub fn line(text: &str) -> Result<(), Failure> {
    data(&runbook_text::printed(&runbook_text::line(text)))
}

/// Writes JSON to stdout: in its strings, what is not to be shown stands as an escape.
pub fn json(value: &serde_json::Value) -> Result<(), Failure> {
    data(&runbook_text::json(&value.to_string()))
}

/// Prints on stdout what was done, unless `-q` was given. An error of writing is ignored, because
/// the command itself has succeeded.
pub fn done(text: &str) {
    if !is_quiet() {
        warn_if_unwritten(data(&runbook_text::printed(text)), "what was done");
    }
}

/// The same on one line, even if names in it hold line breaks.
pub fn done_line(text: &str) {
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

/// Writes text for people to stdout: on a terminal, no line is wider than it.
pub fn text(text: &str) -> Result<(), Failure> {
    let text = &*with_journal_option(text);
    match columns(std::io::stdout()) {
        Some(columns) => {
            data(&runbook_text::printed(&runbook_report::wrap_to_width(text, columns)))
        }
        None => data(&runbook_text::printed(text)),
    }
}

/// Writes text for people to stdout, each line in its colour, by the code of the terminal.
pub fn coloured_text(
    text: &str,
    color: Color,
    code: impl Fn(&str) -> &'static str,
) -> Result<(), Failure> {
    let wrapped = columns(std::io::stdout())
        .map_or_else(|| text.to_owned(), |columns| runbook_report::wrap_to_width(text, columns));
    let mut painted = Painted::default();
    for line in runbook_text::lines(&wrapped).lines() {
        painted.push(line, code(line), color);
        painted.push("\n", "", Color::Off);
    }
    raw_data(painted.0.as_bytes())
}

/// Whether stdout is a terminal, so that a person reads it.
pub fn is_shown() -> bool {
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

/// A line as wide as the terminal of stderr, if there is one.
pub fn wrapped(text: &str) -> String {
    columns(std::io::stderr())
        .map_or_else(|| text.to_owned(), |columns| runbook_report::wrap_to_width(text, columns))
}

/// Writes bytes to stdout as they are: made by this program, or asked for as they are.
pub fn raw_data(bytes: &[u8]) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        // Both are the same terminal mostly, and what was said before stands before it.
        flush();
    }
    let mut out = std::io::stdout().lock();
    out.flush().map_err(unwritten)?;
    write_whole(rustix::stdio::stdout(), bytes).map_err(unwritten)
}

/// A reader that has read enough is no failure; what else keeps the answer from being written is
/// said with its object.
fn unwritten(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::engine(format!("the answer cannot be written to stdout: {error}")),
    }
}

/// Text that was made text, with colours of our own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Painted(String);

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Texts are coloured by escape sequences.
    On,
    /// Texts are written without colours.
    Off,
}

impl From<bool> for Color {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

impl Painted {
    /// Adds text in a colour, by the code of the terminal; without one where the code is empty.
    pub fn push(&mut self, text: &str, code: &str, color: Color) {
        let text = runbook_text::printed(text);
        // Writing to a string cannot fail.
        let _ = match color {
            Color::On if !code.is_empty() => write!(self.0, "\u{1b}[{code}m{text}\u{1b}[0m"),
            Color::On | Color::Off => write!(self.0, "{text}"),
        };
    }

    /// Adds the lines of a text; each but the first begins with `|`, so that none of them looks
    /// like a line of ours.
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

/// Writes a line for the operator to stderr, unless `-q` was given. Errors are ignored, because a
/// run must neither stop nor wait for a terminal.
pub fn note(text: &str) {
    if !is_quiet() {
        notice(text);
    }
}

/// The same even with `-q`: for questions, what is needed to answer them, and what was asked for.
pub fn notice(text: &str) {
    SCREEN.print(&runbook_text::printed(&with_path_names(&with_journal_option(text))));
}

/// Warns the operator that something was not done, or needs a person; in one line,
/// even if names in it hold line breaks.
pub fn warning(text: &str) {
    notice(&format!("warning: {}", runbook_text::line(text)));
}

/// Warns the operator of something that needs no action, unless `-q` was given.
pub fn advice(text: &str) {
    if !is_quiet() {
        warning(text);
    }
}

/// Shows findings that stop nothing, unless `-q` was given.
pub fn findings(diagnostics: &Diagnostics, color: Color) {
    if !diagnostics.is_empty() && !is_quiet() {
        notice_painted(&render_diagnostics(diagnostics, color));
    }
}

/// Prints text as [`notice`] does, with colours.
pub fn notice_painted(text: &Painted) {
    SCREEN.print(&with_path_names(&text.0));
}

/// Shows what is wrong with the command line. It quotes arguments, which a shell made of the names
/// of files.
pub fn wrong_command_line(error: &clap::Error) {
    let text = error.render().to_string();
    if runbook_text::is_plain(&text) {
        // With colours, and help to stdout. Nothing can be done if that fails.
        let _ = error.print();
    } else {
        notice(text.trim_end());
    }
}

/// Draws the live area below all notes.
pub fn show(moving: LiveArea) {
    SCREEN.show(moving);
}

/// Waits until everything noted is written.
pub fn flush() {
    SCREEN.flush();
}

/// Whether stderr still has a reader: its terminal was not closed.
pub fn is_read() -> bool {
    !SCREEN.is_gone()
}

/// Whether stdout may still have a reader: it is no pipe whose other end was closed.
pub fn has_reader() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If this cannot be checked, a reader is assumed; the next write shows it.
    poll(&mut asked, Some(&now)).is_err() || !asked[0].revents().contains(PollFlags::ERR)
}

/// Shows why a command failed, with its causes and hints.
pub fn failure(color: Color, failure: &Failure) {
    match failure {
        Failure::BrokenPipe => {}
        Failure::Findings { diagnostics, .. } => {
            notice_painted(&render_diagnostics(diagnostics, color));
        }
        Failure::Error { error, hints, .. } => {
            let mut text = Painted::default();
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
            notice_painted(&Painted(wrapped(&text.0)));
        }
    }
}

/// How wide findings are where there is no terminal, and at most.
const WIDE: usize = 100;

/// The diagnostics in the order in which a person corrects them: from top to bottom of each file,
/// files in the order in which they were read. Stages find them in another order.
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

/// Findings with the lines that they are about, then how many there are. What findings say is one
/// line of text already; the lines of the file are made text here.
pub fn render_diagnostics(diagnostics: &Diagnostics, color: Color) -> Painted {
    let theme = match color {
        Color::On => GraphicalTheme::unicode(),
        Color::Off => GraphicalTheme::unicode_nocolor(),
    };
    // A name such as `prod.age#orders-db` is copied: lines are broken at spaces only.
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(columns(std::io::stderr()).map_or(WIDE, |found| found.min(WIDE)))
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
    let _ = write!(text, "{}", counted(errors, "error"));
    if warnings > 0 {
        let _ = write!(text, ", {}", counted(warnings, "warning"));
    }
    match color {
        Color::On => Painted(text),
        // The log of a CI service is read for commands.
        Color::Off => Painted(runbook_text::printed(&text).into_owned()),
    }
}

/// Prints a question without a line break after it. It is wrapped at words.
pub fn prompt(question: &str) {
    let end = &question[question.trim_end().len()..];
    SCREEN.prompt(&runbook_text::printed(&format!("{}{end}", wrapped(question.trim_end()))));
}

/// A [`Diagnostic`] as miette wants it.
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
