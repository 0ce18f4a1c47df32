//! Where the text that an interpreter runs comes from: its arguments, standard input or a file. If
//! this is uncertain, the worst case counts.

use super::argument_match::may_match;
use super::interpreter::{
    DefaultSource, ProgramFamily, any_interpreter_name, family_of, launches_nothing,
};
use super::program_options::{Argument, ArgumentRole, readings};
use crate::pattern::ArgumentPattern;
use crate::targets::{ProcessTarget, normalize_path};
use std::path::{Path, PathBuf};

/// A source, other than its arguments, from which a program may read the text that it runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ProgramText {
    /// It is read from standard input.
    Input,
    /// It is in the file at this path.
    File {
        /// What the file is, for a message.
        what: String,
        /// The path of the file.
        path: PathBuf,
    },
    /// It is in a file whose name matches this pattern.
    AnyFile {
        /// The pattern that the file's name matches.
        pattern: ArgumentPattern,
        /// The working directory, which a relative name is below.
        folder: PathBuf,
    },
    /// It is in files of this folder, the working directory.
    Folder(PathBuf),
}

impl ProgramText {
    /// A description of the text if it may be in a directory; `None` if it cannot be there.
    pub(super) fn describe_below(&self, directory: &Path) -> Option<String> {
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

/// Whether some text of the pattern is a path below the directory, or has a `..`. True if the
/// pattern is too complex to compare.
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

/// The sources of the text that this program runs, other than its arguments.
pub(super) fn program_texts(process: &ProcessTarget) -> Vec<ProgramText> {
    let folder = process
        .directory
        .as_ref()
        .map_or_else(|| PathBuf::from("/"), |folder| folder.real().to_owned());
    let mut found = Vec::new();
    if process.sha256.is_none() {
        for path in [process.program.unresolved(), process.program.real()] {
            found.push(ProgramText::File { what: "the program".to_owned(), path: path.to_owned() });
        }
    }
    let programs = [process.program.unresolved(), process.program.real()]
        .map(|path| path.display().to_string());
    let families = find_in_arguments(&programs, &process.arguments, &folder, &mut found);
    if families.iter().any(|family| family.reads_working_directory) && process.directory.is_some() {
        found.push(ProgramText::Folder(folder));
    }
    found
}

/// Whether a program with these arguments reads the text that it runs from standard input.
pub(super) fn reads_input(program: &str, arguments: &[ArgumentPattern]) -> bool {
    let mut found = Vec::new();
    find_in_arguments(&[program.to_owned()], arguments, Path::new("/"), &mut found);
    found.contains(&ProgramText::Input)
}

/// Adds the sources of text that the arguments imply for a program with these names. Returns the
/// families that it belongs to.
fn find_in_arguments(
    programs: &[String],
    arguments: &[ArgumentPattern],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) -> Vec<&'static ProgramFamily> {
    let mut families: Vec<&ProgramFamily> = Vec::new();
    for family in programs.iter().filter_map(|program| family_of(program)) {
        if !families.iter().any(|known| std::ptr::eq(*known, family)) {
            families.push(family);
        }
    }
    let may_start_programs =
        families.is_empty() && !programs.iter().any(|program| launches_nothing(program));
    match argument_lists(arguments) {
        Some(lists) => {
            for list in &lists {
                families.iter().for_each(|family| find_in_list(family, list, folder, found));
                if may_start_programs {
                    find_in_started_programs(list, folder, found);
                }
            }
        }
        None if families.is_empty() => {}
        None => found.push(ProgramText::Input),
    }
    families
}

/// The lists of arguments that the patterns allow, with open patterns as single arguments; `None`
/// if there are too many.
fn argument_lists(patterns: &[ArgumentPattern]) -> Option<Vec<Vec<Argument<'_>>>> {
    let mut lists: Vec<Vec<Argument<'_>>> = vec![Vec::new()];
    for pattern in patterns {
        let (alternatives, may_be_absent) = match pattern {
            ArgumentPattern::Repeat(inner) => (alternatives(inner), true),
            ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) => {
                (alternatives(pattern), false)
            }
        };
        let mut extended_lists = if may_be_absent { lists.clone() } else { Vec::new() };
        for list in &lists {
            extended_lists.extend(
                alternatives
                    .iter()
                    .map(|argument| list.iter().copied().chain([*argument]).collect::<Vec<_>>()),
            );
        }
        if extended_lists.len() > MAX_LISTS {
            return None;
        }
        lists = extended_lists;
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

fn find_in_list(
    family: &ProgramFamily,
    list: &[Argument<'_>],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) {
    find_in_program(family, list, folder, found);
    if family.is_launcher {
        let may_start_any = |argument: &Argument<'_>| match argument {
            Argument::Text(_) => false,
            Argument::Open(pattern) => any_interpreter_name(|name| pattern.matches(name)),
        };
        if list.iter().any(may_start_any) {
            found.push(ProgramText::Input);
        }
        find_in_started_programs(list, folder, found);
    }
}

/// Adds the sources of text of a program itself, in every reading of its arguments, without those
/// of programs that it starts.
fn find_in_program(
    family: &ProgramFamily,
    list: &[Argument<'_>],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) {
    let Some(readings) = readings(family, list) else {
        found.push(ProgramText::Input);
        return;
    };
    for reading in readings {
        find_in_reading(family, &reading, folder, found);
    }
    if matches!(family.default_source, DefaultSource::Command(_) | DefaultSource::Subcommand)
        && list.iter().any(
            |argument| matches!(argument, Argument::Text(text) if is_input_option(text, folder)),
        )
    {
        found.push(ProgramText::Input);
    }
}

fn find_in_reading(
    family: &ProgramFamily,
    reading: &[ArgumentRole<'_>],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) {
    let mut operands = Vec::new();
    let mut has_text = false;
    for role in reading {
        match role {
            ArgumentRole::Text => has_text = true,
            ArgumentRole::Input => found.push(ProgramText::Input),
            ArgumentRole::Option(text) if is_input_option(text, folder) => {
                found.push(ProgramText::Input);
            }
            ArgumentRole::Option(_) => {}
            ArgumentRole::File(argument) => {
                has_text = true;
                push_file(*argument, folder, found);
            }
            ArgumentRole::ExtraFile(argument) => push_file(*argument, folder, found),
            ArgumentRole::Operand(argument) => operands.push(*argument),
        }
    }
    match family.default_source {
        _ if has_text => {}
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

/// Adds the sources of text of programs that the arguments may start. Each argument may be such a
/// program, with the arguments after it.
fn find_in_started_programs(list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    // An argument may be a command line itself (`env -S`, `flock -c`), or have a name after `=`.
    let mut words: Vec<Argument<'_>> = Vec::new();
    let command_lines: Vec<Option<Vec<String>>> =
        list.iter().map(|argument| argument.text().and_then(command_words)).collect();
    for (argument, command_lines) in list.iter().zip(&command_lines) {
        match (argument, command_lines) {
            (_, Some(command_lines)) => {
                words.extend(command_lines.iter().map(|part| Argument::Text(part)));
            }
            (Argument::Text(text), None) => {
                let mut names = text.split(|c: char| {
                    c.is_whitespace() || !(c.is_alphanumeric() || "-_./+:@".contains(c))
                });
                if names.any(|name| {
                    family_of(name)
                        .is_some_and(|family| family.default_source != DefaultSource::Arguments)
                }) {
                    found.push(ProgramText::Input);
                }
                words.push(*argument);
            }
            (Argument::Open(_), None) => words.push(*argument),
        }
    }
    for (index, word) in words.iter().enumerate() {
        if let Some(family) = word.text().and_then(family_of) {
            find_in_program(family, &words[index + 1..], folder, found);
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
    let names_input = |name: &str| name == "-" || (name.starts_with('/') && is_input(name, folder));
    names_input(text)
        || value.is_some_and(names_input)
        || attached.filter(|_| !text.starts_with("--")).is_some_and(names_input)
}

/// Whether a file may be standard input: `-`, or a path below `/dev` or `/proc`, directly or
/// through links.
fn is_input(name: &str, folder: &Path) -> bool {
    name == "-"
        || link_chain(&folder.join(name.trim_start_matches('@'))).iter().any(|path| is_device(path))
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// How many links are followed for one path at most.
const MAX_LINKS: usize = 40;

/// A path, followed by the paths that it becomes as each link is resolved.
fn link_chain(path: &Path) -> Vec<PathBuf> {
    let mut chain = vec![normalize_path(path)];
    while chain.len() <= MAX_LINKS {
        let last = chain.last().cloned().unwrap_or_default();
        if is_device(&last) {
            break;
        }
        let mut parents: Vec<&Path> = last.ancestors().collect();
        parents.reverse();
        let link = parents.into_iter().find_map(|parent| {
            std::fs::read_link(parent).ok().map(|link_target| (parent, link_target))
        });
        let Some((link, link_target)) = link else { break };
        let rest = last.strip_prefix(link).unwrap_or(Path::new(""));
        chain.push(normalize_path(
            &link.parent().unwrap_or(Path::new("/")).join(link_target).join(rest),
        ));
    }
    chain
}

fn push_file(argument: Argument<'_>, folder: &Path, found: &mut Vec<ProgramText>) {
    match argument {
        Argument::Text(text) if is_input(text, folder) => found.push(ProgramText::Input),
        Argument::Text(text) => {
            for path in link_chain(&folder.join(text)) {
                found.push(ProgramText::File { what: "the text in".to_owned(), path });
            }
        }
        Argument::Open(pattern) => {
            let may_be_device =
                ["/dev", "/proc"].iter().any(|place| may_name_a_file_in(pattern, Path::new(place)));
            // Relative to the root, `dev/stdin` is a device, too.
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
