//! `runbook review suggest`: proposes the least grant that covers what the runs of a runbook used.

use super::usage::{self, UsedCall};
use crate::audited_runbook;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::{self, Strictness};
use crate::ui;
use runbook_authority::targets::{ContainerFilter, Target, TargetKind};
use runbook_report::push_line;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// How the runs of a runbook used one target.
#[derive(Default)]
struct TargetUse {
    /// Each call in one line.
    operations: BTreeSet<String>,
    /// Whether it was used at all. A secret that the host inserted into a request counts, although
    /// no operation names it.
    was_used: bool,
}

/// Proposes narrower targets that still cover what the runs of a runbook used.
pub(super) fn run(
    context: &Context,
    file: &Path,
    environment: Option<&str>,
) -> Result<ExitStatus, Failure> {
    let prepared = prepare::without_lockfile(context, file, environment, Strictness::Report)?;
    let runbook_key = audited_runbook::of(&prepared).runbook_key;
    let calls: Vec<UsedCall> = usage::used_calls(context)?
        .into_iter()
        .filter(|call| call.runbook_key == runbook_key)
        .collect();
    if calls.is_empty() {
        return Err(Failure::usage(format!(
            "no run of `{}` is in the audit log: nothing to propose",
            file.display()
        ))
        .hint(
            "plans and dry runs do not count; run it first, in all the ways in which it is meant \
               to run",
        ));
    }
    let mut targets: BTreeMap<String, (Arc<Target>, TargetUse)> = BTreeMap::new();
    for site in prepared.sites.values() {
        for grant in site.grants.iter() {
            targets
                .entry(grant.target.name.clone())
                .or_insert_with(|| (Arc::clone(&grant.target), TargetUse::default()));
        }
    }
    for call in &calls {
        let Some((_, site)) = prepared.sites.iter().find(|(id, _)| id.as_str() == call.step) else {
            continue;
        };
        for slot in std::iter::once(&call.slot).chain(&call.secrets) {
            let Some(grant) = site.grants.get(slot) else { continue };
            let Some((_, target_use)) = targets.get_mut(&grant.target.name) else { continue };
            target_use.was_used = true;
            if *slot == call.slot {
                target_use.operations.insert(call.operation.clone());
            }
        }
    }
    let runbook_toml: String =
        prepared.runbook.sources.iter().map(|source| source.text()).collect();
    let mut text = String::new();
    for (target, target_use) in targets.values() {
        push_proposal(&mut text, target, target_use, &runbook_toml);
    }
    if text.is_empty() {
        text.push_str("nothing can be narrower: every limit that a target has was needed");
    } else {
        text.push_str(
            "# Runs that are not in the log may need more: a path, a statement or a container that \
             only a failure uses.",
        );
    }
    ui::data(&text)?;
    Ok(ExitStatus::Success)
}

/// Adds the proposal for one target, with its location, if there is one.
fn push_proposal(text: &mut String, target: &Target, target_use: &TargetUse, runbook_toml: &str) {
    let lines = if target_use.was_used {
        proposal(target, &target_use.operations, runbook_toml)
    } else {
        vec!["# never used: remove it and what is bound to it".to_owned()]
    };
    if lines.is_empty() {
        return;
    }
    push_line(text, format_args!("# {}", target.location()));
    push_line(text, format_args!("[targets.{}]", target.name));
    for line in lines {
        push_line(text, format_args!("{line}"));
    }
    text.push('\n');
}

