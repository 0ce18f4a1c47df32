//! The readings of a list of arguments: which is an option, its value, or an operand. An option
//! that is not in the table is read in every possible way, and the worst reading counts.

use super::argument_match::{always_matches, may_match};
use super::interpreter::{DefaultSource, Family, HARMLESS_MODULES, OptionSyntax};
use crate::pattern::ArgumentPattern;

/// One argument: its text, or the pattern of an open one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Open(&'a ArgumentPattern),
}

impl<'a> Argument<'a> {
    /// Its text, if it is fixed.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Open(_) => None,
        }
    }

    /// Whether it may be read as an option.
    fn may_be_option(self) -> bool {
        match self {
            Self::Text(text) => text.len() > 1 && text.starts_with(['-', '+']),
            Self::Open(pattern) => may_match(pattern, r"[-+](?s:.)*"),
        }
    }
}

/// What one argument is to a program.
#[derive(Debug, Clone)]
pub(super) enum ArgumentRole<'a> {
    /// The text itself, or that it runs none.
    Text,
    /// The file with the text.
    File(Argument<'a>),
    /// A file that is run beside the text.
    More(Argument<'a>),
    /// Anything that does not begin with `-`, or stands behind `--`.
    Operand(Argument<'a>),
    /// An option that has none of these meanings.
    Option(&'a str),
    /// With this argument the program reads standard input, or may read it.
    Input,
}

/// How many readings of one list are tried at most.
const MAX_READINGS: usize = 512;

/// A reading that has come as far as the argument `at`.
#[derive(Debug, Clone)]
struct Partial<'a> {
    at: usize,
    meanings: Vec<ArgumentRole<'a>>,
    options_are_over: bool,
}

/// Every way to read the list; `None` if there are too many.
pub(super) fn readings<'a>(
    family: &Family,
    list: &[Argument<'a>],
) -> Option<Vec<Vec<ArgumentRole<'a>>>> {
    let stops_at_operand =
        matches!(family.otherwise, DefaultSource::FirstOperand | DefaultSource::Command(_));
    let mut open = vec![Partial { at: 0, meanings: Vec::new(), options_are_over: false }];
    let mut complete = Vec::new();
    while let Some(mut partial) = open.pop() {
        if open.len() + complete.len() > MAX_READINGS {
            return None;
        }
        let Some(argument) = list.get(partial.at).copied() else {
            complete.push(partial.meanings);
            continue;
        };
        partial.at += 1;
        if !partial.options_are_over && matches!(argument, Argument::Text("--")) {
            partial.options_are_over = true;
            open.push(partial);
            continue;
        }
        let may_be_option = !partial.options_are_over && argument.may_be_option();
        match argument {
            Argument::Text(text) if may_be_option => {
                for option in options(family, text) {
                    let mut next = partial.clone();
                    next.meanings.push(ArgumentRole::Option(text));
                    let value = option
                        .attached
                        .map(Argument::Text)
                        .or_else(|| list.get(partial.at).copied());
                    next.meanings.extend(meaning(option.kind, value));
                    next.at += option.values;
                    open.push(next);
                }
            }
            Argument::Open(pattern) if may_be_option => {
                if is_harmless_word(family, pattern) {
                    open.push(partial);
                    continue;
                }
                partial.meanings.push(ArgumentRole::Input);
            }
            Argument::Text(_) | Argument::Open(_) => {}
        }
        // `+x` is an option of a shell and an operand of other programs.
        if !may_be_option
            || matches!(argument, Argument::Open(_))
            || argument.text().is_some_and(|text| text.starts_with('+'))
        {
            partial.meanings.push(ArgumentRole::Operand(argument));
            // What follows the script is for the script.
            partial.options_are_over |= stops_at_operand;
            open.push(partial);
        }
    }
    Some(complete)
}

/// Whether each text of the pattern is `--WORD=VALUE`, and none of them names a file to run, be it
/// by the beginning of its word.
fn is_harmless_word(family: &Family, pattern: &ArgumentPattern) -> bool {
    let words = family
        .file
        .1
        .iter()
        .chain(family.more)
        .map(|word| word.chars().rev().fold(String::new(), beginnings));
    let names_file =
        format!("--?(?:{})=(?s:.)*", words.chain(["-".to_owned()]).collect::<Vec<_>>().join("|"));
    let value_is_input = r"[^=]*=(?:-|(?s:.)*/(?:dev|proc)(?:/(?s:.)*)?)";
    let may = |expression: &str| may_match(pattern, expression);
    always_matches(pattern, "--[^=]+=(?s:.)*") && !may(&names_file) && !may(value_is_input)
}

/// An expression for each beginning of a word, from its last letter on.
fn beginnings(rest: String, letter: char) -> String {
    if rest.is_empty() { format!("{letter}?") } else { format!("{letter}(?:{rest})?") }
}

fn meaning(kind: OptionKind, value: Option<Argument<'_>>) -> Option<ArgumentRole<'_>> {
    match kind {
        OptionKind::Text => match value {
            // `node -p` and `node -p --no-warnings` have no text.
            Some(value) if !value.may_be_option() => Some(ArgumentRole::Text),
            Some(_) | None => Some(ArgumentRole::Input),
        },
        OptionKind::Ends => Some(ArgumentRole::Text),
        OptionKind::Input => Some(ArgumentRole::Input),
        OptionKind::File => value.map(ArgumentRole::File),
        OptionKind::More => value.map(ArgumentRole::More),
        OptionKind::Module => match value {
            Some(Argument::Text(module)) if HARMLESS_MODULES.contains(&module) => {
                Some(ArgumentRole::Text)
            }
            Some(_) | None => Some(ArgumentRole::Input),
        },
        OptionKind::Other => None,
    }
}

/// One way to read an option.
#[derive(Debug, Clone, Copy)]
struct Opt<'a> {
    kind: OptionKind,
    /// Its value, if it stands in the same argument.
    attached: Option<&'a str>,
    /// How many of the arguments behind it are its values.
    values: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionKind {
    Text,
    Ends,
    File,
    More,
    Module,
    Input,
    Other,
}

const FLAG: Opt<'static> = Opt { kind: OptionKind::Other, attached: None, values: 0 };

/// Every way to read one option.
fn options<'a>(family: &Family, text: &'a str) -> Vec<Opt<'a>> {
    if text.starts_with('+') {
        return vec![FLAG, Opt { values: 1, ..FLAG }];
    }
    let is_word = text.starts_with("--") || family.syntax == OptionSyntax::Words;
    if is_word {
        of_word(family, text.trim_start_matches('-'))
    } else {
        of_letters(family, &text[1..])
    }
}

