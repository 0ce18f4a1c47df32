//! Questions to the person at the terminal.

use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine};
use crate::ui::{flush, prompt};
use runbook_secrets::SecretString;

/// Whether a person has agreed already, by `--yes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// They have, so they are not asked.
    Yes,
    /// They have not, and are asked.
    NotYet,
}

impl Agreed {
    /// Whether `--yes` was given.
    pub fn by_flag(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::NotYet }
    }
}

/// Asks a question that only `y` or `yes` answers with yes. Without a terminal, only `--yes` counts
/// as yes.
///
/// # Errors
/// There is no terminal, or `--no-input` was given.
pub fn confirm(context: &Context, question: &str, agreed: Agreed) -> Result<bool, Failure> {
    if agreed == Agreed::Yes {
        return Ok(true);
    }
    if !context.interactive {
        return Err(Failure::usage(format!("a person must answer: {question}"))
            .hint("run on a terminal, or give `--yes`"));
    }
    input::discard_typed();
    prompt(&format!("{question} [y/N] "));
    flush();
    Ok(match input::line() {
        TypedLine::Line(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
        TypedLine::NotText | TypedLine::Gone => false,
    })
}

/// Asks for a secret without showing it; `None` if there is no terminal.
pub fn ask_secret(context: &Context, question: &str) -> Option<SecretString> {
    if !context.interactive {
        return None;
    }
    flush();
    input::discard_typed();
    rpassword::prompt_password(format!("{}: ", runbook_text::line(question)))
        .ok()
        .map(SecretString::from)
}
