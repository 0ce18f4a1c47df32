//! Tries whether the database of a slot answers, and lets its user in.

use super::{DatabaseAccess, mysql, postgres, sqlite};
use crate::fault::Fault;
use crate::host::Host;
use runbook_authority::Verb;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::SqlAddress;

impl Host {
    /// Opens a session as a host function would, and ends it.
    pub(in super::super) async fn reach_database(
        &mut self,
        slot: &str,
        verb: Verb,
    ) -> Result<String, Fault> {
        let access = self.access(slot, verb).await?;
        let reached = match access.sql().dialect() {
            Dialect::Postgres => {
                postgres::reach(&access).await.map(|()| logged_in(&access, "PostgreSQL"))
            }
            Dialect::MySql => mysql::reach(&access).await.map(|()| logged_in(&access, "MySQL")),
            Dialect::Sqlite => sqlite::reach(access).await,
        };
        reached.map_err(|fault| self.explained_fault(slot, fault))
    }
}

fn logged_in(access: &DatabaseAccess, protocol: &str) -> String {
    match &access.sql().address {
        SqlAddress::Server { user, database, .. } => {
            format!("`{user}` can log in to database `{database}` ({protocol})")
        }
        SqlAddress::File(path) => format!("file {path} can be opened"),
    }
}
