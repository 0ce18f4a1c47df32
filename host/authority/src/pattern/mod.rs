//! How grants describe what is allowed: addresses, paths, arguments, statements. Every matcher is
//! total and pure.

mod address;
mod address_block;
mod argument;
mod language;
mod path;
mod sql;

pub use address::{AddressClass, AddressPolicy};
pub use address_block::{AddressBlock, AddressBlockError};
pub use argument::{ArgumentPattern, first_mismatch};
pub use language::{Language, TooComplex, argument_difference, difference};
pub(crate) use path::segment_matches as glob;
pub use path::{PathError, PathPattern, canonical_request_path, relative_file_path};
pub(crate) use sql::FUNCTION;
pub use sql::{
    Dialect, Names, Piece, StatementClass, StatementFacts, acting_word, classify,
    functions_of_arguments, names, not_understood, relation_of, statements_of,
    types_of_catalog_names, words,
};
