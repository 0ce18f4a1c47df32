//! Changes the password of a database role, and keeps it in the age store of its secret. The host
//! makes the value, so no plugin sees it; the server gets a verifier of it, so no log of the server
//! has it. Old and new value are both in the store until a session was opened with the new one.

use crate::bindings::runbook::secrets::rotation;
use crate::capabilities::sql::RoleLogin;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::services::RotationDirection;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{SqlAddress, SqlTarget};
use runbook_authority::{GateRequest, Verb};
use runbook_secrets::{RotationEnd, RotationStart, Secret, new_password, scram_verifier};

impl rotation::Host for HostCall<'_> {
    async fn rotate(&mut self, secret: String, admin: String, login: String) -> Result<(), Fault> {
        let slots = RotationSlots { secret: &secret, admin: &admin, login: &login };
        self.change_password(slots, RotationDirection::Forward).await
    }

    async fn restore(&mut self, secret: String, admin: String, login: String) -> Result<(), Fault> {
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

/// The role whose password is changed, and the name of its secret.
struct RotatedRole {
    role: String,
    secret: String,
    /// Whether the role changes its own password.
    is_own: bool,
}

impl Host {
    async fn change_password(
        &mut self,
        slots: RotationSlots<'_>,
        direction: RotationDirection,
    ) -> Result<(), Fault> {
        self.enter(&GateRequest::Secret { slot: slots.secret, verb: Verb::SecretsRotate })?;
        let rotated = self.rotated_role(slots)?;
        // A server that lets the role in with any password would let every value be verified.
        let wrong = new_password().map_err(|error| system_fault(&error))?;
        if self.logs_in(slots.login, &wrong).await? {
            let message = format!(
                "the server lets role `{}` in with any password, so no password can be verified",
                rotated.role
            );
            return Err(Fault::new(FaultClass::Invalid, "secrets.rotation", message));
        }
        let start = self.begin_rotation(&rotated.secret, direction).await?;
        let (current, target, end) = match start {
            RotationStart::Done => return Ok(()),
            RotationStart::Change { current, target } => (current, target, RotationEnd::Complete),
            RotationStart::Keep { current, abandoned } => {
                (abandoned, current, RotationEnd::Abandon)
            }
        };
        self.learn_rotated(&rotated.secret, [&current, &target]);
        if !self.logs_in(slots.login, &target).await? {
            self.alter_role(slots, &rotated, (&current, &target)).await?;
            if !self.logs_in(slots.login, &target).await? {
                let message = format!(
                    "the password of role `{}` was set, and the server does not take it; the \
                     store keeps both values, and the step can be repeated or undone",
                    rotated.role
                );
                return Err(Fault::new(FaultClass::Conflict, "secrets.rotation", message));
            }
        }
        self.end_rotation(&rotated.secret, end).await
    }

    /// The role that `login` connects as, if its password is the secret and `admin` is a role of
    /// the same server.
    fn rotated_role(&self, slots: RotationSlots<'_>) -> Result<RotatedRole, Fault> {
        let (secret, admin, login) =
            (self.target(slots.secret)?, self.target(slots.admin)?, self.target(slots.login)?);
        let secret = secret.secret().ok_or_else(Fault::denied)?.secret.clone();
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
        let SqlAddress::Server { user: role, .. } = &login_sql.address else {
            return Err(Fault::denied());
        };
        let is_own = admin_sql.password.as_deref() == Some(secret.as_str());
        Ok(RotatedRole { role: role.clone(), secret, is_own })
    }

    /// Gives the role the password `target`.
    async fn alter_role(
        &mut self,
        slots: RotationSlots<'_>,
        rotated: &RotatedRole,
        (current, target): (&Secret, &Secret),
    ) -> Result<(), Fault> {
        let verifier = scram_verifier(target).map_err(|error| system_fault(&error))?;
        let role = rotated.role.replace('"', "\"\"");
        // A verifier has no character that a string of SQL gives a meaning.
        let statement = |value: &str| format!("ALTER ROLE \"{role}\" PASSWORD '{value}'");
        let login = RoleLogin {
            slot: slots.admin,
            password: rotated.is_own.then_some(current),
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

fn system_fault(error: &std::io::Error) -> Fault {
    let message = format!("the system gives no random numbers: {error}");
    Fault::new(FaultClass::Transient, "secrets.rotation", message)
}
