//! Runs cases on PostgreSQL. Its locks show which relations a transaction touched, and its
//! statistics how many rows it changed.

use super::{Case, CaseOutcome, Gate, TABLE_COLUMNS};
use crate::postgres::Postgres;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::collections::BTreeSet;

/// The database is vacuumed after this many statements: dead rows would slow down the next ones.
const VACUUM_AFTER: u64 = 5_000;

/// A server with a table that is granted and others that are not. Each statement is rolled back.
#[derive(Debug)]
pub struct PostgresJudge {
    #[expect(dead_code, reason = "it runs until this is dropped")]
    server: Postgres,
    connection: PgConnection,
    gate: Gate,
    ran: u64,
}

impl PostgresJudge {
    /// Starts the server.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        let server = Postgres::start(1);
        let mut setup =
            "drop table orders cascade; create schema other; create sequence ids;".to_owned();
        for table in ["orders", "secrets", "vault", "\"Orders\"", "other.orders"] {
            setup += &format!(
                "create table {table} {TABLE_COLUMNS}; insert into {table} values (1, 'a', 1), (2, 'b', \
                 2), (3, 'c', 3);"
            );
        }
        setup += "create view seen as select * from orders;";
        server.psql("orders", &setup);
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(server.port)
            .username("postgres")
            .password("postgres-word")
            .database("orders")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        let connection = options.connect().await.expect("the server answers");
        let mut started = Self { server, connection, gate: Gate::default(), ran: 0 };
        started.execute_or_panic("set statement_timeout = '2s'").await;
        started
    }

    /// Runs the statement if the gate allows it, asks the server what the statement touched, and
    /// rolls it back.
    ///
    /// # Errors
    /// If the statement touched or changed something that is not granted.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn judge(&mut self, case: &Case) -> Result<CaseOutcome, String> {
        if !self.gate.allows(case) {
            return Ok(CaseOutcome::Denied);
        }
        self.execute_or_panic("begin").await;
        // The statistics may still lack what earlier transactions of the session did.
        let before = self.changed().await;
        let outcome = if self.fetch(&case.statement).await.is_ok() {
            self.check_touched_relations(case, before).await.map(|()| CaseOutcome::Ran)
        } else {
            Ok(CaseOutcome::Failed)
        };
        self.execute_or_panic("rollback").await;
        self.ran += 1;
        if self.ran.is_multiple_of(VACUUM_AFTER) {
            self.execute_or_panic("vacuum").await;
        }
        outcome
    }

    async fn check_touched_relations(
        &mut self,
        case: &Case,
        before: [i64; 3],
    ) -> Result<(), String> {
        let strange: Vec<_> =
            self.relations().await.into_iter().filter(|name| !is_granted(name)).collect();
        if !strange.is_empty() {
            return Err(format!("{case} touched {strange:?}"));
        }
        let after = self.changed().await;
        for (index, class) in ["insert", "update", "delete"].into_iter().enumerate() {
            let is_allowed = case.grants(class) || (case.grants("define") && class == "insert");
            if after[index] != before[index] && !is_allowed {
                return Err(format!("{case} did {class}"));
            }
        }
        Ok(())
    }

    async fn execute_or_panic(&mut self, statement: &str) {
        self.fetch(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    async fn fetch(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false);
        query.fetch_all(&mut self.connection).await.map(|_| ())
    }

    /// The relations that this transaction has locked, without the system catalog.
    async fn relations(&mut self) -> BTreeSet<String> {
        let locks = "select relation::regclass::text from pg_locks where pid = pg_backend_pid() \
                     and locktype = 'relation' and relation >= 16384";
        let rows = sqlx::query(locks)
            .fetch_all(&mut self.connection)
            .await
            .expect("the server says what is locked");
        // A dropped relation is listed by its number.
        rows.iter()
            .map(|row| row.get::<String, _>(0))
            .filter(|name| name.parse::<u64>().is_err())
            .collect()
    }

    /// How many rows were inserted, updated and deleted.
    async fn changed(&mut self) -> [i64; 3] {
        let changed = "select coalesce(sum(n_tup_ins), 0)::int8, coalesce(sum(n_tup_upd), 0)::int8, \
             coalesce(sum(n_tup_del), 0)::int8 from pg_stat_xact_user_tables";
        let row = sqlx::query(changed)
            .fetch_one(&mut self.connection)
            .await
            .expect("the server counts changes");
        [row.get(0), row.get(1), row.get(2)]
    }
}

fn is_granted(name: &str) -> bool {
    // The schema is printed when a temporary table of the statement hides the relation.
    let name = name.strip_prefix("public.").unwrap_or(name);
    name.starts_with("pg_toast") || ["orders", "orders_pkey", "i", "seen"].contains(&name)
}
