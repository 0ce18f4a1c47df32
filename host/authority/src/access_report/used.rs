//! What the audit log saw: how often each verb was used, counted for the place that used it.
//!
//! A count belongs to one step of one runbook, or to the bytes of one plugin. A name is never the
//! key, because two plugins or runbooks can have the same name.

use crate::Digest;
use crate::capability::Verb;
use std::collections::BTreeMap;

/// The runbook that a run executed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedAt {
    /// Its file, absolute, with every link resolved.
    pub file: String,
    /// The environment whose targets it took.
    pub environment: Option<String>,
}

/// How often verbs were used.
#[derive(Debug, Clone, Default)]
pub struct Used {
    by_step: BTreeMap<(UsedAt, String, String, Verb), u64>,
    by_plugin: BTreeMap<(String, String, Verb), u64>,
    secrets: BTreeMap<(UsedAt, String, String, Verb), BTreeMap<String, u64>>,
}

impl Used {
    /// Counts one use of `verb` on `slot`, by a step of a runbook and by the plugin with this
    /// digest.
    pub fn count(&mut self, at: &UsedAt, step: &str, digest: &str, slot: &str, verb: Verb) {
        *self.by_step.entry((at.clone(), step.to_owned(), slot.to_owned(), verb)).or_default() += 1;
        *self.by_plugin.entry((digest.to_owned(), slot.to_owned(), verb)).or_default() += 1;
    }

    /// Counts that the target of a slot put a secret into one use of `verb`.
    pub fn count_secret(&mut self, at: &UsedAt, step: &str, slot: &str, verb: Verb, secret: &str) {
        let secrets =
            self.secrets.entry((at.clone(), step.to_owned(), slot.to_owned(), verb)).or_default();
        *secrets.entry(secret.to_owned()).or_default() += 1;
    }

    /// How often the target of a slot put each of its secrets into what a step of a runbook used
    /// `verb` for.
    pub fn secrets_of(
        &self,
        at: &UsedAt,
        step: &str,
        slot: &str,
        verb: Verb,
    ) -> BTreeMap<String, u64> {
        self.secrets
            .get(&(at.clone(), step.to_owned(), slot.to_owned(), verb))
            .cloned()
            .unwrap_or_default()
    }

    /// How often a step of a runbook used a verb.
    pub fn by_step(&self, at: &UsedAt, step: &str, slot: &str, verb: Verb) -> u64 {
        self.by_step
            .get(&(at.clone(), step.to_owned(), slot.to_owned(), verb))
            .copied()
            .unwrap_or(0)
    }

    /// How often the plugin with these bytes used a verb, in any runbook.
    pub fn by_plugin(&self, digest: &Digest, slot: &str, verb: Verb) -> u64 {
        self.by_plugin.get(&(digest.to_string(), slot.to_owned(), verb)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_counts_for_its_own_runbook_step_environment_and_bytes_only() {
        let at = |file: &str, environment: Option<&str>| UsedAt {
            file: file.to_owned(),
            environment: environment.map(str::to_owned),
        };
        let (bytes, others) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut used = Used::default();
        used.count(&at("/r.toml", None), "one", &bytes.to_string(), "db", Verb::SqlQuery);
        assert_eq!(used.by_step(&at("/r.toml", None), "one", "db", Verb::SqlQuery), 1);
        for (at, step, slot, verb) in [
            (at("/other.toml", None), "one", "db", Verb::SqlQuery),
            (at("/r.toml", Some("e2e")), "one", "db", Verb::SqlQuery),
            (at("/r.toml", None), "two", "db", Verb::SqlQuery),
            (at("/r.toml", None), "one", "other", Verb::SqlQuery),
            (at("/r.toml", None), "one", "db", Verb::SqlExecute),
        ] {
            assert_eq!(used.by_step(&at, step, slot, verb), 0, "{at:?} {step} {slot} {verb}");
        }
        assert_eq!(used.by_plugin(&bytes, "db", Verb::SqlQuery), 1);
        assert_eq!(
            used.by_plugin(&others, "db", Verb::SqlQuery),
            0,
            "another plugin of the same name"
        );
    }
}
