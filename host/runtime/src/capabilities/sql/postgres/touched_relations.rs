//! Asks the server which relations a statement has touched, before its transaction is committed or
//! its rows are returned.
//!
//! Every relation that a statement uses, directly or by a view, a function, a trigger or a rule, is
//! locked until its transaction ends, and `pg_locks` shows each role the locks of its own session.
//! The target must list each locked relation, or the relation must belong to a listed one:
//! partitions and indexes of a table, the relations that a view reads, and the tables that a
//! foreign key looks up. So a statement is caught even if the parser has misread it. `EXPLAIN` is
//! not used: it omits relations that the plan does not scan, and does not look into functions. The
//! server also counts changed rows, which are compared with the statement classes that the target
//! allows; a definition changes rows of the catalog.
//!
//! The server forgets the locks of a block that is rolled back (a block with EXCEPTION), and some
//! catalog functions need no lock. So [`super::reachable`] checks before which functions a
//! statement may call. One gap remains: the owner of a listed relation may have given it a view, a
//! trigger, a default, a check, a policy or an index that calls a function with such a block;
//! relations that this block reads are not detected.

use super::super::failure::fault_of;
use super::super::words;
use super::reachable;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, StatementClass, classify};
use runbook_authority::targets::SqlTarget;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{BTreeMap, BTreeSet};

/// The relations that the names resolve to now, with the relations that belong to them, and those
/// that foreign keys connect.
const ALLOWED_RELATIONS_QUERY: &str = "
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

/// The locks of this session. Not those on system relations (with lower oids): the server uses them
/// itself, and a statement that names one is refused by its text.
const LOCKS_QUERY: &str = "
SELECT relation::pg_catalog.int8, mode, relation::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_locks
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND relation >= 16384";

/// The numbers of rows that this transaction has changed, by relation. Relation 0 shows whether the
/// server counts them.
const CHANGED_ROWS_QUERY: &str = "
SELECT relid::pg_catalog.int8, relname::pg_catalog.text, n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_xact_all_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
UNION ALL SELECT 0, pg_catalog.current_setting('track_counts'), 0, 0, 0";

/// The first oid of user-defined objects.
const FIRST_USER_OID: i64 = 16384;

/// Catalog tables in which TRUNCATE and maintenance update rows, but insert none.
const REWRITTEN_TABLES: &[&str] = &["pg_class", "pg_index"];

/// Catalog tables that maintenance fills.
const STATISTICS_TABLES: &[&str] = &["pg_statistic", "pg_statistic_ext_data"];

/// Catalog tables of large objects and their owners, which statements of the class `other` may
/// change. A definition that changes an owner also changes another table.
const LARGE_OBJECT_TABLES: &[&str] = &["pg_largeobject", "pg_largeobject_metadata", "pg_shdepend"];

/// The lock mode with which a foreign key looks up a row in another table.
const FOREIGN_KEY_LOCK_MODE: &str = "RowShareLock";

/// The relations that a transaction may touch, and its locks and changes before the guest's
/// statement.
pub(super) struct RelationWatch<'a> {
    target: &'a SqlTarget,
    /// Relations that may be locked in every mode.
    allowed_relations: BTreeSet<i64>,
    /// Relations that may be locked only for foreign key lookups.
    foreign_key_relations: BTreeSet<i64>,
    locks_before: BTreeSet<(i64, String)>,
    changes_before: BTreeMap<i64, RowChanges>,
    /// Whether a statement is TRUNCATE or maintenance, which give a relation new files.
    rewrites: bool,
}

/// Rows of a relation that were inserted, updated and deleted.
#[derive(Debug, Clone, Default)]
struct RowChanges {
    relation: String,
    rows: [i64; 3],
}

