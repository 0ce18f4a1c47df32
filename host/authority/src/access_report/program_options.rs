//! The readings of a list of arguments: which argument is an option, a value of an option, or an
//! operand. An option that is not in the table is read in every possible way, and the worst reading
//! counts.

use super::argument_match::{always_matches, may_match};
use super::interpreter::{DefaultSource, HARMLESS_MODULES, OptionSyntax, ProgramFamily};
use crate::pattern::ArgumentPattern;

/// One argument: a fixed text, or a pattern.
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

/// The role of one argument for a program.
#[derive(Debug, Clone)]
pub(super) enum ArgumentRole<'a> {
    /// The text that the program runs, or an option with which it runs nothing.
    Text,
    /// The file with the text that the program runs.
    File(Argument<'a>),
    /// A file that the program runs in addition.
    ExtraFile(Argument<'a>),
    /// An argument that does not begin with `-`, or that follows `--`.
    Operand(Argument<'a>),
    /// An option without any of these roles.
    Option(&'a str),
    /// An argument with which the program reads standard input, or may read it.
    Input,
}

/// How many readings of one list are tried at most.
const MAX_READINGS: usize = 512;

/// A reading of the arguments before `index`.
#[derive(Debug, Clone)]
struct PartialReading<'a> {
    index: usize,
    roles: Vec<ArgumentRole<'a>>,
    options_are_over: bool,
}

/// Every way to read the list; `None` if there are too many.
pub(super) fn readings<'a>(
    family: &ProgramFamily,
    list: &[Argument<'a>],
) -> Option<Vec<Vec<ArgumentRole<'a>>>> {
    let stops_at_operand =
        matches!(family.default_source, DefaultSource::FirstOperand | DefaultSource::Command(_));
    let mut partial_readings =
        vec![PartialReading { index: 0, roles: Vec::new(), options_are_over: false }];
    let mut complete_readings = Vec::new();
    while let Some(mut reading) = partial_readings.pop() {
        if partial_readings.len() + complete_readings.len() > MAX_READINGS {
            return None;
        }
        let Some(argument) = list.get(reading.index).copied() else {
            complete_readings.push(reading.roles);
            continue;
        };
        reading.index += 1;
        if !reading.options_are_over && matches!(argument, Argument::Text("--")) {
            reading.options_are_over = true;
            partial_readings.push(reading);
            continue;
        }
        let may_be_option = !reading.options_are_over && argument.may_be_option();
        match argument {
            Argument::Text(text) if may_be_option => {
                for option in option_readings(family, text) {
                    let mut next = reading.clone();
                    next.roles.push(ArgumentRole::Option(text));
                    let value = option
                        .attached_value
                        .map(Argument::Text)
                        .or_else(|| list.get(reading.index).copied());
                    next.roles.extend(option_role(option.kind, value));
                    next.index += option.value_count;
                    partial_readings.push(next);
                }
            }
            Argument::Open(pattern) if may_be_option => {
                if is_harmless_word(family, pattern) {
                    partial_readings.push(reading);
                    continue;
                }
                reading.roles.push(ArgumentRole::Input);
            }
            Argument::Text(_) | Argument::Open(_) => {}
        }
        // `+x` is an option of a shell and an operand of other programs.
        if !may_be_option
            || matches!(argument, Argument::Open(_))
            || argument.text().is_some_and(|text| text.starts_with('+'))
        {
            reading.roles.push(ArgumentRole::Operand(argument));
            // The arguments after the script are for the script.
            reading.options_are_over |= stops_at_operand;
            partial_readings.push(reading);
        }
    }
    Some(complete_readings)
}

/// Whether each text of the pattern is `--WORD=VALUE` and none of them names a file to run. A word
/// may be abbreviated.
fn is_harmless_word(family: &ProgramFamily, pattern: &ArgumentPattern) -> bool {
    let words = family
        .file
        .1
        .iter()
        .chain(family.extra_files)
        .map(|word| word.chars().rev().fold(String::new(), prefix_expression));
    let names_file =
        format!("--?(?:{})=(?s:.)*", words.chain(["-".to_owned()]).collect::<Vec<_>>().join("|"));
    let value_is_input = r"[^=]*=(?:-|(?s:.)*/(?:dev|proc)(?:/(?s:.)*)?)";
    let may_be = |expression: &str| may_match(pattern, expression);
    always_matches(pattern, "--[^=]+=(?s:.)*") && !may_be(&names_file) && !may_be(value_is_input)
}

/// Adds a letter to an expression that matches every prefix of a word. Call it with the letters
/// from the last to the first.
fn prefix_expression(rest: String, letter: char) -> String {
    if rest.is_empty() { format!("{letter}?") } else { format!("{letter}(?:{rest})?") }
}

fn option_role(kind: OptionKind, value: Option<Argument<'_>>) -> Option<ArgumentRole<'_>> {
    match kind {
        OptionKind::Text => match value {
            // `node -p` and `node -p --no-warnings` have no text.
            Some(value) if !value.may_be_option() => Some(ArgumentRole::Text),
            Some(_) | None => Some(ArgumentRole::Input),
        },
        OptionKind::RunsNothing => Some(ArgumentRole::Text),
        OptionKind::Input => Some(ArgumentRole::Input),
        OptionKind::File => value.map(ArgumentRole::File),
        OptionKind::ExtraFile => value.map(ArgumentRole::ExtraFile),
        OptionKind::Module => match value {
            Some(Argument::Text(module)) if HARMLESS_MODULES.contains(&module) => {
                Some(ArgumentRole::Text)
            }
            Some(_) | None => Some(ArgumentRole::Input),
        },
        OptionKind::Other => None,
    }
}

/// One reading of an option.
#[derive(Debug, Clone, Copy)]
struct OptionReading<'a> {
    kind: OptionKind,
    /// Its value, if the value is in the same argument.
    attached_value: Option<&'a str>,
    /// How many of the next arguments are its values.
    value_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionKind {
    Text,
    RunsNothing,
    File,
    ExtraFile,
    Module,
    Input,
    Other,
}

const FLAG: OptionReading<'static> =
    OptionReading { kind: OptionKind::Other, attached_value: None, value_count: 0 };

/// The possible readings of one option.
fn option_readings<'a>(family: &ProgramFamily, text: &'a str) -> Vec<OptionReading<'a>> {
    if text.starts_with('+') {
        return vec![FLAG, OptionReading { value_count: 1, ..FLAG }];
    }
    let is_word = text.starts_with("--") || family.syntax == OptionSyntax::Words;
    if is_word {
        read_word_option(family, text.trim_start_matches('-'))
    } else {
        read_letter_options(family, &text[1..])
    }
}

