//! Reads the secrets of a runbook: from files, credentials and variables of this host, and by the
//! targets that their origins name.

use crate::audit_log::Purpose;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepared::PreparedRunbook;
use crate::rotation_locks::RotationLocks;
use crate::secret_store;
use runbook_authority::targets::{DeclaredSecret, FileEntry, SecretOrigin};
use runbook_contract::RunId;
use runbook_runtime::{
    AuditSink, BoxFuture, FetchAttempt, FetchedSecret, Launcher, RotationTurn, SecretFacts,
    SecretFetchError, SecretSource, Services, fetch_from_target,
};
use runbook_secrets::files::FileError;
use runbook_secrets::{
    KeptValues, PendingRotation, RotationDirection, RotationEnd, RotationError, RotationResult,
    RotationStart, Secret, SopsFile, SopsFormat, Store, StoreLock, files, new_password,
    try_lock_store,
};
use std::collections::{BTreeSet, HashMap};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The variable by which systemd tells a service where its credentials are.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// How long a run waits for another process that changes a store, before it says which.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The time between two tries to lock a store.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Reads the secrets whose origins need no target. Each file is opened when one of its secrets is
/// first needed.
struct LocalSecrets {
    context: Context,
    /// By the names in `[secrets]`.
    origins: HashMap<String, SecretOrigin>,
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
    sops_files: Mutex<HashMap<PathBuf, Arc<SopsFile>>>,
}

impl LocalSecrets {
    /// Reads a secret; `None` if its origin names a target. It may ask for a passphrase, so it must
    /// run where blocking is allowed.
    fn read(&self, name: &str) -> Option<Result<FetchedSecret, String>> {
        let read = match self.origins.get(name) {
            None => Err("`[secrets]` does not have it".to_owned()),
            Some(SecretOrigin::Age(entry)) => self.read_store(entry),
            Some(SecretOrigin::Sops(entry)) => self.read_sops(entry),
            Some(SecretOrigin::Credential(credential)) => read_credential(credential),
            Some(SecretOrigin::Variable(variable)) => read_variable(variable),
            Some(SecretOrigin::Program(_) | SecretOrigin::Vault(_)) => return None,
        };
        Some(read.and_then(|secret| require_value(name, secret)))
    }

    fn read_store(&self, entry: &FileEntry) -> Result<FetchedSecret, String> {
        let path = entry.file.real();
        let store = once(&self.stores, path, || match secret_store::open(&self.context, path) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => Err(format!("there is no secret store `{}`", path.display())),
            Err(failure) => Err(reason(failure)),
        })?;
        let missing = || format!("`{}` has no secret `{}`", path.display(), entry.entry);
        let value = store.get(&entry.entry).ok_or_else(missing)?;
        Ok(FetchedSecret { value, changed: store.changed(&entry.entry), expires: None })
    }

    fn read_sops(&self, entry: &FileEntry) -> Result<FetchedSecret, String> {
        let path = entry.file.real();
        let file = once(&self.sops_files, path, || {
            let bytes = files::read(path).map_err(|error| with_causes(&error))?;
            let bytes = bytes.ok_or_else(|| format!("there is no file `{}`", path.display()))?;
            let format = SopsFormat::of(path)
                .ok_or_else(|| format!("`{}` is in no form of `sops`", path.display()))?;
            let identities = secret_store::identities(&self.context).map_err(reason)?;
            let prompt = secret_store::prompt(&self.context);
            let origin = path.display().to_string();
            SopsFile::open(&bytes, format, &origin, &identities, &prompt)
                .map_err(|error| error.to_string())
        })?;
        let value = file.get(&entry.entry).map_err(|error| error.to_string())?;
        Ok(FetchedSecret { value, changed: file.modified(), expires: None })
    }
}

