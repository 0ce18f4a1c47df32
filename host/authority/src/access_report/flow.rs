//! Flow: which secrets, rows, files and container data can reach which destinations, inside one
//! call and across steps.
//!
//! A plugin can send whatever it reads wherever it may write, so inside one call everything
//! readable flows to everything writable. The output of a step flows to every step whose input
//! refers to it. These are possible flows, not observed ones.

use super::SourceLocation;
use crate::capability::{Risk, Verb};
use crate::grant::{Effective, Grant};
use crate::targets::{HttpBase, HttpTarget, NetTarget, SecretForm, Target, TargetKind};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What kind of data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A secret in plain text.
    Revealed,
    /// A secret that the host puts in its place, unseen by the plugin.
    Placed,
    /// Rows of a database.
    Rows,
    /// The content of files that a step may read.
    Files,
    /// Logs, output and descriptions of containers.
    Containers,
    /// Output of a program.
    Program,
    /// Responses of a service, or of a resolver.
    Responses,
}

/// What a [`Flow`] ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// A service that a step may send to, or a server that it may say lines of its own to, or the
    /// name servers of names of its own.
    Network,
    /// A program on this host, or in a container.
    Program,
    /// A database that a step may write to.
    Database,
    /// Files that a step may write.
    Files,
    /// Log, journal and reports of the run.
    Log,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct End<K> {
    /// What kind of source or sink it is.
    pub kind: K,
    /// What it is, in a few words.
    pub what: String,
    /// The target, where there is one.
    pub place: Option<SourceLocation>,
}

/// One thing that can reach another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flow {
    /// How much harm it can do.
    pub risk: Risk,
    /// The data that can flow.
    pub source: End<SourceKind>,
    /// Where the data can go.
    pub sink: End<SinkKind>,
    /// The calls that it takes: the one that reads first, the one that writes last.
    pub steps: Vec<String>,
}

/// What the flow of one call depends on.
#[derive(Debug, Clone, Copy)]
pub struct FlowStep<'a> {
    /// The id of the step.
    pub step: &'a str,
    /// What the step is granted.
    pub effective: &'a Effective,
    /// The steps whose output its input refers to.
    pub inputs_from: &'a BTreeSet<String>,
}

const SOURCES: &[(SourceKind, &str)] = &[
    (SourceKind::Revealed, "the plain text of"),
    (SourceKind::Placed, "the value of"),
    (SourceKind::Rows, "rows of"),
    (SourceKind::Files, "files of"),
    (SourceKind::Containers, "data of"),
    (SourceKind::Program, "output of"),
    (SourceKind::Responses, "responses of"),
];

impl Flow {
    /// ``rows of database orders can reach https://hooks.example by `query`, `post` ``
    pub fn sentence(&self) -> String {
        let kind = SOURCES
            .iter()
            .find(|(kind, _)| *kind == self.source.kind)
            .map_or("", |(_, words)| *words);
        let steps: Vec<_> = self.steps.iter().map(|step| format!("`{step}`")).collect();
        let verb = if self.source.kind == SourceKind::Placed {
            "is sent, unseen by the plugin, to"
        } else {
            "can reach"
        };
        format!(
            "{kind} {} {verb} {} by {}",
            self.source.what,
            self.sink.what,
            steps.join(", then ")
        )
    }
}

/// Steps so that each comes after those whose output it is given. They may stand in the file the
/// other way round, so this does not recurse.
fn in_order<'s, 'a>(steps: &'s [FlowStep<'a>]) -> Vec<&'s FlowStep<'a>> {
    enum Visit<'s, 'a> {
        Begin(&'s FlowStep<'a>),
        End(&'s FlowStep<'a>),
    }
    let by_name: BTreeMap<&str, &FlowStep<'_>> =
        steps.iter().map(|step| (step.step, step)).collect();
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    let mut open: Vec<_> = steps.iter().rev().map(Visit::Begin).collect();
    while let Some(visit) = open.pop() {
        match visit {
            Visit::Begin(step) if seen.insert(step.step) => {
                open.push(Visit::End(step));
                let earlier = step
                    .inputs_from
                    .iter()
                    .rev()
                    .filter_map(|earlier| by_name.get(earlier.as_str()));
                open.extend(earlier.copied().map(Visit::Begin));
            }
            Visit::Begin(_) => {}
            Visit::End(step) => order.push(step),
        }
    }
    order
}

