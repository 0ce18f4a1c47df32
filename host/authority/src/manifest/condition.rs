//! Conditions of verbs: for which inputs an operation needs a verb (`needed_if` of a manifest).
//!
//! A condition is data, so that a reviewer can read it. It compares values of the input with one
//! value. It can be decided for every input, even if some values of the input are not known yet.

use crate::capability::Verb;
use runbook_document::{Node, Reader, Spanned, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The error code of a condition that cannot be understood.
const CODE: &str = "E0313";

/// One entry of `needed_if`: a verb of a slot, and the values of the input that need it.
///
/// A verb with several entries is needed if any of them holds; a verb without one is always needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerbCondition {
    /// The slot, as the operation names it.
    pub slot: String,
    /// The verb, which the operation uses on that slot.
    pub verb: Verb,
    /// The paths of the values to test. The condition holds if one value passes the test.
    pub any_of: Vec<InputPath>,
    /// The test of each value.
    pub test: ValueTest,
}

/// The test of a value of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueTest {
    /// The value is present and not null.
    Present,
    /// The value equals this one.
    Is(Scalar),
    /// The value equals this one, or is absent: for the default value of the plugin.
    IsOrAbsent(Scalar),
}

/// A value that a value of an input is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text, compared exactly.
    Text(String),
}

impl Scalar {
    /// Whether a value of an input equals this one. The integer 1 equals 1.0.
    pub fn equals(&self, value: &Json) -> bool {
        match self {
            Self::Boolean(expected) => value.as_bool() == Some(*expected),
            Self::Integer(expected) => {
                value.as_i64() == Some(*expected)
                    || value
                        .as_f64()
                        .is_some_and(|float| format!("{float}") == expected.to_string())
            }
            Self::Text(expected) => value.as_str() == Some(expected),
        }
    }

    /// The value as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Boolean(value) => Json::from(*value),
            Self::Integer(value) => Json::from(*value),
            Self::Text(value) => Json::from(value.as_str()),
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", runbook_text::line(&self.to_json().to_string()))
    }
}

/// A path to values of an input: `cases[].method` is the key `method` of each item of the list
/// `cases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InputPath(Vec<PathPart>);

/// One part of an [`InputPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathPart {
    /// The value under a key.
    Key(String),
    /// Each item of a list.
    EachItem,
}

/// The error for a text that is not an [`InputPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no path of an input: write keys with dots between them, and `[]` behind a list, \
         such as `cases[].method`", runbook_text::line(.0))]
pub struct InputPathError(String);

impl InputPath {
    /// Reads `cases[].method`.
    ///
    /// # Errors
    /// [`InputPathError`] if a key is empty or has other characters than letters, digits, `_` and
    /// `-`.
    pub fn parse(text: &str) -> Result<Self, InputPathError> {
        let mut parts = Vec::new();
        for part_text in text.split('.') {
            let key = part_text.trim_end_matches("[]");
            let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if key.is_empty() || !key.chars().all(is_key) {
                return Err(InputPathError(text.to_owned()));
            }
            parts.push(PathPart::Key(key.to_owned()));
            let list_count = (part_text.len() - key.len()) / 2;
            parts.extend(std::iter::repeat_n(PathPart::EachItem, list_count));
        }
        Ok(Self(parts))
    }

    pub(super) fn parts(&self) -> &[PathPart] {
        &self.0
    }
}

impl TryFrom<String> for InputPath {
    type Error = InputPathError;

    fn try_from(text: String) -> Result<Self, InputPathError> {
        Self::parse(&text)
    }
}

impl From<InputPath> for String {
    fn from(path: InputPath) -> Self {
        path.to_string()
    }
}

impl std::fmt::Display for InputPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            match part {
                PathPart::Key(key) if number == 0 => write!(f, "{key}")?,
                PathPart::Key(key) => write!(f, ".{key}")?,
                PathPart::EachItem => write!(f, "[]")?,
            }
        }
        Ok(())
    }
}

/// An input in which some values may not be known yet.
#[derive(Debug, Clone, Copy)]
pub struct KnownInput<'a> {
    /// The input. A value that is not known is the template text of the runbook.
    pub value: &'a Json,
    /// The JSON pointers of the values that are not known, because they are templates.
    pub unknown: &'a BTreeSet<String>,
}

impl KnownInput<'_> {
    /// An empty input, for an operation whose conditions test no value.
    pub fn empty() -> Self {
        static NO_POINTERS: BTreeSet<String> = BTreeSet::new();
        Self { value: &Json::Null, unknown: &NO_POINTERS }
    }
}

/// The need of an input for a verb, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A value of the input makes it needed.
    Met {
        /// The path of that value: `cases[2].method`.
        at: String,
    },
    /// A tested value is not known, so the verb may be needed.
    Unknown {
        /// The path of that value.
        at: String,
    },
    /// No value of the input makes it needed, whatever the unknown values will be.
    No,
}

