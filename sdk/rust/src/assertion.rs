//! Assertions that report what was found. All of them are checked, and each one that does not hold
//! becomes one line.

use serde_json::Value as Json;

/// Collects the assertions that do not hold, each with what was found instead.
#[derive(Debug, Clone, Default)]
pub struct Assertions {
    failures: Vec<String>,
    count: usize,
}

impl Assertions {
    /// A list without any assertion yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asserts that `holds` is true. If not, the line that `failure` returns is kept: it says what
    /// was found instead.
    pub fn holds(&mut self, holds: bool, failure: impl FnOnce() -> String) -> &mut Self {
        self.count += 1;
        if !holds {
            self.failures.push(failure());
        }
        self
    }

    /// Asserts that two values are equal.
    pub fn equals<T: PartialEq + std::fmt::Display>(
        &mut self,
        what: &str,
        found: &T,
        expected: &T,
    ) -> &mut Self {
        self.holds(found == expected, || format!("{what} is {found}, expected {expected}"))
    }

    /// Asserts that the text `found` contains `expected`.
    pub fn contains(&mut self, what: &str, found: &str, expected: &str) -> &mut Self {
        self.holds(found.contains(expected), || {
            format!("{what} does not contain `{expected}`; it starts with `{}`", start_of(found))
        })
    }

    /// Asserts that the value at a path such as `orders[0].id` equals another.
    pub fn json_equals(&mut self, body: &Json, path: &str, expected: &Json) -> &mut Self {
        match json_at(body, path) {
            Some(found) => self
                .holds(found == expected, || format!("`{path}` is {found}, expected {expected}")),
            None => self.holds(false, || format!("there is no `{path}`, expected {expected}")),
        }
    }

    /// How many assertions were made.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The lines of the assertions that do not hold, in order.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Whether all assertions hold; true if none was made.
    pub fn all_hold(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A number with its noun, in the plural unless it is 1: `1 row`, `2 rows`.
pub fn pluralize(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The first 80 characters of a text, on one line; `…` at its end says that it is longer.
pub fn start_of(text: &str) -> String {
    let mut characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut start: String = characters.by_ref().take(80).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}

/// The value at a path such as `orders[0].id`, or `None` if there is none; `""` and `$` are the
/// whole value.
pub fn json_at<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut found = value;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indexes) = part.find('[').map_or((part, ""), |at| part.split_at(at));
        if !key.is_empty() {
            found = found.get(key)?;
        }
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            found = found.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_assertion_that_does_not_hold_reports_what_was_found() {
        let mut assertions = Assertions::new();
        let body = json!({ "orders": [{ "id": 1 }] });
        assertions.equals("status", &500, &200).contains("body", "oh no", "ok").json_equals(
            &body,
            "orders[0].id",
            &json!(1),
        );
        assertions.json_equals(&body, "orders[1].id", &json!(2));
        assert_eq!(assertions.count(), 4);
        assert_eq!(
            assertions.failures(),
            [
                "status is 500, expected 200",
                "body does not contain `ok`; it starts with `oh no`",
                "there is no `orders[1].id`, expected 2"
            ]
        );
    }

    #[test]
    fn the_start_of_a_longer_text_says_that_there_is_more() {
        assert_eq!(start_of("a\nb"), "a b");
        assert_eq!(start_of(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(start_of(&"ä".repeat(81)), format!("{}…", "ä".repeat(80)));
    }

    #[test]
    fn a_path_leads_through_objects_and_arrays() {
        let body = json!({ "a": [[1, 2], [3]], "b": { "c": null } });
        assert_eq!(json_at(&body, "a[0][1]"), Some(&json!(2)));
        assert_eq!(json_at(&body, "$.b.c"), Some(&Json::Null));
        assert_eq!(json_at(&body, "$"), Some(&body));
        assert_eq!(json_at(&body, "a[x]"), None);
        assert_eq!(json_at(&body, "b.d"), None);
    }
}
