//! How often each verb was used, by the audit log.
//!
//! A count belongs to one step of one runbook file, or to the digest of one plugin. Names are no
//! keys, because two plugins or runbooks can have the same name.

use crate::Digest;
use crate::capability::Verb;
use std::collections::BTreeMap;

/// A runbook file with its environment: the key of usage counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunbookKey {
    /// Its file, absolute, with every link resolved.
    pub file: String,
    /// The environment that it ran with.
    pub environment: Option<String>,
}

/// How often verbs were used.
#[derive(Debug, Clone, Default)]
pub struct UsageCounts {
    by_step: BTreeMap<(RunbookKey, String, String, Verb), u64>,
    by_plugin: BTreeMap<(String, String, Verb), u64>,
    secrets: BTreeMap<(RunbookKey, String, String, Verb), BTreeMap<String, u64>>,
}

impl UsageCounts {
    /// Counts one use of `verb` on `slot`, by a step of a runbook and by the plugin with this
    /// digest.
    pub fn count(
        &mut self,
        runbook: &RunbookKey,
        step: &str,
        digest: &str,
        slot: &str,
        verb: Verb,
    ) {
        *self
            .by_step
            .entry((runbook.clone(), step.to_owned(), slot.to_owned(), verb))
            .or_default() += 1;
        *self.by_plugin.entry((digest.to_owned(), slot.to_owned(), verb)).or_default() += 1;
    }

    /// Counts that a secret of the slot's target was put into one use of `verb`.
    pub fn count_secret(
        &mut self,
        runbook: &RunbookKey,
        step: &str,
        slot: &str,
        verb: Verb,
        secret: &str,
    ) {
        let secrets = self
            .secrets
            .entry((runbook.clone(), step.to_owned(), slot.to_owned(), verb))
            .or_default();
        *secrets.entry(secret.to_owned()).or_default() += 1;
    }

    /// How often each secret of the slot's target was put into the uses of `verb` by a step.
    pub fn secrets_of(
        &self,
        runbook: &RunbookKey,
        step: &str,
        slot: &str,
        verb: Verb,
    ) -> BTreeMap<String, u64> {
        self.secrets
            .get(&(runbook.clone(), step.to_owned(), slot.to_owned(), verb))
            .cloned()
            .unwrap_or_default()
    }

    /// How often a step of a runbook used a verb.
    pub fn by_step(&self, runbook: &RunbookKey, step: &str, slot: &str, verb: Verb) -> u64 {
        self.by_step
            .get(&(runbook.clone(), step.to_owned(), slot.to_owned(), verb))
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
        let runbook = |file: &str, environment: Option<&str>| RunbookKey {
            file: file.to_owned(),
            environment: environment.map(str::to_owned),
        };
        let (bytes, other_bytes) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut used = UsageCounts::default();
        used.count(&runbook("/r.toml", None), "one", &bytes.to_string(), "db", Verb::SqlQuery);
        assert_eq!(used.by_step(&runbook("/r.toml", None), "one", "db", Verb::SqlQuery), 1);
        for (runbook, step, slot, verb) in [
            (runbook("/other.toml", None), "one", "db", Verb::SqlQuery),
            (runbook("/r.toml", Some("e2e")), "one", "db", Verb::SqlQuery),
            (runbook("/r.toml", None), "two", "db", Verb::SqlQuery),
            (runbook("/r.toml", None), "one", "other", Verb::SqlQuery),
            (runbook("/r.toml", None), "one", "db", Verb::SqlExecute),
        ] {
            assert_eq!(
                used.by_step(&runbook, step, slot, verb),
                0,
                "{runbook:?} {step} {slot} {verb}"
            );
        }
        assert_eq!(used.by_plugin(&bytes, "db", Verb::SqlQuery), 1);
        assert_eq!(
            used.by_plugin(&other_bytes, "db", Verb::SqlQuery),
            0,
            "another plugin of the same name"
        );
    }
}