impl Need {
    /// Whether the verb is granted.
    pub fn is_granted(&self) -> bool {
        match self {
            Self::Met { .. } | Self::Unknown { .. } => true,
            Self::No => false,
        }
    }

    /// The stronger of two answers: `Met`, then `Unknown`, then `No`.
    pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Met { .. } => self,
            Self::Unknown { .. } => match other() {
                need @ Self::Met { .. } => need,
                Self::Unknown { .. } | Self::No => self,
            },
            Self::No => other(),
        }
    }
}

impl VerbCondition {
    /// Whether an input needs the verb according to this condition.
    ///
    /// A value of another type than the path expects counts as absent. An absent list has no items.
    pub fn need(&self, input: &KnownInput<'_>) -> Need {
        let test_path = |path: &InputPath| {
            let place = InputLocation { readable_path: String::new(), pointer: String::new() };
            self.test.follow(Some(input.value), path.parts(), &place, input.unknown)
        };
        self.any_of.iter().fold(Need::No, |need, path| need.or(|| test_path(path)))
    }

    /// `` `cases[].method` or `cleanup[].method` is `"DELETE"` ``
    pub fn sentence(&self) -> String {
        let places: Vec<_> = self.any_of.iter().map(|path| format!("`{path}`")).collect();
        let places = places.join(" or ");
        match &self.test {
            ValueTest::Present => format!("{places} is there"),
            ValueTest::Is(value) => format!("{places} is {value}"),
            ValueTest::IsOrAbsent(value) => format!("{places} is {value} or left out"),
        }
    }
}

/// The location of a value in an input: as a path for people, and as a JSON pointer.
struct InputLocation {
    readable_path: String,
    pointer: String,
}

impl InputLocation {
    fn key(&self, key: &str) -> Self {
        let dot = if self.readable_path.is_empty() { "" } else { "." };
        let escaped = key.replace('~', "~0").replace('/', "~1");
        Self {
            readable_path: format!("{}{dot}{key}", self.readable_path),
            pointer: format!("{}/{escaped}", self.pointer),
        }
    }

    fn item(&self, number: usize) -> Self {
        Self {
            readable_path: format!("{}[{number}]", self.readable_path),
            pointer: format!("{}/{number}", self.pointer),
        }
    }
}

impl ValueTest {
    /// Tests the values that the rest of a path leads to, from a value (`None` if it is absent).
    fn follow(
        &self,
        value: Option<&Json>,
        path: &[PathPart],
        place: &InputLocation,
        unknown: &BTreeSet<String>,
    ) -> Need {
        if unknown.contains(&place.pointer) {
            return Need::Unknown { at: place.readable_path.clone() };
        }
        match path {
            [] if self.holds(value) => Need::Met { at: place.readable_path.clone() },
            [] => Need::No,
            [PathPart::Key(key), rest @ ..] => {
                let child = value.and_then(Json::as_object).and_then(|entries| entries.get(key));
                self.follow(child, rest, &place.key(key), unknown)
            }
            [PathPart::EachItem, rest @ ..] => {
                let items = value.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
                items.iter().enumerate().fold(Need::No, |need, (number, item)| {
                    need.or(|| self.follow(Some(item), rest, &place.item(number), unknown))
                })
            }
        }
    }

    fn holds(&self, value: Option<&Json>) -> bool {
        let value = value.filter(|value| !value.is_null());
        match self {
            Self::Present => value.is_some(),
            Self::Is(expected) => value.is_some_and(|value| expected.equals(value)),
            Self::IsOrAbsent(expected) => value.is_none_or(|value| expected.equals(value)),
        }
    }
}

