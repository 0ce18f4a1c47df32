//! Changes the password of a database role, and keeps it in the age store of its secret. The host
//! makes the value, so no plugin sees it; the server gets a verifier of it, so no log of the server
//! has it. Old and new value are both in the store until a session was opened with the new one.
//!
//! One lock for the secret, across processes, is held from before a value is pending until none is
//! pending any more: while a run that has it lives, no other run looks at its pending value. A
//! transaction whose COMMIT got no answer may still be open at the server; the next `ALTER ROLE` of
//! the same role waits for its end, so after that one no earlier value can become valid any more.

use crate::bindings::runbook::secrets::rotation;
use crate::capabilities::sql::{RoleLogin, UnseenEffect};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::services::{RotationTurn, SecretFetchError};
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{SecretOrigin, SqlAddress, SqlTarget};
use runbook_authority::{GateRequest, Verb};
use runbook_secrets::{
    RotationDirection, RotationEnd, RotationResult, RotationStart, Secret, TargetAge, ValueMaker,
    new_password, scram_verifier,
};
use std::time::Duration;

/// How often a lock that another run holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How long before the end of the call the wait for the lock ends, so that the call says why.
const LOCK_MARGIN: Duration = Duration::from_secs(1);
/// How long another run is waited for at most.
const LOCK_WAIT: Duration = Duration::from_mins(5);

impl rotation::Host for HostCall<'_> {
    async fn observe(
        &mut self,
        secret: String,
        admin: String,
        login: String,
    ) -> Result<rotation::PasswordStatus, Fault> {
        self.enter(&GateRequest::Secret { slot: &secret, verb: Verb::SecretsDescribe })?;
        let slots = RotationSlots { secret: &secret, admin: &admin, login: &login };
        let rotated = self.rotated_role(slots)?;
        let state = self.observe_password(slots, &rotated).await?;
        Ok(rotation::PasswordStatus { rotated_role: rotated.in_words(), state })
    }

    async fn rotate(
        &mut self,
        secret: String,
        admin: String,
        login: String,
    ) -> Result<rotation::RotatedRole, Fault> {
        let slots = RotationSlots { secret: &secret, admin: &admin, login: &login };
        self.change_password(slots, RotationDirection::Forward).await
    }

    async fn restore(
        &mut self,
        secret: String,
        admin: String,
        login: String,
    ) -> Result<rotation::RotatedRole, Fault> {
        let slots = RotationSlots { secret: &secret, admin: &admin, login: &login };
        self.change_password(slots, RotationDirection::Back).await
    }
}

/// The slots of a rotation.
#[derive(Clone, Copy)]
struct RotationSlots<'a> {
    secret: &'a str,
    admin: &'a str,
    login: &'a str,
}

/// The role whose password is changed, and its secret.
struct RotatedRole {
    role: String,
    /// The host, the port and the database of `login`.
    server: String,
    /// The name in `[secrets]`.
    secret: String,
    /// The store and the name in it.
    place: String,
    /// Whether the role changes its own password.
    is_own: bool,
}

impl RotatedRole {
    fn in_words(&self) -> rotation::RotatedRole {
        rotation::RotatedRole {
            role: self.role.clone(),
            server: self.server.clone(),
            secret: self.place.clone(),
        }
    }

    fn conflict(&self, what: &str) -> Fault {
        let message = format!("{what} (role `{}` at {})", self.role, self.server);
        Fault::new(FaultClass::Conflict, "secrets.rotation", message)
    }
}

/// A change of a password that the store has as pending.
struct PendingChange {
    /// The value that the role is to get.
    target: Secret,
    /// The other value that the role may have now.
    other: Secret,
    /// How the rotation ends once `target` is verified.
    end: RotationEnd,
    /// Whether the role is given the value even if it has it: an earlier transaction may be open.
    is_fence: bool,
    target_age: TargetAge,
}

/// Which of the values that the store keeps the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginState {
    /// The value of the secret, and who made it.
    Current(ValueMaker),
    /// The value of a rotation that is half done, or the one before.
    Other,
    None,
}