/// The content of a file: opened before, or opened now.
fn once<T>(
    opened: &Mutex<HashMap<PathBuf, Arc<T>>>,
    path: &Path,
    open: impl FnOnce() -> Result<T, String>,
) -> Result<Arc<T>, String> {
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(content) = opened.get(path) {
        return Ok(Arc::clone(content));
    }
    let content = Arc::new(open()?);
    opened.insert(path.to_owned(), Arc::clone(&content));
    Ok(content)
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Error { error, hints, .. } => {
            let hint = hints.first().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{error}{hint}")
        }
        Failure::Findings { .. } | Failure::BrokenPipe => "the store cannot be opened".to_owned(),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A credential of the service, without one newline at its end.
fn read_credential(name: &str) -> Result<FetchedSecret, String> {
    let folder = std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_absolute()).ok_or_else(|| {
        format!(
            "it is a credential of systemd, and `{CREDENTIALS_DIRECTORY}` names no folder; start \
             runbook in a unit with `LoadCredential={name}:…`, or with `systemd-run -p`"
        )
    })?;
    let path = folder.join(name);
    let bytes = files::read_credential(&path).map_err(|error| with_causes(&error))?;
    let mut bytes = bytes.ok_or_else(|| format!("there is no credential `{}`", path.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let value = Secret::new(std::mem::take(&mut *bytes));
    Ok(FetchedSecret { value, changed: None, expires: None })
}

fn read_variable(name: &str) -> Result<FetchedSecret, String> {
    let value = std::env::var_os(name)
        .ok_or_else(|| format!("the environment has no variable `{name}`"))?;
    Ok(FetchedSecret { value: Secret::new(value.into_vec()), changed: None, expires: None })
}

/// Refuses an empty value, which would be sent as if it were a password.
fn require_value(name: &str, secret: FetchedSecret) -> Result<FetchedSecret, String> {
    if secret.value.is_empty() {
        return Err(format!("the value of secret `{name}` is empty at its source"));
    }
    Ok(secret)
}

impl SecretSource for LocalSecrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        Box::pin(async move {
            let read = tokio::task::block_in_place(|| self.read(name));
            let read = read.unwrap_or_else(|| Err("it needs a target of its own".to_owned()));
            read.map(|fetched| fetched.value).map_err(|reason| unavailable(name, reason))
        })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        Box::pin(async move {
            let (name, changed, expires) = (name.to_owned(), None, None);
            Ok(SecretFacts { name, changed, expires })
        })
    }
}

fn unavailable(name: &str, reason: String) -> SecretFetchError {
    SecretFetchError { name: name.to_owned(), reason, attempt: FetchAttempt::Failed }
}

/// Reads the secrets of one run. Each value is read once and kept in memory until the program
/// ends.
pub struct RunSecrets {
    local: Arc<LocalSecrets>,
    /// For origins that name a target. Its own secrets are local.
    services: Services,
    purpose: Purpose,
    run: RunId,
    fetched: Mutex<HashMap<String, Arc<OnceCell<FetchedSecret>>>>,
    ages: HashMap<String, AgeLimits>,
    /// The secrets that were checked for their age.
    age_checked: Mutex<BTreeSet<String>>,
    rotation_locks: RotationLocks,
}

/// How long a secret may be used, as `[secrets]` says.
#[derive(Debug, Clone, Copy, Default)]
struct AgeLimits {
    max_age: Option<Duration>,
    /// The last day on which the secret is valid.
    expires: Option<jiff::civil::Date>,
}

impl RunSecrets {
    /// The secrets of a run, and the services of its calls, which have them. `audit` gets the
    /// records of both; programs are started for calls and for secrets that a program prints.
    pub fn with_services(
        context: &Context,
        prepared: &PreparedRunbook,
        run: &RunId,
        purpose: Purpose,
        audit: AuditSink,
    ) -> (Arc<Self>, Services) {
        let without_secrets = Services {
            audit: Some(audit),
            launcher: Some(Launcher::this_program()),
            ..Services::none()
        };
        let secrets = Arc::new(Self::new(context, prepared, (run, purpose), &without_secrets));
        let services =
            Services { secrets: Arc::clone(&secrets) as Arc<dyn SecretSource>, ..without_secrets };
        (secrets, services)
    }

