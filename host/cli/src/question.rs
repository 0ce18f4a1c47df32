//! Questions to the person at the terminal.

use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine};
use crate::ui::{flush, prompt};
use runbook_secrets::SecretString;

/// Whether the operator has agreed already, by `--yes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// They have, and are not asked.
    Yes,
    /// They have not, and are asked.
    NotYet,
}

impl Consent {
    /// Whether `--yes` was given.
    pub fn by_flag(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::NotYet }
    }
}

/// Asks a yes-or-no question; only `y` and `yes` mean yes. Without a terminal, `--yes` is needed.
///
/// # Errors
/// There is no terminal, or `--no-input` was given.
pub fn confirm(context: &Context, question: &str, consent: Consent) -> Result<bool, Failure> {
    if consent == Consent::Yes {
        return Ok(true);
    }
    if !context.interactive {
        return Err(Failure::usage(format!("a person must answer: {question}"))
            .hint("run on a terminal, or give `--yes`"));
    }
    input::discard_typed();
    prompt(&format!("{question} [y/N] "));
    flush();
    Ok(match input::read_line() {
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
