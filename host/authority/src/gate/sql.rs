//! Judges statements by their classes and the relations that they name.

use super::{Judgment, Rule};
use crate::pattern::{StatementClass, classify};
use crate::targets::SqlTarget;

pub(super) fn judge_statement(target: &SqlTarget, statement: &str) -> Judgment {
    if target.statements.is_none() && target.relations.is_none() {
        return Ok(());
    }
    let Some(facts) = classify(target.dialect(), statement) else {
        return Err((
            Rule::Statement,
            "the target allows only named classes or relations, and this is not one statement that \
             every reader takes alike"
                .to_owned(),
        ));
    };
    let allows = |class: &StatementClass| {
        target.statements.as_ref().is_none_or(|classes| classes.contains(class))
    };
    if let Some(class) = facts.classes.iter().find(|class| !allows(class)) {
        let allowed: Vec<_> =
            target.statements.iter().flatten().map(|class| format!("`{}`", class.name())).collect();
        return Err((
            Rule::Statement,
            format!("a `{}` statement is none of {}", class.name(), allowed.join(", ")),
        ));
    }
    let Some(relations) = &target.relations else { return Ok(()) };
    // A statement that changes something and names no relation (`vacuum`), or that is not
    // understood, may concern every relation.
    let only_reads = facts.classes.iter().all(|class| *class == StatementClass::Select);
    let may_concern_any_relation = facts.classes.contains(&StatementClass::Other)
        || (!only_reads && facts.relations.is_empty());
    if may_concern_any_relation || facts.relations.contains("*") {
        let classes: Vec<_> = facts.classes.iter().map(|class| class.name()).collect();
        let message = format!(
            "a `{}` statement that may be about every relation; the target names relations",
            classes.join("`, `")
        );
        return Err((Rule::Relation, message));
    }
    if let Some(function) =
        facts.relations.iter().find_map(|name| name.strip_prefix(crate::pattern::FUNCTION_PREFIX))
    {
        let message = format!(
            "`{function}` may read any relation, and the target names relations: ask for \
                     what it does by a view that the target names, or leave `relations` out and \
                     give the step a role that may see no more"
        );
        return Err((Rule::Relation, message));
    }
    match facts.relations.iter().find(|relation| !relations.contains(relation)) {
        Some(relation) => {
            Err((Rule::Relation, format!("`{relation}` is not among the target's relations")))
        }
        None => Ok(()),
    }
}
