//! Compares two snapshots of authority: what was widened, narrowed or moved.
//!
//! A grant that reaches anything new is widened, even if it lost something else; the change then
//! names one call that was not possible before.

use crate::boundary::{BoundaryRule, uncovered_call};
use crate::capability::{Risk, Verb};
use crate::scope::{AccessScope, ConcreteCall, DIRECT, Dimension, Values};
use crate::snapshot::{GrantFacts, PluginFacts, SlotFacts, Snapshot};
use crate::toml_entries::{self, EntryChange};
use safeguards::HadWindow;
use std::collections::{BTreeMap, BTreeSet};

mod safeguards;

/// In which direction authority changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Something is possible that was not.
    Widened,
    /// The authority is the same, but something else has it: other code of the same name, or
    /// another operation.
    Moved,
    /// Something is no longer possible, and nothing else became possible.
    Narrowed,
    /// A key of a file has another value, and the authority is the same.
    Changed,
}

const DIRECTIONS: &[(Direction, &str)] = &[
    (Direction::Widened, "widened"),
    (Direction::Moved, "moved"),
    (Direction::Narrowed, "narrowed"),
    (Direction::Changed, "changed"),
];

impl Direction {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        DIRECTIONS.iter().find(|(direction, _)| *direction == self).map_or("", |(_, name)| *name)
    }
}

/// One difference between two snapshots.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AccessChange {
    /// How the authority changed.
    pub direction: Direction,
    /// How much harm it can do.
    pub risk: Risk,
    /// ``plugin `docker` `` or ``step `stop-app` of emergency-db.toml, slot `container` ``.
    pub subject: String,
    /// What changed, in one line.
    pub what: String,
    /// A call that was not possible before.
    pub witness: Option<String>,
}

/// Every difference between two snapshots: first what was widened, then by risk.
pub fn diff(old: &Snapshot, new: &Snapshot) -> Vec<AccessChange> {
    let mut changes = Vec::new();
    for (reference, pair) in pairs(&old.plugins, &new.plugins) {
        push_plugin_changes(reference, pair, &mut changes);
    }
    let no_facts = crate::snapshot::RunbookFacts::default();
    for (file, (old, new)) in pairs(&old.runbooks, &new.runbooks) {
        let (old, new) = (old.unwrap_or(&no_facts), new.unwrap_or(&no_facts));
        for ((step, slot), pair) in pairs(&old.grants, &new.grants) {
            push_grant_changes(
                (&format!("step `{step}` of {file}, slot `{slot}`"), slot),
                pair,
                &mut changes,
            );
        }
    }
    changes.sort_by(|a, b| (a.direction, b.risk).cmp(&(b.direction, a.risk)));
    changes
}

/// Every key of the runbooks' files that has another value. Such a change affects what a run does,
/// but not its authority. A safeguard that is taken away or made weaker counts as widened. A
/// snapshot that does not hold the texts of a runbook gives no such change.
pub fn changed_keys(old: &Snapshot, new: &Snapshot) -> Vec<AccessChange> {
    let change = |subject: String, what: String| AccessChange {
        direction: Direction::Changed,
        risk: Risk::Info,
        subject,
        what,
        witness: None,
    };
    let mut changes = Vec::new();
    for (runbook, pair) in pairs(&old.runbooks, &new.runbooks) {
        let (old, new) = match pair {
            (Some(old), Some(new)) => (old, new),
            (None, Some(_)) => {
                changes.push(change(format!("runbook {runbook}"), "is new".to_owned()));
                continue;
            }
            (Some(_), None) => {
                changes.push(change(format!("runbook {runbook}"), "is gone".to_owned()));
                continue;
            }
            (None, None) => continue,
        };
        if old.texts.is_empty() || new.texts.is_empty() {
            continue;
        }
        let entries = toml_entries::changed_entries(&old.texts, &new.texts);
        let had_window = had_window(&old.texts);
        for EntryChange { file, key, old, new } in entries {
            let is_weaker = safeguards::is_weaker(&key, old.as_deref(), new.as_deref(), had_window);
            let what = match (old, new) {
                (Some(old), Some(new)) => format!("is {new}, and was {old}"),
                (None, Some(new)) => format!("is new: {new}"),
                (Some(old), None) => format!("is gone; it was {old}"),
                (None, None) => continue,
            };
            let place =
                if file == *runbook { file.clone() } else { format!("{file} in {runbook}") };
            let change = change(format!("`{key}` of {place}"), what);
            changes.push(if is_weaker {
                let (direction, risk) = (Direction::Widened, Risk::High);
                AccessChange {
                    direction,
                    risk,
                    what: format!("{} (a safeguard)", change.what),
                    ..change
                }
            } else {
                change
            });
        }
    }
    // A safeguard that is weaker first, as in the changes of authority.
    changes.sort_by_key(|change| change.direction);
    changes
}