    /// Finds the origins of the secrets that the calls of a runbook need. No file is opened yet.
    /// `services` are those of the calls, without secrets.
    fn new(
        context: &Context,
        prepared: &PreparedRunbook,
        (run, purpose): (&RunId, Purpose),
        services: &Services,
    ) -> Self {
        let origins: HashMap<String, SecretOrigin> = prepared
            .sites
            .values()
            .flat_map(|site| site.grants.secret_origins())
            .map(|(name, origin)| (name.to_owned(), origin.clone()))
            .collect();
        let cells = origins.keys().map(|name| (name.clone(), Arc::default()));
        let fetched = Mutex::new(cells.collect());
        let limits = prepared.runbook.secrets.iter().map(|secret| {
            let limits = AgeLimits { max_age: secret.max_age, expires: secret.expires };
            (secret.name.name.clone(), limits)
        });
        let ages = limits.collect();
        let local = Arc::new(LocalSecrets {
            context: context.clone(),
            origins,
            stores: Mutex::default(),
            sops_files: Mutex::default(),
        });
        let secrets = Arc::clone(&local) as Arc<dyn SecretSource>;
        let services = Services { secrets, ..services.clone() };
        Self {
            local,
            services,
            purpose,
            run: *run,
            fetched,
            ages,
            age_checked: Mutex::default(),
            rotation_locks: RotationLocks::default(),
        }
    }

