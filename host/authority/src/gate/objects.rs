//! Keys of objects, below the prefix of a target.

use super::{Judgment, ObjectName, Rule};
use crate::pattern::{MAX_OBJECT_KEY, ObjectKeyError, check_object_key, check_object_prefix};
use crate::targets::ObjectsTarget;

/// Judges the name of an object, or the beginning of the names of those that are listed.
pub(super) fn judge_object(target: &ObjectsTarget, name: ObjectName<'_>) -> Judgment {
    let (checked, text) = match name {
        ObjectName::Key(key) => (check_object_key(key), key),
        ObjectName::Prefix(prefix) => (check_object_prefix(prefix), prefix),
    };
    let is_short = target.prefix.len() + text.len() <= MAX_OBJECT_KEY;
    let checked = checked.and(if is_short { Ok(()) } else { Err(ObjectKeyError::TooLong) });
    checked.map_err(|error| (Rule::Object, format!("`{}`: {error}", text.escape_debug())))
}
