//! Where the text that a program runs comes from: its arguments, standard input, a file. A text
//! that is not certainly in the arguments counts as the worst case.

use super::argument_match::may_match;
use super::interpreter::{DefaultSource, Family, any_name, family_of, starts_nothing};
use super::program_options::{Argument, ArgumentRole, readings};
use crate::pattern::ArgumentPattern;
use crate::targets::{ProcessTarget, lexical};
use std::path::{Path, PathBuf};

/// A place, other than its arguments, from which a program may read its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ProgramText {
    /// It is read from standard input.
    Input,
    /// It stands in the file at this path.
    File {
        /// What the file is, for people.
        what: String,
        /// The path of the file.
        path: PathBuf,
    },
    /// In a file whose name matches this pattern, from the working directory.
    AnyFile {
        /// The pattern that the file's name matches.
        pattern: ArgumentPattern,
        /// The working directory, from which the name is relative.
        folder: PathBuf,
    },
    /// In files of this folder, the working directory.
    Folder(PathBuf),
}

impl ProgramText {
    /// The part of the text that may be in a directory, for people; `None` if there is none.
    pub(super) fn below(&self, directory: &Path) -> Option<String> {
        match self {
            Self::Input => None,
            Self::File { what, path } => {
                path.starts_with(directory).then(|| format!("{what} `{}`", path.display()))
            }
            Self::Folder(folder) => folder
                .starts_with(directory)
                .then(|| format!("what lies in `{}`", folder.display())),
            Self::AnyFile { pattern, folder } => {
                let is_inside =
                    folder.starts_with(directory) || may_name_a_file_in(pattern, directory);
                is_inside.then(|| format!("a file that {pattern} names"))
            }
        }
    }
}

/// Whether some text of the pattern is a path below the directory, or climbs. What cannot be
/// compared is.
fn may_name_a_file_in(pattern: &ArgumentPattern, directory: &Path) -> bool {
    // `//dumps` and `/./dumps` are `/dumps`.
    let parts = directory
        .iter()
        .skip(1)
        .map(|part| format!(r"/(?:\.?/)*{}", regex::escape(&part.to_string_lossy())));
    let inside = format!(r"{}(?:/(?s:.)*)?|(?s:.)*\.\.(?s:.)*", parts.collect::<String>());
    may_match(pattern, &inside)
}

/// How many argument lists of one target are tried at most. A target with more alternatives counts
/// as reading standard input.
const MAX_LISTS: usize = 256;

/// Every place, but its arguments, where the text of this program may stand.
pub(super) fn of(process: &ProcessTarget) -> Vec<ProgramText> {
    let folder = process
        .directory
        .as_ref()
        .map_or_else(|| PathBuf::from("/"), |folder| folder.real().to_owned());
    let mut found = Vec::new();
    if process.sha256.is_none() {
        for path in [process.program.named(), process.program.real()] {
            found.push(ProgramText::File { what: "the program".to_owned(), path: path.to_owned() });
        }
    }
    let programs =
        [process.program.named(), process.program.real()].map(|path| path.display().to_string());
    let families = of_arguments(&programs, &process.arguments, &folder, &mut found);
    if families.iter().any(|family| family.reads_folder) && process.directory.is_some() {
        found.push(ProgramText::Folder(folder));
    }
    found
}

/// Whether these arguments alone leave it to standard input what the program runs: then none of
/// them names its text.
pub(super) fn reads_input(program: &str, arguments: &[ArgumentPattern]) -> bool {
    let mut found = Vec::new();
    of_arguments(&[program.to_owned()], arguments, Path::new("/"), &mut found);
    found.contains(&ProgramText::Input)
}

/// What the arguments say of a program with these names. Returns the families that it belongs to.
fn of_arguments(
    programs: &[String],
    arguments: &[ArgumentPattern],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) -> Vec<&'static Family> {
    let mut families: Vec<&Family> = Vec::new();
    for family in programs.iter().filter_map(|program| family_of(program)) {
        if !families.iter().any(|known| std::ptr::eq(*known, family)) {
            families.push(family);
        }
    }
    let may_start = families.is_empty() && !programs.iter().any(|program| starts_nothing(program));
    match lists(arguments) {
        Some(lists) => {
            for list in &lists {
                families.iter().for_each(|family| of_list(family, list, folder, found));
                if may_start {
                    of_started(list, folder, found);
                }
            }
        }
        None if families.is_empty() => {}
        None => found.push(ProgramText::Input),
    }
    families
}

