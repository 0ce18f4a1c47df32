//! Where the text that a program runs comes from: its arguments, standard input, a file. What is not known for sure to stand in the
//! arguments counts as the worst that it can be.

use super::interpreter::{Family, Otherwise, family_of};
use crate::pattern::{ArgumentPattern, Language, difference};
use crate::targets::{ProcessTarget, lexical};
use std::path::{Path, PathBuf};

/// Somewhere the text of a program may stand, beside its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ProgramText {
    /// On standard input.
    Input,
    /// In this file.
    File {
        /// What the file is, for people.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// In a file whose name matches this pattern, from the working directory.
    AnyFile {
        /// The pattern.
        pattern: ArgumentPattern,
        /// The working directory.
        folder: PathBuf,
    },
    /// In files of this folder, the working directory.
    Folder(PathBuf),
}

impl ProgramText {
    /// What of it may lie in a directory, for people; `None` if none of it does.
    pub(super) fn below(&self, directory: &Path) -> Option<String> {
        match self {
            Self::Input => None,
            Self::File { what, path } => path.starts_with(directory).then(|| format!("{what} `{}`", path.display())),
            Self::Folder(folder) => folder.starts_with(directory).then(|| format!("what lies in `{}`", folder.display())),
            Self::AnyFile { pattern, folder } => {
                let is_inside = folder.starts_with(directory) || may_name_a_file_in(pattern, directory);
                is_inside.then(|| format!("a file that {pattern} names"))
            }
        }
    }
}

/// Whether some text of the pattern is a path below the directory, or climbs. What cannot be compared is.
fn may_name_a_file_in(pattern: &ArgumentPattern, directory: &Path) -> bool {
    // `//dumps` and `/./dumps` are `/dumps`.
    let parts = directory.iter().skip(1).map(|part| format!(r"/(?:\.?/)*{}", regex::escape(&part.to_string_lossy())));
    let inside = format!(r"{}(?:/(?s:.)*)?|(?s:.)*\.\.(?s:.)*", parts.collect::<String>());
    let names = Language::regex(pattern.expression());
    let found = names.and_then(|names| difference(&names, &[&Language::regex(&inside)?], &[]));
    !matches!(found, Ok(None))
}

