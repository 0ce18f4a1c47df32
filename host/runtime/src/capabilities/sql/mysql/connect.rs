//! Connects to a server, and refuses users with too many privileges.

use super::super::DatabaseAccess;
use super::super::failure::{fault_of, superuser_fault};
use super::relay::{RelayHandle, TruncatedResult};
use super::{STANDARD_SQL_MODE, run};
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

/// Opens a session. The relay connects the driver with the server, and must live as long as the
/// session.
pub(super) async fn connect(
    access: &DatabaseAccess,
    truncated_result: TruncatedResult,
) -> Result<(MySqlConnection, RelayHandle), Fault> {
    let SqlAddress::Server { user, database, .. } = &access.sql().address else {
        unreachable!("only MySQL targets come here");
    };
    let relay = RelayHandle::open(access, truncated_result).await?;
    let mut options = MySqlConnectOptions::new()
        .socket(relay.socket())
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
        .map_err(|error| relay.end_reason_or(fault_of(&error)))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    if access.sql().is_narrowed() {
        // The gate parses the statement, so quoting must not depend on the server's settings.
        run(&mut connection, STANDARD_SQL_MODE).await?;
    }
    // MariaDB takes seconds, MySQL milliseconds (for SELECTs only). Each refuses the other's
    // variable, so exactly one of the two succeeds.
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
    Ok((connection, relay))
}

/// Privileges that let a user read or write files of the server, change users and their privileges,
/// or change what the server does, if they are held on all databases or on the `mysql` database.
const SUPERUSER_PRIVILEGES: &[&str] = &[
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

/// Fails if the user, or a role that it may take, has one of the [`SUPERUSER_PRIVILEGES`]: the host
/// cannot limit such a user.
async fn refuse_superuser(connection: &mut MySqlConnection) -> Result<(), Fault> {
    let mut grants = query_texts(connection, "SHOW GRANTS".to_owned()).await?;
    // A server without roles has no such table.
    let roles = query_texts(
        connection,
        "SELECT role_name FROM information_schema.applicable_roles".to_owned(),
    )
    .await
    .unwrap_or_default();
    for role in &roles {
        // A role that is granted only to another role cannot be set; the grants of the other role
        // include its privileges.
        if set_role(connection, role).await.is_ok() {
            grants.extend(query_texts(connection, "SHOW GRANTS".to_owned()).await?);
        }
    }
    if !roles.is_empty() {
        // Restores the default role of the login.
        let default_role = query_texts(
            connection,
            "SELECT coalesce((SELECT role_name FROM information_schema.applicable_roles WHERE \
             is_default = 'YES' LIMIT 1), 'NONE')"
                .to_owned(),
        )
        .await?;
        for role in default_role {
            set_role(connection, &role).await?;
        }
    }
    match grants.iter().find_map(|grant| superuser_privilege(grant)) {
        Some(privilege) => Err(superuser_fault(&format!(
            "the user, or a role that it may take, has the privilege {privilege}"
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

/// The first of the [`SUPERUSER_PRIVILEGES`] that a line of `SHOW GRANTS` grants, with its scope.
fn superuser_privilege(grant: &str) -> Option<String> {
    let (privileges, scope_and_user) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let scope = scope_and_user.split(" TO ").next().unwrap_or(scope_and_user).trim();
    let is_system_database = scope.starts_with("`mysql`.");
    if scope != "*.*" && !is_system_database {
        return None;
    }
    let name =
        |privilege: &str| privilege.split('(').next().unwrap_or_default().trim().to_uppercase();
    privileges
        .split(", ")
        .map(name)
        .find(|name| SUPERUSER_PRIVILEGES.contains(&name.as_str()))
        .map(|name| format!("{name} on {scope}"))
}

async fn query_texts(
    connection: &mut MySqlConnection,
    query: String,
) -> Result<Vec<String>, Fault> {
    let rows = sqlx::raw_sql(AssertSqlSafe(query))
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    rows.iter().map(|row| row.try_get_unchecked(0).map_err(|error| fault_of(&error))).collect()
}

#[cfg(test)]
mod tests {
    use super::superuser_privilege;

    #[test]
    fn superuser_privileges_are_those_on_all_databases_or_on_the_mysql_database() {
        for (grant, expected) in [
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
            assert_eq!(superuser_privilege(grant).as_deref(), expected, "{grant}");
        }
    }
}
