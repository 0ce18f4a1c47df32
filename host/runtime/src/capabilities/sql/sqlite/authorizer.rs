//! Answers what SQLite asks before it compiles a statement.
//!
//! Both lists name what is allowed. What SQLite does not name (an `ATTACH` whose file is an
//! expression comes without one) and what a later SQLite may bring is denied.

use runbook_authority::pattern::StatementClass;
use runbook_authority::targets::SqlTarget;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that only look, with any argument. `database_list` is not among them, because it tells
/// the host's path.
const LOOKING: &[&str] = &[
    "integrity_check",
    "quick_check",
    "foreign_key_check",
    "foreign_key_list",
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "collation_list",
    "function_list",
    "module_list",
    "pragma_list",
    "compile_options",
];

/// Pragmas that look when they have no argument and set something when they have one.
const LOOKING_WITHOUT_VALUE: &[&str] = &[
    "page_count",
    "page_size",
    "freelist_count",
    "user_version",
    "schema_version",
    "application_id",
    "journal_mode",
    "encoding",
    "auto_vacuum",
    "foreign_keys",
    // FTS5 asks it before each search.
    "data_version",
];

/// Pragmas that change this database, or this connection to it, and nothing else. Not among them:
/// what chooses directories, what holds for the whole process (`hard_heap_limit`), what maps files
/// into its memory, what lets a schema be written as text.
const CHANGING: &[&str] = &[
    "analysis_limit",
    "application_id",
    "auto_vacuum",
    "automatic_index",
    "cache_size",
    "case_sensitive_like",
    "defer_foreign_keys",
    "encoding",
    "foreign_keys",
    "ignore_check_constraints",
    "incremental_vacuum",
    "journal_mode",
    "journal_size_limit",
    "legacy_alter_table",
    "optimize",
    "page_size",
    "query_only",
    "recursive_triggers",
    "reverse_unordered_selects",
    "secure_delete",
    "synchronous",
    "user_version",
    "wal_autocheckpoint",
    "wal_checkpoint",
];

/// Modules of virtual tables whose tables lie in this database.
const MODULES: &[&str] = &["fts3", "fts4", "fts5", "fts5vocab", "fts4aux", "rtree", "rtree_i32"];

/// Functions that load code, or write or open a file.
const ACTING: &[&str] = &[
    "load_extension",
    "fts3_tokenizer",
    "writefile",
    "readfile",
    "edit",
    "fsdir",
    "lsmode",
    "zipfile",
];

/// What the target's `relations` and `statements` leave of a database. SQLite names each table that
/// a statement comes to, also by a view or a trigger, so that it is the one who decides.
pub(super) struct Scope {
    relations: Option<Vec<String>>,
    classes: Option<Vec<StatementClass>>,
}

impl Scope {
    pub(super) fn of(target: &SqlTarget) -> Self {
        // An attached database there is none, so the last part is the name.
        let name = |relation: &String| {
            relation.rsplit('.').next().unwrap_or(relation).trim_matches('"').to_owned()
        };
        let relations =
            target.relations.as_ref().map(|relations| relations.iter().map(name).collect());
        Self { relations, classes: target.statements.clone() }
    }

    /// Whether the action stays within the target, for any verb.
    pub(super) fn allows(&self, context: &AuthContext<'_>) -> bool {
        let (table, class) = match context.action {
            AuthAction::Read { table_name, .. } => (table_name, None),
            AuthAction::Insert { table_name } => (table_name, Some(StatementClass::Insert)),
            AuthAction::Update { table_name, .. } => (table_name, Some(StatementClass::Update)),
            AuthAction::Delete { table_name } => (table_name, Some(StatementClass::Delete)),
            _ => return true,
        };
        // A definition writes the schema itself.
        if table.starts_with("sqlite_") {
            return true;
        }
        let by_class = match (&self.classes, class) {
            (Some(classes), Some(class)) => {
                classes.contains(&class) || classes.contains(&StatementClass::Define)
            }
            (Some(_), None) | (None, _) => true,
        };
        by_class && self.names(table, context.accessor)
    }