/// The steps through which data came. A step that hands data on adds itself to the trail of the
/// step before it, without a copy.
#[derive(Debug)]
struct StepTrail<'a> {
    step: &'a str,
    before: Option<Rc<Self>>,
    steps: usize,
}

impl<'a> StepTrail<'a> {
    fn begin(step: &'a str) -> Rc<Self> {
        Rc::new(Self { step, before: None, steps: 1 })
    }

    fn on(before: &Rc<Self>, step: &'a str) -> Rc<Self> {
        Rc::new(Self { step, before: Some(Rc::clone(before)), steps: before.steps + 1 })
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::iter::successors(Some(self), |way| way.before.as_deref())
            .map(|way| way.step.to_owned())
            .collect();
        names.reverse();
        names
    }
}

impl Drop for StepTrail<'_> {
    /// Iterative, because a path may be longer than the stack allows.
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(mut way) = before.and_then(Rc::into_inner) {
            before = way.before.take();
        }
    }
}

/// Every flow of a runbook, the riskiest first.
pub fn flows<'a>(steps: &[FlowStep<'a>]) -> Vec<Flow> {
    // What each step's output may hold, and by which steps it came.
    let mut outputs: BTreeMap<&str, BTreeMap<End<SourceKind>, Rc<StepTrail<'a>>>> = BTreeMap::new();
    let mut shortest: BTreeMap<(End<SourceKind>, End<SinkKind>), Rc<StepTrail<'a>>> =
        BTreeMap::new();
    // The shortest way stands for all: that there is one is what matters.
    let mut add = |source: &End<SourceKind>, sink: &End<SinkKind>, way: &Rc<StepTrail<'a>>| {
        let known =
            shortest.entry((source.clone(), sink.clone())).or_insert_with(|| Rc::clone(way));
        if way.steps < known.steps {
            *known = Rc::clone(way);
        }
    };
    for step in in_order(steps) {
        let own = StepTrail::begin(step.step);
        let mut readable: BTreeMap<_, _> =
            sources(step.effective).into_iter().map(|source| (source, Rc::clone(&own))).collect();
        for earlier in step.inputs_from {
            for (source, way) in outputs.get(earlier.as_str()).into_iter().flatten() {
                readable.entry(source.clone()).or_insert_with(|| StepTrail::on(way, step.step));
            }
        }
        let sinks = sinks(step.effective);
        for (source, way) in &readable {
            for sink in &sinks {
                // Sending data back to its source reveals nothing.
                if sink.place != source.place || sink.what != source.what {
                    add(source, sink, way);
                }
            }
        }
        for (source, sink) in step.effective.iter().flat_map(|grant| placed(grant, step)) {
            add(&source, &sink, &own);
        }
        outputs.insert(step.step, readable);
    }
    let flow = |((source, sink), way): ((End<SourceKind>, End<SinkKind>), Rc<StepTrail<'a>>)| {
        Flow { risk: risk(source.kind, sink.kind), source, sink, steps: way.names() }
    };
    let mut flows: Vec<_> = shortest.into_iter().map(flow).collect();
    flows.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.cmp(b)));
    flows
}

fn risk(source: SourceKind, sink: SinkKind) -> Risk {
    match (source, sink) {
        (SourceKind::Revealed, SinkKind::Network | SinkKind::Program) => Risk::Critical,
        (SourceKind::Revealed, SinkKind::Database | SinkKind::Files | SinkKind::Log)
        | (SourceKind::Rows | SourceKind::Files | SourceKind::Containers, SinkKind::Network) => {
            Risk::High
        }
        (
            SourceKind::Rows | SourceKind::Files | SourceKind::Containers,
            SinkKind::Program | SinkKind::Log,
        )
        | (SourceKind::Program, SinkKind::Network) => Risk::Medium,
        (
            SourceKind::Rows | SourceKind::Files | SourceKind::Containers,
            SinkKind::Database | SinkKind::Files,
        )
        | (SourceKind::Program | SourceKind::Responses | SourceKind::Placed, _) => Risk::Low,
    }
}

