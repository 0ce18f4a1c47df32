//! `runbook audit tighten`: the least grant that covers what was used, to be reviewed and written into the runbook.

use super::records;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::{self, Scrutiny};
use crate::ui;
use runbook_authority::target::{ContainerFilter, Target, TargetKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Proposes narrower targets.
pub(super) fn run(context: &Context, file: &Path, environment: Option<&str>) -> Result<ExitStatus, Failure> {
    let prepared = prepare::unlocked(context, file, environment, Scrutiny::Report)?;
    let steps: Vec<&str> = prepared.sites.keys().map(runbook_engine::StepId::as_str).collect();
    let used = records::operations(context, &steps, &prepared.runbook.name.value)?;
    if used.is_empty() {
        return Err(Failure::usage(format!("no run of `{}` is in the audit log", prepared.runbook.name.value))
            .hint("run it first, in all the ways in which it is meant to run"));
    }
    let mut targets: BTreeMap<String, (Arc<Target>, BTreeSet<String>)> = BTreeMap::new();
    for site in prepared.sites.values() {
        for grant in site.effective.iter() {
            targets.entry(grant.target.name.clone()).or_insert_with(|| (Arc::clone(&grant.target), BTreeSet::new()));
        }
    }
    for (step, slot, operation) in used {
        let grant = prepared.sites.iter().find(|(id, _)| id.as_str() == step).and_then(|(_, site)| site.effective.get(&slot));
        if let Some((_, operations)) = grant.and_then(|grant| targets.get_mut(&grant.target.name)) {
            operations.insert(operation);
        }
    }
    let mut text = String::new();
    for (target, operations) in targets.values() {
        push_proposal(&mut text, target, operations);
    }
    if text.is_empty() {
        text.push_str("nothing can be narrower: every limit that a target has was needed");
    } else {
        text.push_str(
            "# Runs that are not in the log may need more: a path, a statement or a container that only a failure uses.",
        );
    }
    ui::data(&text)?;
    Ok(ExitStatus::Success)
}

/// The lines to add to one target, with its place; nothing if there is nothing to add.
fn push_proposal(text: &mut String, target: &Target, operations: &BTreeSet<String>) {
    let lines = if operations.is_empty() {
        vec!["# never used: remove it and what is bound to it".to_owned()]
    } else {
        proposal(target, operations)
    };
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "# {}", target.place());
    let _ = writeln!(text, "[targets.{}]", target.name);
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}

fn proposal(target: &Target, operations: &BTreeSet<String>) -> Vec<String> {
    let behind = |prefix: &str| -> BTreeSet<&str> { operations.iter().filter_map(|line| line.strip_prefix(prefix)).collect() };
    match &target.kind {
        TargetKind::Http(http) => {
            let paths: BTreeSet<&str> = operations.iter().filter_map(|line| requested_path(line)).collect();
            let now: BTreeSet<&str> = http.paths.iter().map(runbook_authority::pattern::PathPattern::as_str).collect();
            if paths.is_empty() || paths == now { Vec::new() } else { vec![format!("paths = {}", list(&paths))] }
        }
        TargetKind::Sql(sql) => {
            let statements = behind("statement ");
            let classes: BTreeSet<&str> = statements.iter().filter_map(|line| line.split(' ').next()).collect();
            let relations: BTreeSet<&str> = statements
                .iter()
                .filter_map(|line| line.split_once('[').and_then(|(_, rest)| rest.split_once(']')))
                .flat_map(|(names, _)| names.split(','))
                .filter(|name| !name.is_empty())
                .collect();
            // What the parser could not read cannot be allowed by class.
            if classes.is_empty() || classes.contains("unread") {
                return Vec::new();
            }
            let mut lines = Vec::new();
            if sql.statements.as_ref().is_none_or(|now| now.len() > classes.len()) {
                lines.push(format!("statements = {}", list(&classes)));
            }
            if sql.relations.as_ref().is_none_or(|now| now.len() > relations.len()) {
                lines.push(format!("relations = {}", list(&relations)));
            }
            lines
        }
        TargetKind::Docker(docker) => {
            let names = behind("container ");
            match (&docker.filter, names.iter().collect::<Vec<_>>().as_slice()) {
                (ContainerFilter::Name(_), _) => Vec::new(),
                (_, [name]) => vec![format!("docker = {{ name = {name:?} }}")],
                (_, _) => Vec::new(),
            }
        }
        TargetKind::Process(process) => {
            let all = behind("arguments ");
            let is_literal = process
                .arguments
                .iter()
                .all(|pattern| matches!(pattern, runbook_authority::pattern::ArgumentPattern::Literal(_)));
            match all.iter().collect::<Vec<_>>().as_slice() {
                [only] if !is_literal => vec![format!("arguments = {only}")],
                _ => Vec::new(),
            }
        }
        TargetKind::Files(_) | TargetKind::Secret(_) => Vec::new(),
    }
}

/// The path of `GET /a?… +accept`.
fn requested_path(line: &str) -> Option<&str> {
    let (method, rest) = line.split_once(' ')?;
    let is_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
    let path = rest.split([' ', '?']).next()?;
    (is_method && path.starts_with('/')).then_some(path)
}

fn list(words: &BTreeSet<&str>) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}
