//! The keys and values of the TOML files of a runbook: a review shows every key, and a comparison
//! shows every key that changed.

use runbook_document::{Diagnostics, Node, Source, Table, Value, parse};
use std::collections::{BTreeMap, BTreeSet};

/// One key of a TOML file, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlEntry {
    /// The path of the key: `step.restart.retry.attempts`. The part for an item of a list is the
    /// `id` of the item, or its position, counted from 1.
    pub key: String,
    /// The value of the key, as JSON.
    pub value: String,
}

/// The entries of a TOML text, in file order. A text that is not TOML is one entry without a key.
pub fn entries_of(text: &str) -> Vec<TomlEntry> {
    let mut entries = Vec::new();
    match parse(&Source::new("text", text.to_owned()), &mut Diagnostics::default()) {
        Some(table) => push_table("", &table, &mut entries),
        None => entries.push(TomlEntry { key: String::new(), value: text.to_owned() }),
    }
    entries
}

fn push_table(path: &str, table: &Table, found: &mut Vec<TomlEntry>) {
    if table.entries.is_empty() {
        found.push(TomlEntry { key: path.to_owned(), value: "{}".to_owned() });
    }
    for (key, node) in &table.entries {
        let key = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        push(&key, node, found);
    }
}

fn push(path: &str, node: &Node, found: &mut Vec<TomlEntry>) {
    match &node.value {
        Value::Table(table) => push_table(path, table, found),
        Value::Array(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
            let mut ids = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let id = id_of(item).filter(|id| ids.insert((*id).to_owned()));
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
            found.push(TomlEntry { key: path.to_owned(), value: node.to_json().to_string() });
        }
    }
}

fn id_of(item: &Node) -> Option<&str> {
    let Value::Table(table) = &item.value else { return None };
    if let Value::String(id) = &table.get("id")?.value { Some(id) } else { None }
}

/// One key with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChange {
    /// The file, by its path below the folder of the runbook.
    pub file: String,
    /// The path of the key through the file, such as `step.restart.retry.attempts`.
    pub key: String,
    /// The value before; `None` if the key is new.
    pub old: Option<String>,
    /// The value now; `None` if the key was removed.
    pub new: Option<String>,
}

/// Every key that differs between two sets of files, by path.
pub fn changed_entries(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<EntryChange> {
    let files: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for file in files.into_iter().filter(|file| old.get(*file) != new.get(*file)) {
        let keys = |texts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            texts
                .get(file)
                .map(|text| {
                    entries_of(text).into_iter().map(|entry| (entry.key, entry.value)).collect()
                })
                .unwrap_or_default()
        };
        let (old, new) = (keys(old), keys(new));
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        changes.extend(keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).map(|key| {
            EntryChange {
                file: file.clone(),
                key: key.clone(),
                old: old.get(key).cloned(),
                new: new.get(key).cloned(),
            }
        }));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_a_file_is_one_key_in_file_order() {
        let text = "a = 1\nempty = {}\n[t]\nlist = [1, 2]\n[[step]]\nid = \"x\"\n\
                    with = { b = [{ c = true }, 2] }\n[[step]]\nid = \"x\"\n[[notify]]\n\
                    on = [\"start\"]\n";
        let found: Vec<_> = entries_of(text)
            .into_iter()
            .map(|TomlEntry { key, value }| format!("{key} = {value}"))
            .collect();
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
    fn changed_new_and_removed_keys_are_found_and_comments_are_ignored() {
        let texts = |text: &str| BTreeMap::from([("r.toml".to_owned(), text.to_owned())]);
        let found = changed_entries(&texts("a = 1\nb = 2\n"), &texts("# other\na = 3\nc = 4\n"));
        let changes: Vec<_> = found
            .iter()
            .map(|change| (change.key.as_str(), change.old.as_deref(), change.new.as_deref()))
            .collect();
        assert_eq!(
            changes,
            [("a", Some("1"), Some("3")), ("b", Some("2"), None), ("c", None, Some("4"))]
        );
        assert_eq!(changed_entries(&texts("a = 1"), &texts("a = 1 # said")), []);
    }
}
