//! What a call needs from its surroundings: secrets, the scrubber, the audit.

use crate::capabilities::TokenCache;
use crate::launcher::Launcher;
use crate::net::resolve::Resolver;
use runbook_authority::{GateDecision, Verb};
use runbook_secrets::{Scrubber, Secret};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the secrets of a run come from. They are fetched when a host function needs one, not
/// before.
pub trait SecretSource: Send + Sync {
    /// The secret that the runbook's `[secrets]` calls `name`.
    ///
    /// # Errors
    /// [`SecretUnavailable`] if the runbook has no such secret, or its store cannot be opened or
    /// does not hold it.
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>>;

    /// What can be known of it without its value.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>>;
}

/// What can be known of a secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its name in the store.
    pub name: String,
    /// When its value was last set.
    pub changed: jiff::Timestamp,
    /// When it must be rotated, if the runbook says so.
    pub expires: Option<jiff::Timestamp>,
}

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` cannot be had: {reason}")]
pub struct SecretUnavailable {
    /// The name that `[secrets]` gives it.
    pub name: String,
    /// Why, in the words of the store.
    pub reason: String,
}

/// A source without any secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl NoSecrets {
    fn unavailable(name: &str) -> SecretUnavailable {
        SecretUnavailable { name: name.to_owned(), reason: "there is no store".to_owned() }
    }
}

impl SecretSource for NoSecrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>> {
        Box::pin(async move { Err(Self::unavailable(name)) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>> {
        Box::pin(async move { Err(Self::unavailable(name)) })
    }
}

/// Every secret that was used so far, removed from everything that leaves. Clones share what they
/// know.
#[derive(Clone, Default)]
pub struct SharedScrubber(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    secrets: BTreeMap<String, Secret>,
    scrubber: Scrubber,
}

impl SharedScrubber {
    /// Removes `secret` from everything that leaves from now on.
    pub fn learn(&self, name: &str, secret: &Secret) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.secrets.get(name).is_some_and(|old| old.expose() == secret.expose()) {
            return;
        }
        // A changed secret does not make the old value public.
        let key = if known.secrets.contains_key(name) {
            format!("{name}, version {}", known.secrets.len())
        } else {
            name.to_owned()
        };
        known.secrets.insert(key, secret.clone());
        known.scrubber =
            Scrubber::new(known.secrets.iter().map(|(name, secret)| (name.as_str(), secret)));
    }

    /// A scrubber that knows this value from the beginning.
    #[cfg(test)]
    pub(crate) fn knowing(scrubber: Scrubber) -> Self {
        Self(Arc::new(RwLock::new(Known { secrets: BTreeMap::new(), scrubber })))
    }

    /// The scrubber of all that is known now.
    pub fn current(&self) -> Scrubber {
        self.0.read().unwrap_or_else(PoisonError::into_inner).scrubber.clone()
    }
}

impl fmt::Debug for SharedScrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedScrubber")
    }
}

/// Which call a host function was called in.
#[derive(Debug, Clone, Copy)]
pub struct AuditCall<'a> {
    /// The id of the run.
    pub run: &'a str,
    /// The id of the step, as it calls.
    pub step: &'a str,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The name of the plugin.
    pub plugin: &'a str,
    /// The digest of the component.
    pub digest: &'a str,
}

/// What the audit is told about a call.
#[derive(Debug, Clone, Copy)]
pub enum AuditEvent<'a> {
    /// The gate has judged; if it allows, the effect comes next.
    Judged {
        /// The slot that the host function is called on.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The call in one line, with every known secret removed.
        operation: &'a str,
        /// The `secrets` slots whose values the host would insert into the call.
        secrets: &'a [&'a str],
        /// The secrets that the target itself, or the database that it connects to, puts in. Told
        /// of the first look at a call only.
        target_secrets: &'a [&'a str],
        /// What the gate answered.
        decision: &'a GateDecision,
    },
    /// A host function has come back.
    Returned {
        /// The slot that the host function was called on.
        slot: &'a str,
        /// The verb that the call used.
        verb: Verb,
        /// Bytes of data that went out to, or came in from, the world.
        bytes: u64,
        /// The time from the first decision to the end.
        duration: Duration,
    },
}

/// One thing that happened, as the audit sees it.
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'a> {
    /// The call in which it happened.
    pub call: AuditCall<'a>,
    /// What happened in that call.
    pub event: AuditEvent<'a>,
}

/// The audit cannot keep a record, so nothing may happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct AuditUnavailable {
    /// What is wrong, for people.
    pub reason: String,
}

/// Receives every host call with its decision, before it happens, and its end. It must be fast,
/// because the call waits for it. If it fails, the host function is not carried out.
pub type AuditSink = Arc<dyn Fn(&AuditRecord<'_>) -> Result<(), AuditUnavailable> + Send + Sync>;

/// What a call needs from its surroundings.
#[derive(Clone)]
pub struct Services {
    /// The source of the secrets that a call needs.
    pub secrets: Arc<dyn SecretSource>,
    /// Knows every secret that was used.
    pub scrubber: SharedScrubber,
    /// Receives every host call with its decision, and its end.
    pub audit: Option<AuditSink>,
    /// What programs are started by; without it none is.
    pub launcher: Option<Launcher>,
    /// Who is asked for the addresses of a name.
    pub resolver: Resolver,
    /// The tokens that the host fetched for targets.
    pub tokens: TokenCache,
}

impl Services {
    /// No secrets, no audit and no programs; names are those of the system.
    pub fn none() -> Self {
        Self {
            secrets: Arc::new(NoSecrets),
            scrubber: SharedScrubber::default(),
            audit: None,
            launcher: None,
            resolver: Resolver::System,
            tokens: TokenCache::default(),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("audit", &self.audit.is_some()).finish_non_exhaustive()
    }
}
