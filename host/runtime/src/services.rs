//! What a call needs from its surroundings: secrets, the scrubber, the audit.

use runbook_authority::{Decision, Verb};
use runbook_secrets::{Scrubber, Secret};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the secrets of a run come from. They are fetched when a host function needs one, not before.
pub trait SecretSource: Send + Sync {
    /// The secret that the runbook's `[secrets]` calls `name`.
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>>;

    /// What can be known of it without its value.
    fn describe<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>>;
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
    /// Its name in `[secrets]`.
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

    fn describe<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>> {
        Box::pin(async move { Err(Self::unavailable(name)) })
    }
}

/// Every secret that was used so far, removed from everything that leaves. Clones share what they know.
#[derive(Clone, Default)]
pub struct SharedScrubber(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    secrets: BTreeMap<String, Secret>,
    scrubber: Scrubber,
}

impl SharedScrubber {
    /// From now on `secret` is removed from everything.
    pub fn learn(&self, name: &str, secret: &Secret) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.secrets.get(name).is_some_and(|old| old.expose() == secret.expose()) {
            return;
        }
        // A changed value does not make the old one public.
        let key =
            if known.secrets.contains_key(name) { format!("{name}, version {}", known.secrets.len()) } else { name.to_owned() };
        known.secrets.insert(key, secret.clone());
        known.scrubber = Scrubber::new(known.secrets.iter().map(|(name, secret)| (name.as_str(), secret)));
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

/// One judged host call, as the audit sees it.
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'a> {
    /// The run's id.
    pub run: &'a str,
    /// The step's id.
    pub step: &'a str,
    /// Counted from 1.
    pub attempt: u32,
    /// The slot.
    pub slot: &'a str,
    /// The verb.
    pub verb: Verb,
    /// The gate's answer.
    pub decision: &'a Decision,
}

/// Is told of every judged host call, before it happens. It must be quick: the call waits for it.
pub type AuditSink = Arc<dyn Fn(&AuditRecord<'_>) + Send + Sync>;

/// What a call needs from its surroundings.
#[derive(Clone)]
pub struct Services {
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// Knows every secret that was used.
    pub scrubber: SharedScrubber,
    /// Is told of every judged host call.
    pub audit: Option<AuditSink>,
}

impl Services {
    /// No secrets and no audit.
    pub fn none() -> Self {
        Self { secrets: Arc::new(NoSecrets), scrubber: SharedScrubber::default(), audit: None }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("audit", &self.audit.is_some()).finish_non_exhaustive()
    }
}
