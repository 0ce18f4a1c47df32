//! PostgreSQL: locks say which relations a transaction touched, and statistics how many rows it
//! changed.

use super::{Case, Gate, Judged, TABLES};
use crate::postgres::Postgres;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::collections::BTreeSet;

/// After so many statements what they left behind is swept away: it would slow down the next ones.
const VACUUM_AFTER: u64 = 5_000;

/// A server with a table that is granted and others that are not. Nothing that a statement does
/// there stays.
#[derive(Debug)]
pub struct OnPostgres {
    #[expect(dead_code, reason = "it runs until this is dropped")]
    server: Postgres,
    connection: PgConnection,
    gate: Gate,
    ran: u64,
}

impl OnPostgres {
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
                "create table {table} {TABLES}; insert into {table} values (1, 'a', 1), (2, 'b', \
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
        started.must("set statement_timeout = '2s'").await;
        started
    }

    /// Runs what the gate lets through, asks the server what it touched, and takes it back.
    ///
    /// # Errors
    /// What was touched that is not granted.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn judge(&mut self, case: &Case) -> Result<Judged, String> {
        if !self.gate.lets_through(case) {
            return Ok(Judged::Refused);
        }
        self.must("begin").await;
        // What earlier transactions of the session did may not be written down yet.
        let before = self.changed().await;
        let judged = if self.run(&case.statement).await.is_ok() {
            self.touched(case, before).await.map(|()| Judged::Ran)
        } else {
            Ok(Judged::Failed)
        };
        self.must("rollback").await;
        self.ran += 1;
        if self.ran.is_multiple_of(VACUUM_AFTER) {
            self.must("vacuum").await;
        }
        judged
    }

    async fn touched(&mut self, case: &Case, before: [i64; 3]) -> Result<(), String> {
        let strange: Vec<_> =
            self.relations().await.into_iter().filter(|name| !is_of_the_grant(name)).collect();
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

    async fn must(&mut self, statement: &str) {
        self.run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    async fn run(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false);
        query.fetch_all(&mut self.connection).await.map(|_| ())
    }

    /// Which relations this transaction holds that are not the system's own.
    async fn relations(&mut self) -> BTreeSet<String> {
        let locks = "select relation::regclass::text from pg_locks where pid = pg_backend_pid() \
                     and locktype = 'relation' and relation >= 16384";
        let rows = sqlx::query(locks)
            .fetch_all(&mut self.connection)
            .await
            .expect("the server says what is locked");
        // What was dropped has no name any more, only a number.
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

fn is_of_the_grant(name: &str) -> bool {
    // So it is called as soon as a temporary table of the statement's own hides it.
    let name = name.strip_prefix("public.").unwrap_or(name);
    name.starts_with("pg_toast") || ["orders", "orders_pkey", "i", "seen"].contains(&name)
}
