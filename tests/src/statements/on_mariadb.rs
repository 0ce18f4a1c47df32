//! MariaDB: its statistics say how many rows of each table were read and changed, and the tables
//! what is in them.

use super::{Case, Gate, Judged, TABLES};
use crate::mariadb::{self, MariaDb};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::collections::BTreeMap;

/// Rows read and changed of each table.
type Statistics = BTreeMap<String, (u64, u64)>;

/// A server with a table that is granted and others that are not. What a statement did is put right
/// after it.
#[derive(Debug)]
pub struct OnMariaDb {
    #[expect(dead_code, reason = "it runs until this is dropped")]
    server: MariaDb,
    connection: MySqlConnection,
    gate: Gate,
    before: Statistics,
}

impl OnMariaDb {
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
            tables()
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
            started.must(statement).await;
        }
        started.before = started.statistics().await;
        started
    }

    /// Runs what the gate lets through, asks the server what it touched, and puts the granted table
    /// right again.
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
        let judged =
            if self.run(&case.statement).await.is_ok() { Judged::Ran } else { Judged::Failed };
        let after = self.statistics().await;
        // A statement that failed may have done a part of its work.
        self.touched(case, &after).await?;
        self.put_right(case, &after).await;
        self.before = self.statistics().await;
        Ok(judged)
    }

    async fn touched(&mut self, case: &Case, after: &Statistics) -> Result<(), String> {
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
        let tables = self.texts(
            "select group_concat(table_name order by table_name) from \
                    information_schema.tables where table_schema = 'shop'",
        );
        let tables = tables.await;
        if tables != ["ids,orders,secrets,seen,vault"] && !case.grants("define") {
            return Err(format!("{case} left {tables:?}"));
        }
        let words = self.texts(
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

    /// Each statement meets the same database.
    async fn put_right(&mut self, case: &Case, after: &Statistics) {
        if case.grants("define") {
            self.define_again().await;
        } else if changed(after) != changed(&self.before) {
            self.must("delete from shop.orders where id > 3").await;
            self.must("replace into shop.orders values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
                .await;
        }
    }

    async fn define_again(&mut self) {
        let text = format!(
            "drop view if exists shop.made; drop table if exists shop.made; drop view if \
                     exists shop.orders; drop table if exists shop.seen; create or replace table \
                     shop.orders {TABLES}; insert into shop.orders values (1, 'a', 1), (2, 'b', \
                     2), (3, 'c', 3); create or replace view shop.seen as select * from \
                     shop.orders"
        );
        for statement in text.split(';').map(str::trim) {
            // Of a kind that is not there, the drop says so; the rest must work.
            if statement.starts_with("drop") {
                let _ = self.raw(statement).await;
            } else {
                self.must(statement).await;
            }
        }
    }

    async fn must(&mut self, statement: &str) {
        self.raw(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    async fn raw(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
    }

    async fn run(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false);
        query.fetch_all(&mut self.connection).await.map(|_| ())
    }

    async fn texts(&mut self, query: &'static str) -> Vec<String> {
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

/// How many rows of the granted table were changed.
fn changed(statistics: &Statistics) -> u64 {
    statistics.get("shop.orders").map_or(0, |(_, changed)| *changed)
}

fn tables() -> String {
    let mut text = String::new();
    for table in ["shop.orders", "shop.secrets", "shop.vault", "other.orders"] {
        text += &format!(
            "create or replace table {table} {TABLES}; insert into {table} values (1, 'a', 1), (2, \
             'b', 2), (3, 'c', 3);"
        );
    }
    text + "create or replace view shop.seen as select * from shop.orders;"
}
