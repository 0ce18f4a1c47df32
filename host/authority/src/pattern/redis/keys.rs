//! The keys that a command names in its arguments.

/// Which arguments of a command are keys. Positions count from the name of the command, which is 0;
/// a subcommand is at position 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRule {
    /// It has none.
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end.
    Range { first: usize, last: isize, step: usize },
    /// The argument at `fixed`, if that is not 0, and as many arguments after `count` as the number
    /// at `count` says.
    Counted { fixed: usize, count: usize },
    /// The first half of what follows the word `STREAMS`.
    Streams,
    /// The first argument, and the one after `STORE`. With `BY` or `GET` any key.
    Sort,
    /// The first argument, and those after `STORE` and `STOREDIST`.
    GeoRadius,
    /// The first two arguments, unless it goes to another database.
    Copy,
    /// The keys that fit the pattern after `MATCH`.
    ScanMatch,
    /// The keys that fit the pattern that is its only argument.
    KeysPattern,
    /// Any key of the database, whatever the arguments say.
    Any,
}

/// The keys that one command uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyUse<'a> {
    /// These keys and no others.
    Listed(Vec<&'a [u8]>),
    /// Every key that fits this pattern of the server.
    Matching(&'a [u8]),
    /// Any key.
    Any,
    /// Keys of another database.
    OtherDatabase,
}

/// The keys that a command with these arguments uses. Arguments that the server would not accept
/// count as [`KeyUse::Any`].
pub(super) fn keys_of(rule: KeyRule, arguments: &[Vec<u8>]) -> KeyUse<'_> {
    let listed = match rule {
        KeyRule::None => Some(Vec::new()),
        KeyRule::Range { first, last, step } => range(arguments, first, last, step),
        KeyRule::Counted { fixed, count } => counted(arguments, fixed, count),
        KeyRule::Streams => streams(arguments),
        KeyRule::Sort => sort(arguments),
        KeyRule::GeoRadius => geo_radius(arguments),
        KeyRule::Copy if is_copy_elsewhere(arguments) => return KeyUse::OtherDatabase,
        KeyRule::Copy => range(arguments, 1, 2, 1),
        KeyRule::ScanMatch => return scan_match(arguments),
        KeyRule::KeysPattern => match arguments {
            [_, pattern] => return KeyUse::Matching(pattern),
            _ => None,
        },
        KeyRule::Any => None,
    };
    listed.map_or(KeyUse::Any, KeyUse::Listed)
}

fn range(arguments: &[Vec<u8>], first: usize, last: isize, step: usize) -> Option<Vec<&[u8]>> {
    let last = match usize::try_from(last) {
        Ok(last) => last,
        Err(_) => arguments.len().checked_sub(last.unsigned_abs())?,
    };
    if last < first || last >= arguments.len() {
        return None;
    }
    Some(arguments[first..=last].iter().step_by(step).map(Vec::as_slice).collect())
}

fn counted(arguments: &[Vec<u8>], fixed: usize, count: usize) -> Option<Vec<&[u8]>> {
    let number = std::str::from_utf8(arguments.get(count)?).ok()?.parse::<usize>().ok()?;
    let end = count.checked_add(1)?.checked_add(number)?;
    let keys = arguments.get(count + 1..end).filter(|keys| !keys.is_empty())?;
    let fixed = (fixed > 0).then(|| arguments.get(fixed)).into_iter().flatten();
    Some(fixed.chain(keys).map(Vec::as_slice).collect())
}

fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// `XREAD` and `XREADGROUP` have options before the word `STREAMS`; a group may have its name.
fn streams(arguments: &[Vec<u8>]) -> Option<Vec<&[u8]>> {
    let mut index = 1;
    loop {
        let argument = arguments.get(index)?;
        index += if is_word(argument, "STREAMS") {
            break;
        } else if is_word(argument, "GROUP") {
            3
        } else if is_word(argument, "COUNT") || is_word(argument, "BLOCK") {
            2
        } else if is_word(argument, "NOACK") {
            1
        } else {
            return None;
        };
    }
    let rest = &arguments[index + 1..];
    let is_paired = !rest.is_empty() && rest.len().is_multiple_of(2);
    is_paired.then(|| rest[..rest.len() / 2].iter().map(Vec::as_slice).collect())
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE key]`.
fn sort(arguments: &[Vec<u8>]) -> Option<Vec<&[u8]>> {
    let mut keys = vec![arguments.get(1)?.as_slice()];
    let mut index = 2;
    while let Some(argument) = arguments.get(index) {
        index += if is_word(argument, "STORE") {
            keys.push(arguments.get(index + 1)?);
            2
        } else if is_word(argument, "LIMIT") {
            3
        } else if ["ASC", "DESC", "ALPHA"].iter().any(|word| is_word(argument, word)) {
            1
        } else {
            // `BY` and `GET` make the names of other keys out of values.
            return None;
        };
    }
    Some(keys)
}

/// Whatever follows a word `STORE` or `STOREDIST` counts as a key.
fn geo_radius(arguments: &[Vec<u8>]) -> Option<Vec<&[u8]>> {
    let mut keys = vec![arguments.get(1)?.as_slice()];
    let options = arguments.get(4..).unwrap_or_default();
    for pair in options.windows(2) {
        if is_word(&pair[0], "STORE") || is_word(&pair[0], "STOREDIST") {
            keys.push(&pair[1]);
        }
    }
    Some(keys)
}

fn is_copy_elsewhere(arguments: &[Vec<u8>]) -> bool {
    arguments.iter().skip(3).any(|argument| is_word(argument, "DB"))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`. Of several patterns the server uses the
/// last; here they count as none.
fn scan_match(arguments: &[Vec<u8>]) -> KeyUse<'_> {
    let options = arguments.get(2..).unwrap_or_default();
    let mut patterns = options
        .chunks(2)
        .filter(|option| is_word(&option[0], "MATCH"))
        .map(|option| option.get(1).map(Vec::as_slice));
    match (patterns.next(), patterns.next()) {
        (Some(Some(pattern)), None) => KeyUse::Matching(pattern),
        (Some(Some(_)), Some(_)) | (Some(None) | None, _) => KeyUse::Any,
    }
}