fn of_word<'a>(family: &Family, word: &'a str) -> Vec<Opt<'a>> {
    let (name, attached) =
        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let values = usize::from(attached.is_none());
    let known = |kind| vec![Opt { kind, attached, values }];
    if family.text.1.contains(&name) {
        known(OptionKind::Text)
    } else if family.ends.1.contains(&name) {
        vec![Opt { kind: OptionKind::Ends, attached, values: 0 }]
    } else if family.file.1.contains(&name) {
        known(OptionKind::File)
    } else if family.more.contains(&name) {
        known(OptionKind::More)
    } else if attached.is_some() || family.flags.contains(&name) {
        vec![FLAG]
    } else {
        vec![FLAG, Opt { values: 1, ..FLAG }]
    }
}

fn of_letters<'a>(family: &Family, letters: &'a str) -> Vec<Opt<'a>> {
    let Some(letter) = letters.chars().next() else { return vec![FLAG] };
    let behind = &letters[letter.len_utf8()..];
    if family.input.contains(letter) {
        return vec![Opt { kind: OptionKind::Input, ..FLAG }];
    }
    if family.ends.0.contains(letter) {
        return vec![Opt { kind: OptionKind::Ends, ..FLAG }];
    }
    let kind = if family.text.0.contains(letter) {
        Some(OptionKind::Text)
    } else if family.file.0.contains(letter) {
        Some(OptionKind::File)
    } else if family.module.contains(letter) {
        Some(OptionKind::Module)
    } else {
        family.valued.contains(letter).then_some(OptionKind::Other)
    };
    match kind {
        Some(kind) if family.syntax == OptionSyntax::Letters => {
            let stronger = |rest: OptionKind| if rest == OptionKind::Other { kind } else { rest };
            let rest = of_letters(family, behind).into_iter();
            rest.map(|rest| Opt { kind: stronger(rest.kind), values: rest.values + 1, ..rest })
                .collect()
        }
        Some(kind) if behind.is_empty() => vec![Opt { kind, attached: None, values: 1 }],
        Some(kind) => vec![Opt { kind, attached: Some(behind), values: 0 }],
        None if family.attached.contains(letter) => vec![FLAG],
        None if family.plain.contains(letter) || letter.is_ascii_digit() => {
            of_letters(family, behind)
        }
        None => {
            let rest = of_letters(family, behind);
            let with_value = rest.iter().map(|rest| Opt { values: rest.values + 1, ..*rest });
            let swallowed = [FLAG, Opt { values: 1, ..FLAG }];
            let mut all: Vec<Opt<'_>> = swallowed.into_iter().chain(with_value).collect();
            all.extend(rest);
            all.dedup_by_key(|option| (option.kind as u8, option.values, option.attached));
            all
        }
    }
}
