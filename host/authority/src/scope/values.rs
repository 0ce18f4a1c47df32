//! What a grant lets through in one dimension, and how two of these are compared.

use super::dimension::{Dimension, Shape};
use crate::pattern::{
    AddressBlock, AddressClass, ArgumentPattern, Language, TooComplex, argument_difference,
    difference,
};
use crate::pattern_matches;
use crate::targets::with_path;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What a call uses in one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallValue {
    /// A text or an address; empty is nothing of its kind.
    Text(String),
    /// The arguments of a program, without its name.
    Arguments(Vec<String>),
    /// A count, bytes or milliseconds.
    Number(u64),
}

/// One text, or a pattern of texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// Exactly this text.
    Exact(String),
    /// `*` is any run of characters.
    Glob(String),
    /// A path pattern below a fixed prefix, which may be empty.
    Path {
        /// What every path begins with, as it is.
        prefix: String,
        /// The pattern of the rest.
        pattern: String,
    },
    /// A directory and all that is below.
    Directory(String),
    /// `NAME=value` of a variable that is known to steer no program (`is_harmless` of
    /// `targets::variable`).
    PlainVariable,
    /// Every text, whatever it is.
    Any,
}

/// What is let through in one dimension.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Every text that is one of these or matches one.
    Texts(BTreeSet<Text>),
    /// Connections to addresses of these classes, and in these blocks.
    Addresses {
        /// The classes to which connections may go.
        classes: BTreeSet<AddressClass>,
        /// The blocks, and single addresses, to which connections may go.
        blocks: BTreeSet<AddressBlock>,
    },
    /// Any of these lists of arguments.
    Arguments(Vec<Vec<ArgumentPattern>>),
    /// Every number up to this: a count, bytes, or milliseconds.
    AtMost(u64),
}

/// What is left of some values when others are taken away.
#[derive(Debug, Clone)]
pub(crate) struct Remainder<'a> {
    pub(crate) dimension: Dimension,
    pub(crate) base: &'a Values,
    pub(crate) minus: Vec<&'a Values>,
}