    /// Checks that the secret can be read. One that a program prints which may change something is
    /// not checked: the program is not run before a call needs it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn check(&self, name: &str) -> Result<(), SecretFetchError> {
        if self.local.origins.get(name).is_some_and(SecretOrigin::may_change) {
            return Ok(());
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { self.read(name).await.map(drop) })
        })
    }

    /// A secret, which is read when it is first needed.
    async fn read(&self, name: &str) -> Result<FetchedSecret, SecretFetchError> {
        let cell = self.cells().get(name).map(Arc::clone);
        let cell =
            cell.ok_or_else(|| unavailable(name, "`[secrets]` does not have it".to_owned()))?;
        if self.purpose == Purpose::Preview {
            self.withhold_if_changing(name)?;
        }
        let secret = cell
            .get_or_try_init(|| self.fetch_new(name))
            .await
            .map_err(|reason| unavailable(name, reason))?;
        self.warn_if_due_for_rotation(name, secret);
        Ok(secret.clone())
    }

    /// Refuses a secret whose source may change something, because nothing may be changed now.
    fn withhold_if_changing(&self, name: &str) -> Result<(), SecretFetchError> {
        let origin = self.local.origins.get(name).filter(|origin| origin.may_change());
        let Some(target) = origin.and_then(SecretOrigin::target) else { return Ok(()) };
        let reason = format!(
            "it comes from the program of target `{}`, which may change something, so it is run \
             only in a run (`read_only = true` says that it changes nothing)",
            target.name
        );
        let attempt = FetchAttempt::Withheld;
        Err(SecretFetchError { name: name.to_owned(), reason, attempt })
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<FetchedSecret>>>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a secret in its age store.
    fn age_entry(&self, name: &str) -> Result<&FileEntry, String> {
        match self.local.origins.get(name) {
            Some(SecretOrigin::Age(entry)) => Ok(entry),
            Some(
                SecretOrigin::Sops(_)
                | SecretOrigin::Credential(_)
                | SecretOrigin::Variable(_)
                | SecretOrigin::Program(_)
                | SecretOrigin::Vault(_),
            )
            | None => Err("only a secret of an age store is rotated by a run".to_owned()),
        }
    }

    /// The store of an entry as it is now.
    fn open_anew(&self, entry: &FileEntry) -> Result<Store, String> {
        let path = entry.file.real();
        secret_store::open(&self.local.context, path)
            .map_err(reason)?
            .ok_or_else(|| format!("there is no secret store `{}`", path.display()))
    }

    /// Locks the store of a secret. It waits without blocking the thread, so that the timeout of the
    /// call and Ctrl-C end it.
    async fn lock_store(&self, name: &str) -> Result<StoreLock, String> {
        let entry = self.age_entry(name)?;
        let deadline = tokio::time::Instant::now() + LOCK_WAIT;
        loop {
            match try_lock_store(entry.file.real()) {
                Err(FileError::Locked { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                locked => return locked.map_err(|error| with_causes(&error)),
            }
        }
    }

    /// Changes the store of a secret, which is locked. What was read of the store before is read
    /// again.
    fn change_store<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Store, &str) -> Result<T, RotationError>,
    ) -> Result<T, String> {
        let entry = self.age_entry(name)?;
        let (context, path) = (&self.local.context, entry.file.real());
        let mut store = self.open_anew(entry)?;
        let changed = change(&mut store, &entry.entry).map_err(|error| error.to_string())?;
        let recipients = secret_store::reviewed_recipients(path, &store, &entry.recipients);
        let recipients = recipients.map_err(reason)?;
        secret_store::write(context, path, &store, &recipients).map_err(reason)?;
        self.local.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        for (other, cell) in self.cells().iter_mut() {
            if self.local.origins.get(other).and_then(SecretOrigin::file) == Some(path) {
                *cell = Arc::default();
            }
        }
        Ok(changed)
    }

    async fn fetch_new(&self, name: &str) -> Result<FetchedSecret, String> {
        if let Some(read) = tokio::task::block_in_place(|| self.local.read(name)) {
            return read;
        }
        let origin = self.local.origins.get(name).expect("it was found above");
        let fetched = fetch_from_target(name, origin, &self.run.to_string(), &self.services).await;
        fetched.expect("its origin names a target").and_then(|secret| require_value(name, secret))
    }

    /// Warns, once for each secret, that it is older than its `max_age` or expires soon.
    fn warn_if_due_for_rotation(&self, name: &str, secret: &FetchedSecret) {
        let is_first_check =
            self.age_checked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        if !is_first_check {
            return;
        }
        let now = jiff::Timestamp::now();
        let limits = self.ages.get(name).copied().unwrap_or_default();
        let age_warning = limits.max_age.zip(secret.changed).and_then(|(limit, changed)| {
            let age = now.duration_since(changed).unsigned_abs();
            (age > limit)
                .then(|| format!("is {} old and should be at most {}", days(age), days(limit)))
        });
        let utc_date = |time: jiff::Timestamp| time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let last_day = limits.expires.into_iter().chain(secret.expires.map(utc_date)).min();
        let expiry_note = last_day.and_then(|date| expiry_warning(date, utc_date(now)));
        for warning in age_warning.into_iter().chain(expiry_note) {
            let what_to_do = self.rotation(name);
            crate::ui::minor_warning(&format!("secret `{name}` {warning}; {what_to_do}"));
        }
    }

    /// What to do to rotate a secret.
    fn rotation(&self, name: &str) -> String {
        match self.local.origins.get(name) {
            Some(SecretOrigin::Age(entry)) => {
                let reference = format!("{}#{}", entry.file.real().display(), entry.entry);
                format!("`runbook secret rotate {}`", runbook_text::file_argument(&reference))
            }
            Some(
                SecretOrigin::Sops(_)
                | SecretOrigin::Credential(_)
                | SecretOrigin::Variable(_)
                | SecretOrigin::Program(_)
                | SecretOrigin::Vault(_),
            )
            | None => "rotate it at its source".to_owned(),
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

impl AgeLimits {
    /// From when on a secret must not be used any more: the first of the end of its last day, the
    /// last change plus `max_age`, and the end that its source knows.
    fn expires(self, secret: &FetchedSecret) -> Option<jiff::Timestamp> {
        let day_end = self.expires.and_then(|date| {
            let next_day = date.tomorrow().ok()?;
            Some(next_day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        });
        let too_old = self.max_age.zip(secret.changed).and_then(|(age, changed)| {
            changed.checked_add(jiff::SignedDuration::try_from(age).ok()?).ok()
        });
        day_end.into_iter().chain(too_old).chain(secret.expires).min()
    }
}

impl SecretSource for RunSecrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        Box::pin(async move { Ok(self.read(name).await?.value.clone()) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        Box::pin(async move {
            let secret = self.read(name).await?;
            let limits = self.ages.get(name).copied().unwrap_or_default();
            let own_name = match self.local.origins.get(name) {
                Some(SecretOrigin::Age(entry) | SecretOrigin::Sops(entry)) => entry.entry.as_str(),
                Some(SecretOrigin::Credential(own) | SecretOrigin::Variable(own)) => own,
                Some(SecretOrigin::Vault(value)) => &value.field,
                Some(SecretOrigin::Program(_)) | None => name,
            };
            Ok(SecretFacts {
                name: own_name.to_owned(),
                changed: secret.changed,
                expires: limits.expires(&secret),
            })
        })
    }

    fn lock_rotation(&self, name: &str, by: &str) -> Result<RotationTurn, SecretFetchError> {
        let entry = self.age_entry(name).map_err(|reason| unavailable(name, reason))?;
        let turn = self.rotation_locks.lock(name, entry, by);
        turn.map_err(|error| unavailable(name, with_causes(&error)))
    }

    fn is_rotated_by_another(&self, name: &str, by: &str) -> bool {
        let entry = self.age_entry(name);
        entry.is_ok_and(|entry| self.rotation_locks.is_of_another(name, entry, by))
    }

    fn unlock_rotation(&self, name: &str, by: &str) {
        self.rotation_locks.unlock(name, by);
    }

    fn kept_values<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
    ) -> BoxFuture<'a, Result<KeptValues, SecretFetchError>> {
        Box::pin(async move {
            let read = || {
                let entry = self.age_entry(name)?;
                let store = self.open_anew(entry)?;
                let missing = || RotationError::Missing { name: entry.entry.clone() }.to_string();
                store.kept_values(&entry.entry, by).ok_or_else(missing)
            };
            tokio::task::block_in_place(read).map_err(|reason| unavailable(name, reason))
        })
    }

    fn pending_rotation(&self, name: &str) -> Option<PendingRotation> {
        let entry = self.age_entry(name).ok()?;
        let store = tokio::task::block_in_place(|| self.open_anew(entry)).ok()?;
        store.pending_rotation(&entry.entry)
    }

    fn begin_rotation<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
        direction: RotationDirection,
    ) -> BoxFuture<'a, Result<RotationStart, SecretFetchError>> {
        Box::pin(async move {
            let new = new_password().map_err(|error| unavailable(name, error.to_string()))?;
            let begin = |store: &mut Store, entry: &str| match direction {
                RotationDirection::Forward => store.begin_rotation(entry, by, new),
                RotationDirection::Back => match store.begin_restore(entry, by) {
                    // It was not changed since this run began, so not by this run either.
                    Err(RotationError::Superseded)
                        if store.changed(entry) < Some(began(&self.run)) =>
                    {
                        Ok(RotationStart::Done)
                    }
                    begun => begun,
                },
            };
            let locked = self.lock_store(name).await;
            let _store_lock = locked.map_err(|reason| unavailable(name, reason))?;
            let started = tokio::task::block_in_place(|| self.change_store(name, begin));
            started.map_err(|reason| unavailable(name, reason))
        })
    }

    fn end_rotation<'a>(
        &'a self,
        name: &'a str,
        by: &'a str,
        end: RotationEnd,
    ) -> BoxFuture<'a, Result<RotationResult, SecretFetchError>> {
        Box::pin(async move {
            let now = jiff::Timestamp::now();
            let finish = |store: &mut Store, entry: &str| store.end_rotation(entry, by, end, now);
            let locked = self.lock_store(name).await;
            let _store_lock = locked.map_err(|reason| unavailable(name, reason))?;
            let ended = tokio::task::block_in_place(|| self.change_store(name, finish));
            ended.map_err(|reason| unavailable(name, reason))
        })
    }
}

