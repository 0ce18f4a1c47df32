//! Patterns of grants: addresses, paths, arguments, SQL statements and commands of Redis. Every
//! matcher is a pure function that has a result for every input.

mod address;
mod address_block;
mod argument;
mod language;
mod object_key;
mod path;
mod redis;
mod sql;

pub use address::{AddressClass, AddressPolicy};
pub use address_block::{AddressBlock, AddressBlockError};
pub use argument::{ArgumentPattern, first_mismatch};
pub use language::{Language, TooComplex, argument_difference, difference};
pub use object_key::{MAX_OBJECT_KEY, ObjectKeyError, check_object_key, check_object_prefix};
pub(crate) use path::segment_matches as glob;
pub use path::{PathError, PathPattern, canonical_request_path, relative_file_path};
pub(crate) use redis::is_within;
pub use redis::{
    CommandEffect, CommandError, CommandNaming, CommandRow, KeyUse, RedisCommand, ServerFacts,
    ServerKey, command_row, command_rows, shown_command,
};
pub(crate) use sql::FUNCTION_PREFIX;
pub use sql::{
    Dialect, SqlToken, StatementClass, StatementFacts, StatementNames, canonical_relation,
    catalog_reference_types, classify, pure_functions, side_effect_function, split_statements,
    statement_names, syntax_error, words,
};
