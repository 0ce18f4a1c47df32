//! What SQLite asks before it compiles a statement, and what it is answered.
//!
//! Both lists name what is allowed. What SQLite does not name (an `ATTACH` whose file is an expression comes without one) and what a
//! later SQLite may bring is denied.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that only look, whatever their argument. `database_list` is none of them: it tells the host's path.
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

/// Pragmas that change this database, or this connection to it, and nothing else. Not among them: what chooses directories, what
/// holds for the whole process (`hard_heap_limit`), what maps files into its memory, what lets a schema be written as text.
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
const ACTING: &[&str] = &["load_extension", "fts3_tokenizer", "writefile", "readfile", "edit", "fsdir", "lsmode", "zipfile"];

fn verdict(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn is_harmless_function(name: &str) -> bool {
    !ACTING.contains(&name.to_lowercase().as_str())
}

/// Looking at this database.
pub(super) fn may_read(context: AuthContext<'_>) -> Authorization {
    verdict(match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => is_harmless_function(function_name),
        AuthAction::Pragma { pragma_name, pragma_value } => only_looks(&pragma_name.to_lowercase(), pragma_value),
        _ => false,
    })
}

fn only_looks(pragma: &str, value: Option<&str>) -> bool {
    LOOKING.contains(&pragma) || (value.is_none() && LOOKING_WITHOUT_VALUE.contains(&pragma))
}

/// Everything in this database, and nothing outside of it.
pub(super) fn may_write(context: AuthContext<'_>) -> Authorization {
    verdict(match context.action {
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
        AuthAction::CreateVtable { module_name, .. } => MODULES.contains(&module_name.to_lowercase().as_str()),
        AuthAction::Function { function_name } => is_harmless_function(function_name),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let name = pragma_name.to_lowercase();
            only_looks(&name, pragma_value) || CHANGING.contains(&name.as_str())
        }
        // VACUUM attaches a file of its own, which has no name. Anybody else's is held off by the limit of attached databases.
        AuthAction::Attach { filename } => filename.is_empty(),
        _ => false,
    })
}
