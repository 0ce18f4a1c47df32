//! Handling of untrusted text.
//!
//! Plugins, servers and files write texts that people read on terminals, in reports and in the
//! browser. Such a text must not steer the terminal, begin a line of its own, be shown in another
//! order than it is stored, or contain invisible characters. This crate says which characters do
//! that, and has one function for each place where text is shown: [`line()`], [`lines`], [`json`],
//! [`snippet`].
//!
//! What a function takes out is replaced by U+FFFD, so that a reader sees that something was there;
//! a run of such characters becomes one. Text that is in order is borrowed and stays as it is:
//! letters of every script, emoji and their joiners included.

#![warn(clippy::missing_errors_doc)]

mod character;

pub use character::describe;

use character::{Kind, kind};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands in the place of characters that are not shown.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Marks on one letter: no script needs more, and a flood of them covers the lines around.
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
    /// It ends a line for some readers and not for others.
    OddBreak,
    /// It is not shown.
    Hidden,
}

/// Each character of a text with its place, and what is done with it.
fn judged(text: &str) -> impl Iterator<Item = (usize, char, CharacterHandling)> + '_ {
    let mut before = Before::Nothing;
    let mut marks = 0;
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (at, c) = characters.next()?;
        if c == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n') {
            characters.next();
            (before, marks) = (Before::Nothing, 0);
            return Some((at, '\n', CharacterHandling::Break));
        }
        let verdict = match kind(c) {
            Kind::Plain => CharacterHandling::Shown,
            Kind::Break => CharacterHandling::Break,
            Kind::Tab => CharacterHandling::Tab,
            Kind::OddBreak => CharacterHandling::OddBreak,
            // They change how the letter before them looks, which is what they are for in scripts
            // other than Latin, and in emoji.
            Kind::Selector if before == Before::Foreign => CharacterHandling::Shown,
            Kind::Joiner if matches!(before, Before::Foreign | Before::Selector) => {
                CharacterHandling::Shown
            }
            Kind::Hidden | Kind::Joiner | Kind::Selector => CharacterHandling::Hidden,
            Kind::Mark => {
                marks += 1;
                if before == Before::Nothing || marks > MAX_MARKS {
                    CharacterHandling::Hidden
                } else {
                    CharacterHandling::Shown
                }
            }
        };
        match (kind(c), verdict) {
            (Kind::Mark, _) => {}
            (Kind::Plain, _) => {
                marks = 0;
                before = if c.is_ascii() { Before::Other } else { Before::Foreign };
            }
            (Kind::Selector, CharacterHandling::Shown) => before = Before::Selector,
            (Kind::Joiner, CharacterHandling::Shown) => before = Before::Other,
            (_, _) => (before, marks) = (Before::Nothing, 0),
        }
        Some((at, c, verdict))
    })
}

/// What stands before a character, as far as its own verdict depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The beginning of a line.
    Nothing,
    /// A character of ASCII, or a joiner.
    Other,
    /// A letter or sign beyond ASCII.
    Foreign,
    /// The selector of such a sign.
    Selector,
}

/// Text for a place of one line: breaks and tabs become a space.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    rewritten(text, |out, c, verdict| match verdict {
        CharacterHandling::Shown => out.push(c),
        CharacterHandling::Break | CharacterHandling::Tab | CharacterHandling::OddBreak => {
            out.push(' ');
        }
        CharacterHandling::Hidden => replace(out),
    })
}

/// Text for a place of several lines: `\n` and tabs stay, `\r\n` becomes `\n`.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return Cow::Borrowed(text);
    }
    rewritten(text, |out, c, verdict| match verdict {
        CharacterHandling::Shown | CharacterHandling::Break | CharacterHandling::Tab => out.push(c),
        CharacterHandling::OddBreak | CharacterHandling::Hidden => replace(out),
    })
}

/// Text for a terminal, or for the log of a CI job: like [`lines`], and no line of it is a command
/// of the service that keeps the log. Such a line begins with `::` (spaces before it do not count),
/// or has `##[` or the like anywhere.
pub fn printed(text: &str) -> Cow<'_, str> {
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

