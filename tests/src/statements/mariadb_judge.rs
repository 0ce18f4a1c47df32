//! Runs cases on MariaDB. Its statistics show how many rows of each table were read and changed,
//! and the contents of the tables are compared.

use super::{Case, CaseOutcome, Gate, TABLE_COLUMNS};
use crate::mariadb::{self, MariaDb};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::collections::BTreeMap;

/// Rows read and changed of each table.
type Statistics = BTreeMap<String, (u64, u64)>;

/// A server with a table that is granted and others that are not. The granted table is restored
/// after each statement.
#[derive(Debug)]
pub struct MariaDbJudge {
    #[expect(dead_code, reason = "it runs until this is dropped")]
    server: MariaDb,
    connection: MySqlConnection,
    gate: Gate,
    before: Statistics,
}

impl MariaDbJudge {
    /// Starts the server.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        let server = MariaDb::start();
        server.sql(&format!(
            "set global userstat = 1; set global innodb_flush_log_at_trx_commit = 0; create \
             database other; grant all on other.* to shop@'127.0.0.1'; create sequence shop.ids; \
             {}",
            setup_statements()
        ));
        let options = MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(server.port)
            .username("shop")
            .password(mariadb::PASSWORD)
            .database("shop")
            .disable_statement_logging();
        let connection = options.connect().await.expect("the server answers");
        let mut started =
            Self { server, connection, gate: Gate::default(), before: Statistics::new() };
        for statement in [
            "set session sql_mode = \
             'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT', max_statement_time = 2",
            "create function reads_secrets() returns text reads sql data return (select max(v) \
             from secrets)",
            "create function writes_secrets() returns int modifies sql data \
             begin update secrets set v = 'PWNED'; return 1; end",
        ] {
            started.execute_or_panic(statement).await;
        }
        started.before = started.statistics().await;
        started
    }

    /// Runs the statement if the gate allows it, asks the server what the statement touched, and
    /// restores the granted table.
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
        let outcome = if self.fetch(&case.statement).await.is_ok() {
            CaseOutcome::Ran
        } else {
            CaseOutcome::Failed
        };
        let after = self.statistics().await;
        // A statement that failed may have changed some rows.
        self.check_touched_relations(case, &after).await?;
        self.restore_tables(case, &after).await;
        self.before = self.statistics().await;
        Ok(outcome)
    }

    async fn check_touched_relations(
        &mut self,
        case: &Case,
        after: &Statistics,
    ) -> Result<(), String> {
        let strange: Vec<_> = after
            .iter()
            .filter(|(table, (read, changed))| {
                let (old_read, old_changed) = self.before.get(*table).copied().unwrap_or_default();
                !["shop.orders", "shop.seen"].contains(&table.as_str())
                    && (*read > old_read || *changed > old_changed)
            })
            .collect();
        if !strange.is_empty() {
            return Err(format!("{case} touched {strange:?}"));
        }
        let may_write =
            ["insert", "update", "delete", "define"].iter().any(|class| case.grants(class));
        if !may_write && changed(after) != changed(&self.before) {
            return Err(format!("{case} changed rows"));
        }
        let tables = self.fetch_texts(
            "select group_concat(table_name order by table_name) from \
                    information_schema.tables where table_schema = 'shop'",
        );
        let tables = tables.await;
        if tables != ["ids,orders,secrets,seen,vault"] && !case.grants("define") {
            return Err(format!("{case} left {tables:?}"));
        }
        let words = self.fetch_texts(
            "select group_concat(v order by id) from shop.secrets union all select \
                    group_concat(v order by id) from shop.vault union all select group_concat(v \
                    order by id) from other.orders",
        );
        let words = words.await;
        if words.iter().any(|text| text != "a,b,c") {
            return Err(format!("{case} changed what is not granted: {words:?}"));
        }
        Ok(())
    }

    /// Restores the database, so that each statement runs on the same contents.
    async fn restore_tables(&mut self, case: &Case, after: &Statistics) {
        if case.grants("define") {
            self.recreate_tables().await;
        } else if changed(after) != changed(&self.before) {
            self.execute_or_panic("delete from shop.orders where id > 3").await;
            self.execute_or_panic(
                "replace into shop.orders values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
            )
            .await;
        }
    }

    async fn recreate_tables(&mut self) {
        let text = format!(
            "drop view if exists shop.made; drop table if exists shop.made; drop view if \
                     exists shop.orders; drop table if exists shop.seen; create or replace table \
                     shop.orders {TABLE_COLUMNS}; insert into shop.orders values (1, 'a', 1), (2, 'b', \
                     2), (3, 'c', 3); create or replace view shop.seen as select * from \
                     shop.orders"
        );
        for statement in text.split(';').map(str::trim) {
            // A drop fails if the object is of another kind; all other statements must succeed.
            if statement.starts_with("drop") {
                let _ = self.try_execute(statement).await;
            } else {
                self.execute_or_panic(statement).await;
            }
        }
    }

    async fn execute_or_panic(&mut self, statement: &str) {
        self.try_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    async fn try_execute(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
    }

    async fn fetch(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false);
        query.fetch_all(&mut self.connection).await.map(|_| ())
    }

    async fn fetch_texts(&mut self, query: &'static str) -> Vec<String> {
        let rows =
            sqlx::raw_sql(query).fetch_all(&mut self.connection).await.expect("the server answers");
        rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default()).collect()
    }

    async fn statistics(&mut self) -> Statistics {
        let question = "select concat(table_schema, '.', table_name), concat(rows_read), concat(rows_changed) \
             from information_schema.table_statistics where table_schema in ('shop', 'other')";
        let rows = sqlx::raw_sql(question)
            .fetch_all(&mut self.connection)
            .await
            .expect("the server keeps statistics");
        let number = |text: String| text.parse().expect("it is a number");
        rows.iter().map(|row| (row.get(0), (number(row.get(1)), number(row.get(2))))).collect()
    }
}

/// How many rows of the granted table were changed since the server started.
fn changed(statistics: &Statistics) -> u64 {
    statistics.get("shop.orders").map_or(0, |(_, changed)| *changed)
}

fn setup_statements() -> String {
    let mut text = String::new();
    for table in ["shop.orders", "shop.secrets", "shop.vault", "other.orders"] {
        text += &format!(
            "create or replace table {table} {TABLE_COLUMNS}; insert into {table} values (1, 'a', 1), (2, \
             'b', 2), (3, 'c', 3);"
        );
    }
    text + "create or replace view shop.seen as select * from shop.orders;"
}