fn proposal(target: &Target, operations: &BTreeSet<String>, runbook_toml: &str) -> Vec<String> {
    let after_prefix = |prefix: &str| -> BTreeSet<&str> {
        operations.iter().filter_map(|line| line.strip_prefix(prefix)).collect()
    };
    match &target.kind {
        TargetKind::Http(http) => {
            let requested: BTreeSet<&str> =
                operations.iter().filter_map(|line| requested_path(line)).collect();
            let patterns = path_patterns(&requested, runbook_toml);
            let paths: BTreeSet<&str> = patterns.iter().map(String::as_str).collect();
            let current: BTreeSet<&str> =
                http.paths.iter().map(runbook_authority::pattern::PathPattern::as_str).collect();
            if paths.is_empty() || paths == current {
                Vec::new()
            } else {
                vec![format!("paths = {}", list(&paths))]
            }
        }
        TargetKind::Sql(sql) => {
            let statements = after_prefix("statement ");
            let classes: BTreeSet<&str> =
                statements.iter().filter_map(|line| line.split(' ').next()).collect();
            let relations: BTreeSet<&str> = statements
                .iter()
                .filter_map(|line| line.split_once('[').and_then(|(_, rest)| rest.split_once(']')))
                .flat_map(|(names, _)| names.split(','))
                .filter(|name| !name.is_empty())
                .collect();
            // A statement that the parser did not understand cannot be allowed by class.
            if classes.is_empty() || classes.contains("unread") {
                return Vec::new();
            }
            let mut lines = Vec::new();
            if sql.statements.as_ref().is_none_or(|current| current.len() > classes.len()) {
                lines.push(format!("statements = {}", list(&classes)));
            }
            // Relations cannot be limited if a statement may use any relation, or calls a function
            // that may.
            let is_open =
                relations.iter().any(|name| *name == "*" || name.starts_with("function "));
            if !is_open
                && sql.relations.as_ref().is_none_or(|current| current.len() > relations.len())
            {
                lines.push(format!("relations = {}", list(&relations)));
            }
            lines
        }
        TargetKind::Docker(docker) => {
            let names = after_prefix("container ");
            match (&docker.filter, names.iter().collect::<Vec<_>>().as_slice()) {
                (ContainerFilter::Name(_), _) => Vec::new(),
                (_, [name]) => vec![format!("docker = {{ name = {name:?} }}")],
                (_, _) => Vec::new(),
            }
        }
        TargetKind::Process(process) => {
            let all = after_prefix("arguments ");
            let is_literal = process.arguments.iter().all(|pattern| {
                matches!(pattern, runbook_authority::pattern::ArgumentPattern::Literal(_))
            });
            match all.iter().collect::<Vec<_>>().as_slice() {
                [only] if !is_literal => vec![format!("arguments = {only}")],
                _ => Vec::new(),
            }
        }
        TargetKind::Net(net) => {
            let mut lines = Vec::new();
            let said: BTreeSet<String> = after_prefix("server")
                .iter()
                .filter_map(|line| line.split_once(" saying "))
                .filter_map(|(_, said)| serde_json::from_str::<Vec<String>>(said).ok())
                .flatten()
                .collect();
            let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
            if net.questions.iter().any(|pattern| pattern.contains('*')) && !said.is_empty() {
                lines.push(format!("questions = {}", list(&said)));
            }
            // `A example.com`
            let names: BTreeSet<&str> = after_prefix("lookup ")
                .iter()
                .filter_map(|line| line.split_once(' ').map(|(_, name)| name))
                .collect();
            if net.names.iter().any(|pattern| pattern.contains('*')) && !names.is_empty() {
                lines.push(format!("names = {}", list(&names)));
            }
            lines
        }
        TargetKind::System(system) => {
            let is_open = |patterns: &[String]| patterns.iter().any(|text| text.contains('*'));
            let keys = [
                ("mounts", &system.mounts, after_prefix("mount ")),
                ("processes", &system.processes, after_prefix("process ")),
                ("units", &system.units, after_prefix("unit ")),
            ];
            let proposed = keys.iter().filter(|(_, granted, used)| {
                // A call without a name was given all that the target lists.
                is_open(granted) && !used.is_empty() && !operations.contains("")
            });
            proposed.map(|(key, _, used)| format!("{key} = {}", list(used))).collect()
        }
        TargetKind::Redis(redis) => {
            // `get keys ["a","b"]`, or `info`
            let sent = after_prefix("command ");
            let commands: BTreeSet<&str> = sent
                .iter()
                .filter_map(|line| line.split(" keys ").next()?.split(" on any key").next())
                .collect();
            let is_open = |patterns: Option<&[String]>| {
                patterns.is_none_or(|patterns| patterns.iter().any(|text| text.contains('*')))
            };
            if is_open(redis.commands.as_deref()) && !commands.is_empty() {
                vec![format!("commands = {}", list(&commands))]
            } else {
                Vec::new()
            }
        }
        TargetKind::Files(_)
        | TargetKind::Objects(_)
        | TargetKind::Secret(_)
        | TargetKind::Mail(_) => Vec::new(),
    }
}

/// The path in an operation such as `GET /a?… +accept`.
fn requested_path(line: &str) -> Option<&str> {
    let (method, rest) = line.split_once(' ')?;
    let is_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
    let path = rest.split([' ', '?']).next()?;
    (is_method && path.starts_with('/')).then_some(path)
}

