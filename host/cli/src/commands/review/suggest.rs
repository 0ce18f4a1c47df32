//! `runbook review suggest`: the least grant that covers what was used, to be reviewed and written
//! into the runbook.

use super::usage::{self, UsedCall};
use crate::audited;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::{self, Scrutiny};
use crate::ui;
use runbook_authority::targets::{ContainerFilter, Target, TargetKind};
use runbook_report::push_line;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What the runs of a runbook did with one target.
#[derive(Default)]
struct UseOfTarget {
    /// Each call in one line.
    operations: BTreeSet<String>,
    /// Whether it was used at all, also where no call names it: a secret that the host put into a
    /// request.
    was_used: bool,
}

/// Proposes narrower targets that still cover what the runs of a runbook used.
pub(super) fn run(
    context: &Context,
    file: &Path,
    environment: Option<&str>,
) -> Result<ExitStatus, Failure> {
    let prepared = prepare::unlocked(context, file, environment, Scrutiny::Report)?;
    let at = audited::of(&prepared).at;
    let calls: Vec<UsedCall> =
        usage::used_calls(context)?.into_iter().filter(|call| call.at == at).collect();
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
    let mut targets: BTreeMap<String, (Arc<Target>, UseOfTarget)> = BTreeMap::new();
    for site in prepared.sites.values() {
        for grant in site.effective.iter() {
            targets
                .entry(grant.target.name.clone())
                .or_insert_with(|| (Arc::clone(&grant.target), UseOfTarget::default()));
        }
    }
    for call in &calls {
        let Some((_, site)) = prepared.sites.iter().find(|(id, _)| id.as_str() == call.step) else {
            continue;
        };
        for slot in std::iter::once(&call.slot).chain(&call.secrets) {
            let Some(grant) = site.effective.get(slot) else { continue };
            let Some((_, of_target)) = targets.get_mut(&grant.target.name) else { continue };
            of_target.was_used = true;
            if *slot == call.slot {
                of_target.operations.insert(call.operation.clone());
            }
        }
    }
    let written: String = prepared.runbook.sources.iter().map(|source| source.text()).collect();
    let mut text = String::new();
    for (target, of_target) in targets.values() {
        push_proposal(&mut text, target, of_target, &written);
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

/// The lines to add to one target, with its place; nothing if there is nothing to add.
fn push_proposal(text: &mut String, target: &Target, of_target: &UseOfTarget, written: &str) {
    let lines = if of_target.was_used {
        proposal(target, &of_target.operations, written)
    } else {
        vec!["# never used: remove it and what is bound to it".to_owned()]
    };
    if lines.is_empty() {
        return;
    }
    push_line(text, format_args!("# {}", target.place()));
    push_line(text, format_args!("[targets.{}]", target.name));
    for line in lines {
        push_line(text, format_args!("{line}"));
    }
    text.push('\n');
}

fn proposal(target: &Target, operations: &BTreeSet<String>, written: &str) -> Vec<String> {
    let behind = |prefix: &str| -> BTreeSet<&str> {
        operations.iter().filter_map(|line| line.strip_prefix(prefix)).collect()
    };
    match &target.kind {
        TargetKind::Http(http) => {
            let requested: BTreeSet<&str> =
                operations.iter().filter_map(|line| requested_path(line)).collect();
            let patterns = path_patterns(&requested, written);
            let paths: BTreeSet<&str> = patterns.iter().map(String::as_str).collect();
            let now: BTreeSet<&str> =
                http.paths.iter().map(runbook_authority::pattern::PathPattern::as_str).collect();
            if paths.is_empty() || paths == now {
                Vec::new()
            } else {
                vec![format!("paths = {}", list(&paths))]
            }
        }
        TargetKind::Sql(sql) => {
            let statements = behind("statement ");
            let classes: BTreeSet<&str> =
                statements.iter().filter_map(|line| line.split(' ').next()).collect();
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
            // A statement that may be about every relation, or calls a function that may, cannot be
            // held to some.
            let is_open =
                relations.iter().any(|name| *name == "*" || name.starts_with("function "));
            if !is_open && sql.relations.as_ref().is_none_or(|now| now.len() > relations.len()) {
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
            let said: BTreeSet<String> = behind("server")
                .iter()
                .filter_map(|line| line.split_once(" saying "))
                .filter_map(|(_, said)| serde_json::from_str::<Vec<String>>(said).ok())
                .flatten()
                .collect();
            let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
            if net.send.iter().any(|pattern| pattern.contains('*')) && !said.is_empty() {
                lines.push(format!("send = {}", list(&said)));
            }
            // `A example.com`
            let names: BTreeSet<&str> = behind("lookup ")
                .iter()
                .filter_map(|line| line.split_once(' ').map(|(_, name)| name))
                .collect();
            if net.names.iter().any(|pattern| pattern.contains('*')) && !names.is_empty() {
                lines.push(format!("names = {}", list(&names)));
            }
            lines
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

/// The paths to allow. A part of a path that no text of the runbook names, and that looks like an
/// id or stood in several forms at the same place, was made by a run or a server: another run has
/// another one, so the pattern says `*` there.
fn path_patterns(requested: &BTreeSet<&str>, written: &str) -> BTreeSet<String> {
    let split: Vec<Vec<&str>> = requested.iter().map(|path| path.split('/').collect()).collect();
    let varies = |path: &[&str], index: usize| {
        let rest_is_the_same = |other: &&Vec<&str>| {
            other.len() == path.len()
                && (0..path.len()).all(|at| at == index || other[at] == path[at])
        };
        split
            .iter()
            .filter(rest_is_the_same)
            .any(|other| other[index] != path[index] && !is_written(other[index], written))
    };
    let pattern = |path: &Vec<&str>| {
        let part = |(index, part): (usize, &&str)| {
            let is_made =
                !is_written(part, written) && (looks_like_an_id(part) || varies(path, index));
            if is_made { "*".to_owned() } else { (*part).to_owned() }
        };
        path.iter().enumerate().map(part).collect::<Vec<_>>().join("/")
    };
    let patterns: BTreeSet<String> = split.iter().map(pattern).collect();
    let is_covered =
        |path: &String| patterns.iter().any(|other| other != path && covers(other, path));
    patterns.iter().filter(|path| !is_covered(path)).cloned().collect()
}

/// Whether a path with `*` in it lets another one through.
fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(wanted, part)| *wanted == "*" || wanted == part)
}

/// Whether a text of the runbook names this part of a path: as the whole of a part, or as the whole
/// of a value. `7` is not named by `port = 8775`, nor by `[200, 7]`.
fn is_written(part: &str, written: &str) -> bool {
    let begins = |before: &str| before.ends_with(['/', '"', '\'']);
    let ends = |behind: &str| behind.starts_with(['/', '"', '\'', '?', '#', '\n', '\r']);
    part.is_empty()
        || written
            .match_indices(part)
            .any(|(at, _)| begins(&written[..at]) && ends(&written[at + part.len()..]))
}

/// Whether a part of a path looks like what a program makes: it has a digit, or is long.
fn looks_like_an_id(part: &str) -> bool {
    part.len() >= 20 || part.chars().any(|c| c.is_ascii_digit())
}

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
        let written = "http = \"https://h/v2\"\npath = \"/v2/health\"\n\
             a = \"/users/things/session/orders/lines\"";
        let patterns = path_patterns(&requested, written);
        let expected =
            ["/orders/*/lines/*", "/session", "/things", "/things/*", "/users/*", "/v2/health"];
        assert_eq!(patterns.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_id_is_not_named_by_a_number_that_holds_it() {
        for written in [
            "port = 8775",
            "expect = [200, 7]",
            "# 7 days",
            "timeout = \"75s\"",
            "path = \"/v7/x\"",
            "a = 7",
        ] {
            assert_eq!(
                path_patterns(&BTreeSet::from(["/session/7"]), written),
                BTreeSet::from(["/session/*".to_owned()]),
                "{written}"
            );
        }
        for written in [
            "path = \"/session/7\"",
            "id = \"7\"",
            "id = '7'",
            "path = \"/session/7?x\"",
            "\"\"\"\nGET /session/7\n\"\"\"",
        ] {
            assert_eq!(
                path_patterns(&BTreeSet::from(["/session/7"]), written),
                BTreeSet::from(["/session/7".to_owned()]),
                "{written}"
            );
        }
    }

    #[test]
    fn what_a_pattern_lets_through_is_not_proposed_beside_it() {
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
