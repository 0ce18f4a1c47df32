//! The values that a grant allows in one dimension, and how they are compared.

use super::dimension::{Dimension, Shape};
use crate::pattern::{
    AddressBlock, AddressClass, ArgumentPattern, CommandNaming, CommandRow, Language, TooComplex,
    argument_difference, command_row, command_rows, difference,
};
use crate::pattern_matches;
use crate::targets::{has_absolute_path, map_path};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The words between the two paths of a client certificate.
const KEY_OF_CERTIFICATE: &str = " with the key ";

/// The value that a call uses in one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallValue {
    /// A text or an address; empty if the call uses none.
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
        /// The beginning of every path, as it is.
        prefix: String,
        /// The pattern of the rest.
        pattern: String,
    },
    /// A directory and all that is below.
    Directory(String),
    /// `NAME=value` of a variable that is known to be harmless (`is_harmless` of
    /// `targets::variable`).
    HarmlessVariable,
    /// A command of Redis that fits this pattern and need not be named.
    Command(String),
    /// Every text, whatever it is.
    Any,
}

/// The values that are allowed in one dimension.
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
    /// Every number from this on: milliseconds.
    AtLeast(u64),
}

/// Some values without others: the set difference of `base` and each of `excluded`.
#[derive(Debug, Clone)]
pub(crate) struct Remainder<'a> {
    pub(crate) dimension: Dimension,
    pub(crate) base: &'a Values,
    pub(crate) excluded: Vec<&'a Values>,
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

    /// The values of a flag: a flag that is set allows `true` and `false`.
    pub fn flag(is_set: Flag) -> Self {
        match is_set {
            Flag::Set => Self::exact(["false", "true"]),
            Flag::Unset => Self::exact(["false"]),
        }
    }

    /// The same values with the symbolic links of their paths resolved by `follow`. Of a pattern,
    /// only the directories before its first `*` are resolved.
    pub(crate) fn with_links_resolved(&self, follow: &dyn Fn(&Path) -> PathBuf) -> Self {
        let resolve = |path: &str| follow(Path::new(path)).to_string_lossy().into_owned();
        let resolve_text = |text: &Text| match text {
            Text::Exact(path) if has_absolute_path(path) => Text::Exact(map_path(path, resolve)),
            Text::Directory(path) if path.starts_with('/') => Text::Directory(resolve(path)),
            Text::Glob(pattern) if has_absolute_path(pattern) => {
                Text::Glob(map_path(pattern, |pattern| {
                    let Some(star) = pattern.find('*') else { return resolve(pattern) };
                    let (directory, rest) =
                        pattern.split_at(pattern[..star].rfind('/').unwrap_or(0));
                    if directory.is_empty() {
                        pattern.to_owned()
                    } else {
                        format!("{}{rest}", resolve(directory))
                    }
                }))
            }
            Text::Exact(_)
            | Text::Directory(_)
            | Text::Glob(_)
            | Text::Path { .. }
            | Text::HarmlessVariable
            | Text::Command(_)
            | Text::Any => text.clone(),
        };
        match self {
            Self::Texts(texts) => Self::Texts(texts.iter().map(resolve_text).collect()),
            Self::Addresses { .. } | Self::Arguments(_) | Self::AtMost(_) | Self::AtLeast(_) => {
                self.clone()
            }
        }
    }

    /// The union of these texts and others.
    pub(crate) fn union(self, others: Self) -> Self {
        match (self, others) {
            (Self::Texts(texts), Self::Texts(others)) => {
                Self::Texts(texts.into_iter().chain(others).collect())
            }
            (values, _) => values,
        }
    }

    /// The same values with folder `to` in the place of folder `from` at the beginning of each path;
    /// an empty `to` is the root of the file system.
    pub(crate) fn moved(&self, from: &str, to: &str) -> Self {
        let moved_path = |path: &str| match path.strip_prefix(from) {
            Some("") if to.is_empty() => "/".to_owned(),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            Some(_) | None => path.to_owned(),
        };
        match self {
            Self::Texts(texts) => Self::Texts(
                texts
                    .iter()
                    .map(|text| match text {
                        // A client certificate is two paths.
                        Text::Exact(text) => {
                            Text::Exact(match text.split_once(KEY_OF_CERTIFICATE) {
                                Some((certificate, key)) => {
                                    [moved_path(certificate), moved_path(key)]
                                        .join(KEY_OF_CERTIFICATE)
                                }
                                None => map_path(text, moved_path),
                            })
                        }
                        Text::Directory(path) => Text::Directory(moved_path(path)),
                        Text::Glob(_)
                        | Text::Path { .. }
                        | Text::HarmlessVariable
                        | Text::Command(_)
                        | Text::Any => text.clone(),
                    })
                    .collect(),
            ),
            Self::Addresses { .. } | Self::Arguments(_) | Self::AtMost(_) | Self::AtLeast(_) => {
                self.clone()
            }
        }
    }

    /// Whether one concrete value is among them.
    pub fn contains(&self, value: &CallValue) -> bool {
        match (self, value) {
            // The call uses no value of this dimension.
            (Self::Texts(_), CallValue::Text(text)) if text.is_empty() => true,
            (Self::Texts(_) | Self::Addresses { .. }, CallValue::Text(text)) => {
                self.contains_text(text)
            }
            (Self::Arguments(lists), CallValue::Arguments(arguments)) => lists
                .iter()
                .any(|patterns| crate::pattern::first_mismatch(patterns, arguments).is_none()),
            (Self::AtMost(limit), CallValue::Number(number)) => number <= limit,
            (Self::AtLeast(limit), CallValue::Number(number)) => number >= limit,
            (
                Self::Texts(_) | Self::Addresses { .. },
                CallValue::Arguments(_) | CallValue::Number(_),
            )
            | (Self::Arguments(_), CallValue::Text(_) | CallValue::Number(_))
            | (Self::AtMost(_) | Self::AtLeast(_), CallValue::Text(_) | CallValue::Arguments(_)) => {
                false
            }
        }
    }

    pub(super) fn contains_text(&self, value: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.iter().any(|text| text.matches(value)),
            Self::Addresses { .. } => {
                value.parse().is_ok_and(|address| self.contains_address(address))
            }
            Self::Arguments(_) | Self::AtMost(_) | Self::AtLeast(_) => false,
        }
    }

    fn contains_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Addresses { classes, blocks } => {
                blocks.iter().any(|block| block.allows(address))
                    || classes.contains(&AddressClass::of(address))
            }
            Self::Texts(_) | Self::Arguments(_) | Self::AtMost(_) | Self::AtLeast(_) => false,
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &AddressBlock> {
        match self {
            Self::Addresses { blocks, .. } => Some(blocks),
            Self::Texts(_) | Self::Arguments(_) | Self::AtMost(_) | Self::AtLeast(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// The values as texts, as files and reports write them.
    pub fn words(&self, shape: Shape) -> Vec<String> {
        match self {
            Self::Texts(_) if shape == Shape::Flag => vec![self.contains_text("true").to_string()],
            Self::Texts(texts) => texts.iter().map(Text::to_string).collect(),
            Self::Addresses { classes, blocks } => classes
                .iter()
                .map(|class| class.name().to_owned())
                .chain(blocks.iter().map(AddressBlock::to_string))
                .collect(),
            Self::Arguments(lists) => {
                lists.iter().map(|patterns| patterns_in_toml(patterns)).collect()
            }
            Self::AtMost(u64::MAX) => vec!["unlimited".to_owned()],
            Self::AtMost(number) | Self::AtLeast(number) => vec![format_number(shape, *number)],
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
pub(super) fn format_number(shape: Shape, number: u64) -> String {
    let with_unit = |units: &[(u64, &str)]| {
        let (factor, unit) = units
            .iter()
            .find(|(factor, _)| number > 0 && number.is_multiple_of(*factor))
            .unwrap_or(&units[units.len() - 1]);
        format!("{}{unit}", number / factor)
    };
    match shape {
        Shape::Size => with_unit(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")]),
        Shape::Duration | Shape::Age => {
            with_unit(&[(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")])
        }
        Shape::Count
        | Shape::Glob
        | Shape::Path
        | Shape::Directory
        | Shape::Address
        | Shape::Arguments
        | Shape::Flag => number.to_string(),
    }
}

/// A list of patterns in TOML.
fn patterns_in_toml(patterns: &[ArgumentPattern]) -> String {
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
            Self::Exact(text) | Self::Glob(text) | Self::Command(text) => f.write_str(text),
            Self::Path { prefix, pattern } => write!(f, "{prefix}{pattern}"),
            Self::Directory(path) => write!(f, "{path}"),
            Self::HarmlessVariable => f.write_str(crate::targets::HARMLESS_IN_WORDS),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Text {
    /// A command of Redis, or a pattern of commands, as targets and boundaries write it.
    pub(crate) fn command(pattern: &str) -> Self {
        if pattern.contains('*') {
            Self::Command(pattern.to_owned())
        } else {
            Self::Exact(pattern.to_owned())
        }
    }

    /// Whether a concrete text matches.
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
            Self::HarmlessVariable => crate::targets::is_harmless(text),
            Self::Command(pattern) => is_pattern_command(text) && pattern_matches(pattern, text),
            Self::Any => true,
        }
    }

    /// A regular expression that matches the same texts.
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
            // It matches nothing. The variables of a program are literal texts, which `matches`
            // looks up one by one. The variables of a container are patterns, and no pattern counts
            // as harmless.
            Self::HarmlessVariable => NOTHING.to_owned(),
            Self::Command(pattern) => {
                let fits = |row: &&CommandRow| {
                    row.naming == CommandNaming::Pattern && pattern_matches(pattern, row.name)
                };
                let names: Vec<_> =
                    command_rows().filter(fits).map(|row| regex::escape(row.name)).collect();
                if names.is_empty() { NOTHING.to_owned() } else { names.join("|") }
            }
            Self::Any => "(?s:.)*".to_owned(),
        }
    }
}

/// A regular expression that matches no text.
const NOTHING: &str = r"[^\s\S]";

/// Whether a pattern is enough to allow this command of Redis.
fn is_pattern_command(name: &str) -> bool {
    command_row(name).is_some_and(|row| row.naming == CommandNaming::Pattern)
}

/// A regular expression for the texts that `PathPattern::matches` accepts: `*` within a segment,
/// `**` as the last segment.
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
        NOTHING.to_owned()
    } else {
        expressions.join("|")
    })
}

/// Request paths of plain letters, which make the most readable witness, so they are searched
/// first.
const PLAIN_PATHS: &str = "(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+";
/// Every request path that the gate accepts, whatever is granted. The expression includes a few
/// paths that the gate denies, such as those with dot segments. So a grant may wrongly count as
/// beyond a boundary, but never wrongly as within it.
const REQUEST_PATHS: &str = "(?:/(?:[!$&-.0-;=@-\\[\\]_a-z~]|%(?:0[1-9A-Fa-f]|[1346-9A-Fa-f][0-9A-Fa-f]|2[0-9A-Ea-e]|5[0-9ABD-Fabd-f]))*)*";

impl<'a> Remainder<'a> {
    pub(crate) fn new(dimension: Dimension, base: &'a Values) -> Self {
        Self { dimension, base, excluded: Vec::new() }
    }

    pub(crate) fn exclude(&self, other: &'a Values) -> Self {
        let mut rest = self.clone();
        rest.excluded.push(other);
        rest
    }

    /// Whether this text is among the remaining values.
    pub(crate) fn contains_text(&self, text: &str) -> bool {
        self.base.contains_text(text)
            && !self.excluded.iter().any(|excluded| excluded.contains_text(text))
    }

    /// One of the remaining values, as reports write it; `None` if no value remains.
    pub(crate) fn witness(&self) -> Result<Option<CallValue>, TooComplex> {
        match self.base {
            // The call uses no value of this dimension, and every boundary allows that.
            Values::Texts(texts) if texts.is_empty() => {
                Ok(self.excluded.is_empty().then(|| CallValue::Text(String::new())))
            }
            Values::Texts(texts) => Ok(self.text_witness(texts)?.map(CallValue::Text)),
            Values::Addresses { classes, blocks } => Ok(self
                .address_witness(classes, blocks)?
                .map(|address| CallValue::Text(address.to_string()))),
            Values::Arguments(lists) => {
                Ok(self.arguments_witness(lists)?.map(CallValue::Arguments))
            }
            Values::AtMost(limit) => {
                let is_covered = self
                    .excluded
                    .iter()
                    .any(|excluded| matches!(excluded, Values::AtMost(other) if other >= limit));
                Ok((!is_covered).then_some(CallValue::Number(*limit)))
            }
            Values::AtLeast(limit) => {
                let is_covered = self
                    .excluded
                    .iter()
                    .any(|excluded| matches!(excluded, Values::AtLeast(other) if other <= limit));
                Ok((!is_covered).then_some(CallValue::Number(*limit)))
            }
        }
    }

    fn text_witness(&self, texts: &BTreeSet<Text>) -> Result<Option<String>, TooComplex> {
        let is_left =
            |text: &str| !self.excluded.iter().any(|excluded| excluded.contains_text(text));
        let exact_texts: Option<Vec<&String>> = texts
            .iter()
            .map(|text| match text {
                Text::Exact(text) => Some(text),
                Text::Glob(_)
                | Text::Path { .. }
                | Text::Directory(_)
                | Text::HarmlessVariable
                | Text::Command(_)
                | Text::Any => None,
            })
            .collect();
        if let Some(exact_texts) = exact_texts {
            return Ok(exact_texts.into_iter().find(|text| is_left(text)).cloned());
        }
        if self.excluded.iter().any(
            |excluded| matches!(excluded, Values::Texts(excluded) if excluded.contains(&Text::Any)),
        ) {
            return Ok(None);
        }
        let sample_of_dimension = self
            .dimension
            .row()
            .samples
            .iter()
            .find(|sample| is_left(sample) && self.base.contains_text(sample));
        if let Some(sample) = sample_of_dimension {
            return Ok(Some((*sample).to_owned()));
        }
        let base = language(texts)?;
        let mut excluded = Vec::new();
        for values in &self.excluded {
            if let Values::Texts(texts) = values {
                excluded.push(language(texts)?);
            }
        }
        let excluded: Vec<&Language> = excluded.iter().collect();
        if self.dimension.row().shape != Shape::Path {
            // No value of another dimension than a path is empty.
            return difference(&base, &[&Language::regex("(?s:.)+")?], &excluded);
        }
        match difference(&base, &[&Language::regex(PLAIN_PATHS)?], &excluded)? {
            Some(path) => Ok(Some(path)),
            None => difference(&base, &[&Language::regex(REQUEST_PATHS)?], &excluded),
        }
    }

    fn address_witness(
        &self,
        classes: &BTreeSet<AddressClass>,
        blocks: &BTreeSet<AddressBlock>,
    ) -> Result<Option<IpAddr>, TooComplex> {
        let is_left = |address: &IpAddr| {
            !self.excluded.iter().any(|excluded| excluded.contains_address(*address))
        };
        // The first address that is left is the first of the class or block, or the address after
        // an excluded block.
        let edges = || {
            self.excluded
                .iter()
                .flat_map(|excluded| excluded.blocks())
                .filter_map(AddressBlock::next)
        };
        let is_excluded_class = |class: &AddressClass| {
            self.excluded.iter().any(|excluded| {
                matches!(excluded, Values::Addresses { classes, .. } if classes.contains(class))
            })
        };
        if let Some(class) = classes.iter().find(|class| !is_excluded_class(class)) {
            let edges_in_class = edges().filter(|edge| AddressClass::of(*edge) == *class);
            // Whether blocks cover all parts of a class is not computed.
            let first_left = std::iter::once(class.example()).chain(edges_in_class).find(is_left);
            return first_left.map(Some).ok_or(TooComplex);
        }
        let first_in_block = |block: &AddressBlock| {
            let later_addresses = edges().filter_map(|edge| block.first_from(edge));
            block.first().into_iter().chain(later_addresses).find(is_left)
        };
        Ok(blocks.iter().find_map(first_in_block))
    }

    fn arguments_witness(
        &self,
        lists: &[Vec<ArgumentPattern>],
    ) -> Result<Option<Vec<String>>, TooComplex> {
        let mut excluded = Vec::new();
        for values in &self.excluded {
            if let Values::Arguments(lists) = values {
                for patterns in lists {
                    excluded.push(Language::arguments(patterns)?);
                }
            }
        }
        let excluded: Vec<&Language> = excluded.iter().collect();
        for patterns in lists {
            if let Some(arguments) =
                argument_difference(&Language::arguments(patterns)?, &excluded)?
            {
                return Ok(Some(arguments));
            }
        }
        Ok(None)
    }
}