/// The paths to allow. A part of a path becomes `*` if no text of the runbook contains it, and it
/// looks like an id or differs between requests: other runs will have another value there.
fn path_patterns(requested: &BTreeSet<&str>, runbook_toml: &str) -> BTreeSet<String> {
    let split_paths: Vec<Vec<&str>> =
        requested.iter().map(|path| path.split('/').collect()).collect();
    let varies = |path: &[&str], index: usize| {
        let rest_is_the_same = |other: &&Vec<&str>| {
            other.len() == path.len()
                && (0..path.len())
                    .all(|position| position == index || other[position] == path[position])
        };
        split_paths
            .iter()
            .filter(rest_is_the_same)
            .any(|other| other[index] != path[index] && !is_written(other[index], runbook_toml))
    };
    let pattern = |path: &Vec<&str>| {
        let part = |(index, part): (usize, &&str)| {
            let is_variable =
                !is_written(part, runbook_toml) && (looks_like_id(part) || varies(path, index));
            if is_variable { "*".to_owned() } else { (*part).to_owned() }
        };
        path.iter().enumerate().map(part).collect::<Vec<_>>().join("/")
    };
    let patterns: BTreeSet<String> = split_paths.iter().map(pattern).collect();
    let is_covered =
        |path: &String| patterns.iter().any(|other| other != path && covers(other, path));
    patterns.iter().filter(|path| !is_covered(path)).cloned().collect()
}

/// Whether a pattern with `*` matches a path.
fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(wanted, part)| *wanted == "*" || wanted == part)
}

/// Whether a text of the runbook contains this part of a path as a whole part of a path or as a
/// whole string. `7` is not in `port = 8775`, nor in `[200, 7]`.
fn is_written(part: &str, runbook_toml: &str) -> bool {
    let is_start = |before: &str| before.ends_with(['/', '"', '\'']);
    let is_end = |after: &str| after.starts_with(['/', '"', '\'', '?', '#', '\n', '\r']);
    part.is_empty()
        || runbook_toml.match_indices(part).any(|(position, _)| {
            is_start(&runbook_toml[..position]) && is_end(&runbook_toml[position + part.len()..])
        })
}

/// Whether a part of a path looks like a generated id: it has a digit, or is long.
fn looks_like_id(part: &str) -> bool {
    part.len() >= 20 || part.chars().any(|c| c.is_ascii_digit())
}

/// The words as a TOML array.
fn list(words: &BTreeSet<&str>) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_run_made_is_never_proposed_as_a_path() {
        let requested = BTreeSet::from([
            "/session",
            "/things",
            "/things/062bd806",
            "/things/6e5a1134",
            "/orders/0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f/lines/17",
            "/users/grace",
            "/users/linus",
            "/v2/health",
        ]);
        let runbook_toml = "http = \"https://h/v2\"\npath = \"/v2/health\"\n\
             a = \"/users/things/session/orders/lines\"";
        let patterns = path_patterns(&requested, runbook_toml);
        let expected =
            ["/orders/*/lines/*", "/session", "/things", "/things/*", "/users/*", "/v2/health"];
        assert_eq!(patterns.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_number_that_contains_an_id_does_not_name_it() {
        for runbook_toml in [
            "port = 8775",
            "expect = [200, 7]",
            "# 7 days",
            "timeout = \"75s\"",
            "path = \"/v7/x\"",
            "a = 7",
        ] {
            assert_eq!(
                path_patterns(&BTreeSet::from(["/session/7"]), runbook_toml),
                BTreeSet::from(["/session/*".to_owned()]),
                "{runbook_toml}"
            );
        }
        for runbook_toml in [
            "path = \"/session/7\"",
            "id = \"7\"",
            "id = '7'",
            "path = \"/session/7?x\"",
            "\"\"\"\nGET /session/7\n\"\"\"",
        ] {
            assert_eq!(
                path_patterns(&BTreeSet::from(["/session/7"]), runbook_toml),
                BTreeSet::from(["/session/7".to_owned()]),
                "{runbook_toml}"
            );
        }
    }

    #[test]
    fn a_path_that_a_proposed_pattern_matches_is_not_proposed_too() {
        let requested = BTreeSet::from([
            "/things/062bd806",
            "/things/6e5a1134",
            "/things/new",
            "/things",
            "/things/new/1x",
        ]);
        let patterns = path_patterns(&requested, "path = \"/things/new\"");
        assert_eq!(
            patterns,
            BTreeSet::from([
                "/things".to_owned(),
                "/things/*".to_owned(),
                "/things/new/*".to_owned()
            ])
        );
    }
}
