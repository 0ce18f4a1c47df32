//! The names that stand in a statement, as a server reads them: what is quoted as it is written,
//! the rest in lower case.
//!
//! Only for texts that are plain, in which strings, quoted names and comments end in one place for
//! every reader.

use super::plain::is_plain;
use super::{Dialect, acting};

/// The names of a statement, by where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Every name and key word.
    pub all: Vec<String>,
    /// Those before a bracket: functions, or words that look like one.
    pub called: Vec<String>,
    /// Those that may be a type, without their schema.
    pub types: Vec<String>,
}

/// The names of a statement; `None` if it is not plain.
pub fn names(dialect: Dialect, statement: &str) -> Option<Names> {
    let tokens = tokens(dialect, statement)?;
    let mut names = Names::default();
    let mut casts = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Name { text, .. } => {
                names.all.push(text.clone());
                if matches!(tokens.get(index + 1), Some(Token::Symbol('('))) {
                    names.called.push(text.clone());
                }
                names.types.extend(type_at(&tokens, index, casts.last() == Some(&true)));
            }
            Token::Symbol('(') => casts.push(index > 0 && tokens[index - 1].is_word("cast")),
            Token::Symbol(')') => drop(casts.pop()),
            Token::Symbol(_) | Token::Text => {}
        }
    }
    Some(names)
}

/// Names of functions that a server takes for a stored one, if a blank stands before the bracket.
pub(super) fn called_after_a_blank(statement: &str) -> Vec<String> {
    /// They are reserved, so no stored function is called by them without quotes; and they are more
    /// than functions.
    const RESERVED: &[&str] = &[
        "char", "convert", "if", "insert", "interval", "left", "mod", "repeat", "replace", "right",
        "values",
    ];
    let tokens = tokens(Dialect::MySql, statement).unwrap_or_default();
    let pairs = tokens.windows(2).filter_map(|pair| {
        let [Token::Name { text, quoted: false, glued: false }, Token::Symbol('(')] = pair else {
            return None;
        };
        Some(text)
    });
    let is_at_risk = |name: &&String| {
        acting::reads_its_arguments_alone(Dialect::MySql, name)
            && !RESERVED.contains(&name.as_str())
    };
    pairs.filter(is_at_risk).cloned().collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name {
        text: String,
        quoted: bool,
        /// What follows stands right behind it.
        glued: bool,
    },
    /// A literal in quotes.
    Text,
    Symbol(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Name { text, quoted: false, .. } if text == word)
    }
}

fn tokens(dialect: Dialect, statement: &str) -> Option<Vec<Token>> {
    if !is_plain(dialect, statement) {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => {
                tokens.push(Token::Text);
                quoted(rest, '\'')?.1
            }
            '"' | '`' => {
                let (text, length) = quoted(rest, first)?;
                let glued = !rest[length..]
                    .starts_with(|c: char| c.is_ascii_whitespace() || c == '/' || c == '-');
                tokens.push(Token::Name { text, quoted: true, glued });
                length
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/")? + 2,
            first if first.is_ascii_alphabetic() || first == '_' => {
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))
                    .unwrap_or(rest.len());
                let text = rest[..end].to_ascii_lowercase();
                tokens.push(Token::Name {
                    text,
                    quoted: false,
                    glued: rest[end..].starts_with('('),
                });
                end
            }
            first if first.is_ascii_whitespace() => 1,
            first => {
                tokens.push(Token::Symbol(first));
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Some(tokens)
}

/// What stands in quotes at the beginning of `text`, and how long it is with them.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            inner.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Some((inner, at + 1));
        }
    }
    None
}

/// Words after which an expression or a relation stands, never a type, and which cannot be the name
/// of a column before its type.
const NO_TYPE_FOLLOWS: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "case",
    "check",
    "collate",
    "constraint",
    "cross",
    "default",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "for",
    "foreign",
    "from",
    "full",
    "group",
    "having",
    "ilike",
    "in",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "similar",
    "some",
    "table",
    "then",
    "to",
    "union",
    "unique",
    "using",
    "when",
    "where",
    "window",
    "with",
];

