//! `runbook doctor --targets FILE`: tries each target of a runbook, and changes nothing.

use crate::audit_log::{AuditWriter, Purpose};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepared::PreparedRunbook;
use crate::secret_source::RunSecrets;
use crate::shared_arguments::ListFormat;
use crate::{execution, prepare, project, ui};
use runbook_authority::capability::Capability;
use runbook_authority::{Grant, VerbEffect};
use runbook_document::Table;
use runbook_engine::RunId;
use runbook_runtime::{ReachRequest, Unreachable, UnreachableReason, reach};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one target may take: name, connection, login and answer together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What one target answered.
enum Verdict {
    /// It answers.
    Answers(String),
    /// It does not answer, or not as it must.
    Unreachable(Unreachable),
    /// It is a gateway, and is tried with the targets behind it.
    Gateway,
    /// No step is bound to it.
    Unbound,
    /// It was not tried, because its secret is not read now.
    Withheld(String),
}

/// One target with its verdict.
struct TriedTarget {
    name: String,
    /// The capability of its kind, such as `http`; `None` if no step is bound to it.
    kind: Option<Capability>,
    /// `file:line` of the target.
    location: String,
    verdict: Verdict,
}

/// Tries each target of a runbook that a step is bound to. The runbook must be valid and within the
/// boundaries, so nothing is tried that a run could not reach.
pub fn run(
    context: &Context,
    file: &Path,
    environment: Option<&str>,
    format: ListFormat,
) -> Result<ExitStatus, Failure> {
    let file = project::find(&context.project, file)?;
    let prepared = prepare::from_file(context, &file, environment)?;
    let tried = try_all(context, &prepared)?;
    match format {
        ListFormat::Text => ui::text(&text(&tried))?,
        ListFormat::Json => tried.iter().try_for_each(|target| ui::json(&line(target)))?,
    }
    let is_unreachable = |target: &TriedTarget| matches!(target.verdict, Verdict::Unreachable(_));
    Ok(if tried.iter().any(is_unreachable) { ExitStatus::Engine } else { ExitStatus::Success })
}

/// Tries all targets at the same time. The result is in the order of the file.
fn try_all(context: &Context, prepared: &PreparedRunbook) -> Result<Vec<TriedTarget>, Failure> {
    let run = RunId::generate();
    let audit = AuditWriter::open(context, prepared, run, Purpose::Preview)?;
    let (_, services) =
        RunSecrets::with_services(context, prepared, &run, Purpose::Preview, audit.sink());
    let requests = requests(prepared, run);
    execution::block_on(async {
        let started: Vec<_> = prepared
            .runbook
            .targets
            .iter()
            .map(|target| {
                let request = requests.get(&target.name.name).cloned();
                let services = services.clone();
                let kind = request.as_ref().and_then(kind_of);
                let answer = request
                    .map(|request| tokio::spawn(async move { reach(&request, services).await }));
                (target, kind, answer)
            })
            .collect();
        let mut tried = Vec::new();
        for (target, kind, answer) in started {
            let verdict = match answer {
                None if is_gateway(&target.table) => Verdict::Gateway,
                None => Verdict::Unbound,
                Some(answer) => match answer.await.map_err(Failure::engine)? {
                    Ok(detail) => Verdict::Answers(detail),
                    Err(why) if why.reason == UnreachableReason::Withheld => {
                        Verdict::Withheld(why.message)
                    }
                    Err(why) => Verdict::Unreachable(why),
                },
            };
            tried.push(TriedTarget {
                name: target.name.name.clone(),
                kind,
                location: target.source.place(&target.name.span),
                verdict,
            });
        }
        Ok(tried)
    })
}

/// Whether a table of `[targets]` is a gateway.
fn is_gateway(table: &Table) -> bool {
    ["ssh", "proxy"].iter().any(|key| table.get(key).is_some())
}