impl<'a> RelationWatch<'a> {
    /// Begins to watch the transaction, if the target is narrowed. Refuses statements that may call
    /// functions of the database.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        target: &'a SqlTarget,
        statements: &[&str],
    ) -> Result<Option<Self>, Fault> {
        if !target.is_narrowed() {
            return Ok(None);
        }
        let rewrites = statements.iter().any(|statement| rewrites(statement));
        let (allowed_relations, foreign_key_relations, locks_before, changes_before) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut watch = Self {
            target,
            allowed_relations,
            foreign_key_relations,
            locks_before,
            changes_before,
            rewrites,
        };
        watch.load_allowed(connection).await?;
        if target.relations.is_some() {
            let allowed: Vec<i64> = watch.allowed_relations.iter().copied().collect();
            reachable::refuse(connection, statements, &allowed).await?;
        }
        // A session from a pooler may still have counts of an earlier transaction.
        watch.changes_before = row_changes(connection).await?;
        watch.locks_before = watch
            .locks(connection)
            .await?
            .into_iter()
            .map(|(relation, mode, _)| (relation, mode))
            .collect();
        Ok(Some(watch))
    }

    /// Refuses the statement if it has touched a relation that is not allowed. Call it before the
    /// transaction ends, and before rows are returned.
    pub(super) async fn check(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        self.check_changes(connection).await?;
        if self.target.relations.is_none() {
            return Ok(());
        }
        let locks = self.locks(connection).await?;
        // A relation that was created meanwhile may have an allowed name. Dropped relations are in
        // the set from before.
        self.load_allowed(connection).await?;
        for (relation, mode, name) in locks {
            let is_allowed = self.locks_before.contains(&(relation, mode.clone()))
                || self.allowed_relations.contains(&relation)
                || (self.foreign_key_relations.contains(&relation)
                    && mode == FOREIGN_KEY_LOCK_MODE);
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

    async fn check_changes(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let Some(allowed_classes) = &self.target.statements else { return Ok(()) };
        if allowed_classes.contains(&StatementClass::Define) {
            return Ok(());
        }
        for (relation, RowChanges { relation: name, rows }) in row_changes(connection).await? {
            let rows_before =
                self.changes_before.get(&relation).map_or([0; 3], |changes| changes.rows);
            let rows =
                [rows[0] - rows_before[0], rows[1] - rows_before[1], rows[2] - rows_before[2]];
            let needed_class = if relation < FIRST_USER_OID {
                self.class_of_catalog(&name, rows)
            } else {
                class_of_rows(rows, allowed_classes)
            };
            if let Some(class) = needed_class.filter(|class| !allowed_classes.contains(class)) {
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

    /// The statement class that a change to rows of a catalog table needs.
    fn class_of_catalog(&self, name: &str, rows: [i64; 3]) -> Option<StatementClass> {
        let is_in_place = rows[0] == 0 && rows[2] == 0;
        if rows == [0; 3] || (self.rewrites && is_in_place && REWRITTEN_TABLES.contains(&name)) {
            None
        } else if STATISTICS_TABLES.contains(&name) {
            Some(StatementClass::Maintain)
        } else if LARGE_OBJECT_TABLES.contains(&name) {
            Some(StatementClass::Other)
        } else {
            Some(StatementClass::Define)
        }
    }

    async fn load_allowed(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        let names = self.target.relations.clone().unwrap_or_default();
        let found = sqlx::query(ALLOWED_RELATIONS_QUERY)
            .bind(names)
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(|error| fault_of(&error))?;
        for row in found {
            let (Ok(relation), Ok(is_for_foreign_keys)) =
                (row.try_get::<i64, _>(0), row.try_get::<bool, _>(1))
            else {
                return Err(unreadable_fault());
            };
            if is_for_foreign_keys {
                self.foreign_key_relations.insert(relation)
            } else {
                self.allowed_relations.insert(relation)
            };
        }
        Ok(())
    }

    async fn locks(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(i64, String, String)>, Fault> {
        let found = sqlx::query(LOCKS_QUERY)
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(|error| fault_of(&error))?;
        let read = |row: &PgRow| -> Result<_, sqlx::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
        };
        found.iter().map(|row| read(row).map_err(|_| unreadable_fault())).collect()
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

/// Whether a statement is TRUNCATE or maintenance.
fn rewrites(statement: &str) -> bool {
    let is_maintenance = || {
        classify(Dialect::Postgres, statement)
            .is_some_and(|facts| facts.classes.contains(&StatementClass::Maintain))
    };
    words::first_word(Dialect::Postgres, statement) == "TRUNCATE" || is_maintenance()
}

async fn row_changes(connection: &mut PgConnection) -> Result<BTreeMap<i64, RowChanges>, Fault> {
    let found = sqlx::query(CHANGED_ROWS_QUERY)
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let changes = RowChanges {
            relation: row.try_get(1)?,
            rows: [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
        };
        Ok((row.try_get::<i64, _>(0)?, changes))
    };
    let mut changes: BTreeMap<i64, RowChanges> = found
        .iter()
        .map(|row| read(row).map_err(|_| unreadable_fault()))
        .collect::<Result<_, _>>()?;
    let is_counting = changes.remove(&0).is_some_and(|setting| setting.relation == "on");
    if is_counting { Ok(changes) } else { Err(track_counts_off_fault()) }
}

fn track_counts_off_fault() -> Fault {
    let message = "`track_counts` is off on the server, so it does not say which rows a statement \
                   changed, which a target with `relations` or `statements` needs: switch it on, \
                   or leave both out and give the step a role that may do no more";
    Fault::new(FaultClass::Denied, "sql.statement", message)
}

fn unreadable_fault() -> Fault {
    let message = "the server does not say what the statement touched, which a target with \
                   `relations` or `statements` needs";
    Fault::new(FaultClass::Denied, "sql.relation", message)
}
