//! Sanitizes untrusted text.
//!
//! Plugins, servers and files write texts that people read on terminals, in reports and in the
//! browser. Such a text must not control the terminal, begin a line of its own, be shown in another
//! order than it is stored, or contain invisible characters. This crate knows which characters do
//! that, and has one function for each place where text is shown: [`line()`], [`lines`], [`json`],
//! [`snippet`], [`for_terminal`] and [`shell_argument`].
//!
//! A character that is removed is replaced by U+FFFD, so that a reader sees that something was
//! there; several in a row are replaced by one. Text without such characters is borrowed and not
//! changed: letters of every script, emoji and their joiners are kept.

#![warn(clippy::missing_errors_doc)]

mod character;

pub use character::describe;

use character::{Kind, kind};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces characters that are not shown.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The most combining marks on one letter. No script needs more, and many marks would cover the
/// lines above and below.
const MAX_MARKS: u32 = 8;

/// How one character is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharacterHandling {
    /// It is shown.
    Shown,
    /// It begins a line: `\n`, or `\r\n` (which is one).
    Break,
    /// It is a tab.
    Tab,
    /// Some programs read it as the end of a line, and others do not.
    AmbiguousBreak,
    /// It is not shown.
    Hidden,
}

/// Each character of a text with its offset, and how it is shown.
fn classify(text: &str) -> impl Iterator<Item = (usize, char, CharacterHandling)> + '_ {
    let mut preceding = PrecedingCharacter::Nothing;
    let mut marks = 0;
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (at, c) = characters.next()?;
        if c == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n') {
            characters.next();
            (preceding, marks) = (PrecedingCharacter::Nothing, 0);
            return Some((at, '\n', CharacterHandling::Break));
        }
        let handling = match kind(c) {
            Kind::Plain => CharacterHandling::Shown,
            Kind::Break => CharacterHandling::Break,
            Kind::Tab => CharacterHandling::Tab,
            Kind::AmbiguousBreak => CharacterHandling::AmbiguousBreak,
            // After a letter that is not ASCII, or in emoji, these characters have their purpose:
            // they change how the letter before them looks.
            Kind::Selector if preceding == PrecedingCharacter::Foreign => CharacterHandling::Shown,
            Kind::Joiner
                if matches!(
                    preceding,
                    PrecedingCharacter::Foreign | PrecedingCharacter::Selector
                ) =>
            {
                CharacterHandling::Shown
            }
            Kind::Hidden | Kind::Joiner | Kind::Selector => CharacterHandling::Hidden,
            Kind::Mark => {
                marks += 1;
                if preceding == PrecedingCharacter::Nothing || marks > MAX_MARKS {
                    CharacterHandling::Hidden
                } else {
                    CharacterHandling::Shown
                }
            }
        };
        match (kind(c), handling) {
            (Kind::Mark, _) => {}
            (Kind::Plain, _) => {
                marks = 0;
                preceding = if c.is_ascii() {
                    PrecedingCharacter::Other
                } else {
                    PrecedingCharacter::Foreign
                };
            }
            (Kind::Selector, CharacterHandling::Shown) => preceding = PrecedingCharacter::Selector,
            (Kind::Joiner, CharacterHandling::Shown) => preceding = PrecedingCharacter::Other,
            (_, _) => (preceding, marks) = (PrecedingCharacter::Nothing, 0),
        }
        Some((at, c, handling))
    })
}

/// The kind of the character before another one, as far as the handling of the other depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PrecedingCharacter {
    /// The beginning of a line.
    Nothing,
    /// A character of ASCII, or a joiner.
    Other,
    /// A letter or sign beyond ASCII.
    Foreign,
    /// A variation selector after such a sign.
    Selector,
}

/// Text in one line: line breaks and tabs become spaces.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    rewrite(text, |out, c, handling| match handling {
        CharacterHandling::Shown => out.push(c),
        CharacterHandling::Break | CharacterHandling::Tab | CharacterHandling::AmbiguousBreak => {
            out.push(' ');
        }
        CharacterHandling::Hidden => push_replacement(out),
    })
}

/// Text in several lines: `\n` and tabs are kept, `\r\n` becomes `\n`.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return Cow::Borrowed(text);
    }
    rewrite(text, |out, c, handling| match handling {
        CharacterHandling::Shown | CharacterHandling::Break | CharacterHandling::Tab => out.push(c),
        CharacterHandling::AmbiguousBreak | CharacterHandling::Hidden => push_replacement(out),
    })
}

/// Text for a terminal, or for the log of a CI job: like [`lines`], and no line is a command of the
/// CI service. A command begins with `::`, after any spaces, or contains `##[` or the like.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let text = lines(text);
    if !COMMANDS.iter().any(|command| text.contains(command)) {
        return text;
    }
    let disarmed = text.split('\n').map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let line = match line.trim_start().strip_prefix("::") {
            Some(rest) => format!("{indent}: :{rest}"),
            None => line.to_owned(),
        };
        COMMANDS[1..]
            .iter()
            .fold(line, |line, command| line.replace(command, &command.replacen("##", "# #", 1)))
    });
    Cow::Owned(disarmed.collect::<Vec<_>>().join("\n"))
}