fn sources(effective: &Effective) -> BTreeSet<End<SourceKind>> {
    let lent = lent(effective).map(|target| End {
        kind: SourceKind::Rows,
        what: target.describe(),
        place: Some(SourceLocation::of(target)),
    });
    effective
        .iter()
        .flat_map(|grant| grant.verbs.iter().filter_map(|verb| source(grant, *verb)))
        .chain(lent)
        .collect()
}

/// Databases to which a program is connected: it reads and writes there, and its output goes to the
/// plugin.
fn lent(effective: &Effective) -> impl Iterator<Item = &Target> {
    effective.iter().filter_map(|grant| effective.lent(grant)).map(AsRef::as_ref)
}

fn source(grant: &Grant, verb: Verb) -> Option<End<SourceKind>> {
    let kind = match verb {
        Verb::HttpGet
        | Verb::HttpHead
        | Verb::HttpPost
        | Verb::HttpPut
        | Verb::HttpPatch
        | Verb::HttpDelete
        | Verb::NetConnect
        | Verb::NetInspectTls
        | Verb::NetLookup => SourceKind::Responses,
        Verb::SqlQuery | Verb::SqlBackup => SourceKind::Rows,
        Verb::FilesRead => SourceKind::Files,
        Verb::DockerList
        | Verb::DockerInspect
        | Verb::DockerLogs
        | Verb::DockerStats
        | Verb::DockerExec => SourceKind::Containers,
        Verb::ProcessRun | Verb::ProcessInspect => SourceKind::Program,
        Verb::SecretsReveal => SourceKind::Revealed,
        Verb::SqlExecute
        | Verb::SqlTransaction
        | Verb::SqlRestore
        | Verb::FilesWrite
        | Verb::FilesRemove
        | Verb::DockerStart
        | Verb::DockerStop
        | Verb::DockerRestart
        | Verb::DockerPull
        | Verb::DockerTag
        | Verb::DockerCreate
        | Verb::DockerRemove
        | Verb::DockerPrune
        | Verb::SecretsDescribe
        | Verb::SecretsUse
        | Verb::SystemRead
        | Verb::StateRead
        | Verb::StateWrite => return None,
    };
    Some(End {
        kind,
        what: grant.target.describe(),
        place: Some(SourceLocation::of(&grant.target)),
    })
}

fn sinks(effective: &Effective) -> BTreeSet<End<SinkKind>> {
    let log = End {
        kind: SinkKind::Log,
        what: "the run's log, journal and reports".to_owned(),
        place: None,
    };
    let granted =
        effective.iter().flat_map(|grant| grant.verbs.iter().filter_map(|verb| sink(grant, *verb)));
    let lent = lent(effective).map(|target| End {
        kind: SinkKind::Database,
        what: target.describe(),
        place: Some(SourceLocation::of(target)),
    });
    granted.chain(lent).chain(std::iter::once(log)).collect()
}

