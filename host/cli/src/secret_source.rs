//! Reads the secrets of a runbook from their stores.

use crate::context::Context;
use crate::failure::Failure;
use crate::prepared::PreparedRunbook;
use crate::secret_store;
use runbook_authority::{TextLanguage, template_diagnostic, template_in};
use runbook_document::{Diagnostic, Spanned};
use runbook_engine::Runbook;
use runbook_runtime::{BoxFuture, SecretFacts, SecretFetchError, SecretSource};
use runbook_secrets::{Secret, SecretReference, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reads the secrets of a runbook from their stores. Each store is opened when one of its secrets
/// is first needed.
pub struct AgeSecretSource {
    context: Context,
    /// By the names in `[secrets]`.
    entries: HashMap<String, ResolvedSecret>,
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
    /// The secrets that were checked for their age.
    age_checked: Mutex<BTreeSet<String>>,
}

/// An entry of `[secrets]` with the path of its store.
struct ResolvedSecret {
    source: SecretReference,
    /// The path of the store.
    path: PathBuf,
    max_age: Option<Duration>,
    /// The last day on which the secret is valid.
    expires: Option<jiff::civil::Date>,
}

impl AgeSecretSource {
    /// Finds the stores of the secrets that a runbook names. No store is opened yet.
    pub fn new(context: &Context, prepared: &PreparedRunbook) -> Result<Self, Failure> {
        let entries = resolve_secrets(&prepared.runbook, &prepared.folder)?;
        Ok(Self {
            context: context.clone(),
            entries,
            stores: Mutex::default(),
            age_checked: Mutex::default(),
        })
    }

    /// Opens a store, once. It may ask for a passphrase, so it must run where blocking is allowed.
    fn store(&self, entry: &ResolvedSecret) -> Result<Arc<Store>, String> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&entry.path) {
            return Ok(Arc::clone(store));
        }
        let store = match secret_store::open(&self.context, &entry.path) {
            Ok(Some(store)) => Arc::new(store),
            Ok(None) => return Err(format!("there is no secret store `{}`", entry.path.display())),
            Err(Failure::Error { error, hints, .. }) => {
                let hint = hints.first().map(|hint| format!("; {hint}")).unwrap_or_default();
                return Err(format!("{error}{hint}"));
            }
            Err(Failure::Findings { .. } | Failure::BrokenPipe) => {
                return Err("the store cannot be opened".to_owned());
            }
        };
        stores.insert(entry.path.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// Checks that the secret can be read, and does not keep its value.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn check(&self, name: &str) -> Result<(), SecretFetchError> {
        self.with_store(name, |entry, store| {
            self.warn_if_due_for_rotation(name, entry, store);
            store.get(entry.source.name()).map(drop)
        })
    }

    /// Reads something about a secret from its store; `read` returns `None` if the store lacks it.
    fn with_store<T>(
        &self,
        name: &str,
        read: impl FnOnce(&ResolvedSecret, &Store) -> Option<T>,
    ) -> Result<T, SecretFetchError> {
        let unavailable = |reason: String| SecretFetchError { name: name.to_owned(), reason };
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| unavailable("`[secrets]` does not have it".to_owned()))?;
        let store = tokio::task::block_in_place(|| self.store(entry)).map_err(unavailable)?;
        read(entry, &store).ok_or_else(|| {
            unavailable(format!(
                "`{}` has no secret `{}`",
                entry.path.display(),
                entry.source.name()
            ))
        })
    }
}

impl AgeSecretSource {
    /// Warns, once for each secret, that it is older than its `max_age` or expires soon.
    fn warn_if_due_for_rotation(&self, name: &str, entry: &ResolvedSecret, store: &Store) {
        let now = jiff::Timestamp::now();
        let age_warning =
            entry.max_age.zip(store.changed(entry.source.name())).and_then(|(limit, changed)| {
                let age = now.duration_since(changed).unsigned_abs();
                (age > limit)
                    .then(|| format!("is {} old and should be at most {}", days(age), days(limit)))
            });
        let expiry_note = entry
            .expires
            .and_then(|date| expiry_warning(date, now.to_zoned(jiff::tz::TimeZone::UTC).date()));
        let is_first_check =
            self.age_checked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        for warning in age_warning.into_iter().chain(expiry_note).filter(|_| is_first_check) {
            let reference = format!("{}#{}", entry.path.display(), entry.source.name());
            let reference = runbook_text::file_argument(&reference);
            crate::ui::minor_warning(&format!(
                "secret `{name}` {warning}; `runbook secret rotate {reference}`"
            ));
        }
    }
}

