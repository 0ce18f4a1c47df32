//! What a statement touched, asked of the server before anything of it is kept or handed on.
//!
//! Every relation that a statement names, or that a view, a function, a trigger or a rule reaches
//! for it, is locked until its transaction ends, and `pg_locks` lists the locks of one's own
//! session to every role. What is locked must be named by the target, or belong to what is: the
//! parts of a named table, what a named view reads, and what a foreign key makes the server look
//! up. So a statement that the parser took for another one is found out. `EXPLAIN` would not do: it
//! shows what a plan scans, after views are expanded and what is never scanned is gone, and it
//! knows nothing of functions. Rows that were changed are counted by the server as well, and
//! compared with the classes that the target allows; so are the rows of the catalog, which a
//! definition changes.
//!
//! The server forgets the locks of a block that is rolled back, as one with EXCEPTION is, and a
//! function of the catalog may answer about a relation without a lock. So what a statement makes
//! the server run is asked of the catalog before: see [`super::reachable`]. What stays is what the
//! owner of a named relation put into it: a view, a trigger, a default, a check, a policy or an
//! index may call a function with a block of this kind, and what that block reads is not seen.

use super::super::failure::fault_of;
use super::super::words;
use super::reachable;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, StatementClass, classify};
use runbook_authority::targets::SqlTarget;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{BTreeMap, BTreeSet};

/// The relations that the names stand for now, with all that belongs to them, and those to which
/// foreign keys lead.
const ALLOWED: &str = "
WITH RECURSIVE reach(oid, keys) AS (
  SELECT pg_catalog.to_regclass(name)::pg_catalog.oid, false FROM pg_catalog.unnest($1::pg_catalog.text[]) AS n(name)
  WHERE pg_catalog.to_regclass(name) IS NOT NULL
  UNION
  SELECT next.oid, reach.keys OR next.keys FROM reach CROSS JOIN LATERAL (
    SELECT d.refobjid, false FROM pg_catalog.pg_rewrite w
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      WHERE w.ev_class = reach.oid AND w.ev_type = '1' AND NOT reach.keys
    UNION ALL SELECT i.inhrelid, false FROM pg_catalog.pg_inherits i WHERE i.inhparent = reach.oid
    UNION ALL SELECT x.indexrelid, false FROM pg_catalog.pg_index x WHERE x.indrelid = reach.oid
    UNION ALL SELECT c.reltoastrelid, false FROM pg_catalog.pg_class c WHERE c.oid = reach.oid AND c.reltoastrelid <> 0
    UNION ALL SELECT d.objid, false FROM pg_catalog.pg_depend d
      WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = reach.oid
        AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
        AND EXISTS (SELECT FROM pg_catalog.pg_class s WHERE s.oid = d.objid AND s.relkind = 'S')
    UNION ALL SELECT k.confrelid, true FROM pg_catalog.pg_constraint k
      WHERE k.conrelid = reach.oid AND k.contype = 'f' AND NOT reach.keys
    UNION ALL SELECT k.conrelid, true FROM pg_catalog.pg_constraint k
      WHERE k.confrelid = reach.oid AND k.contype = 'f' AND NOT reach.keys
  ) AS next(oid, keys)
)
SELECT oid::pg_catalog.int8, keys FROM reach";

/// The locks of this session. Not on the system's own relations (those with lower ids): the server
/// itself comes by them, and a statement that names one is refused by its text.
const LOCKS: &str = "
SELECT relation::pg_catalog.int8, mode, relation::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_locks
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND relation >= 16384";

/// The rows that this transaction has changed so far, by relation. Relation 0 says whether the
/// server counts them at all.
const CHANGED: &str = "
SELECT relid::pg_catalog.int8, relname::pg_catalog.text, n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_xact_all_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
UNION ALL SELECT 0, pg_catalog.current_setting('track_counts'), 0, 0, 0";

/// The first oid that is not of the system's own making.
const FIRST_OWN: i64 = 16384;

/// Tables of the catalog in which TRUNCATE and maintenance change rows, without a new one.
const REWRITTEN: &[&str] = &["pg_class", "pg_index"];

/// Tables of the catalog that maintenance fills.
const STATISTICS: &[&str] = &["pg_statistic", "pg_statistic_ext_data"];

/// Tables of the catalog that hold large objects and whose they are, which statements of the class
/// `other` may be about. A definition that changes an owner there changes another table too.
const LARGE_OBJECTS: &[&str] = &["pg_largeobject", "pg_largeobject_metadata", "pg_shdepend"];

/// What the foreign keys of a table lock in another one, to look a row up.
const LOOKED_UP: &str = "RowShareLock";

/// What a transaction may touch, and what it held before the guest's statement.
pub(super) struct Watch<'a> {
    target: &'a SqlTarget,
    /// Everything of them may be locked.
    whole: BTreeSet<i64>,
    /// Rows may be looked up.
    keys: BTreeSet<i64>,
    before: BTreeSet<(i64, String)>,
    counted: BTreeMap<i64, Changes>,
    /// Whether a statement is itself one that gives a relation new files: TRUNCATE or maintenance.
    rewrites: bool,
}

/// Rows of a relation that were inserted, updated and deleted.
#[derive(Debug, Clone, Default)]
struct Changes {
    relation: String,
    rows: [i64; 3],
}

