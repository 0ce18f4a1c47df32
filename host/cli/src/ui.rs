//! The only file that prints or prompts. Data goes to stdout, everything else to stderr, which a thread of its own writes.

use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, Typed};
use crate::screen::{Moving, Screen, Stderr, write_whole};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use runbook_document::{Diagnostic, Diagnostics, Severity};
pub use runbook_report::counted;
use runbook_report::{Format, Summary};
use runbook_secrets::SecretString;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::LazyLock;

/// Stderr of the program.
static SCREEN: LazyLock<Screen> = LazyLock::new(|| Screen::new(Stderr));

/// Writes data to stdout.
pub fn data(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    raw_data(format!("{text}{end}").as_bytes())
}

/// Says on stdout what was done. That it cannot be said does not make it undone, so it is no failure of the command.
pub fn said(text: &str) {
    not_told(data(text), "what was done");
}

/// A warning on stderr in place of a failure: what was to be told could not be.
pub fn not_told(told: Result<(), Failure>, what: &str) {
    match told {
        Ok(()) | Err(Failure::BrokenPipe) => {}
        Err(Failure::Error { error, .. }) => note(&format!("warning: {what} could not be written to stdout: {error}")),
        Err(Failure::Findings { .. }) => note(&format!("warning: {what} could not be written to stdout")),
    }
}

/// Writes text for people to stdout: on a terminal, no line is wider than it.
pub fn text(text: &str) -> Result<(), Failure> {
    match columns(std::io::stdout()) {
        Some(columns) => data(&runbook_report::fit(text, columns)),
        None => data(text),
    }
}

/// Whether stdout is a terminal, so that a person reads it.
pub fn is_shown() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes a report to stdout.
pub fn report(format: Format, summary: &Summary) -> Result<(), Failure> {
    let report = runbook_report::render(format, summary);
    match format {
        Format::Text => text(&report),
        Format::Json | Format::Junit | Format::Markdown | Format::Html => data(&report),
    }
}

/// How wide a terminal is; `None` if there is none.
pub fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// A line as wide as the terminal of stderr, if there is one.
pub fn fitted(text: &str) -> String {
    columns(std::io::stderr()).map_or_else(|| text.to_owned(), |columns| runbook_report::fit(text, columns))
}

/// Writes bytes to stdout as they are.
pub fn raw_data(bytes: &[u8]) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        // Both are the same terminal mostly, and what was said before stands before it.
        flush();
    }
    let mut out = std::io::stdout().lock();
    out.flush()?;
    Ok(write_whole(rustix::stdio::stdout(), bytes)?)
}

/// Writes a line for the operator to stderr. Nothing can be done if that fails, and a run must neither stop nor wait for it.
pub fn note(text: &str) {
    SCREEN.print(text);
}

/// Draws lines that move below all that is noted.
pub fn show(moving: Moving) {
    SCREEN.show(moving);
}

/// Waits until everything noted is written.
pub fn flush() {
    SCREEN.flush();
}

/// Whether there is still somebody to read stderr: its terminal was not closed.
pub fn is_read() -> bool {
    !SCREEN.is_gone()
}

/// Shows a failure.
pub fn failure(context: Option<&Context>, failure: &Failure) {
    let color = context.is_some_and(|context| context.color_stderr);
    match failure {
        Failure::BrokenPipe => {}
        Failure::Findings { diagnostics, .. } => note(&render_diagnostics(diagnostics, color)),
        Failure::Error { error, hints, .. } => {
            let mut text = format!("{} {error}", paint("error:", "1;31", color));
            for cause in Failure::causes(error.as_ref()) {
                let _ = write!(text, "\n  because {cause}");
            }
            for hint in hints {
                let _ = write!(text, "\n{} {hint}", paint("help:", "1;36", color));
            }
            note(&fitted(&text));
        }
    }
}

/// How wide findings are where there is no terminal, and at most.
const WIDE: usize = 100;

/// Findings with the lines that they are about, then how many there are.
pub fn render_diagnostics(diagnostics: &Diagnostics, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(columns(std::io::stderr()).map_or(WIDE, |found| found.min(WIDE)));
    let mut text = String::new();
    for diagnostic in diagnostics.iter() {
        let shown = Shown { diagnostic, source: NamedSource::new(diagnostic.source.name(), diagnostic.source.text().to_owned()) };
        let _ = handler.render_report(&mut text, &shown);
    }
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let _ = write!(text, "{}", counted(errors, "error"));
    if warnings > 0 {
        let _ = write!(text, ", {}", counted(warnings, "warning"));
    }
    text
}

/// A word in colour, where colour is used.
pub fn paint(text: &str, code: &str, color: bool) -> String {
    if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Whether a person has agreed already, by `--yes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// They have: nobody is asked.
    Yes,
    /// They are asked.
    NotYet,
}

impl Agreed {
    /// What `--yes` means.
    pub fn by_flag(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::NotYet }
    }
}

/// Asks a question that only `y` or `yes` answers with yes. Where nobody can be asked, `--yes` is the only yes.
///
/// # Errors
/// There is no terminal, or `--no-input` was given.
pub fn confirm(context: &Context, question: &str, agreed: Agreed) -> Result<bool, Failure> {
    if agreed == Agreed::Yes {
        return Ok(true);
    }
    if !context.interactive {
        return Err(Failure::usage(format!("a person must answer: {question}")).hint("run on a terminal, or give `--yes`"));
    }
    prompt(&format!("{question} [y/N] "));
    flush();
    Ok(match input::line() {
        Typed::Line(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
        Typed::NotText | Typed::Gone => false,
    })
}

/// The beginning of a line that a person is to finish; too wide for the terminal, it goes on below, at a word.
pub fn prompt(question: &str) {
    let end = &question[question.trim_end().len()..];
    SCREEN.prompt(&format!("{}{end}", fitted(question.trim_end())));
}

/// Asks for a secret without showing it. `None` if nobody can be asked.
pub fn ask_secret(context: &Context, question: &str) -> Option<SecretString> {
    if !context.interactive {
        return None;
    }
    flush();
    rpassword::prompt_password(format!("{question}: ")).ok().map(SecretString::from)
}

/// A [`Diagnostic`] as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    source: NamedSource<String>,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
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