/// The type that the name at `at` may be: the last part of a dotted name, judged by what stands
/// before and after all of it.
fn type_at(tokens: &[Token], at: usize, in_cast: bool) -> Option<String> {
    let symbol = |index: Option<usize>, symbol| {
        index.and_then(|index| tokens.get(index)) == Some(&Token::Symbol(symbol))
    };
    if symbol(Some(at + 1), '.') {
        return None;
    }
    let Token::Name { text, .. } = &tokens[at] else { return None };
    let mut first = at;
    while first >= 2
        && symbol(Some(first - 1), '.')
        && matches!(tokens[first - 2], Token::Name { .. })
    {
        first -= 2;
    }
    let before = |count: usize| first.checked_sub(count);
    let follows = match before(1).map(|index| &tokens[index]) {
        Some(Token::Symbol(':')) => symbol(before(2), ':'),
        Some(Token::Name { text, quoted: false, .. }) => match text.as_str() {
            "as" => in_cast,
            "by" => !before(2).is_some_and(|index| {
                ["order", "group", "partition"].iter().any(|word| tokens[index].is_word(word))
            }),
            "set" => !symbol(Some(at + 1), '='),
            word => !NO_TYPE_FOLLOWS.contains(&word),
        },
        Some(Token::Name { .. }) => true,
        Some(Token::Symbol(_) | Token::Text) | None => false,
    };
    let is_before_text = matches!(tokens.get(at + 1), Some(Token::Text))
        || symbol(Some(at + 1), '(') && closes_before_text(&tokens[at + 1..]);
    (follows || is_before_text).then(|| text.clone())
}

/// Whether a text stands behind the bracket that opens here: `numeric(3) '1'`.
fn closes_before_text(tokens: &[Token]) -> bool {
    let mut depth = 0_u32;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            Token::Symbol(_) | Token::Text | Token::Name { .. } => {}
        }
        if depth == 0 {
            return matches!(tokens.get(index + 1), Some(Token::Text));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statement: &str) -> Names {
        names(Dialect::Postgres, statement).expect("it is plain")
    }

    #[test]
    fn a_name_is_what_the_server_makes_of_it() {
        let found = of("select O.\"lies mich\", o.\"größe\"||'x y' , \"a\"\"b\" -- nothing\n /* \
                nor \"this\" */ from Orders o");
        assert_eq!(
            found.all,
            ["select", "o", "lies mich", "o", "größe", "a\"b", "from", "orders", "o"]
        );
        assert_eq!(of("select abs (1), \"Max\"/**/(2), o.x").called, ["abs", "Max"]);
        assert_eq!(names(Dialect::Postgres, "select e'a'"), None);
    }

    #[test]
    fn a_name_may_be_a_type_wherever_a_type_may_stand() {
        for (statement, is_type) in [
            ("select null::secrets", true),
            ("select null::public.secrets", true),
            ("select null :: \"Secrets\"[]", true),
            ("select cast(null as secrets)", true),
            ("select cast ((select x as y) as secrets[])", true),
            ("select secrets '(1,x)'", true),
            ("select public.secrets '(1,x)'", true),
            ("select secrets(3) '(1,x)'", true),
            ("select * from json_to_record('{}') as x(a secrets)", true),
            ("select * from json_to_record('{}') as x(key secrets, b int)", true),
            ("select * from json_to_record('{}') as x(\"select\" secrets)", true),
            ("select secrets, o.secrets from orders where secrets = 1 order by secrets", false),
            ("select count(*) as secrets from orders group by secrets", false),
            ("update orders set secrets = 1 returning secrets", false),
            ("insert into orders (secrets, b) values (1, 2)", false),
        ] {
            assert_eq!(
                of(statement).types.iter().any(|name| name.eq_ignore_ascii_case("secrets")),
                is_type,
                "{statement}"
            );
        }
    }

    #[test]
    fn a_blank_before_the_bracket_makes_a_name_of_a_function_another() {
        assert_eq!(
            called_after_a_blank("select count (1), rank/**/(1), max\n(2) from t"),
            ["count", "rank", "max"]
        );
        assert!(
            called_after_a_blank(
                "insert into t (a) values (count(*)), (if (1, 2, 3)) -- count (\n"
            )
            .is_empty()
        );
    }
}