/// The beginnings of commands of CI services: GitHub (two forms), Azure, `TeamCity`.
const COMMANDS: &[&str] = &["::", "##[", "##vso[", "##teamcity["];

/// JSON text in which characters that are not shown become escapes. Its value is the same to every
/// program that reads it.
pub fn json(text: &str) -> Cow<'_, str> {
    // `#` can only stand in a string, where an escape means the same. So no command of a CI service
    // is left.
    if text.contains("##") {
        return Cow::Owned(json(&text.replace("##", "#\\u0023")).into_owned());
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return Cow::Borrowed(text);
    }
    rewrite(text, |out, c, handling| match handling {
        CharacterHandling::Shown | CharacterHandling::Break | CharacterHandling::Tab => out.push(c),
        CharacterHandling::AmbiguousBreak | CharacterHandling::Hidden => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    })
}

/// The text of a file that is quoted. It has the same length in bytes as before, so that offsets
/// into it remain valid.
pub fn snippet(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut copied_to = 0;
    for (at, c, handling) in classify(text) {
        // A `\r\n` was classified as one line break.
        out.push_str(&text[copied_to..at]);
        copied_to = at + c.len_utf8();
        match handling {
            CharacterHandling::Shown | CharacterHandling::Tab => out.push(c),
            CharacterHandling::Break if text[at..].starts_with("\r\n") => {
                out.push_str("\r\n");
                copied_to = at + 2;
            }
            CharacterHandling::Break => out.push('\n'),
            CharacterHandling::AmbiguousBreak | CharacterHandling::Hidden => {
                out.push_str(["?", "¤", "\u{fffd}", "\u{fffd}?"][c.len_utf8() - 1]);
            }
        }
    }
    Cow::Owned(out)
}

/// A character that may not be shown, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisallowedCharacter {
    /// How many bytes stand before it.
    pub offset: usize,
    /// The character; [`describe`] names it.
    pub character: char,
}

/// The first character that [`lines`] would replace.
pub fn first_hidden(text: &str) -> Option<DisallowedCharacter> {
    find_first(text, |handling| {
        matches!(handling, CharacterHandling::AmbiguousBreak | CharacterHandling::Hidden)
    })
}

/// The first character that [`line()`] would replace.
pub fn first_not_in_line(text: &str) -> Option<DisallowedCharacter> {
    find_first(text, |handling| handling != CharacterHandling::Shown)
}

/// Whether [`lines`] would change nothing.
pub fn is_plain(text: &str) -> bool {
    !text.contains('\r') && first_hidden(text).is_none()
}

/// A text as one argument of a command that a person copies into a shell: quoted if a shell would
/// read it as more than a word. bash, zsh and ksh read exactly this text: a character that cannot
/// be shown is written as an escape such as `$'\\t'`, and is never replaced.
pub fn shell_argument(text: &str) -> Cow<'_, str> {
    if line(text) != text {
        return Cow::Owned(escaped_argument(text));
    }
    let is_word = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    // `#` begins a comment only at the begin of a word; zsh reads `=ls` there as the path of a
    // program.
    let is_inside = |(at, c): (usize, char)| {
        if at == 0 { is_word(c) && c != '=' } else { is_word(c) || c == '#' }
    };
    if !text.is_empty() && text.char_indices().all(is_inside) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

/// `$'…'` with escapes for all characters that cannot be shown.
fn escaped_argument(text: &str) -> String {
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c if is_seen(c) => quoted.push(c),
            // Bytes mean the same in every locale.
            c => quoted
                .extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}"))),
        }
    }
    quoted.push('\'');
    quoted
}

/// Whether a character by itself is shown as it is.
fn is_seen(c: char) -> bool {
    let text = c.to_string();
    line(&text) == text
}

/// The name of a file as one argument of a command, as [`shell_argument`] writes it. A name that
/// begins with `-` is preceded by `./`, so that no command reads it as an option.
pub fn file_argument(name: &str) -> Cow<'_, str> {
    match shell_argument(name) {
        word if !name.starts_with('-') => word,
        _ => Cow::Owned(shell_argument(&format!("./{name}")).into_owned()),
    }
}

/// A text cut to at most `cap` bytes, with `…` where it was cut.
pub fn shortened(text: &str, cap: usize) -> Cow<'_, str> {
    if text.len() <= cap {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(cap.saturating_sub('…'.len_utf8()));
    Cow::Owned(format!("{}…", &text[..end]))
}

fn find_first(
    text: &str,
    wanted: impl Fn(CharacterHandling) -> bool,
) -> Option<DisallowedCharacter> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    classify(text)
        .find(|(.., handling)| wanted(*handling))
        .map(|(offset, character, _)| DisallowedCharacter { offset, character })
}

fn rewrite(
    text: &str,
    mut write: impl FnMut(&mut String, char, CharacterHandling),
) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    classify(text).for_each(|(_, c, handling)| write(&mut out, c, handling));
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// Adds U+FFFD, unless the text ends with it already.
fn push_replacement(out: &mut String) {
    if !out.ends_with(REPLACEMENT) {
        out.push(REPLACEMENT);
    }
}

#[cfg(test)]
mod tests;