/// Why a password was not changed.
enum ChangeFailure {
    /// The role has the password that it had, for certain.
    Unchanged(Fault),
    /// It may have the new one.
    InDoubt(Fault),
}

impl Host {
    /// The run and the step, as the store keeps them. An undo is of the step that it undoes.
    fn rotating_step(&self) -> String {
        let step = self.step();
        format!("{} {}", self.run(), step.strip_suffix("/undo").unwrap_or(step))
    }

    /// Which of the kept values the role has. While another run changes it, that is not asked.
    async fn observe_password(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
    ) -> Result<rotation::PasswordState, Fault> {
        self.refuse_any_password(slots, rotated).await?;
        let (source, by) = (self.secret_source(), self.rotating_step());
        let end = self.end_of_wait();
        let mut state = self.login_state(slots, rotated, &by).await?;
        while !matches!(state, LoginState::Current(_)) && tokio::time::Instant::now() < end {
            // Another run may have ended between the reading of the store and the login.
            let was_busy = source.is_rotated_by_another(&rotated.secret, &by);
            state = self.login_state(slots, rotated, &by).await?;
            if !was_busy && !source.is_rotated_by_another(&rotated.secret, &by) {
                break;
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
        match state {
            LoginState::Current(ValueMaker::ThisStep) => Ok(rotation::PasswordState::Rotated),
            LoginState::Current(ValueMaker::Another) => Ok(rotation::PasswordState::Kept),
            LoginState::Other => Ok(rotation::PasswordState::HalfDone),
            LoginState::None => Err(rotated.conflict(&format!(
                "the server takes no value that {} keeps, so none is rotated; set the right one \
                 with `runbook secret set`",
                rotated.place
            ))),
        }
    }

    /// Which of the values that the store keeps now the server takes now.
    async fn login_state(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
        by: &str,
    ) -> Result<LoginState, Fault> {
        let kept = self.secret_source().kept_values(&rotated.secret, by).await;
        let kept = kept.map_err(|error| store_fault(&error))?;
        for value in kept.others.iter().chain([&kept.current]) {
            self.learn_value(&rotated.secret, value);
        }
        if self.logs_in(slots.login, &kept.current).await? {
            return Ok(LoginState::Current(kept.maker));
        }
        for value in &kept.others {
            if self.logs_in(slots.login, value).await? {
                return Ok(LoginState::Other);
            }
        }
        Ok(LoginState::None)
    }

    /// When a wait for another run ends, early enough for the call to say why.
    fn end_of_wait(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.remaining(LOCK_WAIT).saturating_sub(LOCK_MARGIN)
    }

    /// Fails if the server lets the role in with any password: every value would be verified.
    async fn refuse_any_password(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
    ) -> Result<(), Fault> {
        let wrong = new_password().map_err(|error| system_fault(&error))?;
        if self.logs_in(slots.login, &wrong).await? {
            let message = format!(
                "the server lets role `{}` in with any password, so no password can be verified",
                rotated.role
            );
            return Err(Fault::new(FaultClass::Invalid, "secrets.rotation", message));
        }
        Ok(())
    }

    async fn change_password(
        &mut self,
        slots: RotationSlots<'_>,
        direction: RotationDirection,
    ) -> Result<rotation::RotatedRole, Fault> {
        self.enter(&GateRequest::Secret { slot: slots.secret, verb: Verb::SecretsRotate })?;
        let commit = self.begin_uncommitted(slots.secret, Verb::SecretsRotate, 1);
        let rotated = self.rotated_role(slots)?;
        self.refuse_any_password(slots, &rotated).await?;
        let (source, by) = (self.secret_source(), self.rotating_step());
        let name = &rotated.secret;
        self.wait_for_turn(&rotated, &by).await?;
        let started = source.begin_rotation(name, &by, direction).await;
        let started = started.map_err(|error| {
            source.unlock_rotation(name, &by);
            store_fault(&error)
        })?;
        let Some(change) = pending_change(started) else {
            source.unlock_rotation(name, &by);
            return Ok(rotated.in_words());
        };
        for value in [&change.target, &change.other] {
            self.learn_value(name, value);
        }
        match self.set_password(slots, &rotated, &change).await {
            Ok(()) => commit.mark_sent()?,
            Err(ChangeFailure::Unchanged(fault)) if change.target_age == TargetAge::New => {
                // The role cannot have the value, so nothing is pending.
                let abandon = RotationEnd::Abandon(change.target.clone());
                let _ = source.end_rotation(name, &by, abandon).await;
                source.unlock_rotation(name, &by);
                return Err(fault);
            }
            Err(ChangeFailure::Unchanged(fault)) => return Err(fault),
            Err(ChangeFailure::InDoubt(fault)) => {
                commit.mark_sent()?;
                return Err(fault);
            }
        }
        // Without this the lock stays with this run: its value is pending, and the role has it.
        let ended = source.end_rotation(name, &by, change.end).await;
        match ended.map_err(|error| store_fault(&error))? {
            RotationResult::Completed | RotationResult::Abandoned => {
                source.unlock_rotation(name, &by);
                Ok(rotated.in_words())
            }
            RotationResult::KeptPending => Err(rotated.conflict(&format!(
                "the secret was set by somebody else meanwhile; the role has the value of this \
                 step, which {} keeps as `pending`",
                rotated.place
            ))),
        }
    }

    /// Waits until no other run rotates the secret.
    async fn wait_for_turn(&mut self, rotated: &RotatedRole, by: &str) -> Result<(), Fault> {
        let source = self.secret_source();
        let end = self.end_of_wait();
        loop {
            let turn = source.lock_rotation(&rotated.secret, by);
            let holder = match turn.map_err(|error| store_fault(&error))? {
                RotationTurn::Ours => return Ok(()),
                RotationTurn::Another(holder) => holder,
            };
            if tokio::time::Instant::now() >= end {
                let (run, step) = holder.split_once(' ').unwrap_or((holder.as_str(), "?"));
                let run = run.get(..13).unwrap_or(run);
                let message = format!(
                    "step `{step}` of run {run} is rotating {} or must still undo that; nothing \
                     was changed; try again when that run has ended",
                    rotated.place
                );
                let fault = Fault::new(FaultClass::Conflict, "secrets.rotation-busy", message);
                return Err(self.scrubbed_fault(fault));
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Gives the role the password, and opens a session with it.
    async fn set_password(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
        change: &PendingChange,
    ) -> Result<(), ChangeFailure> {
        let has_target = self.logs_in(slots.login, &change.target).await;
        let has_target = has_target.map_err(ChangeFailure::Unchanged)?;
        if has_target && !change.is_fence {
            return Ok(());
        }
        let present = if has_target { &change.target } else { &change.other };
        let altered = self.alter_role(slots, rotated, (present, &change.target)).await;
        match altered {
            Ok(()) => {}
            Err((fault, UnseenEffect::None)) => return Err(ChangeFailure::Unchanged(fault)),
            Err((fault, UnseenEffect::Possible)) => {
                // The server may have done it without its answer arriving.
                return match self.logs_in(slots.login, &change.target).await {
                    Ok(true) if !change.is_fence => Ok(()),
                    Ok(true | false) | Err(_) => Err(ChangeFailure::InDoubt(fault)),
                };
            }
        }
        match self.logs_in(slots.login, &change.target).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ChangeFailure::InDoubt(rotated.conflict(
                "the password was set, and the server does not take it; the store keeps both \
                 values, and the step can be repeated or undone",
            ))),
            Err(fault) => Err(ChangeFailure::InDoubt(fault)),
        }
    }

    /// The role that `login` connects as, if its password is the secret and `admin` is a role of
    /// the same server.
    fn rotated_role(&self, slots: RotationSlots<'_>) -> Result<RotatedRole, Fault> {
        let (secret_target, admin, login) =
            (self.target(slots.secret)?, self.target(slots.admin)?, self.target(slots.login)?);
        let secret = secret_target.secret().ok_or_else(Fault::denied)?.secret.clone();
        let (admin_sql, login_sql) =
            (admin.sql().ok_or_else(Fault::denied)?, login.sql().ok_or_else(Fault::denied)?);
        let invalid = |what: String| {
            Fault::new(FaultClass::Invalid, "secrets.rotation", format!("{what}; nothing was done"))
        };
        if login_sql.password.as_deref() != Some(secret.as_str()) {
            return Err(invalid(format!(
                "`password` of target `{}` is not secret `{secret}`",
                login.name
            )));
        }
        if [admin_sql, login_sql].iter().any(|sql| sql.dialect() != Dialect::Postgres) {
            return Err(invalid(
                "only a role of PostgreSQL can be given a new password".to_owned(),
            ));
        }
        let server = |sql: &SqlTarget| match &sql.address {
            SqlAddress::Server { host, port, .. } => Some((host.clone(), *port)),
            SqlAddress::File(_) => None,
        };
        if server(admin_sql) != server(login_sql) {
            let (admin, login) = (&admin.name, &login.name);
            return Err(invalid(format!("targets `{admin}` and `{login}` are two servers")));
        }
        let SqlAddress::Server { user: role, host, port, database, .. } = &login_sql.address else {
            return Err(Fault::denied());
        };
        let place = match secret_target.secret_origins.get(&secret) {
            Some(SecretOrigin::Age(entry)) => {
                format!("secret `{}` of {}", entry.entry, entry.file.real().display())
            }
            Some(
                SecretOrigin::Sops(_)
                | SecretOrigin::Credential(_)
                | SecretOrigin::Variable(_)
                | SecretOrigin::Program(_)
                | SecretOrigin::Vault(_),
            )
            | None => format!("secret `{secret}`"),
        };
        Ok(RotatedRole {
            role: role.clone(),
            server: format!("{host}:{port}/{database}"),
            is_own: admin_sql.password.as_deref() == Some(secret.as_str()),
            secret,
            place,
        })
    }

    /// Gives the role the password `target`, in a session with `present` if the role does it itself.
    async fn alter_role(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
        (present, target): (&Secret, &Secret),
    ) -> Result<(), (Fault, UnseenEffect)> {
        let verifier =
            scram_verifier(target).map_err(|error| (system_fault(&error), UnseenEffect::None))?;
        let role = rotated.role.replace('"', "\"\"");
        // A verifier has no character that a string of SQL gives a meaning.
        let statement = |value: &str| format!("ALTER ROLE \"{role}\" PASSWORD '{value}'");
        let login = RoleLogin {
            slot: slots.admin,
            password: rotated.is_own.then_some(present),
            shown_statement: &statement("SCRAM-SHA-256 verifier"),
        };
        self.execute_unseen(login, &statement(&verifier)).await
    }

    /// Whether the role of `slot` can open a session with this password.
    async fn logs_in(&mut self, slot: &str, password: &Secret) -> Result<bool, Fault> {
        self.enter(&GateRequest::Sql { slot, verb: Verb::SqlQuery, statement: None })?;
        match self.open_session(slot, password).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.code == "sql.login" => Ok(false),
            Err(fault) => Err(self.scrubbed_fault(fault)),
        }
    }
}

/// The change that a rotation begins with; `None` if all was done before.
fn pending_change(start: RotationStart) -> Option<PendingChange> {
    match start {
        RotationStart::Done => None,
        RotationStart::Change { current, target, target_age } => Some(PendingChange {
            end: RotationEnd::Complete(target.clone()),
            target,
            other: current,
            is_fence: false,
            target_age,
        }),
        RotationStart::Keep { current, abandoned } => Some(PendingChange {
            end: RotationEnd::Abandon(abandoned.clone()),
            target: current,
            other: abandoned,
            is_fence: true,
            target_age: TargetAge::Earlier,
        }),
    }
}

fn store_fault(error: &SecretFetchError) -> Fault {
    Fault::new(FaultClass::Conflict, "secrets.store", error.to_string())
}

fn system_fault(error: &std::io::Error) -> Fault {
    let message = format!("the system gives no random numbers: {error}");
    Fault::new(FaultClass::Transient, "secrets.rotation", message)
}
