//! The authorizer: decides about each action before SQLite compiles a statement.
//!
//! The lists name what is allowed. Everything else is denied: actions whose object SQLite does not
//! name (an `ATTACH` whose file is an expression), and actions of later versions of SQLite.

use runbook_authority::pattern::StatementClass;
use runbook_authority::targets::SqlTarget;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that only read, with any argument. `database_list` is not among them, because it shows a
/// path of the host.
const READ_ONLY_PRAGMAS: &[&str] = &[
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

/// Pragmas that read without an argument, and change something with one.
const PRAGMAS_READ_ONLY_WITHOUT_VALUE: &[&str] = &[
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
    // FTS5 uses it before each search.
    "data_version",
];

/// Pragmas that change only this database or this connection. Not among them: pragmas that choose
/// directories, apply to the whole process (`hard_heap_limit`), map files into memory, or let a
/// schema be written as text.
const CHANGING_PRAGMAS: &[&str] = &[
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

/// Modules of virtual tables that keep their data in this database.
const VIRTUAL_TABLE_MODULES: &[&str] =
    &["fts3", "fts4", "fts5", "fts5vocab", "fts4aux", "rtree", "rtree_i32"];

/// Functions that load code, or write or open a file.
const FORBIDDEN_FUNCTIONS: &[&str] = &[
    "load_extension",
    "fts3_tokenizer",
    "writefile",
    "readfile",
    "edit",
    "fsdir",
    "lsmode",
    "zipfile",
];

/// The `relations` and `statements` of a target. SQLite names each table that a statement accesses,
/// also by a view or a trigger, so the check does not rely on a parser.
pub(super) struct Scope {
    relations: Option<Vec<String>>,
    classes: Option<Vec<StatementClass>>,
}

impl Scope {
    pub(super) fn of(target: &SqlTarget) -> Self {
        // There are no attached databases, so the last part is the name of the relation.
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
        // Definitions change the schema tables.
        if table.starts_with("sqlite_") {
            return true;
        }
        let is_class_allowed = match (&self.classes, class) {
            (Some(classes), Some(class)) => {
                classes.contains(&class) || classes.contains(&StatementClass::Define)
            }
            (Some(_), None) | (None, _) => true,
        };
        is_class_allowed && self.allows_table(table, context.accessor)
    }

    /// Whether a table may be accessed: it is listed, it is read by a listed view, or it is a
    /// shadow table of a listed virtual table.
    fn allows_table(&self, table: &str, view: Option<&str>) -> bool {
        let Some(relations) = &self.relations else { return true };
        let (table, view) = (table.to_lowercase(), view.map(str::to_lowercase));
        relations.iter().any(|name| {
            *name == table
                || view.as_ref() == Some(name)
                || table
                    .strip_prefix(name.as_str())
                    .is_some_and(|part| SHADOW_TABLE_SUFFIXES.contains(&part))
        })
    }
}

/// Suffixes of the names of the shadow tables of FTS and R*Tree.
const SHADOW_TABLE_SUFFIXES: &[&str] = &[
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

fn authorization(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn is_harmless_function(name: &str) -> bool {
    !FORBIDDEN_FUNCTIONS.contains(&name.to_lowercase().as_str())
}

/// Decides about an action of a statement that may only read this database.
pub(super) fn authorize_read(scope: &Scope, context: &AuthContext<'_>) -> Authorization {
    authorization(
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
    READ_ONLY_PRAGMAS.contains(&pragma)
        || (value.is_none() && PRAGMAS_READ_ONLY_WITHOUT_VALUE.contains(&pragma))
}

/// Decides about an action of a statement that may change this database, and nothing outside of it.
pub(super) fn authorize_write(scope: &Scope, context: &AuthContext<'_>) -> Authorization {
    authorization(
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
                    VIRTUAL_TABLE_MODULES.contains(&module_name.to_lowercase().as_str())
                }
                AuthAction::Function { function_name } => is_harmless_function(function_name),
                AuthAction::Pragma { pragma_name, pragma_value } => {
                    let name = pragma_name.to_lowercase();
                    is_read_only_pragma(&name, pragma_value)
                        || CHANGING_PRAGMAS.contains(&name.as_str())
                }
                // VACUUM attaches a temporary file without a name. The limit of attached databases
                // stops all other uses.
                AuthAction::Attach { filename } => filename.is_empty(),
                _ => false,
            },
    )
}