/// When a run began, as its id says.
fn began(run: &RunId) -> jiff::Timestamp {
    let seconds = run.0.get_timestamp().map_or(0, |time| time.to_unix().0);
    jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default()
}

/// The entries of `[secrets]`, as the authority reads them.
pub fn declared(secrets: &[runbook_engine::model::SecretEntry]) -> Vec<DeclaredSecret<'_>> {
    secrets
        .iter()
        .map(|secret| DeclaredSecret {
            name: &secret.name,
            uri: &secret.source_uri,
            table: &secret.table,
            source: &secret.source,
        })
        .collect()
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

    #[test]
    fn a_secret_expires_at_the_first_of_its_limits() {
        use super::{AgeLimits, FetchedSecret};
        let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        let secret = |changed: Option<&str>, expires: Option<&str>| FetchedSecret {
            value: runbook_secrets::Secret::from("x"),
            changed: changed.map(time),
            expires: expires.map(time),
        };
        let limits = AgeLimits {
            max_age: Some(std::time::Duration::from_hours(24)),
            expires: Some(date(2026, 11, 21)),
        };
        let old = secret(Some("2026-11-01T00:00:00Z"), None);
        assert_eq!(limits.expires(&old), Some(time("2026-11-02T00:00:00Z")));
        // It is valid until the end of the day `expires`.
        let undated = secret(None, None);
        assert_eq!(limits.expires(&undated), Some(time("2026-11-22T00:00:00Z")));
        let leased = secret(None, Some("2026-11-20T12:00:00Z"));
        assert_eq!(limits.expires(&leased), Some(time("2026-11-20T12:00:00Z")));
        assert_eq!(AgeLimits::default().expires(&old), None);
    }
}