/// Names by which a program opens its standard input.
const INPUT_NAMES: &[&str] = &["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Argument lists that are looked at for one target. A list with more alternatives counts as reading standard input.
const MAX_LISTS: usize = 256;

/// One argument: its text, or the pattern of an open one.
#[derive(Debug, Clone, Copy)]
enum Argument<'a> {
    Text(&'a str),
    Open(&'a ArgumentPattern),
}

/// Every place, but its arguments, where the text of this program may stand.
pub(super) fn of(process: &ProcessTarget) -> Vec<ProgramText> {
    let folder = process.directory.as_ref().map_or_else(|| PathBuf::from("/"), |folder| folder.real().to_owned());
    let mut found = Vec::new();
    if process.sha256.is_none() {
        for path in [process.program.named(), process.program.real()] {
            found.push(ProgramText::File { what: "the program".to_owned(), path: path.to_owned() });
        }
    }
    let family = |path: &Path| family_of(&path.display().to_string());
    if let Some(family) = family(process.program.named()).or_else(|| family(process.program.real())) {
        match lists(&process.arguments) {
            Some(lists) => lists.iter().for_each(|list| of_list(family, list, &folder, &mut found)),
            None => found.push(ProgramText::Input),
        }
        if family.reads_folder && process.directory.is_some() {
            found.push(ProgramText::Folder(folder));
        }
    }
    found
}

/// Every list of arguments that the patterns let through, as far as it matters here; `None` if there are too many.
fn lists(patterns: &[ArgumentPattern]) -> Option<Vec<Vec<Argument<'_>>>> {
    let mut lists: Vec<Vec<Argument<'_>>> = vec![Vec::new()];
    for pattern in patterns {
        let (alternatives, may_be_absent) = match pattern {
            ArgumentPattern::Repeat(inner) => (alternatives(inner), true),
            ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) => (alternatives(pattern), false),
        };
        let mut longer = if may_be_absent { lists.clone() } else { Vec::new() };
        for list in &lists {
            longer.extend(alternatives.iter().map(|argument| list.iter().copied().chain([*argument]).collect::<Vec<_>>()));
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

/// What one argument is to a program.
enum Meaning<'a> {
    /// The text itself.
    Text,
    /// The file with the text.
    File(Argument<'a>),
    /// Anything that does not begin with `-`, or stands behind `--`.
    Operand(Argument<'a>),
    /// An option by which it reads standard input.
    Input,
}

fn of_list(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    if family.otherwise == Otherwise::Starts {
        of_started(family, list, folder, found);
        return;
    }
    let mut operands = Vec::new();
    let mut is_given = false;
    for meaning in meanings(family, list) {
        match meaning {
            Meaning::Text => is_given = true,
            Meaning::Input => found.push(ProgramText::Input),
            Meaning::File(argument) => {
                is_given = true;
                push_file(argument, folder, found);
            }
            Meaning::Operand(argument) => operands.push(argument),
        }
    }
    match family.otherwise {
        _ if is_given => {}
        Otherwise::FirstOperand => match operands.first() {
            Some(script) => push_file(*script, folder, found),
            None => found.push(ProgramText::Input),
        },
        Otherwise::SecondOperand if operands.len() > 1 => {}
        Otherwise::SecondOperand | Otherwise::Input => found.push(ProgramText::Input),
        Otherwise::Arguments | Otherwise::Starts => {}
    }
}

/// Of a program that starts another: the other one's, if an argument names one that runs texts.
fn of_started(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    let inner = list.iter().enumerate().find_map(|(at, argument)| match argument {
        Argument::Text(text) => family_of(text).map(|family| (at, family)),
        Argument::Open(_) => None,
    });
    let own = &list[..inner.map_or(list.len(), |(at, _)| at)];
    let asks_for_input = |argument: &Argument<'_>| match argument {
        Argument::Text(text) => names_input(text) || is_letter(text, family.input),
        Argument::Open(_) => false,
    };
    if own.iter().any(asks_for_input) {
        found.push(ProgramText::Input);
    }
    if let Some((at, inner)) = inner {
        of_list(inner, &list[at + 1..], folder, found);
    }
}

fn names_input(text: &str) -> bool {
    let value = text.rsplit_once('=').map_or(text, |(_, value)| value);
    INPUT_NAMES.contains(&value) || (text.starts_with("-f") && INPUT_NAMES.contains(&&text[2..]))
}

/// Whether a text is a cluster of short options with one of these letters.
fn is_letter(text: &str, letters: &str) -> bool {
    text.len() > 1 && text.starts_with('-') && !text.starts_with("--") && text.chars().any(|c| letters.contains(c))
}

fn push_file(argument: Argument<'_>, folder: &Path, found: &mut Vec<ProgramText>) {
    match argument {
        Argument::Text(text) if INPUT_NAMES.contains(&text) => found.push(ProgramText::Input),
        Argument::Text(text) => {
            let path = lexical(&folder.join(text));
            found.push(ProgramText::File { what: "the text in".to_owned(), path });
        }
        Argument::Open(pattern) => {
            // It may itself be an option or a name that means standard input.
            let ways = INPUT_NAMES.iter().chain(&["-s", "-i"]);
            if ways.into_iter().any(|name| pattern.matches(name)) {
                found.push(ProgramText::Input);
            }
            found.push(ProgramText::AnyFile { pattern: pattern.clone(), folder: folder.to_owned() });
        }
    }
}

fn meanings<'a>(family: &Family, list: &[Argument<'a>]) -> Vec<Meaning<'a>> {
    let mut meanings = Vec::new();
    let mut rest = list.iter().copied().peekable();
    let mut options_are_over = false;
    while let Some(argument) = rest.next() {
        match argument {
            Argument::Text("--") if !options_are_over => options_are_over = true,
            Argument::Text(text) if !options_are_over && text.len() > 1 && text.starts_with('-') => {
                let option = option(family, text);
                let value = match option.value {
                    ValueAt::Attached(value) => Some(Argument::Text(value)),
                    ValueAt::Next => rest.next(),
                    ValueAt::Nowhere => None,
                };
                match option.kind {
                    OptionKind::Text => meanings.push(Meaning::Text),
                    OptionKind::File => meanings.extend(value.map(Meaning::File)),
                    OptionKind::Input => meanings.push(Meaning::Input),
                    OptionKind::Other => {}
                }
            }
            Argument::Text(_) | Argument::Open(_) => {
                // What follows the script is for the script.
                options_are_over |= family.otherwise == Otherwise::FirstOperand;
                meanings.push(Meaning::Operand(argument));
            }
        }
    }
    meanings
}

struct Opt<'a> {
    kind: OptionKind,
    value: ValueAt<'a>,
}

enum OptionKind {
    Text,
    File,
    Input,
    Other,
}

enum ValueAt<'a> {
    Attached(&'a str),
    Next,
    Nowhere,
}