/// Reads one entry of `needed_if` of an operation that uses these verbs. Slots that are
/// `incomplete` have mistakes that were reported already.
pub(super) fn read(
    reader: &mut Reader<'_>,
    operation_slots: &BTreeMap<String, Vec<Verb>>,
    incomplete: &BTreeSet<String>,
) -> Option<VerbCondition> {
    let slot = reader.required::<String>("slot");
    let verb = reader.required::<String>("verb");
    let any_of = reader.required::<Vec<Spanned<String>>>("any_of");
    let is_node = reader.optional::<Node>("is");
    let or_absent = reader.optional::<bool>("or_absent").filter(|flag| flag.value);
    let slot_and_verb = slot.zip(verb).and_then(|(slot, verb)| {
        let verb = find_verb(reader, operation_slots, incomplete, &slot, &verb)?;
        Some((slot.value, verb))
    });
    if let Some(any_of) = any_of.as_ref().filter(|any_of| any_of.value.is_empty()) {
        let message = "`any_of` names no place of the input";
        reader.error(CODE, any_of.span.clone(), message, "name at least one");
    }
    let mut paths = Vec::new();
    for written in any_of?.value {
        match InputPath::parse(&written.value) {
            Ok(path) => paths.push(path),
            Err(error) => reader.error(CODE, written.span, error.to_string(), "not a path"),
        }
    }
    let value = is_node.map(|is_node| read_scalar(reader, &is_node.value));
    let test = match (value, or_absent) {
        (None, None) => ValueTest::Present,
        (Some(value), None) => ValueTest::Is(value?),
        (Some(value), Some(_)) => ValueTest::IsOrAbsent(value?),
        (None, Some(flag)) => {
            let message = "`or_absent` belongs to `is`, and there is no `is`";
            let help = "add the value that the plugin takes where nothing is written, or remove it";
            reader.error_with_help(CODE, flag.span, message, "without `is`", help);
            return None;
        }
    };
    let (slot, verb) = slot_and_verb?;
    (!paths.is_empty()).then_some(VerbCondition { slot, verb, any_of: paths, test })
}

/// The verb, if the operation uses it on the slot. Nothing is reported about an incomplete slot.
fn find_verb(
    reader: &mut Reader<'_>,
    operation_slots: &BTreeMap<String, Vec<Verb>>,
    incomplete: &BTreeSet<String>,
    slot: &Spanned<String>,
    verb: &Spanned<String>,
) -> Option<Verb> {
    let Some(verbs) = operation_slots.get(&slot.value) else {
        if !incomplete.contains(&slot.value) {
            let message = format!("`{}` is not among the operation's slots", slot.value);
            let known: Vec<_> = operation_slots.keys().map(String::as_str).collect();
            let help = runbook_document::suggestion(&slot.value, &known);
            reader.error_with_help(CODE, slot.span.clone(), message, "unknown slot", help);
        }
        return None;
    };
    let found = verbs.iter().find(|known| known.row().name == verb.value).copied();
    if found.is_none() {
        let message =
            format!("the operation does not use `{}` on slot `{}`", verb.value, slot.value);
        let known: Vec<_> = verbs.iter().map(|verb| verb.row().name).collect();
        let help = runbook_document::suggestion(&verb.value, &known);
        reader.error_with_help(CODE, verb.span.clone(), message, "not in `slots`", help);
    }
    found
}