impl<'a> Watch<'a> {
    /// Begins to watch, inside of the transaction, if the target allows less than everything.
    /// Refuses what the statements may call.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        target: &'a SqlTarget,
        statements: &[&str],
    ) -> Result<Option<Self>, Fault> {
        if !target.is_narrowed() {
            return Ok(None);
        }
        let rewrites = statements.iter().any(|statement| rewrites(statement));
        let (whole, keys, before, counted) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut watch = Self { target, whole, keys, before, counted, rewrites };
        watch.learn(connection).await?;
        if target.relations.is_some() {
            let allowed: Vec<i64> = watch.whole.iter().copied().collect();
            reachable::refuse(connection, statements, &allowed).await?;
        }
        // A session that a pooler hands on may still have counts of an earlier transaction.
        watch.counted = changed(connection).await?;
        watch.before = watch
            .locks(connection)
            .await?
            .into_iter()
            .map(|(relation, mode, _)| (relation, mode))
            .collect();
        Ok(Some(watch))
    }

    /// Refuses what was touched and is not allowed. Ask this before the transaction ends, and
    /// before rows are handed on.
    pub(super) async fn judge(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        self.judge_changes(connection).await?;
        if self.target.relations.is_none() {
            return Ok(());
        }
        let locks = self.locks(connection).await?;
        // What was made meanwhile may have a name that is allowed; what was dropped had one before.
        self.learn(connection).await?;
        for (relation, mode, name) in locks {
            let is_allowed = self.before.contains(&(relation, mode.clone()))
                || self.whole.contains(&relation)
                || (self.keys.contains(&relation) && mode == LOOKED_UP);
            if !is_allowed {
                let message = format!(
                    "the statement touched `{name}` ({mode}), by its own words or by a view, \
                     function or trigger, and `relations` of the target do not name it"
                );
                return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
            }
        }
        Ok(())
    }

    async fn judge_changes(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let Some(allowed) = &self.target.statements else { return Ok(()) };
        if allowed.contains(&StatementClass::Define) {
            return Ok(());
        }
        for (relation, Changes { relation: name, rows }) in changed(connection).await? {
            let before = self.counted.get(&relation).map_or([0; 3], |changes| changes.rows);
            let rows = [rows[0] - before[0], rows[1] - before[1], rows[2] - before[2]];
            let needed = if relation < FIRST_OWN {
                self.class_of_catalog(&name, rows)
            } else {
                class_of_rows(rows, allowed)
            };
            if let Some(class) = needed.filter(|class| !allowed.contains(class)) {
                let message = format!(
                    "the statement changed `{name}` as `{}` does, by its own words or by a \
                     function or trigger, and `statements` of the target do not name that class",
                    class.name()
                );
                return Err(Fault::new(FaultClass::Denied, "sql.statement", message));
            }
        }
        Ok(())
    }

    /// The class of a change to rows of a table of the catalog.
    fn class_of_catalog(&self, name: &str, rows: [i64; 3]) -> Option<StatementClass> {
        let is_in_place = rows[0] == 0 && rows[2] == 0;
        if rows == [0; 3] || (self.rewrites && is_in_place && REWRITTEN.contains(&name)) {
            None
        } else if STATISTICS.contains(&name) {
            Some(StatementClass::Maintain)
        } else if LARGE_OBJECTS.contains(&name) {
            Some(StatementClass::Other)
        } else {
            Some(StatementClass::Define)
        }
    }

    async fn learn(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        let names = self.target.relations.clone().unwrap_or_default();
        let found = sqlx::query(ALLOWED)
            .bind(names)
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(|e| fault_of(&e))?;
        for row in found {
            let (Ok(relation), Ok(keys)) = (row.try_get::<i64, _>(0), row.try_get::<bool, _>(1))
            else {
                return Err(unreadable());
            };
            if keys {
                self.keys.insert(relation)
            } else {
                self.whole.insert(relation)
            };
        }
        Ok(())
    }

    async fn locks(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(i64, String, String)>, Fault> {
        let found = sqlx::query(LOCKS)
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(|error| fault_of(&error))?;
        let read = |row: &PgRow| -> Result<_, sqlx::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
        };
        found.iter().map(|row| read(row).map_err(|_| unreadable())).collect()
    }
}

/// The first class of changes to the rows of a table that is not allowed.
fn class_of_rows(rows: [i64; 3], allowed: &[StatementClass]) -> Option<StatementClass> {
    let classes = [StatementClass::Insert, StatementClass::Update, StatementClass::Delete];
    classes
        .into_iter()
        .zip(rows)
        .find(|(class, rows)| *rows > 0 && !allowed.contains(class))
        .map(|(class, _)| class)
}

/// Whether a statement's own words give a relation new files or statistics.
fn rewrites(statement: &str) -> bool {
    let is_maintenance = || {
        classify(Dialect::Postgres, statement)
            .is_some_and(|facts| facts.classes.contains(&StatementClass::Maintain))
    };
    words::first(Dialect::Postgres, statement) == "TRUNCATE" || is_maintenance()
}

async fn changed(connection: &mut PgConnection) -> Result<BTreeMap<i64, Changes>, Fault> {
    let found = sqlx::query(CHANGED)
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let changes = Changes {
            relation: row.try_get(1)?,
            rows: [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
        };
        Ok((row.try_get::<i64, _>(0)?, changes))
    };
    let mut changes: BTreeMap<i64, Changes> =
        found.iter().map(|row| read(row).map_err(|_| unreadable())).collect::<Result<_, _>>()?;
    let counts = changes.remove(&0).is_some_and(|setting| setting.relation == "on");
    if counts { Ok(changes) } else { Err(uncounted()) }
}

fn uncounted() -> Fault {
    let message = "`track_counts` is off on the server, so it does not say which rows a statement \
                   changed, which a target with `relations` or `statements` needs: switch it on, \
                   or leave both out and give the step a role that may do no more";
    Fault::new(FaultClass::Denied, "sql.statement", message)
}

fn unreadable() -> Fault {
    let message = "the server does not say what the statement touched, which a target with \
                   `relations` or `statements` needs";
    Fault::new(FaultClass::Denied, "sql.relation", message)
}
