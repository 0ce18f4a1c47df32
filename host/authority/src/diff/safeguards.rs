//! Keys of a runbook that give no authority, and keep a run from doing harm: approvals, locks, the
//! window, guards, limits and the declared risk. Taking one away is as important to a reviewer as a
//! new grant.

use serde_json::Value as Json;

/// Whether the runbook had a window before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HadWindow {
    Yes,
    No,
}

/// The declared risks, from the one that is asked about least.
const RISKS: &[&str] = &["read-only", "reversible", "destructive"];

/// Whether a changed key takes a safeguard away or makes it weaker. `key` is the path of the key,
/// the values are JSON; a change that cannot be compared counts as weaker.
pub(super) fn is_weaker(
    key: &str,
    old: Option<&str>,
    new: Option<&str>,
    had_window: HadWindow,
) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    match (parts.as_slice(), old, new) {
        (["step" | "preflight" | "verify" | "finally", _, "approval", rest @ ..], old, new) => {
            approval_is_weaker(rest, old, new)
        }
        (["runbook", "risk"], old, new) => risk(new) < risk(old),
        (["locks", "exclusive"], old, new) => {
            let (old, new) = (list(old), list(new));
            old.iter().any(|lock| !new.contains(lock))
        }
        (["limits", "max_effects", ..], Some(old), Some(new)) => number(new) > number(old),
        (["window", ..], None, Some(_)) => had_window == HadWindow::Yes,
        (["window", ..], Some(_), _)
        | (["guard", ..] | ["limits", "max_effects", ..], Some(_), None) => true,
        _ => false,
    }
}

fn approval_is_weaker(rest: &[&str], old: Option<&str>, new: Option<&str>) -> bool {
    match (rest, old, new) {
        (_, None, _) => false,
        (["quorum"], Some(old), Some(new)) => number(new) < number(old),
        (["not_self"], Some(_), Some(new)) => new != "true",
        (_, Some(_), _) => true,
    }
}

fn risk(value: Option<&str>) -> Option<usize> {
    let name: String = serde_json::from_str(value?).ok()?;
    RISKS.iter().position(|known| *known == name)
}

fn list(value: Option<&str>) -> Vec<Json> {
    value.and_then(|value| serde_json::from_str(value).ok()).unwrap_or_default()
}

fn number(value: &str) -> Option<u64> {
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key, its old and its new value, and whether a safeguard became weaker.
    const CHANGES: &[(&str, Option<&str>, Option<&str>, bool)] = &[
        ("step.drop.approval.quorum", Some("2"), None, true),
        ("step.drop.approval.quorum", Some("2"), Some("1"), true),
        ("step.drop.approval.quorum", Some("1"), Some("2"), false),
        ("step.drop.approval.quorum", None, Some("1"), false),
        ("step.drop.approval.not_self", Some("true"), Some("false"), true),
        ("step.drop.approval.not_self", Some("false"), Some("true"), false),
        ("step.drop.approval.approvers", Some("[\"a\"]"), Some("[\"a\",\"b\"]"), true),
        ("runbook.risk", Some("\"destructive\""), Some("\"reversible\""), true),
        ("runbook.risk", Some("\"reversible\""), Some("\"destructive\""), false),
        ("runbook.risk", Some("\"destructive\""), None, true),
        ("runbook.risk", None, Some("\"destructive\""), false),
        ("locks.exclusive", Some("[\"a\",\"b\"]"), Some("[\"b\"]"), true),
        ("locks.exclusive", Some("[\"a\"]"), None, true),
        ("locks.exclusive", Some("[\"a\"]"), Some("[\"b\",\"a\"]"), false),
        ("locks.wait", Some("\"5m\""), None, false),
        ("limits.max_effects.sql", Some("5"), Some("6"), true),
        ("limits.max_effects.sql", Some("6"), Some("5"), false),
        ("limits.max_effects.sql", Some("6"), None, true),
        ("window.outside", Some("\"refuse\""), Some("\"warn\""), true),
        ("window.outside", Some("\"refuse\""), None, true),
        ("guard.alive.every", Some("\"5s\""), None, true),
        ("guard.alive.every", None, Some("\"5s\""), false),
        ("step.drop.timeout", Some("\"5s\""), None, false),
        ("runbook.title", Some("\"a\""), Some("\"b\""), false),
    ];

    #[test]
    fn a_safeguard_that_is_taken_away_or_made_weaker_is_told_from_any_other_change() {
        for (key, old, new, weaker) in CHANGES {
            assert_eq!(
                is_weaker(key, *old, *new, HadWindow::Yes),
                *weaker,
                "{key} {old:?} {new:?}"
            );
        }
    }

    #[test]
    fn another_time_of_a_window_widens_it_and_a_first_window_does_not() {
        let new = Some("[\"mon\"]");
        assert!(is_weaker("window.allow.2.days", None, new, HadWindow::Yes));
        assert!(!is_weaker("window.allow.1.days", None, new, HadWindow::No));
    }
}