/// What is tried of each target: the slot of a call that is bound to it. A slot with more verbs that
/// read shows more.
fn requests(prepared: &PreparedRunbook, run: RunId) -> BTreeMap<String, ReachRequest> {
    let mut best: BTreeMap<String, (usize, ReachRequest)> = BTreeMap::new();
    for (step, site) in prepared.calls() {
        for grant in site.grants.iter() {
            let reads = verbs_that_read(grant);
            if best.get(&grant.target.name).is_some_and(|(most, _)| *most >= reads) {
                continue;
            }
            let request = ReachRequest {
                grants: Arc::new(site.grants.clone()),
                slot: grant.slot.clone(),
                run: run.to_string(),
                step: step.to_string(),
                timeout: TIMEOUT,
            };
            best.insert(grant.target.name.clone(), (reads, request));
        }
    }
    best.into_iter().map(|(name, (_, request))| (name, request)).collect()
}

fn kind_of(request: &ReachRequest) -> Option<Capability> {
    request.grants.get(&request.slot).map(|grant| grant.target.capability())
}

fn verbs_that_read(grant: &Grant) -> usize {
    grant.verbs.iter().filter(|verb| verb.effect() == VerbEffect::Read).count()
}

/// The table: target, kind, verdict, what answered or what is wrong.
fn text(tried: &[TriedTarget]) -> String {
    if tried.is_empty() {
        return "the file has no targets\n".to_owned();
    }
    let rows: Vec<Vec<String>> = tried
        .iter()
        .map(|target| {
            let (word, detail) = match &target.verdict {
                Verdict::Answers(detail) => ("ok", detail.clone()),
                Verdict::Unreachable(why) => {
                    let Unreachable { reason, message } = why;
                    let help = help(*reason);
                    ("FAIL", format!("{reason}: {message}; {help} ({})", target.location))
                }
                Verdict::Gateway => {
                    ("-", "tried with each target that names it as `via`".to_owned())
                }
                Verdict::Withheld(why) => ("-", format!("not tried: {why}")),
                Verdict::Unbound => ("-", "not tried: no step is bound to it".to_owned()),
            };
            let kind = target.kind.map_or_else(|| "-".to_owned(), |kind| kind.to_string());
            vec![target.name.clone(), kind, word.to_owned(), detail]
        })
        .collect();
    runbook_report::table(&rows) + "\n"
}

/// What to do about a target that does not answer.
fn help(reason: UnreachableReason) -> &'static str {
    match reason {
        UnreachableReason::Name => "look at the name in the target and at the resolver",
        UnreachableReason::Address => "if the address is right, list it in `addresses`",
        UnreachableReason::Connection => "look whether it runs, and whether a firewall is between",
        UnreachableReason::Tls => {
            "look at the certificate or host key, and at what the target trusts"
        }
        UnreachableReason::Credentials => "look at the user and the secret of the target",
        UnreachableReason::Proxy => "look at the proxy, at its rules and at its login",
        UnreachableReason::Timeout => "look whether a firewall drops packets, or it is overloaded",
        UnreachableReason::Busy => "it runs and cannot serve now; look at its own limits and log",
        UnreachableReason::Local => "look at the path in the target and at its permissions",
        UnreachableReason::Withheld => "run it to see",
        UnreachableReason::Other => "see `runbook explain` for the keys of the target",
    }
}

fn line(target: &TriedTarget) -> serde_json::Value {
    let (verdict, reason, detail) = match &target.verdict {
        Verdict::Answers(detail) => ("ok", None, Some(detail.as_str())),
        Verdict::Unreachable(why) => ("fail", Some(why.reason.name()), Some(why.message.as_str())),
        Verdict::Gateway => ("gateway", None, None),
        Verdict::Withheld(why) => {
            ("not-tried", Some(UnreachableReason::Withheld.name()), Some(why.as_str()))
        }
        Verdict::Unbound => ("unbound", None, None),
    };
    json!({
        "target": target.name, "kind": target.kind.map(|kind| kind.to_string()), "location": target.location,
        "verdict": verdict, "reason": reason, "detail": detail,
    })
}