/// Every list of arguments that the patterns let through, as far as it matters here; `None` if
/// there are too many.
fn lists(patterns: &[ArgumentPattern]) -> Option<Vec<Vec<Argument<'_>>>> {
    let mut lists: Vec<Vec<Argument<'_>>> = vec![Vec::new()];
    for pattern in patterns {
        let (alternatives, may_be_absent) = match pattern {
            ArgumentPattern::Repeat(inner) => (alternatives(inner), true),
            ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) => {
                (alternatives(pattern), false)
            }
        };
        let mut longer = if may_be_absent { lists.clone() } else { Vec::new() };
        for list in &lists {
            longer.extend(
                alternatives
                    .iter()
                    .map(|argument| list.iter().copied().chain([*argument]).collect::<Vec<_>>()),
            );
        }
        if longer.len() > MAX_LISTS {
            return None;
        }
        lists = longer;
    }
    Some(lists)
}

fn alternatives(pattern: &ArgumentPattern) -> Vec<Argument<'_>> {
    match pattern {
        ArgumentPattern::Literal(text) => vec![Argument::Text(text)],
        ArgumentPattern::OneOf(texts) => texts.iter().map(|text| Argument::Text(text)).collect(),
        ArgumentPattern::Regex(_) => vec![Argument::Open(pattern)],
        ArgumentPattern::Repeat(inner) => alternatives(inner),
    }
}

fn of_list(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    of_program(family, list, folder, found);
    if family.starts {
        let may_start_any = |argument: &Argument<'_>| match argument {
            Argument::Text(_) => false,
            Argument::Open(pattern) => any_name(|name| pattern.matches(name)),
        };
        if list.iter().any(may_start_any) {
            found.push(ProgramText::Input);
        }
        of_started(list, folder, found);
    }
}

/// Finds the texts of a program itself, without what it starts, over all readings of its arguments.
fn of_program(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    let Some(readings) = readings(family, list) else {
        found.push(ProgramText::Input);
        return;
    };
    for reading in readings {
        of_reading(family, &reading, folder, found);
    }
    if matches!(family.otherwise, DefaultSource::Command(_) | DefaultSource::Subcommand)
        && list.iter().any(
            |argument| matches!(argument, Argument::Text(text) if is_input_option(text, folder)),
        )
    {
        found.push(ProgramText::Input);
    }
}

