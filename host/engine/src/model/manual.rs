//! `manual`: a step that a person does, or a question that a person answers.

use runbook_contract::Json;
use runbook_document::Spanned;
use std::time::Duration;

/// What a person is asked to do, and what the answer must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manual {
    /// The instructions, a template.
    pub instructions: Spanned<String>,
    /// The fields of the form, in file order.
    pub form: Vec<(String, FieldType)>,
    /// The choices, of which the person takes exactly one; empty if there is nothing to choose.
    pub choices: Vec<String>,
    /// The text that must be typed exactly; `None` if there is none.
    pub confirm: Option<String>,
    /// How long the step waits for an answer.
    pub timeout: Option<Duration>,
}

/// The type of a value in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// true or false, yes or no.
    Bool,
    /// A whole number, in decimal digits.
    Int,
    /// A number, with or without a fraction.
    Float,
    /// Any text, as it was typed.
    String,
}

impl FieldType {
    /// Every type, with its name in TOML.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Bool, "bool"),
        (Self::Int, "int"),
        (Self::Float, "float"),
        (Self::String, "string"),
    ];

    /// The value of this type that a person typed; `None` if the text is not of the type.
    fn parse(self, text: &str) -> Option<Json> {
        match self {
            Self::Bool => match text {
                "true" | "yes" => Some(Json::from(true)),
                "false" | "no" => Some(Json::from(false)),
                _ => None,
            },
            Self::Int => text.parse::<i64>().ok().map(Json::from),
            Self::Float => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Json::from)
            }
            Self::String => Some(Json::from(text)),
        }
    }

    /// The name of the type in a JSON Schema.
    fn schema_name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int => "integer",
            Self::Float => "number",
            Self::String => "string",
        }
    }

    /// The name in TOML.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| *name)
    }
}

/// The answer to a manual step, as somebody has typed it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TypedAnswer<'a> {
    /// The fields of the form: names and texts.
    pub values: &'a [(String, String)],
    /// The choice, if one was made.
    pub choice: Option<&'a str>,
    /// The text of `--confirm`, if one was typed.
    pub confirm: Option<&'a str>,
}

impl Manual {
    /// The options that `runbook answer` needs, as a help text shows them.
    pub fn options(&self) -> Vec<String> {
        let form = self
            .form
            .iter()
            .map(|(name, kind)| format!("--set {name}={}", kind.name().to_uppercase()));
        let choice =
            (!self.choices.is_empty()).then(|| format!("--choice {}", self.choices.join("|")));
        // Messages quote commands in backticks, so a text with a backtick is replaced by a
        // placeholder.
        let quoted = |wanted: &String| {
            Some(runbook_text::shell_argument(wanted).into_owned())
                .filter(|wanted| !wanted.contains('`'))
        };
        let confirm = self.confirm.as_ref().map(|wanted| {
            format!("--confirm {}", quoted(wanted).unwrap_or_else(|| "TEXT".to_owned()))
        });
        form.chain(choice).chain(confirm).collect()
    }

    /// The name of the choice in the output of the step.
    pub const CHOICE: &'static str = "choice";

    /// The JSON Schema of the output of the step: of what [`parse_answer`](Self::parse_answer)
    /// returns.
    pub fn output_schema(&self) -> Json {
        let form = self
            .form
            .iter()
            .map(|(name, kind)| (name.clone(), serde_json::json!({ "type": kind.schema_name() })));
        let choice = (!self.choices.is_empty())
            .then(|| (Self::CHOICE.to_owned(), serde_json::json!({ "enum": self.choices })));
        let properties: serde_json::Map<_, _> = form.chain(choice).collect();
        serde_json::json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    /// Parses one field of the form, so that an interactive prompt can refuse a wrong value at
    /// once.
    ///
    /// # Errors
    /// The value is not of its type, or the form has no such field.
    pub fn parse_field(&self, name: &str, text: &str) -> Result<Json, String> {
        let (_, kind) = self
            .form
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| format!("the form has no `{name}`"))?;
        kind.parse(text)
            .ok_or_else(|| format!("`{name}` must be of type {}, not `{text}`", kind.name()))
    }

    /// Parses the choice.
    ///
    /// # Errors
    /// It is not one of the choices.
    pub fn parse_choice(&self, text: &str) -> Result<Json, String> {
        if self.choices.iter().any(|known| known == text) {
            return Ok(Json::from(text));
        }
        Err(format!("`{text}` is no choice; `--choice` is one of: {}", self.choices.join(", ")))
    }