/// Whether a window limits when the runbook may begin.
fn had_window(texts: &BTreeMap<String, String>) -> HadWindow {
    let keys = |text: &String| {
        toml_entries::entries_of(text).into_iter().any(|entry| entry.key.starts_with("window."))
    };
    if texts.values().any(keys) { HadWindow::Yes } else { HadWindow::No }
}

/// The value of one key in the old and in the new snapshot.
type Pair<'a, V> = (Option<&'a V>, Option<&'a V>);

fn pairs<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Pair<'a, V>)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    keys.into_iter().map(move |key| (key, (old.get(key), new.get(key))))
}

fn push_plugin_changes(
    reference: &str,
    pair: Pair<'_, PluginFacts>,
    changes: &mut Vec<AccessChange>,
) {
    let subject = format!("plugin `{reference}`");
    let mut push = |direction, risk, what: String| {
        changes.push(AccessChange {
            direction,
            risk,
            subject: subject.clone(),
            what,
            witness: None,
        });
    };
    let (old, new) = match pair {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            push(
                Direction::Widened,
                riskiest(new.slots.values().flat_map(|slot| &slot.verbs)),
                format!("is new: version {}, {}", new.version, new.digest.short()),
            );
            return;
        }
        (Some(old), None) => {
            push(
                Direction::Narrowed,
                Risk::Info,
                format!("is no longer used (it was version {})", old.version),
            );
            return;
        }
        (None, None) => return,
    };
    if old.digest != new.digest {
        let version = if old.version == new.version {
            format!("version {} as before", new.version)
        } else {
            format!("version {} → {}", old.version, new.version)
        };
        let what =
            format!("is other code: {} → {} ({version})", old.digest.short(), new.digest.short());
        push(Direction::Moved, riskiest(new.slots.values().flat_map(|slot| &slot.verbs)), what);
    }
    if old.interface != new.interface {
        push(
            Direction::Moved,
            Risk::Low,
            "offers or imports something else: its interface has another fingerprint".to_owned(),
        );
    }
    for (name, (old, new)) in pairs(&old.slots, &new.slots) {
        push_slot_changes(name, (old, new), &mut push);
    }
    for import in new.imports.difference(&old.imports) {
        push(
            Direction::Widened,
            import_risk(import),
            format!("imports `{import}`, which it did not"),
        );
    }
    for import in old.imports.difference(&new.imports) {
        push(Direction::Narrowed, Risk::Info, format!("no longer imports `{import}`"));
    }
}

fn push_slot_changes(
    name: &str,
    pair: Pair<'_, SlotFacts>,
    push: &mut impl FnMut(Direction, Risk, String),
) {
    let no_verbs = BTreeSet::new();
    let is_same_capability =
        pair.0.zip(pair.1).is_none_or(|(old, new)| old.capability == new.capability);
    // A slot with another capability has nothing in common with the old slot of the same name.
    let old = pair.0.filter(|_| is_same_capability).map_or(&no_verbs, |slot| &slot.verbs);
    let new = pair.1.map_or(&no_verbs, |slot| &slot.verbs);
    for verb in new.difference(old) {
        push(
            Direction::Widened,
            verb.row().risk,
            format!("declares `{}` on slot `{name}`, which it did not", verb.full_name()),
        );
    }
    for verb in old.difference(new) {
        push(
            Direction::Narrowed,
            Risk::Info,
            format!("no longer declares `{}` on slot `{name}`", verb.full_name()),
        );
    }
}

fn riskiest<'a>(verbs: impl Iterator<Item = &'a Verb>) -> Risk {
    verbs.map(|verb| verb.row().risk).max().unwrap_or(Risk::Info)
}

fn import_risk(import: &str) -> Risk {
    import
        .split_once('#')
        .and_then(|(interface, function)| crate::capability::function_row(interface, function))
        .and_then(|row| row.verb)
        .map_or(Risk::Info, |verb| verb.row().risk)
}

/// Who is granted the target: an operation, or the host itself, which reads a secret there.
fn user_of(slot: &str, facts: &GrantFacts) -> String {
    match slot.strip_prefix("secrets.") {
        Some(secret) => format!("reading secret `{secret}` from target `{}`", facts.target),
        None => format!("`{}` on target `{}`", facts.uses, facts.target),
    }
}

fn push_grant_changes(
    (subject, slot): (&str, &str),
    pair: Pair<'_, GrantFacts>,
    changes: &mut Vec<AccessChange>,
) {
    let mut push = |direction, risk, what: String, witness: Option<String>| {
        changes.push(AccessChange { direction, risk, subject: subject.to_owned(), what, witness });
    };
    match pair {
        (None, Some(new)) => {
            let what = format!("is granted, which it was not: {}", user_of(slot, new));
            push(Direction::Widened, risk_of(&new.scope), what, example_sentence(&new.scope));
        }
        (Some(old), None) => {
            push(
                Direction::Narrowed,
                Risk::Info,
                format!("is no longer granted: {}", user_of(slot, old)),
                None,
            );
        }
        (Some(old), Some(new)) => {
            if old.uses != new.uses {
                push(
                    Direction::Moved,
                    risk_of(&new.scope),
                    format!("is used by `{}`; it was `{}`", new.uses, old.uses),
                    None,
                );
            }
            push_scope_change(old, new, &mut push);
        }
        (None, None) => {}
    }
}