/// What commands of CI services begin with: GitHub (two ways), Azure, `TeamCity`.
const COMMANDS: &[&str] = &["::", "##[", "##vso[", "##teamcity["];

/// JSON that was written already: in its strings, characters that are not to be shown become
/// escapes. It says the same to every program that reads it.
pub fn json(text: &str) -> Cow<'_, str> {
    // Only in a string can `#` stand, and there an escape is the same: no command of a CI service
    // is left.
    if text.contains("##") {
        return Cow::Owned(json(&text.replace("##", "#\\u0023")).into_owned());
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return Cow::Borrowed(text);
    }
    rewritten(text, |out, c, verdict| match verdict {
        CharacterHandling::Shown | CharacterHandling::Break | CharacterHandling::Tab => out.push(c),
        CharacterHandling::OddBreak | CharacterHandling::Hidden => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    })
}

/// The text of a file of which a part is shown: as long as it was, byte by byte, so that places in
/// it stay true.
pub fn snippet(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, c, verdict) in judged(text) {
        // A `\r\n` was judged as one.
        out.push_str(&text[done..at]);
        done = at + c.len_utf8();
        match verdict {
            CharacterHandling::Shown | CharacterHandling::Tab => out.push(c),
            CharacterHandling::Break if text[at..].starts_with("\r\n") => {
                out.push_str("\r\n");
                done = at + 2;
            }
            CharacterHandling::Break => out.push('\n'),
            CharacterHandling::OddBreak | CharacterHandling::Hidden => {
                out.push_str(["?", "¤", "\u{fffd}", "\u{fffd}?"][c.len_utf8() - 1]);
            }
        }
    }
    Cow::Owned(out)
}

/// A character that is not to be shown, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How many bytes stand before it.
    pub offset: usize,
    /// The character; [`describe`] names it.
    pub character: char,
}

/// The first character that [`lines`] would replace.
pub fn first_hidden(text: &str) -> Option<Found> {
    first(text, |verdict| {
        matches!(verdict, CharacterHandling::OddBreak | CharacterHandling::Hidden)
    })
}

/// The first character that has no place in text of one line.
pub fn first_not_in_line(text: &str) -> Option<Found> {
    first(text, |verdict| verdict != CharacterHandling::Shown)
}

/// Whether [`lines`] would change nothing.
pub fn is_plain(text: &str) -> bool {
    !text.contains('\r') && first_hidden(text).is_none()
}

/// A text as one argument of a command that a person copies into a shell: quoted where a shell
/// would see more than a word. It is exactly this text to bash, zsh and ksh: what cannot be shown
/// is written as `$'\\t'`, and never as another character.
pub fn argument(text: &str) -> Cow<'_, str> {
    if line(text) != text {
        return Cow::Owned(escaped_argument(text));
    }
    let is_word = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    // A `#` begins a comment only where a word begins; `=ls` there is the path of a program to zsh.
    let is_inside = |(at, c): (usize, char)| {
        if at == 0 { is_word(c) && c != '=' } else { is_word(c) || c == '#' }
    };
    if !text.is_empty() && text.char_indices().all(is_inside) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

/// `$'…'` with escapes for all that is not seen.
fn escaped_argument(text: &str) -> String {
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c if is_seen(c) => quoted.push(c),
            // Bytes, so that it means the same in every locale.
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

/// The name of a file as one argument for a shell: as [`argument`], and never an option of the
/// command that it is given to.
pub fn file(name: &str) -> Cow<'_, str> {
    match argument(name) {
        word if !name.starts_with('-') => word,
        _ => Cow::Owned(argument(&format!("./{name}")).into_owned()),
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

fn first(text: &str, wanted: impl Fn(CharacterHandling) -> bool) -> Option<Found> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    judged(text)
        .find(|(.., verdict)| wanted(*verdict))
        .map(|(offset, character, _)| Found { offset, character })
}

fn rewritten(
    text: &str,
    mut write: impl FnMut(&mut String, char, CharacterHandling),
) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    judged(text).for_each(|(_, c, verdict)| write(&mut out, c, verdict));
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// One sign, however many were there.
fn replace(out: &mut String) {
    if !out.ends_with(REPLACEMENT) {
        out.push(REPLACEMENT);
    }
}

#[cfg(test)]
mod tests;
