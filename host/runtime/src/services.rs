//! The services that a call uses: secrets, the scrubber, the audit log, the launcher, the resolver.

use crate::capabilities::TokenCache;
use crate::launcher::Launcher;
use crate::net::resolve::Resolver;
use runbook_authority::{GateDecision, Verb};
use runbook_secrets::{
    KeptValues, PendingRotation, RotationDirection, RotationEnd, RotationResult, RotationStart,
    Scrubber, Secret,
};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The source of the secrets of a run. A secret is fetched only when a host function needs it.
pub trait SecretSource: Send + Sync {
    /// The secret that the runbook's `[secrets]` calls `name`.
    ///
    /// # Errors
    /// [`SecretFetchError`] if the runbook has no such secret, or its store cannot be opened or
    /// does not hold it.
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>>;

    /// The facts about the secret, without its value.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>>;

    /// Tries to get the lock of the rotation of a secret for the run and the step `by`. It is held
    /// until [`unlock_rotation`](Self::unlock_rotation), or until this process ends.
    ///
    /// # Errors
    /// [`SecretFetchError`] if the secret is not of a store that can be written.
    fn lock_rotation(&self, name: &str, by: &str) -> Result<RotationTurn, SecretFetchError> {
        let _ = by;
        Err(not_writable(name))
    }

    /// Whether another step than `by` has the lock now.
    fn is_rotated_by_another(&self, name: &str, by: &str) -> bool {
        let _ = (name, by);
        false
    }

    /// Releases the lock, if `by` has it.
    fn unlock_rotation(&self, name: &str, by: &str) {
        let _ = (name, by);
    }

    /// All values that the store keeps for a secret, read anew.
    ///
    /// # Errors
    /// As [`lock_rotation`](Self::lock_rotation).
    fn kept_values<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
    ) -> BoxFuture<'a, Result<KeptValues, SecretFetchError>> {
        let _ = by;
        Box::pin(async move { Err(not_writable(name)) })
    }

    /// The rotation of a secret that is half done, if one is known.
    fn pending_rotation(&self, name: &str) -> Option<PendingRotation> {
        let _ = name;
        None
    }

    /// Begins or continues a rotation of the secret by the run and the step `by`, which has the
    /// lock: the store keeps both values from now on.
    ///
    /// # Errors
    /// As [`lock_rotation`](Self::lock_rotation).
    fn begin_rotation<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
        direction: RotationDirection,
    ) -> BoxFuture<'a, Result<RotationStart, SecretFetchError>> {
        let _ = (by, direction);
        Box::pin(async move { Err(not_writable(name)) })
    }

    /// Ends the rotation that `by` has begun.
    ///
    /// # Errors
    /// As [`lock_rotation`](Self::lock_rotation).
    fn end_rotation<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
        end: RotationEnd,
    ) -> BoxFuture<'a, Result<RotationResult, SecretFetchError>> {
        let _ = (by, end);
        Box::pin(async move { Err(not_writable(name)) })
    }
}

/// Whose turn it is to rotate a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationTurn {
    /// It is the turn of the step that asks.
    Ours,
    /// Another step is rotating it: its run and its id.
    Another(String),
}

fn not_writable(name: &str) -> SecretFetchError {
    let reason = "its source cannot be written; only a secret of an age store is rotated by a run";
    SecretFetchError {
        name: name.to_owned(),
        reason: reason.to_owned(),
        attempt: FetchAttempt::Failed,
    }
}

/// The facts about a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its name in the store.
    pub name: String,
    /// When its value was last set, if its source knows.
    pub changed: Option<jiff::Timestamp>,
    /// From when on it must not be used any more: the first of the day after `expires`, the last
    /// change plus `max_age`, and the end that its source knows.
    pub expires: Option<jiff::Timestamp>,
}

/// Why a secret cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` cannot be had: {reason}")]
pub struct SecretFetchError {
    /// The name that `[secrets]` gives it.
    pub name: String,
    /// The reason, as the store reports it.
    pub reason: String,
    /// Whether it was tried.
    pub attempt: FetchAttempt,
}

/// Whether a secret that cannot be had was tried to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchAttempt {
    /// It was tried, or there is nothing to try.
    Failed,
    /// It was not tried, because its source may change something and nothing may be changed now.
    Withheld,
}

/// A source without any secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl NoSecrets {
    fn fetch_error(name: &str) -> SecretFetchError {
        SecretFetchError {
            name: name.to_owned(),
            reason: "there is no store".to_owned(),
            attempt: FetchAttempt::Failed,
        }
    }
}

