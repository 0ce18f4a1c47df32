//! The rules of a filter of system calls: which calls they match.

use seccompiler::{Error, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::BTreeMap;

/// The number of a system call.
pub(crate) type Number = libc::c_long;

/// For each call, the rules of which one must match; without rules, every call of it matches.
pub(crate) type Rules = BTreeMap<Number, Vec<SeccompRule>>;

/// The rule that matches a call if all these comparisons of its arguments hold: the position of the
/// argument, the operator and the value.
pub(crate) fn rule_if_all(
    comparisons: impl IntoIterator<Item = (u8, SeccompCmpOp, u64)>,
) -> Result<SeccompRule, Error> {
    let mut conditions = Vec::new();
    for (position, op, value) in comparisons {
        // The kernel reads 32 bits of each of these arguments.
        conditions.push(SeccompCondition::new(position, SeccompCmpArgLen::Dword, op, value)?);
    }
    Ok(SeccompRule::new(conditions)?)
}
