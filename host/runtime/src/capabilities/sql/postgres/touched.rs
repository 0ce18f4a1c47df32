//! What a statement touched, asked of the server before anything of it is kept or handed on.
//!
//! Every relation that a statement names, or that a view, a function, a trigger or a rule reaches for it, is locked until its
//! transaction ends, and `pg_locks` lists the locks of one's own session to every role. What is locked must be named by the target, or
//! belong to what is: the parts of a named table, what a named view reads, and what a foreign key makes the server look up. So a
//! statement that the parser took for another one is found out. `EXPLAIN` would not do: it shows what a plan scans, after views are
//! expanded and what is never scanned is gone, and it knows nothing of functions. Rows that were changed are counted by the server
//! as well, and compared with the classes that the target allows.
//!
//! The server forgets the locks of a block that is rolled back, as one with EXCEPTION is, and a function of the catalog may answer
//! about a relation without a lock. So the gate lets a statement call only functions that read their arguments, and before it runs,
//! the server is asked whether one of its words or operators is a function of somebody's own after all: one that bears the name of
//! such a function, one that is called as the attribute of a row (`o.tells`), or one behind an operator or a cast. What stays is what
//! the owner of a named relation put into it: a view, a trigger, a default, a check, a policy or an index may call a function with a
//! block of this kind, and what that block reads is not seen.

use super::super::failure::fault_of;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, StatementClass, functions_of_arguments, words};
use runbook_authority::targets::SqlTarget;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;

/// The relations that the names stand for now, with all that belongs to them, and those to which foreign keys lead.
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

/// The locks of this session. Not on the system's own relations (those with lower ids): the server itself comes by them, and a
/// statement that names one is refused by its text.
const LOCKS: &str = "
SELECT relation::pg_catalog.int8, mode, relation::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_locks
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND relation >= 16384";

/// Rows that this transaction has changed so far.
const CHANGED: &str = "
SELECT coalesce(pg_catalog.sum(n_tup_ins), 0)::pg_catalog.int8, coalesce(pg_catalog.sum(n_tup_upd), 0)::pg_catalog.int8,
  coalesce(pg_catalog.sum(n_tup_del), 0)::pg_catalog.int8
FROM pg_catalog.pg_stat_xact_all_tables WHERE relid >= 16384";

/// Functions of this database, not of the server, that the words of a statement may call. $1 are its words in lower case, $2 its text,
/// $3 the names of functions that may be called.
const OWN: &str = "
SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND l.lanname NOT IN ('internal', 'c') AND (
  (pg_catalog.lower(p.proname) = ANY ($1) AND (
    pg_catalog.lower(p.proname) = ANY ($3)
    OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE p.pronargs >= 1 AND t.oid = p.proargtypes[0]
      AND (t.typtype IN ('c', 'p') OR t.typtype = 'd'))))
  OR EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oprcode = p.oid AND pg_catalog.strpos($2, o.oprname) > 0)
  OR EXISTS (SELECT FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
    WHERE c.castfunc = p.oid AND (c.castcontext <> 'e' OR pg_catalog.lower(t.typname) = ANY ($1)))
  OR EXISTS (SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc n ON n.oid = a.aggfnoid
    WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn) AND pg_catalog.lower(n.proname) = ANY ($1)))
LIMIT 1";

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
}

impl<'a> Watch<'a> {
    /// Begins to watch, inside of the transaction, if the target allows less than everything. Refuses what the statements may call.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        target: &'a SqlTarget,
        statements: &[&str],
    ) -> Result<Option<Self>, Fault> {
        if !target.is_narrowed() {
            return Ok(None);
        }
        let mut watch = Self { target, whole: BTreeSet::new(), keys: BTreeSet::new(), before: BTreeSet::new() };
        watch.foresee(connection, statements).await?;
        watch.learn(connection).await?;
        watch.before = watch.locks(connection).await?.into_iter().map(|(relation, mode, _)| (relation, mode)).collect();
        Ok(Some(watch))
    }

    /// Refuses statements that may call a function of the database itself, where the target names relations.
    async fn foresee(&self, connection: &mut PgConnection, statements: &[&str]) -> Result<(), Fault> {
        if self.target.relations.is_none() {
            return Ok(());
        }
        let may_be_called: Vec<&str> = functions_of_arguments(Dialect::Postgres).collect();
        for statement in statements {
            let words: Vec<String> = words(statement).collect();
            let asked = sqlx::query(OWN).bind(words).bind(*statement).bind(&may_be_called).persistent(false);
            let found = asked.fetch_optional(&mut *connection).await.map_err(|error| fault_of(&error))?;
            let Some(row) = found else { continue };
            let function: String = row.try_get(0).map_err(|_| unreadable())?;
            let message = format!(
                "the statement may call `{function}`, a function of this database that may read any relation, and the target names relations: ask for what it does by a view that the target names, or leave `relations` out and give the step a role that may see no more"
            );
            return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
        }
        Ok(())
    }

    /// Refuses what was touched and is not allowed. Ask this before the transaction ends, and before rows are handed on.
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
                    "the statement touched `{name}` ({mode}), by its own words or by a view, function or trigger, and `relations` of the target do not name it"
                );
                return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
            }
        }
        Ok(())
    }

    async fn judge_changes(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let Some(allowed) = &self.target.statements else { return Ok(()) };
        let counts = self.changed(connection).await?;
        for (class, count) in [StatementClass::Insert, StatementClass::Update, StatementClass::Delete].into_iter().zip(counts) {
            if count > 0 && !allowed.contains(&class) && !allowed.contains(&StatementClass::Define) {
                let message = format!(
                    "the statement changed rows as `{}` does, by its own words or by a function or trigger, and `statements` of the target do not name that class",
                    class.name()
                );
                return Err(Fault::new(FaultClass::Denied, "sql.statement", message));
            }
        }
        Ok(())
    }

    async fn learn(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        let names = self.target.relations.clone().unwrap_or_default();
        let found = sqlx::query(ALLOWED).bind(names).persistent(false).fetch_all(connection).await.map_err(|e| fault_of(&e))?;
        for row in found {
            let (Ok(relation), Ok(keys)) = (row.try_get::<i64, _>(0), row.try_get::<bool, _>(1)) else {
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

    async fn locks(&self, connection: &mut PgConnection) -> Result<Vec<(i64, String, String)>, Fault> {
        let found = sqlx::query(LOCKS).persistent(false).fetch_all(connection).await.map_err(|error| fault_of(&error))?;
        let read =
            |row: &sqlx::postgres::PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)) };
        found.iter().map(|row| read(row).map_err(|_| unreadable())).collect()
    }

    async fn changed(&self, connection: &mut PgConnection) -> Result<[i64; 3], Fault> {
        let row = sqlx::query(CHANGED).persistent(false).fetch_one(connection).await.map_err(|error| fault_of(&error))?;
        let count = |index: usize| row.try_get::<i64, _>(index).map_err(|_| unreadable());
        Ok([count(0)?, count(1)?, count(2)?])
    }
}

fn unreadable() -> Fault {
    let message = "the server does not say what the statement touched, which a target with `relations` or `statements` needs";
    Fault::new(FaultClass::Denied, "sql.relation", message)
}
