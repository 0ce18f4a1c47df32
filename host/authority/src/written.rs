//! The keys and values of the files of a runbook: a review shows every key, and a difference every
//! key that changed.

use runbook_document::{Diagnostics, Node, Source, Table, Value, parse};
use std::collections::{BTreeMap, BTreeSet};

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The way to the key: `step.restart.retry.attempts`. What stands in a list is named by its
    /// `id`, or by its place, counted from 1.
    pub key: String,
    /// The value of the key, as JSON.
    pub value: String,
}

/// Everything that a text says, in file order. A text that is no TOML says itself.
pub fn of(text: &str) -> Vec<Written> {
    let mut found = Vec::new();
    match parse(&Source::new("text", text.to_owned()), &mut Diagnostics::default()) {
        Some(table) => push_table("", &table, &mut found),
        None => found.push(Written { key: String::new(), value: text.to_owned() }),
    }
    found
}

fn push_table(path: &str, table: &Table, found: &mut Vec<Written>) {
    if table.entries.is_empty() {
        found.push(Written { key: path.to_owned(), value: "{}".to_owned() });
    }
    for (key, node) in &table.entries {
        let key = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        push(&key, node, found);
    }
}

fn push(path: &str, node: &Node, found: &mut Vec<Written>) {
    match &node.value {
        Value::Table(table) => push_table(path, table, found),
        Value::Array(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
            let mut named = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let id = id_of(item).filter(|id| named.insert((*id).to_owned()));
                let name = id.map_or_else(|| (index + 1).to_string(), str::to_owned);
                push(&format!("{path}.{name}"), item, found);
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            found.push(Written { key: path.to_owned(), value: node.to_json().to_string() });
        }
    }
}

fn id_of(item: &Node) -> Option<&str> {
    let Value::Table(table) = &item.value else { return None };
    if let Value::String(id) = &table.get("id")?.value { Some(id) } else { None }
}

/// One key whose value is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The file, by its path below the folder of the runbook.
    pub file: String,
    /// The path of the key through the file, such as `step.restart.retry.attempts`.
    pub key: String,
    /// What it was; `None` if it is new.
    pub old: Option<String>,
    /// What it is; `None` if it is gone.
    pub new: Option<String>,
}

/// Every key that is not the same in two sets of files, by path.
pub fn difference(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<Rewritten> {
    let files: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changed = Vec::new();
    for file in files.into_iter().filter(|file| old.get(*file) != new.get(*file)) {
        let keys = |texts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            texts
                .get(file)
                .map(|text| {
                    of(text).into_iter().map(|written| (written.key, written.value)).collect()
                })
                .unwrap_or_default()
        };
        let (old, new) = (keys(old), keys(new));
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        changed.extend(keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).map(|key| {
            Rewritten {
                file: file.clone(),
                key: key.clone(),
                old: old.get(key).cloned(),
                new: new.get(key).cloned(),
            }
        }));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_a_file_is_one_key_in_file_order() {
        let text = "a = 1\nempty = {}\n[t]\nlist = [1, 2]\n[[step]]\nid = \"x\"\n\
                    with = { b = [{ c = true }, 2] }\n[[step]]\nid = \"x\"\n[[notify]]\n\
                    on = [\"start\"]\n";
        let found: Vec<_> =
            of(text).into_iter().map(|Written { key, value }| format!("{key} = {value}")).collect();
        let expected = [
            "a = 1",
            "empty = {}",
            "t.list = [1,2]",
            "step.x.id = \"x\"",
            "step.x.with.b.1.c = true",
            "step.x.with.b.2 = 2",
            "step.2.id = \"x\"",
            "notify.1.on = [\"start\"]",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_that_changed_is_new_or_gone_is_told_and_a_comment_is_not() {
        let texts = |text: &str| BTreeMap::from([("r.toml".to_owned(), text.to_owned())]);
        let found = difference(&texts("a = 1\nb = 2\n"), &texts("# other\na = 3\nc = 4\n"));
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.key.as_str(), one.old.as_deref(), one.new.as_deref()))
            .collect();
        assert_eq!(
            told,
            [("a", Some("1"), Some("3")), ("b", Some("2"), None), ("c", None, Some("4"))]
        );
        assert_eq!(difference(&texts("a = 1"), &texts("a = 1 # said")), []);
    }
}