fn push_scope_change(
    old: &GrantFacts,
    new: &GrantFacts,
    push: &mut impl FnMut(Direction, Risk, String, Option<String>),
) {
    if is_same(&old.scope, &new.scope) {
        return;
    }
    let changes_text = changed_dimensions(&old.scope, &new.scope);
    match containment(&new.scope, &old.scope) {
        Containment::Within => push(Direction::Narrowed, Risk::Info, changes_text, None),
        Containment::Beyond(call) => {
            push(Direction::Widened, risk_of(&new.scope), changes_text, Some(call.sentence()));
        }
        // A grant that cannot be compared counts as widened.
        Containment::Unknown => push(Direction::Widened, risk_of(&new.scope), changes_text, None),
    }
}

/// How one scope compares with another.
enum Containment {
    /// The other scope allows every call of this one.
    Within,
    /// The other scope does not allow this call.
    Beyond(Box<ConcreteCall>),
    /// The comparison was too complex.
    Unknown,
}

/// Compares a scope with another one.
fn containment(scope: &AccessScope, other: &AccessScope) -> Containment {
    let (scope, other) = (&with_direct_connections(scope), &with_direct_connections(other));
    let is_new = |dimension: &Dimension| !other.values.contains_key(dimension);
    if scope.values.keys().any(|dimension| is_new(dimension) && widens_scope(*dimension)) {
        return example_call(scope)
            .map_or(Containment::Unknown, |call| Containment::Beyond(Box::new(call)));
    }
    let rule = BoundaryRule {
        capability: other.capability,
        reason: None,
        values: other.values.clone(),
        span: 0..0,
    };
    match uncovered_call(scope, &[&rule]) {
        Ok(None) => Containment::Within,
        Ok(Some(call)) => Containment::Beyond(Box::new(call)),
        Err(_) => Containment::Unknown,
    }
}

/// The scope with what its connections go through, if they are direct: a lockfile does not say so.
fn with_direct_connections(scope: &AccessScope) -> AccessScope {
    let mut scope = scope.clone();
    if scope.values.contains_key(&Dimension::Addresses) {
        scope.values.entry(Dimension::Via).or_insert_with(|| Values::exact([DIRECT]));
    }
    scope
}

/// Whether a scope becomes wider when it gets this dimension. A limit on size, count or time makes
/// it narrower.
fn widens_scope(dimension: Dimension) -> bool {
    !matches!(
        dimension,
        Dimension::MaxBody
            | Dimension::MaxBytes
            | Dimension::MaxRows
            | Dimension::MaxOutput
            | Dimension::Timeout
    )
}

fn is_same(old: &AccessScope, new: &AccessScope) -> bool {
    old.capability == new.capability
        && old.values.len() == new.values.len()
        && old.values.iter().all(|(dimension, values)| {
            let shape = dimension.row().shape;
            new.values.get(dimension).is_some_and(|new| values.words(shape) == new.words(shape))
        })
}

/// `verbs: stop → start, stop; containers: a → b`
fn changed_dimensions(old: &AccessScope, new: &AccessScope) -> String {
    let keys: BTreeSet<&Dimension> = old.values.keys().chain(new.values.keys()).collect();
    let values_text = |scope: &AccessScope, dimension: &Dimension| {
        scope
            .values
            .get(dimension)
            .map(|values| values.words(dimension.row().shape).join(", "))
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "none".to_owned())
    };
    let parts: Vec<_> = keys
        .into_iter()
        .map(|dimension| (dimension, values_text(old, dimension), values_text(new, dimension)))
        .filter(|(_, old, new)| old != new)
        .map(|(dimension, old, new)| format!("{}: {old} → {new}", dimension.key()))
        .collect();
    parts.join("; ")
}

fn risk_of(scope: &AccessScope) -> Risk {
    let Some(values) = scope.get(Dimension::Verbs) else { return Risk::Info };
    let names = values.words(Dimension::Verbs.row().shape);
    names
        .iter()
        .filter_map(|name| Verb::find(scope.capability, name))
        .map(|verb| verb.row().risk)
        .max()
        .unwrap_or(Risk::Info)
}

fn example_sentence(scope: &AccessScope) -> Option<String> {
    example_call(scope).map(|call| call.sentence())
}

/// Some call that the scope allows.
fn example_call(scope: &AccessScope) -> Option<ConcreteCall> {
    uncovered_call(scope, &[]).ok().flatten()
}