fn of_reading(
    family: &Family,
    reading: &[ArgumentRole<'_>],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) {
    let mut operands = Vec::new();
    let mut is_given = false;
    for meaning in reading {
        match meaning {
            ArgumentRole::Text => is_given = true,
            ArgumentRole::Input => found.push(ProgramText::Input),
            ArgumentRole::Option(text) if is_input_option(text, folder) => {
                found.push(ProgramText::Input);
            }
            ArgumentRole::Option(_) => {}
            ArgumentRole::File(argument) => {
                is_given = true;
                push_file(*argument, folder, found);
            }
            ArgumentRole::More(argument) => push_file(*argument, folder, found),
            ArgumentRole::Operand(argument) => operands.push(*argument),
        }
    }
    match family.otherwise {
        _ if is_given => {}
        DefaultSource::FirstOperand => match operands.first() {
            Some(script) => push_file(*script, folder, found),
            None => found.push(ProgramText::Input),
        },
        DefaultSource::Operands(needed) | DefaultSource::Command(needed)
            if operands.len() >= needed => {}
        DefaultSource::Subcommand if operands.len() > 1 => {
            operands.iter().skip(1).for_each(|operand| push_file(*operand, folder, found));
        }
        DefaultSource::Operands(_)
        | DefaultSource::Command(_)
        | DefaultSource::Subcommand
        | DefaultSource::Input => {
            found.push(ProgramText::Input);
        }
        DefaultSource::Arguments => {}
    }
}

/// Finds the texts of programs that arguments may start. It is not known which of them is started,
/// so each counts, with the arguments behind it.
fn of_started(list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    // An argument may be a command line itself (`env -S`, `flock -c`), or hold a name behind `=`.
    let mut words: Vec<Argument<'_>> = Vec::new();
    let parts: Vec<Option<Vec<String>>> =
        list.iter().map(|argument| argument.text().and_then(command_words)).collect();
    for (argument, parts) in list.iter().zip(&parts) {
        match (argument, parts) {
            (_, Some(parts)) => words.extend(parts.iter().map(|part| Argument::Text(part))),
            (Argument::Text(text), None) => {
                let mut names = text.split(|c: char| {
                    c.is_whitespace() || !(c.is_alphanumeric() || "-_./+:@".contains(c))
                });
                if names.any(|name| {
                    family_of(name)
                        .is_some_and(|family| family.otherwise != DefaultSource::Arguments)
                }) {
                    found.push(ProgramText::Input);
                }
                words.push(*argument);
            }
            (Argument::Open(_), None) => words.push(*argument),
        }
    }
    for (at, word) in words.iter().enumerate() {
        if let Some(family) = word.text().and_then(family_of) {
            of_program(family, &words[at + 1..], folder, found);
        }
    }
}

/// The words of an argument if it is one word or a command line of plain and quoted words; `None`
/// if a shell would do more with it.
fn command_words(text: &str) -> Option<Vec<String>> {
    if !text.contains(|c: char| c.is_whitespace() || "'\"\\;|&<>()$`{}".contains(c)) {
        let value = text
            .rsplit_once('=')
            .filter(|_| text.starts_with('-'))
            .map(|(_, value)| value.to_owned());
        return Some([text.to_owned()].into_iter().chain(value).collect());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (Some('"') | None, '$' | '`' | '\\')
            | (None, ';' | '|' | '&' | '<' | '>' | '(' | ')' | '{' | '}' | '\n' | '\r') => {
                return None;
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Whether an option, or an operand, has a value that names standard input.
fn is_input_option(text: &str, folder: &Path) -> bool {
    let value = text.rsplit_once('=').map(|(_, value)| value);
    let attached = text
        .strip_prefix('-')
        .and_then(|word| word.char_indices().nth(1).map(|(at, _)| &word[at..]));
    let is_named = |name: &str| name == "-" || (name.starts_with('/') && is_input(name, folder));
    is_named(text)
        || value.is_some_and(is_named)
        || attached.filter(|_| !text.starts_with("--")).is_some_and(is_named)
}

/// Whether a file is standard input, or may be: `-`, and every path that leads below `/dev` or
/// `/proc`, through links too.
fn is_input(name: &str, folder: &Path) -> bool {
    name == "-"
        || trail(&folder.join(name.trim_start_matches('@'))).iter().any(|path| is_device(path))
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// Links that are followed for one path.
const MAX_LINKS: usize = 40;

/// A path, and what it becomes with each link followed.
fn trail(path: &Path) -> Vec<PathBuf> {
    let mut trail = vec![lexical(path)];
    while trail.len() <= MAX_LINKS {
        let last = trail.last().cloned().unwrap_or_default();
        if is_device(&last) {
            break;
        }
        let mut parents: Vec<&Path> = last.ancestors().collect();
        parents.reverse();
        let link = parents
            .into_iter()
            .find_map(|parent| std::fs::read_link(parent).ok().map(|to| (parent, to)));
        let Some((link, to)) = link else { break };
        let rest = last.strip_prefix(link).unwrap_or(Path::new(""));
        trail.push(lexical(&link.parent().unwrap_or(Path::new("/")).join(to).join(rest)));
    }
    trail
}

fn push_file(argument: Argument<'_>, folder: &Path, found: &mut Vec<ProgramText>) {
    match argument {
        Argument::Text(text) if is_input(text, folder) => found.push(ProgramText::Input),
        Argument::Text(text) => {
            for path in trail(&folder.join(text)) {
                found.push(ProgramText::File { what: "the text in".to_owned(), path });
            }
        }
        Argument::Open(pattern) => {
            let may_be_device =
                ["/dev", "/proc"].iter().any(|place| may_name_a_file_in(pattern, Path::new(place)));
            // From the root, `dev/stdin` is one.
            let is_relative_device =
                folder == Path::new("/") && may_match(pattern, r"(?:\./*)*(?:dev|proc)/(?s:.)*");
            if may_be_device || is_relative_device || pattern.matches("-") {
                found.push(ProgramText::Input);
            }
            found
                .push(ProgramText::AnyFile { pattern: pattern.clone(), folder: folder.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests;
