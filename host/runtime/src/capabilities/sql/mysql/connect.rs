//! The connection to a server, and who may not have one.

use super::super::Access;
use super::super::failure::{as_good_as_superuser, fault_of};
use super::wire::{AfterCut, Wire};
use super::{PLAIN_MODE, run};
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

/// A session, and the way to its server, which the driver does not see.
pub(super) async fn connect(
    access: &Access,
    after_cut: AfterCut,
) -> Result<(MySqlConnection, Wire), Fault> {
    let SqlAddress::Server { user, database, .. } = &access.sql().address else {
        unreachable!("only MySQL targets come here");
    };
    let wire = Wire::open(access, after_cut).await?;
    let mut options = MySqlConnectOptions::new()
        .socket(wire.socket())
        .username(user)
        .database(database)
        .ssl_mode(MySqlSslMode::Disabled)
        .timezone(Some("+00:00".to_owned()));
    if let Some(password) = &access.password {
        let text = password.expose_text().ok_or_else(|| {
            Fault::new(FaultClass::Invalid, "sql.password", "the password is not text")
        })?;
        options = options.password(text);
    }
    let mut connection = options
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| wire.reason(fault_of(&error)))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    if access.sql().is_narrowed() {
        // Where a string ends, and what a quote is, must not depend on the server's settings where
        // its text is judged.
        run(&mut connection, PLAIN_MODE).await?;
    }
    // MariaDB counts seconds, MySQL milliseconds of SELECTs; each refuses the other's name, so one
    // of the two works.
    let seconds =
        format!("SET SESSION max_statement_time = {}", access.timeout.as_secs_f64().max(0.001));
    let milliseconds =
        format!("SET SESSION max_execution_time = {}", access.timeout.as_millis().max(1));
    if sqlx::raw_sql(AssertSqlSafe(seconds)).execute(&mut connection).await.is_err() {
        sqlx::raw_sql(AssertSqlSafe(milliseconds))
            .execute(&mut connection)
            .await
            .map_err(|error| fault_of(&error))?;
    }
    Ok((connection, wire))
}

/// Privileges on the whole server with which its files, its users or its log of changes can be
/// reached.
const POWERS: &[&str] = &[
    "ALL PRIVILEGES",
    "ALTER",
    "BINLOG ADMIN",
    "BINLOG REPLAY",
    "BINLOG_ADMIN",
    "CONNECTION ADMIN",
    "CREATE USER",
    "DELETE",
    "DROP",
    "FEDERATED ADMIN",
    "FILE",
    "INSERT",
    "READ_ONLY ADMIN",
    "RELOAD",
    "REPLICATION MASTER ADMIN",
    "REPLICATION SLAVE",
    "REPLICATION SLAVE ADMIN",
    "REPLICATION_SLAVE_ADMIN",
    "ROLE_ADMIN",
    "SET USER",
    "SET_USER_ID",
    "SHUTDOWN",
    "SUPER",
    "SYSTEM_USER",
    "SYSTEM_VARIABLES_ADMIN",
    "UPDATE",
];

/// No measure of ours limits a user who may write the server's files or change its own rights, or
/// who may take such a role.
async fn refuse_superuser(connection: &mut MySqlConnection) -> Result<(), Fault> {
    let mut grants = texts(connection, "SHOW GRANTS".to_owned()).await?;
    // A server without roles has no such table.
    let roles =
        texts(connection, "SELECT role_name FROM information_schema.applicable_roles".to_owned())
            .await
            .unwrap_or_default();
    for role in &roles {
        // One that is granted to another role cannot be taken by itself; the other one shows what
        // it gives.
        if set_role(connection, role).await.is_ok() {
            grants.extend(texts(connection, "SHOW GRANTS".to_owned()).await?);
        }
    }
    if !roles.is_empty() {
        // As after the login.
        let own = texts(
            connection,
            "SELECT coalesce((SELECT role_name FROM information_schema.applicable_roles WHERE \
             is_default = 'YES' LIMIT 1), 'NONE')"
                .to_owned(),
        )
        .await?;
        for role in own {
            set_role(connection, &role).await?;
        }
    }
    match grants.iter().find_map(|grant| power_of(grant)) {
        Some(power) => Err(as_good_as_superuser(&format!(
            "the user, or a role that it may take, has the privilege {power}"
        ))),
        None => Ok(()),
    }
}

async fn set_role(connection: &mut MySqlConnection, role: &str) -> Result<(), Fault> {
    let role =
        if role == "NONE" { role.to_owned() } else { format!("`{}`", role.replace('`', "``")) };
    let statement = AssertSqlSafe(format!("SET ROLE {role}"));
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}

/// The privilege of a line of `SHOW GRANTS` that is too much.
fn power_of(grant: &str) -> Option<String> {
    let (privileges, on) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let scope = on.split(" TO ").next().unwrap_or(on).trim();
    let of_the_system = scope.starts_with("`mysql`.");
    if scope != "*.*" && !of_the_system {
        return None;
    }
    let name =
        |privilege: &str| privilege.split('(').next().unwrap_or_default().trim().to_uppercase();
    privileges
        .split(", ")
        .map(name)
        .find(|name| POWERS.contains(&name.as_str()))
        .map(|name| format!("{name} on {scope}"))
}

async fn texts(connection: &mut MySqlConnection, question: String) -> Result<Vec<String>, Fault> {
    let rows = sqlx::raw_sql(AssertSqlSafe(question))
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    rows.iter().map(|row| row.try_get_unchecked(0).map_err(|error| fault_of(&error))).collect()
}

#[cfg(test)]
mod tests {
    use super::power_of;

    #[test]
    fn privileges_on_the_whole_server_or_its_own_tables_are_too_much() {
        for (grant, power) in [
            ("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*X'", None),
            ("GRANT SELECT, PROCESS ON *.* TO `a`@`%`", None),
            ("GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`", None),
            ("GRANT `r` TO `a`@`%`", None),
            ("GRANT SELECT, FILE ON *.* TO `a`@`%`", Some("FILE on *.*")),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION",
                Some("ALL PRIVILEGES on *.*"),
            ),
            (
                "GRANT SELECT, UPDATE (`Priv`) ON `mysql`.`global_priv` TO `a`@`%`",
                Some("UPDATE on `mysql`.`global_priv`"),
            ),
        ] {
            assert_eq!(power_of(grant).as_deref(), power, "{grant}");
        }
    }
}