fn option<'a>(family: &Family, text: &'a str) -> Opt<'a> {
    let word = text.trim_start_matches('-');
    let (name, attached) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let of_word = |kind| Opt { kind, value: attached.map_or(ValueAt::Next, ValueAt::Attached) };
    if family.text.1.contains(&name) {
        return of_word(OptionKind::Text);
    }
    if family.file.1.contains(&name) {
        return of_word(OptionKind::File);
    }
    if family.flags.contains(&name) {
        return Opt { kind: OptionKind::Other, value: ValueAt::Nowhere };
    }
    // Words with one `-`, as sqlite3 has them.
    if text.starts_with("--") || !family.flags.is_empty() && family.text.0.is_empty() {
        return of_word(OptionKind::Other);
    }
    let mut is_input = false;
    for (at, letter) in word.char_indices() {
        let behind = &word[at + letter.len_utf8()..];
        let value = if behind.is_empty() { ValueAt::Next } else { ValueAt::Attached(behind) };
        is_input |= family.input.contains(letter);
        let kind = match letter {
            _ if is_input => OptionKind::Input,
            _ if family.text.0.contains(letter) => OptionKind::Text,
            _ if family.file.0.contains(letter) => OptionKind::File,
            _ if family.valued.contains(letter) => OptionKind::Other,
            _ => continue,
        };
        return Opt { kind, value: if is_input { ValueAt::Nowhere } else { value } };
    }
    Opt { kind: OptionKind::Other, value: ValueAt::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_report::interpreter;
    use std::process::{Command, Stdio};

    fn patterns(texts: &[&str]) -> Vec<ArgumentPattern> {
        texts.iter().map(|text| ArgumentPattern::Literal((*text).to_owned())).collect()
    }

    fn reads_input(program: &str, arguments: &[&str]) -> bool {
        let patterns = patterns(arguments);
        let mut found = Vec::new();
        for list in lists(&patterns).expect("few") {
            of_list(family_of(program).expect("in the table"), &list, Path::new("/"), &mut found);
        }
        found.contains(&ProgramText::Input)
    }

    #[test]
    fn an_interpreter_without_a_text_in_its_arguments_reads_standard_input() {
        for (name, family) in interpreter::names() {
            let expected = !matches!(family.otherwise, Otherwise::Arguments | Otherwise::Starts);
            assert_eq!(reads_input(name, &[]), expected, "{name}");
            assert!(family_of(&format!("/usr/bin/{name}3.11")).is_some() || name.contains(['-']), "{name}");
        }
        for (program, arguments, expected) in [
            ("sh", &["-c", "date"][..], false),
            ("sh", &["-ec", "date"], false),
            ("sh", &["-e"], true),
            ("bash", &["-o", "errexit"], true),
            ("bash", &["-o", "errexit", "x.sh"], false),
            ("bash", &["--norc", "x.sh"], false),
            ("bash", &["--unknown", "x.sh"], true),
            ("bash", &["-s", "x.sh"], true),
            ("sh", &["/dev/stdin"], true),
            ("python3", &["-W", "ignore"], true),
            ("python3", &["-i", "x.py"], true),
            ("python3", &["x.py", "-i"], false),
            ("psql", &["--dbname=orders", "-v", "ON_ERROR_STOP=1"], true),
            ("psql", &["-U", "c"], true),
            ("psql", &["-Uc"], true),
            ("psql", &["-qAtc", "select 1"], false),
            ("psql", &["--file=-"], true),
            ("psql", &["-f-"], true),
            ("psql", &["-f", "x.sql"], false),
            ("sqlite3", &["a.db"], true),
            ("sqlite3", &["-batch", "a.db", "select 1"], false),
            ("sqlite3", &["-cmd", "x", "a.db"], true),
            ("env", &["LANG=C", "sh"], true),
            ("env", &["LANG=C", "sh", "-c", "date"], false),
            ("sudo", &["-u", "postgres", "psql"], true),
            ("sudo", &["-s"], true),
            ("timeout", &["5", "/bin/date"], false),
            ("kubectl", &["apply", "-f", "-"], true),
            ("make", &["-f", "-"], true),
            ("awk", &["-f", "/dev/stdin"], true),
            ("xargs", &["rm"], true),
        ] {
            assert_eq!(reads_input(program, arguments), expected, "{program} {arguments:?}");
        }
    }

    /// The table against the shells of this machine: what is called safe must not run what it is given.
    #[test]
    fn a_shell_that_is_said_not_to_read_its_input_does_not() {
        let words = ["-c", "-e", "-s", "-ec", "-o", "errexit", "--", "-", "true", "/dev/stdin", "/dev/null"];
        for program in ["/bin/sh", "/bin/bash"].into_iter().filter(|program| Path::new(program).exists()) {
            let pairs = words.iter().flat_map(|first| words.iter().map(move |second| vec![*first, *second]));
            for arguments in words.iter().map(|word| vec![*word]).chain(pairs) {
                if reads_input(program, &arguments) {
                    continue;
                }
                let mut child = Command::new(program)
                    .args(&arguments)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("it is there");
                // It may have ended already, and then it read nothing.
                let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"echo fed\n");
                let said = child.wait_with_output().expect("it ends").stdout;
                assert!(!String::from_utf8_lossy(&said).contains("fed"), "{program} {arguments:?} ran its input");
            }
        }
    }
}