    /// The output of the step, from the answer of a person.
    ///
    /// # Errors
    /// One sentence for each problem: a field that is missing, unknown or of another type, a choice
    /// that is missing or unknown, or a text that was not typed exactly.
    pub fn parse_answer(&self, typed: &TypedAnswer<'_>) -> Result<Json, Vec<String>> {
        let mut output = serde_json::Map::new();
        let mut problems = Vec::new();
        for (name, kind) in &self.form {
            let given = typed.values.iter().find(|(known, _)| known == name);
            match given.map(|(_, text)| self.parse_field(name, text)) {
                Some(Ok(value)) => {
                    output.insert(name.clone(), value);
                }
                Some(Err(problem)) => problems.push(problem),
                None => problems.push(format!(
                    "`{name}` is not given; add `--set {name}=…`, of type {}",
                    kind.name()
                )),
            }
        }
        for (name, _) in
            typed.values.iter().filter(|(name, _)| self.form.iter().all(|(known, _)| known != name))
        {
            problems.push(format!("the form has no `{name}`"));
        }
        match (self.choices.as_slice(), typed.choice) {
            ([], None) => {}
            ([], Some(_)) => problems.push("there is nothing to choose".to_owned()),
            (_, Some(choice)) => match self.parse_choice(choice) {
                Ok(choice) => drop(output.insert(Self::CHOICE.to_owned(), choice)),
                Err(problem) => problems.push(problem),
            },
            (choices, None) => problems
                .push(format!("nothing was chosen; `--choice` is one of: {}", choices.join(", "))),
        }
        match (&self.confirm, typed.confirm) {
            (None, None) => {}
            (None, Some(_)) => problems.push("there is nothing to confirm".to_owned()),
            (Some(wanted), Some(text)) if wanted == text => {}
            (Some(wanted), _) => {
                problems.push(format!("it must be confirmed by `--confirm {wanted:?}`"));
            }
        }
        if problems.is_empty() { Ok(Json::Object(output)) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manual() -> Manual {
        Manual {
            instructions: Spanned { value: "look".to_owned(), span: 0..0 },
            form: vec![
                ("lag_ok".to_owned(), FieldType::Bool),
                ("count".to_owned(), FieldType::Int),
            ],
            choices: vec!["go".to_owned(), "stop".to_owned()],
            confirm: Some("drop orders".to_owned()),
            timeout: None,
        }
    }

    #[test]
    fn the_options_of_an_answer_show_types_choices_and_the_quoted_text() {
        let options = manual().options();
        assert_eq!(
            options,
            ["--set lag_ok=BOOL", "--set count=INT", "--choice go|stop", "--confirm 'drop orders'"]
        );
        let with_backticks = Manual { confirm: Some("drop `orders`".to_owned()), ..manual() };
        assert_eq!(with_backticks.options().last().map(String::as_str), Some("--confirm TEXT"));
    }

    #[test]
    fn the_schema_of_an_answer_has_the_fields_that_an_answer_has() {
        let values =
            [("lag_ok".to_owned(), "yes".to_owned()), ("count".to_owned(), "3".to_owned())];
        let answer = manual().parse_answer(&TypedAnswer {
            values: &values,
            choice: Some("go"),
            confirm: Some("drop orders"),
        });
        let keys = |value: &Json| {
            value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(keys(&answer.expect("it fits")), keys(&manual().output_schema()["properties"]));
    }

    #[test]
    fn a_complete_answer_is_typed_and_every_problem_of_a_wrong_one_is_reported() {
        let values =
            [("lag_ok".to_owned(), "yes".to_owned()), ("count".to_owned(), "3".to_owned())];
        let typed =
            TypedAnswer { values: &values, choice: Some("go"), confirm: Some("drop orders") };
        assert_eq!(
            manual().parse_answer(&typed),
            Ok(serde_json::json!({ "lag_ok": true, "count": 3, "choice": "go" }))
        );
        let wrong_values =
            [("lag_ok".to_owned(), "perhaps".to_owned()), ("other".to_owned(), "1".to_owned())];
        let typed =
            TypedAnswer { values: &wrong_values, choice: Some("run"), confirm: Some("drop order") };
        let problems = manual().parse_answer(&typed).expect_err("it is wrong");
        assert_eq!(
            problems,
            [
                "`lag_ok` must be of type bool, not `perhaps`",
                "`count` is not given; add `--set count=…`, of type int",
                "the form has no `other`",
                "`run` is no choice; `--choice` is one of: go, stop",
                "it must be confirmed by `--confirm \"drop orders\"`",
            ]
        );
    }
}
