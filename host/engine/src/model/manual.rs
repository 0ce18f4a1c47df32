//! `manual`: a step that a person does, or a question that a person answers.

use runbook_contract::Json;
use runbook_document::Located;
use std::time::Duration;

/// What a person is asked to do, and what they must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manual {
    /// What to do, or to look at; a template.
    pub instructions: Located<String>,
    /// Values to give, in file order.
    pub form: Vec<(String, FieldType)>,
    /// One of these must be chosen; empty is no choice.
    pub choices: Vec<String>,
    /// What must be typed, letter by letter.
    pub confirm: Option<String>,
    /// How long an answer is waited for.
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

    fn read(self, text: &str) -> Option<Json> {
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

/// What somebody typed to answer a manual step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Typed<'a> {
    /// Fields of the form.
    pub values: &'a [(String, String)],
    /// The choice, if one was made.
    pub choice: Option<&'a str>,
    /// The text that the step asks to be typed, if one was typed.
    pub confirm: Option<&'a str>,
}

impl Manual {
    /// The options that an answer needs, in the notation of help texts.
    pub fn options(&self) -> Vec<String> {
        let form = self
            .form
            .iter()
            .map(|(name, kind)| format!("--set {name}={}", kind.name().to_uppercase()));
        let choice =
            (!self.choices.is_empty()).then(|| format!("--choice {}", self.choices.join("|")));
        // Within the backticks of a command, no text with one of its own.
        let typed = |wanted: &String| {
            Some(runbook_text::argument(wanted).into_owned()).filter(|wanted| !wanted.contains('`'))
        };
        let confirm = self.confirm.as_ref().map(|wanted| {
            format!("--confirm {}", typed(wanted).unwrap_or_else(|| "TEXT".to_owned()))
        });
        form.chain(choice).chain(confirm).collect()
    }

    /// The name of the choice in the output of the step.
    pub const CHOICE: &'static str = "choice";

    /// What the output of the step is, as a JSON Schema: what [`read`](Self::read) makes of an
    /// answer.
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

    /// One value of the form, so that a wrong one can be refused before the next is asked for.
    ///
    /// # Errors
    /// It is not of its type, or the form has no such value.
    pub fn read_field(&self, name: &str, text: &str) -> Result<Json, String> {
        let (_, kind) = self
            .form
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| format!("the form has no `{name}`"))?;
        kind.read(text)
            .ok_or_else(|| format!("`{name}` must be of type {}, not `{text}`", kind.name()))
    }

    /// What was chosen.
    ///
    /// # Errors
    /// It is none of the choices.
    pub fn read_choice(&self, text: &str) -> Result<Json, String> {
        if self.choices.iter().any(|known| known == text) {
            return Ok(Json::from(text));
        }
        Err(format!("`{text}` is no choice; `--choice` is one of: {}", self.choices.join(", ")))
    }

    /// The answer as the output of the step, or everything that is wrong with it.
    ///
    /// # Errors
    /// One sentence for each thing that is wrong: a field that is missing, unknown, given twice or
    /// of another type, a choice that is none, or a text that was to be typed and was not.
    pub fn read(&self, typed: &Typed<'_>) -> Result<Json, Vec<String>> {
        let mut output = serde_json::Map::new();
        let mut wrong = Vec::new();
        for (name, kind) in &self.form {
            let given = typed.values.iter().find(|(known, _)| known == name);
            match given.map(|(_, text)| self.read_field(name, text)) {
                Some(Ok(value)) => {
                    output.insert(name.clone(), value);
                }
                Some(Err(problem)) => wrong.push(problem),
                None => wrong.push(format!(
                    "`{name}` is not given; add `--set {name}=…`, of type {}",
                    kind.name()
                )),
            }
        }
        for (name, _) in
            typed.values.iter().filter(|(name, _)| self.form.iter().all(|(known, _)| known != name))
        {
            wrong.push(format!("the form has no `{name}`"));
        }
        match (self.choices.as_slice(), typed.choice) {
            ([], None) => {}
            ([], Some(_)) => wrong.push("there is nothing to choose".to_owned()),
            (_, Some(choice)) => match self.read_choice(choice) {
                Ok(choice) => drop(output.insert(Self::CHOICE.to_owned(), choice)),
                Err(problem) => wrong.push(problem),
            },
            (choices, None) => wrong
                .push(format!("nothing was chosen; `--choice` is one of: {}", choices.join(", "))),
        }
        match (&self.confirm, typed.confirm) {
            (None, None) => {}
            (None, Some(_)) => wrong.push("there is nothing to confirm".to_owned()),
            (Some(wanted), Some(typed)) if wanted == typed => {}
            (Some(wanted), _) => {
                wrong.push(format!("it must be confirmed by `--confirm {wanted:?}`"));
            }
        }
        if wrong.is_empty() { Ok(Json::Object(output)) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manual() -> Manual {
        Manual {
            instructions: Located { value: "look".to_owned(), span: 0..0 },
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
    fn the_options_of_an_answer_can_be_typed_as_they_stand_but_for_the_values() {
        let options = manual().options();
        assert_eq!(
            options,
            ["--set lag_ok=BOOL", "--set count=INT", "--choice go|stop", "--confirm 'drop orders'"]
        );
        let ticked = Manual { confirm: Some("drop `orders`".to_owned()), ..manual() };
        assert_eq!(ticked.options().last().map(String::as_str), Some("--confirm TEXT"));
    }

    #[test]
    fn the_schema_of_an_answer_has_the_fields_that_an_answer_has() {
        let values =
            [("lag_ok".to_owned(), "yes".to_owned()), ("count".to_owned(), "3".to_owned())];
        let answer = manual().read(&Typed {
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
    fn an_answer_is_whole_and_of_its_types_or_all_that_is_wrong_is_said() {
        let values =
            [("lag_ok".to_owned(), "yes".to_owned()), ("count".to_owned(), "3".to_owned())];
        let typed = Typed { values: &values, choice: Some("go"), confirm: Some("drop orders") };
        assert_eq!(
            manual().read(&typed),
            Ok(serde_json::json!({ "lag_ok": true, "count": 3, "choice": "go" }))
        );
        let wrong =
            [("lag_ok".to_owned(), "perhaps".to_owned()), ("other".to_owned(), "1".to_owned())];
        let typed = Typed { values: &wrong, choice: Some("run"), confirm: Some("drop order") };
        let found = manual().read(&typed).expect_err("it is wrong");
        assert_eq!(
            found,
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
