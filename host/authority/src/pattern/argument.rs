//! Arguments of programs: one pattern for each position.

use regex::Regex;

/// A pattern for an argument of a program.
#[derive(Debug, Clone)]
pub enum ArgumentPattern {
    /// The argument is exactly this text.
    Literal(String),
    /// The argument is one of these texts.
    OneOf(Vec<String>),
    /// The regular expression matches the whole argument.
    Regex(Regex),
    /// Any number of arguments, each of which matches; only as the last pattern.
    Repeat(Box<ArgumentPattern>),
}

impl PartialEq for ArgumentPattern {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl ArgumentPattern {
    /// A pattern from a regular expression, which must match the whole argument.
    ///
    /// # Errors
    /// [`regex::Error`] if the text is not a regular expression.
    pub fn regex(text: &str) -> Result<Self, regex::Error> {
        // The text must be valid alone. A text such as `a)|(b` is valid only inside the group
        // below.
        Regex::new(text)?;
        Regex::new(&format!("^(?:{text})$")).map(Self::Regex)
    }

    /// The regular expression as written; empty for other patterns.
    pub fn expression(&self) -> &str {
        match self {
            Self::Regex(regex) => {
                let text = regex.as_str();
                text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
            }
            Self::Literal(_) | Self::OneOf(_) | Self::Repeat(_) => "",
        }
    }

    /// Whether one argument matches.
    pub fn matches(&self, argument: &str) -> bool {
        match self {
            Self::Literal(text) => text == argument,
            Self::OneOf(texts) => texts.iter().any(|text| text == argument),
            Self::Regex(regex) => regex.is_match(argument),
            Self::Repeat(pattern) => pattern.matches(argument),
        }
    }
}

impl std::fmt::Display for ArgumentPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(text) => write!(f, "`{text}`"),
            Self::OneOf(texts) => {
                write!(
                    f,
                    "one of {}",
                    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Regex(_) => write!(f, "/{}/", self.expression()),
            Self::Repeat(pattern) => write!(f, "any number of {pattern}"),
        }
    }
}

/// The first position, counted from 1, at which the arguments do not match the patterns, with what
/// was expected there. `None` if all match.
pub fn first_mismatch(
    patterns: &[ArgumentPattern],
    arguments: &[String],
) -> Option<(usize, String)> {
    let mut remaining = arguments.iter().enumerate();
    for (index, pattern) in patterns.iter().enumerate() {
        if let ArgumentPattern::Repeat(repeated) = pattern {
            return remaining
                .find(|(_, argument)| !repeated.matches(argument))
                .map(|(position, _)| (position + 1, pattern.to_string()));
        }
        match remaining.next() {
            Some((_, argument)) if pattern.matches(argument) => {}
            Some(_) | None => return Some((index + 1, pattern.to_string())),
        }
    }
    remaining.next().map(|(position, _)| (position + 1, "no further argument".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(arguments: &[&str]) -> Option<usize> {
        let patterns = [
            ArgumentPattern::Literal("--format=plain".to_owned()),
            ArgumentPattern::OneOf(vec!["a".to_owned(), "b".to_owned()]),
            ArgumentPattern::Repeat(Box::new(
                ArgumentPattern::regex("--table=[a-z_]+").expect("good regex"),
            )),
        ];
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        first_mismatch(&patterns, &arguments).map(|(position, _)| position)
    }

    #[test]
    fn arguments_match_by_position() {
        assert_eq!(mismatch(&["--format=plain", "a"]), None);
        assert_eq!(mismatch(&["--format=plain", "b", "--table=x", "--table=y"]), None);
        assert_eq!(mismatch(&["--format=custom", "a"]), Some(1));
        assert_eq!(mismatch(&["--format=plain"]), Some(2));
        assert_eq!(mismatch(&["--format=plain", "a", "--table=x", "--table=x; rm"]), Some(4));
    }

    #[test]
    fn a_regular_expression_with_an_unmatched_parenthesis_is_refused() {
        for text in [
            "safe)|(?:safe",
            "a)(b",
            ")",
            "(",
            "a|b)|(c",
            "(?x)a # )",
            "a\\",
            "[a",
            "(?x)a)|(?:# b",
        ] {
            assert!(ArgumentPattern::regex(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 600, ..Default::default() })]
        /// For any combination of these parts of regular expressions: an accepted pattern is a
        /// valid regular expression, and the gate and the automaton of boundaries agree about every
        /// short argument.
        #[test]
        fn the_gate_and_the_automaton_agree_about_a_regular_expression(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "b", "#", " ", "\n", "(", ")", "(?:", "|", "*", "+", "?", "[ab]", "[^a]", ".", "^", "$", "\\A", "\\z",
                    "(?i)", "(?m)", "(?s)", "(?x)", "(?i:A", "\\w", "\\pL", "{2}", "\\",
                ]),
                0..8,
            )
        ) {
            use crate::pattern::{Language, difference};
            let text = pieces.concat();
            if let Ok(pattern) = ArgumentPattern::regex(&text) {
                proptest::prop_assert!(Regex::new(&text).is_ok(), "{text:?}");
                if let Ok(language) = Language::arguments(std::slice::from_ref(&pattern)) {
                    let letters = ["a", "b", "A", "#", "\n", "é"];
                    let pairs = letters.iter().flat_map(|one| letters.map(|two| format!("{one}{two}")));
                    let arguments = [String::new()].into_iter().chain(letters.map(str::to_owned)).chain(pairs);
                    for argument in arguments {
                        let one = Language::arguments(&[ArgumentPattern::Literal(argument.clone())]).expect("small");
                        let is_in = difference(&one, &[], &[&language]).expect("small").is_none();
                        proptest::prop_assert_eq!(pattern.matches(&argument), is_in, "{:?} {:?}", text, argument);
                    }
                }
            }
        }
    }

    #[test]
    fn a_regular_expression_must_match_the_whole_argument() {
        let pattern = ArgumentPattern::regex("a|b").expect("good regex");
        assert!(pattern.matches("a") && pattern.matches("b"));
        assert!(!pattern.matches("ab") && !pattern.matches("xb") && !pattern.matches("a\n--evil"));
    }
}
