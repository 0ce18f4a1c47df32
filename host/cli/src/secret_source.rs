//! The secrets of a runbook, from their stores.

use crate::context::Context;
use crate::failure::Failure;
use crate::prepared::Prepared;
use crate::secret_store;
use runbook_authority::{Texts, template_diagnostic, template_in};
use runbook_document::{Diagnostic, Located};
use runbook_engine::Runbook;
use runbook_runtime::{BoxFuture, SecretFacts, SecretSource, SecretUnavailable};
use runbook_secrets::{Secret, SecretReference, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The secrets of a runbook, from their stores; each store is opened when one of its secrets is
/// first needed.
pub struct AgeSecretSource {
    context: Context,
    entries: HashMap<String, Entry>,
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
    warned: Mutex<BTreeSet<String>>,
}

struct Entry {
    source: SecretReference,
    path: PathBuf,
    max_age: Option<Duration>,
    expires: Option<jiff::civil::Date>,
}

impl AgeSecretSource {
    /// The source of the secrets that a runbook names. No store is opened yet.
    pub fn new(context: &Context, prepared: &Prepared) -> Result<Self, Failure> {
        let entries = entries(&prepared.runbook, &prepared.folder)?;
        Ok(Self {
            context: context.clone(),
            entries,
            stores: Mutex::default(),
            warned: Mutex::default(),
        })
    }

    /// Opens a store once. It may ask for a passphrase, so it runs where waiting is allowed.
    fn store(&self, entry: &Entry) -> Result<Arc<Store>, String> {
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

    /// Checks that the secret can be read, without keeping its value.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn check(&self, name: &str) -> Result<(), SecretUnavailable> {
        self.with(name, |entry, store| {
            self.warn_if_old(name, entry, store);
            store.get(entry.source.name()).map(drop)
        })
    }

    fn with<T>(
        &self,
        name: &str,
        use_it: impl FnOnce(&Entry, &Store) -> Option<T>,
    ) -> Result<T, SecretUnavailable> {
        let unavailable = |reason: String| SecretUnavailable { name: name.to_owned(), reason };
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| unavailable("`[secrets]` does not have it".to_owned()))?;
        let store = tokio::task::block_in_place(|| self.store(entry)).map_err(unavailable)?;
        use_it(entry, &store).ok_or_else(|| {
            unavailable(format!(
                "`{}` has no secret `{}`",
                entry.path.display(),
                entry.source.name()
            ))
        })
    }
}

impl AgeSecretSource {
    /// Says once that a secret is older than the runbook wants it, or expires soon.
    fn warn_if_old(&self, name: &str, entry: &Entry, store: &Store) {
        let now = jiff::Timestamp::now();
        let old =
            entry.max_age.zip(store.changed(entry.source.name())).and_then(|(limit, changed)| {
                let age = now.duration_since(changed).unsigned_abs();
                (age > limit)
                    .then(|| format!("is {} old and should be at most {}", days(age), days(limit)))
            });
        let expiring = entry
            .expires
            .and_then(|date| expiry(date, now.to_zoned(jiff::tz::TimeZone::UTC).date()));
        let is_new =
            self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        for warning in old.into_iter().chain(expiring).filter(|_| is_new) {
            let place = format!("{}#{}", entry.path.display(), entry.source.name());
            let place = runbook_text::file(&place);
            crate::ui::advice(&format!(
                "secret `{name}` {warning}; `runbook secret rotate {place}`"
            ));
        }
    }
}

/// Days before the end of a secret from which on it is warned about.
const EXPIRY_NOTICE: i32 = 14;

/// What to say of a secret that is good until `last`.
fn expiry(last: jiff::civil::Date, today: jiff::civil::Date) -> Option<String> {
    let left = last.since((jiff::Unit::Day, today)).ok()?.get_days();
    match left {
        ..0 => Some(format!(
            "expired on {last}, {} ago",
            crate::ui::counted(left.unsigned_abs() as usize, "day")
        )),
        0 => Some("expires today".to_owned()),
        1..=EXPIRY_NOTICE => Some(format!(
            "expires in {}, on {last}",
            crate::ui::counted(left.unsigned_abs() as usize, "day")
        )),
        _ => None,
    }
}

fn days(duration: Duration) -> String {
    crate::ui::counted(usize::try_from(duration.as_secs() / 86_400).unwrap_or(usize::MAX), "day")
}

impl SecretSource for AgeSecretSource {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>> {
        Box::pin(async move {
            self.with(name, |entry, store| {
                self.warn_if_old(name, entry, store);
                store.get(entry.source.name())
            })
        })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>> {
        Box::pin(async move {
            self.with(name, |entry, store| {
                let changed = store.changed(entry.source.name())?;
                let expires = entry.max_age.and_then(|age| {
                    changed.checked_add(jiff::SignedDuration::try_from(age).ok()?).ok()
                });
                Some(SecretFacts { name: entry.source.name().to_owned(), changed, expires })
            })
        })
    }
}

/// Where a secret comes from, or what is wrong with how the runbook says it.
pub fn source_of(
    secret: &runbook_engine::model::SecretEntry,
) -> Result<SecretReference, Diagnostic> {
    let Located { value, span } = &secret.source_uri;
    if let Some(template) = template_in(value, Texts::OfTarget) {
        let subject = format!("the source of secret `{}`", secret.name.name);
        return Err(template_diagnostic(&subject, template, &secret.source, span.clone()));
    }
    value.parse().map_err(|error: runbook_secrets::SourceError| {
        Diagnostic::error("E0106", &secret.source, span.clone(), error.to_string())
            .label("no source")
    })
}

/// Where the store of each secret of a runbook is.
pub fn secret_stores(
    runbook: &Runbook,
    folder: &std::path::Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    Ok(entries(runbook, folder)?.into_iter().map(|(name, entry)| (name, entry.path)).collect())
}

fn entries(runbook: &Runbook, folder: &std::path::Path) -> Result<HashMap<String, Entry>, Failure> {
    let mut entries = HashMap::new();
    for secret in &runbook.secrets {
        let source = source_of(secret).map_err(|wrong| {
            let mut diagnostics = runbook_document::Diagnostics::default();
            diagnostics.push(wrong);
            Failure::findings(diagnostics)
        })?;
        let path = folder.join(source.path());
        entries.insert(
            secret.name.name.clone(),
            Entry { source, path, max_age: secret.max_age, expires: secret.expires },
        );
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::expiry;
    use jiff::civil::date;

    #[test]
    fn a_secret_that_expires_is_warned_about_from_two_weeks_before() {
        let said = |year, month, day| expiry(date(year, month, day), date(2026, 11, 21));
        assert_eq!(said(2026, 12, 6), None);
        assert_eq!(said(2026, 12, 5).as_deref(), Some("expires in 14 days, on 2026-12-05"));
        assert_eq!(said(2026, 11, 22).as_deref(), Some("expires in 1 day, on 2026-11-22"));
        assert_eq!(said(2026, 11, 21).as_deref(), Some("expires today"));
        assert_eq!(said(2026, 11, 20).as_deref(), Some("expired on 2026-11-20, 1 day ago"));
        assert_eq!(said(2025, 11, 21).as_deref(), Some("expired on 2025-11-21, 365 days ago"));
    }
}