impl SecretSource for NoSecrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        Box::pin(async move { Err(Self::fetch_error(name)) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        Box::pin(async move { Err(Self::fetch_error(name)) })
    }
}

/// Scrubs every secret that was used so far. Clones share the known secrets.
#[derive(Clone, Default)]
pub struct SharedScrubber(Arc<RwLock<KnownSecrets>>);

#[derive(Default)]
struct KnownSecrets {
    secrets: BTreeMap<String, Secret>,
    scrubber: Scrubber,
}

impl SharedScrubber {
    /// Scrubs `secret` from all output from now on.
    pub fn learn(&self, name: &str, secret: &Secret) {
        let mut known_secrets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known_secrets.secrets.get(name).is_some_and(|old| old.expose() == secret.expose()) {
            return;
        }
        // When a secret changes, its old value is scrubbed too.
        let key = if known_secrets.secrets.contains_key(name) {
            format!("{name}, version {}", known_secrets.secrets.len())
        } else {
            name.to_owned()
        };
        known_secrets.secrets.insert(key, secret.clone());
        known_secrets.scrubber = Scrubber::new(
            known_secrets.secrets.iter().map(|(name, secret)| (name.as_str(), secret)),
        );
    }

    /// A shared scrubber with these secrets.
    #[cfg(test)]
    pub(crate) fn with_scrubber(scrubber: Scrubber) -> Self {
        Self(Arc::new(RwLock::new(KnownSecrets { secrets: BTreeMap::new(), scrubber })))
    }

    /// A scrubber for the secrets that are known now.
    pub fn current(&self) -> Scrubber {
        self.0.read().unwrap_or_else(PoisonError::into_inner).scrubber.clone()
    }
}

impl fmt::Debug for SharedScrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedScrubber")
    }
}

/// The call of a plugin in which a host function was called.
#[derive(Debug, Clone, Copy)]
pub struct AuditCall<'a> {
    /// The id of the run.
    pub run: &'a str,
    /// The id of the step that makes the call.
    pub step: &'a str,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The name of the plugin.
    pub plugin: &'a str,
    /// The digest of the component.
    pub digest: &'a str,
}

/// An event of a host call, for the audit log.
#[derive(Debug, Clone, Copy)]
pub enum AuditEvent<'a> {
    /// The gate has decided; if it allows the call, the effect comes next.
    Judged {
        /// The slot that the host function is called on.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The call in one line, with every known secret removed.
        operation: &'a str,
        /// The `secrets` slots whose values the host would insert into the call.
        secrets: &'a [&'a str],
        /// The secrets that the target itself, or the database that it connects to, inserts. Only
        /// the first decision about a call lists them.
        target_secrets: &'a [&'a str],
        /// The decision of the gate.
        decision: &'a GateDecision,
    },
    /// A host function has returned.
    Returned {
        /// The slot that the host function was called on.
        slot: &'a str,
        /// The verb that the call used.
        verb: Verb,
        /// Bytes of data that were sent and received.
        bytes: u64,
        /// The time from the first decision to the end.
        duration: Duration,
    },
}

/// One record of the audit log.
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'a> {
    /// The call in which it happened.
    pub call: AuditCall<'a>,
    /// The event in that call.
    pub event: AuditEvent<'a>,
}

/// The audit log cannot be written, so the host function must not continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct AuditWriteError {
    /// The reason, in words for the operator.
    pub reason: String,
}

/// Receives the decision about every host call before its effect, and the end of the call. It must
/// be fast, because the call waits for it. If it fails, the host function stops.
pub type AuditSink = Arc<dyn Fn(&AuditRecord<'_>) -> Result<(), AuditWriteError> + Send + Sync>;

/// The services that a call uses.
#[derive(Clone)]
pub struct Services {
    /// The source of the secrets that a call needs.
    pub secrets: Arc<dyn SecretSource>,
    /// Scrubs every secret that was used.
    pub scrubber: SharedScrubber,
    /// Receives the decision about every host call, and its end; `None` keeps no audit log.
    pub audit: Option<AuditSink>,
    /// Starts programs; without it no program can be started.
    pub launcher: Option<Launcher>,
    /// Resolves host names.
    pub resolver: Resolver,
    /// The tokens that the host fetched for targets.
    pub tokens: TokenCache,
}

impl Services {
    /// No secrets, no audit log and no programs; names are resolved by the system.
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