fn sink(grant: &Grant, verb: Verb) -> Option<End<SinkKind>> {
    let kind = match verb {
        // A path and its query carry data as well as a body does.
        Verb::HttpGet
        | Verb::HttpHead
        | Verb::HttpPost
        | Verb::HttpPut
        | Verb::HttpPatch
        | Verb::HttpDelete => SinkKind::Network,
        // A line that the plugin chooses reaches the server, and a name whoever serves names.
        Verb::NetConnect if grant.target.net().is_some_and(NetTarget::says_what_it_likes) => {
            SinkKind::Network
        }
        Verb::NetLookup if grant.target.net().is_some_and(NetTarget::looks_up_what_it_likes) => {
            SinkKind::Network
        }
        // A statement that only reads still reaches the server, and its log.
        Verb::SqlQuery | Verb::SqlExecute | Verb::SqlTransaction | Verb::SqlRestore => SinkKind::Database,
        Verb::FilesWrite => SinkKind::Files,
        Verb::ProcessRun if grant.target.process().is_some_and(|process| process.network) => {
            SinkKind::Network
        }
        Verb::ProcessRun | Verb::DockerExec | Verb::DockerCreate => SinkKind::Program,
        Verb::SqlBackup
        | Verb::FilesRead
        | Verb::FilesRemove
        // It stores nothing of what it receives.
        | Verb::ProcessInspect
        | Verb::DockerList
        | Verb::DockerInspect
        | Verb::DockerLogs
        | Verb::DockerStats
        | Verb::DockerStart
        | Verb::DockerStop
        | Verb::DockerRestart
        | Verb::DockerPull
        | Verb::DockerTag
        | Verb::DockerRemove
        | Verb::DockerPrune
        | Verb::SecretsDescribe
        | Verb::SecretsUse
        | Verb::SecretsReveal
        | Verb::NetConnect
        | Verb::NetInspectTls
        | Verb::NetLookup
        | Verb::SystemRead
        | Verb::StateRead
        | Verb::StateWrite => return None,
    };
    Some(End {
        kind,
        what: grant.target.identity(),
        place: Some(SourceLocation::of(&grant.target)),
    })
}

/// Secrets that the host itself puts where the target says.
fn placed(grant: &Grant, step: &FlowStep<'_>) -> Vec<(End<SourceKind>, End<SinkKind>)> {
    let kind = match &grant.target.kind {
        TargetKind::Http(_) => SinkKind::Network,
        TargetKind::Sql(_) => SinkKind::Database,
        TargetKind::Process(_) => SinkKind::Program,
        TargetKind::Docker(_)
        | TargetKind::Files(_)
        | TargetKind::Secret(_)
        | TargetKind::Net(_) => {
            return of_positions(grant, step);
        }
    };
    let place = Some(SourceLocation::of(&grant.target));
    let connection = step.effective.lent(grant);
    // An address that is itself a secret is known to the host alone, so sending it there reveals
    // nothing.
    let is_address = |secret: &str| {
        let own = |http: &HttpTarget| http.base == HttpBase::Secret(secret.to_owned());
        grant.target.http().is_some_and(own)
    };
    let values = |target: &Target| -> Vec<(String, String)> {
        let sent = target.sent_secrets().into_iter();
        let sent = sent.filter(|sent| sent.form == SecretForm::Value && !is_address(sent.name));
        sent.map(|sent| (sent.name.to_owned(), sent.to)).collect()
    };
    let of_connection = connection.map(|lent| values(lent)).unwrap_or_default();
    let to_program = of_connection.into_iter().map(|(secret, _)| (secret, grant.target.describe()));
    let all = values(&grant.target).into_iter().chain(to_program);
    all.map(|(secret, to)| {
        let what = grant.target.describe_secret(&secret);
        flow_of_secret(what, End { kind, what: to, place: place.clone() })
    })
    .collect()
}

/// Secrets that the plugin may have put into requests on other slots.
fn of_positions(grant: &Grant, step: &FlowStep<'_>) -> Vec<(End<SourceKind>, End<SinkKind>)> {
    let Some(secret) = grant.target.secret() else { return Vec::new() };
    let reached = secret.positions.iter().filter_map(|position| step.effective.get(&position.slot));
    reached
        .map(|http| {
            let sink = End {
                kind: SinkKind::Network,
                what: http.target.describe(),
                place: Some(SourceLocation::of(&http.target)),
            };
            flow_of_secret(grant.target.describe_secret(&secret.secret), sink)
        })
        .collect()
}

fn flow_of_secret(what: String, sink: End<SinkKind>) -> (End<SourceKind>, End<SinkKind>) {
    (End { kind: SourceKind::Placed, what, place: None }, sink)
}