fn read_word_option<'a>(family: &ProgramFamily, word: &'a str) -> Vec<OptionReading<'a>> {
    let (name, attached_value) =
        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let value_count = usize::from(attached_value.is_none());
    let with_kind = |kind| vec![OptionReading { kind, attached_value, value_count }];
    if family.text.1.contains(&name) {
        with_kind(OptionKind::Text)
    } else if family.run_nothing.1.contains(&name) {
        vec![OptionReading { kind: OptionKind::RunsNothing, attached_value, value_count: 0 }]
    } else if family.file.1.contains(&name) {
        with_kind(OptionKind::File)
    } else if family.extra_files.contains(&name) {
        with_kind(OptionKind::ExtraFile)
    } else if attached_value.is_some() || family.flag_words.contains(&name) {
        vec![FLAG]
    } else {
        vec![FLAG, OptionReading { value_count: 1, ..FLAG }]
    }
}

fn read_letter_options<'a>(family: &ProgramFamily, letters: &'a str) -> Vec<OptionReading<'a>> {
    let Some(letter) = letters.chars().next() else { return vec![FLAG] };
    let other_letters = &letters[letter.len_utf8()..];
    if family.input_letters.contains(letter) {
        return vec![OptionReading { kind: OptionKind::Input, ..FLAG }];
    }
    if family.run_nothing.0.contains(letter) {
        return vec![OptionReading { kind: OptionKind::RunsNothing, ..FLAG }];
    }
    let kind = if family.text.0.contains(letter) {
        Some(OptionKind::Text)
    } else if family.file.0.contains(letter) {
        Some(OptionKind::File)
    } else if family.module_letters.contains(letter) {
        Some(OptionKind::Module)
    } else {
        family.value_letters.contains(letter).then_some(OptionKind::Other)
    };
    match kind {
        Some(kind) if family.syntax == OptionSyntax::Letters => {
            let stronger_kind =
                |rest: OptionKind| if rest == OptionKind::Other { kind } else { rest };
            let rest = read_letter_options(family, other_letters).into_iter();
            rest.map(|rest| OptionReading {
                kind: stronger_kind(rest.kind),
                value_count: rest.value_count + 1,
                ..rest
            })
            .collect()
        }
        Some(kind) if other_letters.is_empty() => {
            vec![OptionReading { kind, attached_value: None, value_count: 1 }]
        }
        Some(kind) => {
            vec![OptionReading { kind, attached_value: Some(other_letters), value_count: 0 }]
        }
        None if family.attached_letters.contains(letter) => vec![FLAG],
        None if family.flag_letters.contains(letter) || letter.is_ascii_digit() => {
            read_letter_options(family, other_letters)
        }
        None => {
            let rest = read_letter_options(family, other_letters);
            let with_value = rest
                .iter()
                .map(|rest| OptionReading { value_count: rest.value_count + 1, ..*rest });
            let value_readings = [FLAG, OptionReading { value_count: 1, ..FLAG }];
            let mut all: Vec<OptionReading<'_>> =
                value_readings.into_iter().chain(with_value).collect();
            all.extend(rest);
            all.dedup_by_key(|option| {
                (option.kind as u8, option.value_count, option.attached_value)
            });
            all
        }
    }
}