fn read_scalar(reader: &mut Reader<'_>, node: &Node) -> Option<Scalar> {
    match &node.value {
        Value::Boolean(value) => Some(Scalar::Boolean(*value)),
        Value::Integer(value) => Some(Scalar::Integer(*value)),
        Value::String(value) => Some(Scalar::Text(value.clone())),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            let message = "`is` must be a text, a whole number, `true` or `false`";
            reader.error(CODE, node.span.clone(), message, "wrong type");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(paths: &[&str], test: ValueTest) -> VerbCondition {
        let any_of = paths.iter().map(|path| InputPath::parse(path).expect("a path")).collect();
        VerbCondition { slot: "target".to_owned(), verb: Verb::HttpDelete, any_of, test }
    }

    fn need(condition: &VerbCondition, value: &Json, unknown: &[&str]) -> Need {
        let unknown = unknown.iter().map(|&place| place.to_owned()).collect();
        condition.need(&KnownInput { value, unknown: &unknown })
    }

    fn met_at(at: &str) -> Need {
        Need::Met { at: at.to_owned() }
    }

    fn text(value: &str) -> Scalar {
        Scalar::Text(value.to_owned())
    }

    #[test]
    fn every_form_of_condition_has_an_answer_for_every_shape_of_input() {
        let paths = ["cases[].method", "cleanup[].method"];
        let is_delete = condition(&paths, ValueTest::Is(text("DELETE")));
        let or_absent = condition(&paths, ValueTest::IsOrAbsent(text("GET")));
        let present = condition(&paths, ValueTest::Present);
        let flag = condition(&["strict"], ValueTest::Is(Scalar::Boolean(true)));
        let number = condition(&["a.b"], ValueTest::IsOrAbsent(Scalar::Integer(1)));
        for (condition, input, expected) in [
            (
                &is_delete,
                json!({ "cases": [{ "method": "GET" }, { "method": "DELETE" }] }),
                met_at("cases[1].method"),
            ),
            (
                &is_delete,
                json!({ "cleanup": [{ "method": "DELETE" }] }),
                met_at("cleanup[0].method"),
            ),
            (&is_delete, json!({ "cases": [{ "method": "delete" }, {}] }), Need::No),
            (&is_delete, json!({}), Need::No),
            (&is_delete, json!({ "cases": { "method": "DELETE" } }), Need::No),
            (&is_delete, json!({ "cases": ["DELETE", 1, null, ["DELETE"]] }), Need::No),
            (&is_delete, json!("DELETE"), Need::No),
            (&is_delete, Json::Null, Need::No),
            (&or_absent, json!({ "cases": [{ "method": "PUT" }, {}] }), met_at("cases[1].method")),
            (&or_absent, json!({ "cases": [{ "method": null }] }), met_at("cases[0].method")),
            (&or_absent, json!({ "cases": ["PUT"] }), met_at("cases[0].method")),
            (&or_absent, json!({ "cases": [] }), Need::No),
            (&or_absent, json!({}), Need::No),
            (&or_absent, json!({ "cases": {} }), Need::No),
            (&present, json!({ "cases": [{ "method": false }] }), met_at("cases[0].method")),
            (&present, json!({ "cases": [{ "method": null }, {}] }), Need::No),
            (&flag, json!({ "strict": true }), met_at("strict")),
            (&flag, json!({ "strict": "true" }), Need::No),
            (&flag, json!({}), Need::No),
            (&number, json!({ "a": { "b": 1.0 } }), met_at("a.b")),
            (&number, json!({ "a": { "b": 2 } }), Need::No),
            (&number, json!({ "a": {} }), met_at("a.b")),
            (&number, json!({ "a": 7 }), met_at("a.b")),
            (&number, json!({}), met_at("a.b")),
        ] {
            assert_eq!(
                need(condition, &input, &[]),
                expected,
                "{} of {input}",
                condition.sentence()
            );
        }
    }

    #[test]
    fn an_unknown_value_may_need_the_verb_only_if_the_condition_tests_it() {
        let is_delete = condition(&["cases[].method"], ValueTest::Is(text("DELETE")));
        let input =
            json!({ "cases": [{ "method": "{{ m }}", "path": "{{ p }}" }], "x": "{{ x }}" });
        let unknown = |at: &str| Need::Unknown { at: at.to_owned() };
        assert_eq!(need(&is_delete, &input, &["/cases/0/method"]), unknown("cases[0].method"));
        assert_eq!(need(&is_delete, &input, &["/cases/0/path", "/x"]), Need::No);
        // The whole list, an item of it, and the whole input.
        let list = json!({ "cases": "{{ c }}" });
        assert_eq!(need(&is_delete, &list, &["/cases"]), unknown("cases"));
        let item = json!({ "cases": [{ "method": "GET" }, "{{ c }}"] });
        assert_eq!(need(&is_delete, &item, &["/cases/1"]), unknown("cases[1]"));
        assert_eq!(need(&is_delete, &json!("{{ i }}"), &[""]), unknown(""));
        // `Met` wins over `Unknown`, in either order.
        for order in [["{{ m }}", "DELETE"], ["DELETE", "{{ m }}"]] {
            let input = json!({ "cases": [{ "method": order[0] }, { "method": order[1] }] });
            let place = order.iter().position(|method| *method == "{{ m }}").expect("one of two");
            let found = need(&is_delete, &input, &[&format!("/cases/{place}/method")]);
            assert_eq!(found, met_at(&format!("cases[{}].method", 1 - place)));
        }
    }

    #[test]
    fn a_key_with_a_slash_or_a_tilde_is_found_by_its_pointer_alone() {
        let input = json!({ "a": { "b": "{{ x }}" }, "a/b": 1 });
        let is_one = condition(&["a.b"], ValueTest::Is(Scalar::Integer(1)));
        assert_eq!(need(&is_one, &input, &["/a~1b"]), Need::No);
        assert_eq!(need(&is_one, &input, &["/a/b"]), Need::Unknown { at: "a.b".to_owned() });
    }

    #[test]
    fn paths_are_read_and_written_alike_and_anything_else_is_refused() {
        for path in ["a", "a.b", "a[].b", "a[][].b-c_d[]", "0"] {
            assert_eq!(InputPath::parse(path).expect(path).to_string(), path);
        }
        for path in [
            "", ".", "a.", ".a", "[]", "a.[]", "a[", "a[0]", "a[].", "a b", "a/b", "ä", "$.a",
            "a[]b",
        ] {
            let error = InputPath::parse(path).expect_err(path).to_string();
            assert!(error.contains("is no path of an input"), "{error}");
        }
    }

    #[test]
    fn a_condition_reads_as_a_sentence() {
        let sentence = |test| condition(&["a[].b", "c"], test).sentence();
        assert_eq!(sentence(ValueTest::Present), "`a[].b` or `c` is there");
        assert_eq!(sentence(ValueTest::Is(text("X"))), "`a[].b` or `c` is `\"X\"`");
        let absent = sentence(ValueTest::IsOrAbsent(Scalar::Integer(3)));
        assert_eq!(absent, "`a[].b` or `c` is `3` or left out");
    }
}