    /// A view that is named reads for those who read it; a module of a named table keeps its words
    /// in tables beside it.
    fn names(&self, table: &str, view: Option<&str>) -> bool {
        let Some(relations) = &self.relations else { return true };
        let (table, view) = (table.to_lowercase(), view.map(str::to_lowercase));
        relations.iter().any(|name| {
            *name == table
                || view.as_ref() == Some(name)
                || table
                    .strip_prefix(name.as_str())
                    .is_some_and(|part| MODULE_TABLES.contains(&part))
        })
    }
}

/// Ends of the names of the tables in which FTS and R*Tree keep what belongs to one of theirs.
const MODULE_TABLES: &[&str] = &[
    "_content",
    "_data",
    "_idx",
    "_docsize",
    "_config",
    "_segments",
    "_segdir",
    "_stat",
    "_node",
    "_parent",
    "_rowid",
];

fn verdict(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn is_harmless_function(name: &str) -> bool {
    !ACTING.contains(&name.to_lowercase().as_str())
}

/// The answer for a statement that may only look at this database.
pub(super) fn may_read(scope: &Scope, context: &AuthContext<'_>) -> Authorization {
    verdict(
        scope.allows(context)
            && match context.action {
                AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
                AuthAction::Function { function_name } => is_harmless_function(function_name),
                AuthAction::Pragma { pragma_name, pragma_value } => {
                    is_read_only_pragma(&pragma_name.to_lowercase(), pragma_value)
                }
                _ => false,
            },
    )
}

fn is_read_only_pragma(pragma: &str, value: Option<&str>) -> bool {
    LOOKING.contains(&pragma) || (value.is_none() && LOOKING_WITHOUT_VALUE.contains(&pragma))
}

/// Everything in this database, and nothing outside of it.
pub(super) fn may_write(scope: &Scope, context: &AuthContext<'_>) -> Authorization {
    verdict(
        scope.allows(context)
            && match context.action {
                AuthAction::Select
                | AuthAction::Read { .. }
                | AuthAction::Recursive
                | AuthAction::Insert { .. }
                | AuthAction::Update { .. }
                | AuthAction::Delete { .. }
                | AuthAction::CreateIndex { .. }
                | AuthAction::CreateTable { .. }
                | AuthAction::CreateTempIndex { .. }
                | AuthAction::CreateTempTable { .. }
                | AuthAction::CreateTempTrigger { .. }
                | AuthAction::CreateTempView { .. }
                | AuthAction::CreateTrigger { .. }
                | AuthAction::CreateView { .. }
                | AuthAction::DropIndex { .. }
                | AuthAction::DropTable { .. }
                | AuthAction::DropTempIndex { .. }
                | AuthAction::DropTempTable { .. }
                | AuthAction::DropTempTrigger { .. }
                | AuthAction::DropTempView { .. }
                | AuthAction::DropTrigger { .. }
                | AuthAction::DropView { .. }
                | AuthAction::DropVtable { .. }
                | AuthAction::AlterTable { .. }
                | AuthAction::Reindex { .. }
                | AuthAction::Analyze { .. }
                | AuthAction::Transaction { .. }
                | AuthAction::Savepoint { .. } => true,
                AuthAction::CreateVtable { module_name, .. } => {
                    MODULES.contains(&module_name.to_lowercase().as_str())
                }
                AuthAction::Function { function_name } => is_harmless_function(function_name),
                AuthAction::Pragma { pragma_name, pragma_value } => {
                    let name = pragma_name.to_lowercase();
                    is_read_only_pragma(&name, pragma_value) || CHANGING.contains(&name.as_str())
                }
                // VACUUM attaches a file of its own, which has no name. Anybody else's is held off
                // by the limit of attached databases.
                AuthAction::Attach { filename } => filename.is_empty(),
                _ => false,
            },
    )
}