impl Values {
    /// The values that are exactly these texts.
    pub fn exact<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::Texts(texts.into_iter().map(|text| Text::Exact(text.into())).collect())
    }

    /// The values that let every text through.
    pub fn any() -> Self {
        Self::Texts(BTreeSet::from([Text::Any]))
    }

    /// A flag: what is true lets through both.
    pub fn flag(is_set: Flag) -> Self {
        match is_set {
            Flag::Set => Self::exact(["false", "true"]),
            Flag::Unset => Self::exact(["false"]),
        }
    }

    /// Paths with their links followed. Of a pattern, the directories before its first `*` are.
    pub(crate) fn followed(&self, follow: &dyn Fn(&Path) -> PathBuf) -> Self {
        let real = |path: &str| follow(Path::new(path)).to_string_lossy().into_owned();
        let is_path = |text: &str| text.starts_with('/') || text.starts_with("age:/");
        let one = |text: &Text| match text {
            Text::Exact(path) if is_path(path) => Text::Exact(with_path(path, real)),
            Text::Directory(path) if path.starts_with('/') => Text::Directory(real(path)),
            Text::Glob(pattern) if is_path(pattern) => Text::Glob(with_path(pattern, |pattern| {
                let Some(star) = pattern.find('*') else { return real(pattern) };
                let (directory, rest) = pattern.split_at(pattern[..star].rfind('/').unwrap_or(0));
                if directory.is_empty() {
                    pattern.to_owned()
                } else {
                    format!("{}{rest}", real(directory))
                }
            })),
            Text::Exact(_)
            | Text::Directory(_)
            | Text::Glob(_)
            | Text::Path { .. }
            | Text::PlainVariable
            | Text::Any => text.clone(),
        };
        match self {
            Self::Texts(texts) => Self::Texts(texts.iter().map(one).collect()),
            Self::Addresses { .. } | Self::Arguments(_) | Self::AtMost(_) => self.clone(),
        }
    }

    /// The union of these texts and others.
    pub(crate) fn with(self, others: Self) -> Self {
        match (self, others) {
            (Self::Texts(texts), Self::Texts(others)) => {
                Self::Texts(texts.into_iter().chain(others).collect())
            }
            (values, _) => values,
        }
    }

    /// Paths as if `root` were the root of the file system.
    pub(crate) fn rebased(&self, root: &str) -> Self {
        let below = |path: &str| match path.strip_prefix(root) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            Some(_) | None => path.to_owned(),
        };
        match self {
            Self::Texts(texts) => Self::Texts(
                texts
                    .iter()
                    .map(|text| match text {
                        Text::Exact(text) => Text::Exact(with_path(text, below)),
                        Text::Directory(path) => Text::Directory(below(path)),
                        Text::Glob(_) | Text::Path { .. } | Text::PlainVariable | Text::Any => {
                            text.clone()
                        }
                    })
                    .collect(),
            ),
            Self::Addresses { .. } | Self::Arguments(_) | Self::AtMost(_) => self.clone(),
        }
    }

    /// Whether one concrete value is among them.
    pub fn has(&self, value: &CallValue) -> bool {
        match (self, value) {
            // Nothing of its kind is used.
            (Self::Texts(_), CallValue::Text(text)) if text.is_empty() => true,
            (Self::Texts(_) | Self::Addresses { .. }, CallValue::Text(text)) => self.has_text(text),
            (Self::Arguments(lists), CallValue::Arguments(arguments)) => lists
                .iter()
                .any(|patterns| crate::pattern::first_mismatch(patterns, arguments).is_none()),
            (Self::AtMost(limit), CallValue::Number(number)) => number <= limit,
            (
                Self::Texts(_) | Self::Addresses { .. },
                CallValue::Arguments(_) | CallValue::Number(_),
            )
            | (Self::Arguments(_), CallValue::Text(_) | CallValue::Number(_))
            | (Self::AtMost(_), CallValue::Text(_) | CallValue::Arguments(_)) => false,
        }
    }

    pub(super) fn has_text(&self, value: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.iter().any(|text| text.matches(value)),
            Self::Addresses { .. } => value.parse().is_ok_and(|address| self.has_address(address)),
            Self::Arguments(_) | Self::AtMost(_) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Addresses { classes, blocks } => {
                blocks.iter().any(|block| block.allows(address))
                    || classes.contains(&AddressClass::of(address))
            }
            Self::Texts(_) | Self::Arguments(_) | Self::AtMost(_) => false,
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &AddressBlock> {
        match self {
            Self::Addresses { blocks, .. } => Some(blocks),
            Self::Texts(_) | Self::Arguments(_) | Self::AtMost(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// As a list of words, in the form in which files and reports write them.
    pub fn words(&self, shape: Shape) -> Vec<String> {
        match self {
            Self::Texts(_) if shape == Shape::Flag => vec![self.has_text("true").to_string()],
            Self::Texts(texts) => texts.iter().map(Text::to_string).collect(),
            Self::Addresses { classes, blocks } => classes
                .iter()
                .map(|class| class.name().to_owned())
                .chain(blocks.iter().map(AddressBlock::to_string))
                .collect(),
            Self::Arguments(lists) => lists.iter().map(|patterns| in_toml(patterns)).collect(),
            Self::AtMost(u64::MAX) => vec!["unlimited".to_owned()],
            Self::AtMost(number) => vec![number_in(shape, *number)],
        }
    }
}

/// A flag of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// The flag is `true`.
    Set,
    /// The flag is `false`.
    Unset,
}

impl From<bool> for Flag {
    fn from(is_set: bool) -> Self {
        if is_set { Self::Set } else { Self::Unset }
    }
}

/// A number as files write it: exact, in the largest unit that divides it.
pub(super) fn number_in(shape: Shape, number: u64) -> String {
    let with_unit = |units: &[(u64, &str)]| {
        let (factor, unit) = units
            .iter()
            .find(|(factor, _)| number > 0 && number.is_multiple_of(*factor))
            .unwrap_or(&units[units.len() - 1]);
        format!("{}{unit}", number / factor)
    };
    match shape {
        Shape::Size => with_unit(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")]),
        Shape::Duration => with_unit(&[(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")]),
        Shape::Count
        | Shape::Glob
        | Shape::Path
        | Shape::Directory
        | Shape::Address
        | Shape::Arguments
        | Shape::Flag => number.to_string(),
    }
}

/// A list of patterns as TOML writes it.
fn in_toml(patterns: &[ArgumentPattern]) -> String {
    let items: Vec<_> = patterns.iter().map(pattern_in_toml).collect();
    format!("[{}]", items.join(", "))
}

fn pattern_in_toml(pattern: &ArgumentPattern) -> String {
    let quoted = |text: &str| format!("{text:?}");
    match pattern {
        ArgumentPattern::Literal(text) => quoted(text),
        ArgumentPattern::OneOf(texts) => {
            format!(
                "{{ one_of = [{}] }}",
                texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
            )
        }
        ArgumentPattern::Regex(_) => format!("{{ regex = {} }}", quoted(pattern.expression())),
        ArgumentPattern::Repeat(inner) => format!("{{ repeat = {} }}", pattern_in_toml(inner)),
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) | Self::Glob(text) => f.write_str(text),
            Self::Path { prefix, pattern } => write!(f, "{prefix}{pattern}"),
            Self::Directory(path) => write!(f, "{path}"),
            Self::PlainVariable => f.write_str(crate::targets::HARMLESS_IN_WORDS),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Text {
    /// Whether a concrete text is let through.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Glob(glob) => pattern_matches(glob, text),
            Self::Path { prefix, pattern } => {
                text.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                    crate::pattern::PathPattern::parse(pattern)
                        .is_some_and(|pattern| pattern.matches(rest))
                })
            }
            Self::Directory(directory) => {
                let directory = directory.trim_end_matches('/');
                text.strip_prefix(directory)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::PlainVariable => crate::targets::is_harmless(text),
            Self::Any => true,
        }
    }

    fn expression(&self) -> String {
        match self {
            Self::Exact(text) => regex::escape(text),
            Self::Glob(glob) => {
                glob.split('*').map(regex::escape).collect::<Vec<_>>().join("(?s:.)*")
            }
            Self::Path { prefix, pattern } => {
                format!("{}{}", regex::escape(prefix), path_expression(pattern))
            }
            Self::Directory(path) => {
                format!("{}(?:/(?s:.)*)?", regex::escape(path.trim_end_matches('/')))
            }
            // The variables of a program are literal, so they are looked up one by one and never
            // compared as a language. Those that a plugin sets in a container are patterns: none of
            // them is covered.
            Self::PlainVariable => r"[^\s\S]".to_owned(),
            Self::Any => "(?s:.)*".to_owned(),
        }
    }
}

/// The same texts as `PathPattern::matches`: `*` within a segment, `**` as the last one.
fn path_expression(pattern: &str) -> String {
    let segment = |segment: &str| match segment {
        "**" => "(?s:.)*".to_owned(),
        _ => segment.split('*').map(regex::escape).collect::<Vec<_>>().join("[^/]*"),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn language(texts: &BTreeSet<Text>) -> Result<Language, TooComplex> {
    let expressions: Vec<_> =
        texts.iter().map(|text| format!("(?:{})", text.expression())).collect();
    Language::regex(&if expressions.is_empty() {
        r"[^\s\S]".to_owned()
    } else {
        expressions.join("|")
    })
}

/// Paths of requests, as a person writes them. Looked through first.
const PLAIN_PATHS: &str = "(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+";
/// Every request path that the gate takes, whatever is granted. It includes a few that the gate
/// refuses, such as those with dot segments, so that nothing is thought to be contained that is
/// not.
const REQUEST_PATHS: &str = "(?:/(?:[!$&-.0-;=@-\\[\\]_a-z~]|%(?:0[1-9A-Fa-f]|[1346-9A-Fa-f][0-9A-Fa-f]|2[0-9A-Ea-e]|5[0-9ABD-Fabd-f]))*)*";

impl<'a> Remainder<'a> {
    pub(crate) fn new(dimension: Dimension, base: &'a Values) -> Self {
        Self { dimension, base, minus: Vec::new() }
    }

    pub(crate) fn without(&self, other: &'a Values) -> Self {
        let mut rest = self.clone();
        rest.minus.push(other);
        rest
    }

    /// Whether this text is among those that are left.
    pub(crate) fn has_left(&self, text: &str) -> bool {
        self.base.has_text(text) && !self.minus.iter().any(|minus| minus.has_text(text))
    }

    /// One value that is left, as reports write it.
    pub(crate) fn witness(&self) -> Result<Option<CallValue>, TooComplex> {
        match self.base {
            // Nothing of its kind can be used, which every boundary allows.
            Values::Texts(texts) if texts.is_empty() => {
                Ok(self.minus.is_empty().then(|| CallValue::Text(String::new())))
            }
            Values::Texts(texts) => Ok(self.text(texts)?.map(CallValue::Text)),
            Values::Addresses { classes, blocks } => Ok(self
                .address(classes, blocks)?
                .map(|address| CallValue::Text(address.to_string()))),
            Values::Arguments(lists) => Ok(self.arguments(lists)?.map(CallValue::Arguments)),
            Values::AtMost(limit) => {
                let is_covered = self
                    .minus
                    .iter()
                    .any(|minus| matches!(minus, Values::AtMost(other) if other >= limit));
                Ok((!is_covered).then_some(CallValue::Number(*limit)))
            }
        }
    }

    fn text(&self, texts: &BTreeSet<Text>) -> Result<Option<String>, TooComplex> {
        let left = |text: &str| !self.minus.iter().any(|minus| minus.has_text(text));
        let exact: Option<Vec<&String>> = texts
            .iter()
            .map(|text| match text {
                Text::Exact(text) => Some(text),
                Text::Glob(_)
                | Text::Path { .. }
                | Text::Directory(_)
                | Text::PlainVariable
                | Text::Any => None,
            })
            .collect();
        if let Some(exact) = exact {
            return Ok(exact.into_iter().find(|text| left(text)).cloned());
        }
        if self
            .minus
            .iter()
            .any(|minus| matches!(minus, Values::Texts(minus) if minus.contains(&Text::Any)))
        {
            return Ok(None);
        }
        let sample_of_dimension = self
            .dimension
            .row()
            .samples
            .iter()
            .find(|sample| left(sample) && self.base.has_text(sample));
        if let Some(sample) = sample_of_dimension {
            return Ok(Some((*sample).to_owned()));
        }
        let base = language(texts)?;
        let mut minus = Vec::new();
        for values in &self.minus {
            if let Values::Texts(texts) = values {
                minus.push(language(texts)?);
            }
        }
        let minus: Vec<&Language> = minus.iter().collect();
        if self.dimension.row().shape != Shape::Path {
            // No name is empty.
            return difference(&base, &[&Language::regex("(?s:.)+")?], &minus);
        }
        match difference(&base, &[&Language::regex(PLAIN_PATHS)?], &minus)? {
            Some(path) => Ok(Some(path)),
            None => difference(&base, &[&Language::regex(REQUEST_PATHS)?], &minus),
        }
    }

    fn address(
        &self,
        classes: &BTreeSet<AddressClass>,
        blocks: &BTreeSet<AddressBlock>,
    ) -> Result<Option<IpAddr>, TooComplex> {
        let is_left =
            |address: &IpAddr| !self.minus.iter().any(|minus| minus.has_address(*address));
        // What is left of adjacent addresses begins where they begin, or behind a block that is
        // taken away.
        let edges =
            || self.minus.iter().flat_map(|minus| minus.blocks()).filter_map(AddressBlock::next);
        let is_whole = |class: &AddressClass| {
            self.minus.iter().any(|minus| {
                matches!(minus, Values::Addresses { classes, .. } if classes.contains(class))
            })
        };
        if let Some(class) = classes.iter().find(|class| !is_whole(class)) {
            let in_class = edges().filter(|edge| AddressClass::of(*edge) == *class);
            // A class has many parts: whether blocks cover all of them is not looked for.
            let left = std::iter::once(class.example()).chain(in_class).find(is_left);
            return left.map(Some).ok_or(TooComplex);
        }
        let of_block = |block: &AddressBlock| {
            let starts = edges().filter_map(|edge| block.first_from(edge));
            block.first().into_iter().chain(starts).find(is_left)
        };
        Ok(blocks.iter().find_map(of_block))
    }

    fn arguments(&self, lists: &[Vec<ArgumentPattern>]) -> Result<Option<Vec<String>>, TooComplex> {
        let mut minus = Vec::new();
        for values in &self.minus {
            if let Values::Arguments(lists) = values {
                for patterns in lists {
                    minus.push(Language::arguments(patterns)?);
                }
            }
        }
        let minus: Vec<&Language> = minus.iter().collect();
        for patterns in lists {
            if let Some(arguments) = argument_difference(&Language::arguments(patterns)?, &minus)? {
                return Ok(Some(arguments));
            }
        }
        Ok(None)
    }
}
