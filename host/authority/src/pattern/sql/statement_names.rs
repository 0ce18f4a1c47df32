//! The names in a statement, as a server reads them: quoted names as written, other names in lower
//! case.
//!
//! Only unambiguous texts are read, in which every SQL parser finds the same strings, quoted names
//! and comments.

use super::scanner::is_unambiguous;
use super::{Dialect, side_effects};

/// The names of a statement, by their position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatementNames {
    /// Every name and key word.
    pub all: Vec<String>,
    /// The names before a parenthesis: functions, or words that look like one.
    pub function_names: Vec<String>,
    /// The names that may be a type, without their schema.
    pub types: Vec<String>,
}

/// The names of a statement; `None` if the text is ambiguous.
pub fn statement_names(dialect: Dialect, statement: &str) -> Option<StatementNames> {
    let tokens = tokens(dialect, statement)?;
    let mut names = StatementNames::default();
    let mut cast_parentheses = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Name { text, .. } => {
                names.all.push(text.clone());
                if matches!(tokens.get(index + 1), Some(Token::Symbol('('))) {
                    names.function_names.push(text.clone());
                }
                names.types.extend(type_at(&tokens, index, cast_parentheses.last() == Some(&true)));
            }
            Token::Symbol('(') => {
                cast_parentheses.push(index > 0 && tokens[index - 1].is_word("cast"));
            }
            Token::Symbol(')') => drop(cast_parentheses.pop()),
            Token::Symbol(_) | Token::Text => {}
        }
    }
    Some(names)
}

/// The names of pure functions of MySQL that have a space before the parenthesis. The server then
/// prefers a stored function of that name.
pub(super) fn pure_functions_with_space(statement: &str) -> Vec<String> {
    /// Reserved words. A stored function of such a name cannot be called without quotes.
    const RESERVED: &[&str] = &[
        "char", "convert", "if", "insert", "interval", "left", "mod", "repeat", "replace", "right",
        "values",
    ];
    let tokens = tokens(Dialect::MySql, statement).unwrap_or_default();
    let pairs = tokens.windows(2).filter_map(|pair| {
        let [Token::Name { text, quoted: false, is_followed_directly: false }, Token::Symbol('(')] =
            pair
        else {
            return None;
        };
        Some(text)
    });
    let is_at_risk = |name: &&String| {
        side_effects::is_pure_function(Dialect::MySql, name) && !RESERVED.contains(&name.as_str())
    };
    pairs.filter(is_at_risk).cloned().collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name {
        text: String,
        quoted: bool,
        /// Whether the next character belongs to the next token, without space or comment between.
        is_followed_directly: bool,
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
    if !is_unambiguous(dialect, statement) {
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
                let is_followed_directly = !rest[length..]
                    .starts_with(|c: char| c.is_ascii_whitespace() || c == '/' || c == '-');
                tokens.push(Token::Name { text, quoted: true, is_followed_directly });
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
                    is_followed_directly: rest[end..].starts_with('('),
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

/// The quoted text at the beginning of `text`, and its length in bytes with the quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != quote {
            inner.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Some((inner, index + 1));
        }
    }
    None
}

/// Words that are followed by an expression or a relation, never by a type, and that cannot be the
/// name of a column before its type.
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

/// The name at `position` if it may be a type: it must be the last part of a dotted name, and the
/// tokens before and after that whole name decide.
fn type_at(tokens: &[Token], position: usize, in_cast: bool) -> Option<String> {
    let symbol = |index: Option<usize>, symbol| {
        index.and_then(|index| tokens.get(index)) == Some(&Token::Symbol(symbol))
    };
    if symbol(Some(position + 1), '.') {
        return None;
    }
    let Token::Name { text, .. } = &tokens[position] else { return None };
    let mut first = position;
    while first >= 2
        && symbol(Some(first - 1), '.')
        && matches!(tokens[first - 2], Token::Name { .. })
    {
        first -= 2;
    }
    let index_before = |count: usize| first.checked_sub(count);
    let is_after_type_context = match index_before(1).map(|index| &tokens[index]) {
        Some(Token::Symbol(':')) => symbol(index_before(2), ':'),
        Some(Token::Name { text, quoted: false, .. }) => match text.as_str() {
            "as" => in_cast,
            "by" => !index_before(2).is_some_and(|index| {
                ["order", "group", "partition"].iter().any(|word| tokens[index].is_word(word))
            }),
            "set" => !symbol(Some(position + 1), '='),
            word => !NO_TYPE_FOLLOWS.contains(&word),
        },
        Some(Token::Name { .. }) => true,
        Some(Token::Symbol(_) | Token::Text) | None => false,
    };
    let is_before_text = matches!(tokens.get(position + 1), Some(Token::Text))
        || symbol(Some(position + 1), '(') && closes_before_text(&tokens[position + 1..]);
    (is_after_type_context || is_before_text).then(|| text.clone())
}

/// Whether a text follows the closing parenthesis of the one that opens here: `numeric(3) '1'`.
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

    fn names_of(statement: &str) -> StatementNames {
        statement_names(Dialect::Postgres, statement).expect("it is unambiguous")
    }

    #[test]
    fn names_are_folded_and_unquoted_as_the_server_does() {
        let names = names_of(
            "select O.\"lies mich\", o.\"größe\"||'x y' , \"a\"\"b\" -- nothing\n /* \
                nor \"this\" */ from Orders o",
        );
        assert_eq!(
            names.all,
            ["select", "o", "lies mich", "o", "größe", "a\"b", "from", "orders", "o"]
        );
        assert_eq!(names_of("select abs (1), \"Max\"/**/(2), o.x").function_names, ["abs", "Max"]);
        assert_eq!(statement_names(Dialect::Postgres, "select e'a'"), None);
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
                names_of(statement).types.iter().any(|name| name.eq_ignore_ascii_case("secrets")),
                is_type,
                "{statement}"
            );
        }
    }

    #[test]
    fn pure_functions_with_a_space_before_the_parenthesis_are_found() {
        assert_eq!(
            pure_functions_with_space("select count (1), rank/**/(1), max\n(2) from t"),
            ["count", "rank", "max"]
        );
        assert!(
            pure_functions_with_space(
                "insert into t (a) values (count(*)), (if (1, 2, 3)) -- count (\n"
            )
            .is_empty()
        );
    }
}