/// How many days before a secret expires the warnings begin.
const EXPIRY_WARNING_DAYS: i32 = 14;

/// The warning about a secret whose last day is `last`, if it is near or over.
fn expiry_warning(last: jiff::civil::Date, today: jiff::civil::Date) -> Option<String> {
    let days_left = last.since((jiff::Unit::Day, today)).ok()?.get_days();
    match days_left {
        ..0 => Some(format!(
            "expired on {last}, {} ago",
            crate::ui::pluralize(days_left.unsigned_abs() as usize, "day")
        )),
        0 => Some("expires today".to_owned()),
        1..=EXPIRY_WARNING_DAYS => Some(format!(
            "expires in {}, on {last}",
            crate::ui::pluralize(days_left.unsigned_abs() as usize, "day")
        )),
        _ => None,
    }
}

fn days(duration: Duration) -> String {
    crate::ui::pluralize(usize::try_from(duration.as_secs() / 86_400).unwrap_or(usize::MAX), "day")
}

impl SecretSource for AgeSecretSource {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        Box::pin(async move {
            self.with_store(name, |entry, store| {
                self.warn_if_due_for_rotation(name, entry, store);
                store.get(entry.source.name())
            })
        })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        Box::pin(async move {
            self.with_store(name, |entry, store| {
                let changed = store.changed(entry.source.name())?;
                let expires = entry.max_age.and_then(|age| {
                    changed.checked_add(jiff::SignedDuration::try_from(age).ok()?).ok()
                });
                Some(SecretFacts { name: entry.source.name().to_owned(), changed, expires })
            })
        })
    }
}

/// The source of a secret, or the diagnostic for a wrong one.
pub fn source_of(
    secret: &runbook_engine::model::SecretEntry,
) -> Result<SecretReference, Diagnostic> {
    let Spanned { value, span } = &secret.source_uri;
    if let Some(template) = template_in(value, TextLanguage::Target) {
        let subject = format!("the source of secret `{}`", secret.name.name);
        return Err(template_diagnostic(&subject, template, &secret.source, span.clone()));
    }
    value.parse().map_err(|error: runbook_secrets::SourceError| {
        Diagnostic::error("E0106", &secret.source, span.clone(), error.to_string())
            .label("no source")
    })
}

/// The path of the store of each secret of a runbook.
pub fn secret_stores(
    runbook: &Runbook,
    folder: &std::path::Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let secrets = resolve_secrets(runbook, folder)?;
    Ok(secrets.into_iter().map(|(name, entry)| (name, entry.path)).collect())
}

/// The secrets of a runbook, by their names in `[secrets]`.
fn resolve_secrets(
    runbook: &Runbook,
    folder: &std::path::Path,
) -> Result<HashMap<String, ResolvedSecret>, Failure> {
    let mut entries = HashMap::new();
    for secret in &runbook.secrets {
        let source = source_of(secret).map_err(|diagnostic| {
            let mut diagnostics = runbook_document::Diagnostics::default();
            diagnostics.push(diagnostic);
            Failure::findings(diagnostics)
        })?;
        let path = folder.join(source.path());
        entries.insert(
            secret.name.name.clone(),
            ResolvedSecret { source, path, max_age: secret.max_age, expires: secret.expires },
        );
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::expiry_warning;
    use jiff::civil::date;

    #[test]
    fn a_secret_that_expires_is_warned_about_from_two_weeks_before() {
        let warning = |year, month, day| expiry_warning(date(year, month, day), date(2026, 11, 21));
        assert_eq!(warning(2026, 12, 6), None);
        assert_eq!(warning(2026, 12, 5).as_deref(), Some("expires in 14 days, on 2026-12-05"));
        assert_eq!(warning(2026, 11, 22).as_deref(), Some("expires in 1 day, on 2026-11-22"));
        assert_eq!(warning(2026, 11, 21).as_deref(), Some("expires today"));
        assert_eq!(warning(2026, 11, 20).as_deref(), Some("expired on 2026-11-20, 1 day ago"));
        assert_eq!(warning(2025, 11, 21).as_deref(), Some("expired on 2025-11-21, 365 days ago"));
    }
}
