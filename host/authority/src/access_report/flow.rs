//! Flows: which secrets, rows, files and container data can reach which destinations, inside one
//! call and across steps.
//!
//! A plugin can send everything that it reads to every destination that it may write to. The output
//! of a step flows to every step whose input refers to it. These are possible flows, not observed
//! ones.

use super::SourceLocation;
use crate::capability::{Risk, Verb};
use crate::grant::{EffectiveGrants, Grant};
use crate::targets::{HttpBase, HttpTarget, NetTarget, SecretForm, SentSecret, Target, TargetKind};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What kind of data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A secret in plain text.
    #[serde(rename = "revealed")]
    RevealedSecret,
    /// A secret that the host puts into a call. The plugin does not see it.
    #[serde(rename = "placed")]
    InjectedSecret,
    /// Rows of a database.
    Rows,
    /// Objects of a store.
    Objects,
    /// The content of files that a step may read.
    Files,
    /// Logs, output and descriptions of containers.
    Containers,
    /// Output of a program.
    Program,
    /// Responses of a service, or of a resolver.
    Responses,
    /// Facts about this machine: its condition, processes, ports and sessions.
    Machine,
    /// The arguments of processes of this machine.
    MachineTexts,
}

/// What kind of destination data flows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// A service that a step may send to, or a server that it may say lines of its own to, or the
    /// name servers of names of its own.
    Network,
    /// A gateway that can read along, because what goes through it is not encrypted up to a
    /// verified server.
    Gateway,
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
pub struct FlowEndpoint<K> {
    /// What kind of source or sink it is.
    pub kind: K,
    /// What it is, in a few words.
    pub what: String,
    /// Where the target is written, if it is a target.
    pub place: Option<SourceLocation>,
}

/// Data that can reach a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flow {
    /// How much harm it can do.
    pub risk: Risk,
    /// The data that can flow.
    pub source: FlowEndpoint<SourceKind>,
    /// Where the data can go.
    pub sink: FlowEndpoint<SinkKind>,
    /// The ids of the steps that the data passes: the step that reads it first, the step that
    /// writes it last.
    pub steps: Vec<String>,
}

/// One step, for the computation of flows.
#[derive(Debug, Clone, Copy)]
pub struct FlowStep<'a> {
    /// The id of the step.
    pub step: &'a str,
    /// What the step is granted.
    pub grants: &'a EffectiveGrants,
    /// The steps whose output its input refers to.
    pub input_steps: &'a BTreeSet<String>,
}

const SOURCES: &[(SourceKind, &str)] = &[
    (SourceKind::RevealedSecret, "the plain text of"),
    (SourceKind::InjectedSecret, "the value of"),
    (SourceKind::Rows, "rows of"),
    (SourceKind::Objects, "the"),
    (SourceKind::Files, "files of"),
    (SourceKind::Containers, "data of"),
    (SourceKind::Program, "output of"),
    (SourceKind::Responses, "responses of"),
    (SourceKind::Machine, "facts about"),
    (SourceKind::MachineTexts, "arguments of processes of"),
];

impl Flow {
    /// ``rows of database orders can reach https://hooks.example by `query`, `post` ``
    pub fn sentence(&self) -> String {
        let kind = SOURCES
            .iter()
            .find(|(kind, _)| *kind == self.source.kind)
            .map_or("", |(_, words)| *words);
        let steps: Vec<_> = self.steps.iter().map(|step| format!("`{step}`")).collect();
        let verb = if self.source.kind == SourceKind::InjectedSecret {
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

/// The steps in an order in which each follows the steps whose output it gets. In the file, the
/// order may be different. The function is iterative, so that a long chain does not overflow the
/// stack.
fn topological_order<'s, 'a>(steps: &'s [FlowStep<'a>]) -> Vec<&'s FlowStep<'a>> {
    enum Visit<'s, 'a> {
        Begin(&'s FlowStep<'a>),
        End(&'s FlowStep<'a>),
    }
    let steps_by_id: BTreeMap<&str, &FlowStep<'_>> =
        steps.iter().map(|step| (step.step, step)).collect();
    let (mut visited, mut order) = (BTreeSet::new(), Vec::new());
    let mut stack: Vec<_> = steps.iter().rev().map(Visit::Begin).collect();
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Begin(step) if visited.insert(step.step) => {
                stack.push(Visit::End(step));
                let input_step = step
                    .input_steps
                    .iter()
                    .rev()
                    .filter_map(|input_step| steps_by_id.get(input_step.as_str()));
                stack.extend(input_step.copied().map(Visit::Begin));
            }
            Visit::Begin(_) => {}
            Visit::End(step) => order.push(step),
        }
    }
    order
}

/// The steps that data has passed: the last step, and the trail before it, which several trails can
/// share.
#[derive(Debug)]
struct StepTrail<'a> {
    step: &'a str,
    previous: Option<Rc<Self>>,
    length: usize,
}

impl<'a> StepTrail<'a> {
    fn begin(step: &'a str) -> Rc<Self> {
        Rc::new(Self { step, previous: None, length: 1 })
    }

    fn extend(previous: &Rc<Self>, step: &'a str) -> Rc<Self> {
        Rc::new(Self { step, previous: Some(Rc::clone(previous)), length: previous.length + 1 })
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            std::iter::successors(Some(self), |trail| trail.previous.as_deref())
                .map(|trail| trail.step.to_owned())
                .collect();
        names.reverse();
        names
    }
}

impl Drop for StepTrail<'_> {
    /// Iterative, so that a long trail does not overflow the stack.
    fn drop(&mut self) {
        let mut previous = self.previous.take();
        while let Some(mut trail) = previous.and_then(Rc::into_inner) {
            previous = trail.previous.take();
        }
    }
}

/// Every flow of a runbook, the riskiest first.
pub fn flows<'a>(steps: &[FlowStep<'a>]) -> Vec<Flow> {
    // What the output of each step may contain, with the steps that it has passed.
    let mut outputs: BTreeMap<&str, BTreeMap<FlowEndpoint<SourceKind>, Rc<StepTrail<'a>>>> =
        BTreeMap::new();
    let mut shortest_trails: BTreeMap<
        (FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>),
        Rc<StepTrail<'a>>,
    > = BTreeMap::new();
    // Of several trails between the same ends, the shortest one is shown.
    let mut add = |source: &FlowEndpoint<SourceKind>,
                   sink: &FlowEndpoint<SinkKind>,
                   trail: &Rc<StepTrail<'a>>| {
        let shortest_trail = shortest_trails
            .entry((source.clone(), sink.clone()))
            .or_insert_with(|| Rc::clone(trail));
        if trail.length < shortest_trail.length {
            *shortest_trail = Rc::clone(trail);
        }
    };
    for step in topological_order(steps) {
        let own_trail = StepTrail::begin(step.step);
        let mut readable_sources: BTreeMap<_, _> = sources(step.grants)
            .into_iter()
            .map(|source| (source, Rc::clone(&own_trail)))
            .collect();
        for input_step in step.input_steps {
            for (source, trail) in outputs.get(input_step.as_str()).into_iter().flatten() {
                readable_sources
                    .entry(source.clone())
                    .or_insert_with(|| StepTrail::extend(trail, step.step));
            }
        }
        let sinks = sinks(step.grants);
        for (source, trail) in &readable_sources {
            for sink in &sinks {
                // Sending data back to its source reveals nothing.
                if sink.place != source.place || sink.what != source.what {
                    add(source, sink, trail);
                }
            }
        }
        for (source, sink) in step.grants.reviewed().flat_map(|grant| {
            let to_gateway = gateway_secret_flows(grant, step);
            injected_secret_flows(grant, step).into_iter().chain(to_gateway)
        }) {
            add(&source, &sink, &own_trail);
        }
        outputs.insert(step.step, readable_sources);
    }
    let flow = |((source, sink), trail): (
        (FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>),
        Rc<StepTrail<'a>>,
    )| {
        Flow { risk: risk(source.kind, sink.kind), source, sink, steps: trail.names() }
    };
    let mut flows: Vec<_> = shortest_trails.into_iter().map(flow).collect();
    flows.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.cmp(b)));
    flows
}

fn risk(source: SourceKind, sink: SinkKind) -> Risk {
    match (source, sink) {
        (SourceKind::RevealedSecret, SinkKind::Network | SinkKind::Program) => Risk::Critical,
        (
            SourceKind::RevealedSecret,
            SinkKind::Gateway | SinkKind::Database | SinkKind::Files | SinkKind::Log,
        )
        | (
            SourceKind::Rows
            | SourceKind::Objects
            | SourceKind::Files
            | SourceKind::Containers
            | SourceKind::MachineTexts,
            SinkKind::Network,
        ) => Risk::High,
        (
            SourceKind::Rows
            | SourceKind::Objects
            | SourceKind::Files
            | SourceKind::Containers
            | SourceKind::MachineTexts,
            SinkKind::Program | SinkKind::Gateway | SinkKind::Log,
        )
        | (SourceKind::Program | SourceKind::Machine, SinkKind::Network) => Risk::Medium,
        (
            SourceKind::Rows
            | SourceKind::Objects
            | SourceKind::Files
            | SourceKind::Containers
            | SourceKind::MachineTexts,
            SinkKind::Database | SinkKind::Files,
        )
        | (
            SourceKind::Program
            | SourceKind::Responses
            | SourceKind::Machine
            | SourceKind::InjectedSecret,
            _,
        ) => Risk::Low,
    }
}

fn sources(grants: &EffectiveGrants) -> BTreeSet<FlowEndpoint<SourceKind>> {
    let databases = connected_databases(grants).map(|target| FlowEndpoint {
        kind: SourceKind::Rows,
        what: target.describe(),
        place: Some(SourceLocation::of(target)),
    });
    grants
        .iter()
        .flat_map(|grant| grant.verbs.iter().filter_map(|verb| source(grant, *verb)))
        .chain(databases)
        .collect()
}

/// The databases that programs of the step are connected to. A program reads and writes there, and
/// the plugin gets its output.
fn connected_databases(grants: &EffectiveGrants) -> impl Iterator<Item = &Target> {
    grants.iter().filter_map(|grant| grants.connection_of(grant)).map(AsRef::as_ref)
}

fn source(grant: &Grant, verb: Verb) -> Option<FlowEndpoint<SourceKind>> {
    let kind = match verb {
        Verb::HttpGet
        | Verb::HttpHead
        | Verb::HttpHealth
        | Verb::HttpPost
        | Verb::HttpPut
        | Verb::HttpPatch
        | Verb::HttpDelete
        | Verb::NetConnect
        | Verb::NetInspectTls
        | Verb::NetLookup => SourceKind::Responses,
        // Arguments often hold passwords and names of customers.
        Verb::SystemProcesses
            if grant.target.system().is_some_and(|system| system.process_arguments) =>
        {
            SourceKind::MachineTexts
        }
        Verb::SystemProcesses
        | Verb::SystemUsers
        | Verb::SystemPorts
        | Verb::SystemIdentity
        | Verb::SystemCpu
        | Verb::SystemMemory
        | Verb::SystemDisks
        | Verb::SystemUptime
        | Verb::SystemUnits => SourceKind::Machine,
        // A command that changes a key may return its value, as `getdel` does.
        Verb::SqlQuery | Verb::SqlBackup | Verb::RedisRead | Verb::RedisWrite => SourceKind::Rows,
        Verb::FilesRead => SourceKind::Files,
        Verb::ObjectsHead | Verb::ObjectsList | Verb::ObjectsGet => SourceKind::Objects,
        Verb::DockerList
        | Verb::DockerInspect
        | Verb::DockerLogs
        | Verb::DockerStats
        | Verb::DockerExec => SourceKind::Containers,
        Verb::ProcessRun | Verb::ProcessInspect => SourceKind::Program,
        Verb::SecretsReveal => SourceKind::RevealedSecret,
        Verb::SqlExecute
        | Verb::SqlTransaction
        | Verb::SqlRestore
        | Verb::ObjectsPut
        | Verb::ObjectsDelete
        | Verb::MailSend
        | Verb::FilesWrite
        | Verb::FilesRename
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
        | Verb::SecretsRotate
        | Verb::SystemUnitStart
        | Verb::SystemUnitStop
        | Verb::SystemUnitRestart
        | Verb::SystemUnitReload
        | Verb::SystemUnitEnable
        | Verb::SystemUnitDisable
        | Verb::StateRead
        | Verb::StateWrite => return None,
    };
    Some(FlowEndpoint {
        kind,
        what: grant.target.describe(),
        place: Some(SourceLocation::of(&grant.target)),
    })
}

fn sinks(grants: &EffectiveGrants) -> BTreeSet<FlowEndpoint<SinkKind>> {
    let log = FlowEndpoint {
        kind: SinkKind::Log,
        what: "the run's log, journal and reports".to_owned(),
        place: None,
    };
    let granted_sinks = grants
        .iter()
        .flat_map(|grant| grant.verbs.iter().filter_map(|verb| sink(grant, *verb, grants)));
    let databases = connected_databases(grants).map(|target| FlowEndpoint {
        kind: SinkKind::Database,
        what: target.describe(),
        place: Some(SourceLocation::of(target)),
    });
    let gateways = grants
        .iter()
        .filter(|grant| !grant.target.is_encrypted_to_verified_server())
        .filter_map(|grant| grants.gateway_of(grant))
        .map(|gateway| FlowEndpoint {
            kind: SinkKind::Gateway,
            what: gateway.describe(),
            place: Some(SourceLocation::at(&gateway.source, &gateway.span)),
        });
    granted_sinks.chain(databases).chain(gateways).chain(std::iter::once(log)).collect()
}

fn sink(grant: &Grant, verb: Verb, grants: &EffectiveGrants) -> Option<FlowEndpoint<SinkKind>> {
    let kind = match verb {
        // The path and the query of a request can carry data, not only its body.
        Verb::HttpGet
        | Verb::HttpHead
        | Verb::HttpPost
        | Verb::HttpPut
        | Verb::HttpPatch
        | Verb::HttpDelete
        // A key that is only asked for reaches the server, and its log.
        | Verb::ObjectsHead
        | Verb::ObjectsList
        | Verb::ObjectsGet
        | Verb::ObjectsPut
        | Verb::ObjectsDelete
        | Verb::MailSend => SinkKind::Network,
        // The name of a service that the plugin chooses reaches the server.
        Verb::HttpHealth if grant.target.http().is_some_and(|http| http.services.is_none()) => {
            SinkKind::Network
        }
        // A line that the plugin chooses reaches the server, and a name whoever serves names.
        Verb::NetConnect if grant.target.net().is_some_and(NetTarget::may_send_any_text) => {
            SinkKind::Network
        }
        Verb::NetLookup if grant.target.net().is_some_and(NetTarget::may_look_up_any_text) => {
            SinkKind::Network
        }
        // A statement that only reads still reaches the server, and its log.
        Verb::SqlQuery
        | Verb::SqlExecute
        | Verb::SqlTransaction
        | Verb::SqlRestore
        | Verb::RedisRead
        | Verb::RedisWrite => SinkKind::Database,
        Verb::FilesWrite => SinkKind::Files,
        Verb::ProcessRun if grant.target.process().is_some_and(|process| grants.connects_anywhere(process)) => {
            SinkKind::Network
        }
        Verb::ProcessRun | Verb::DockerExec | Verb::DockerCreate => SinkKind::Program,
        Verb::SqlBackup
        | Verb::FilesRead
        | Verb::FilesRename
        | Verb::FilesRemove
        // A read-only program stores nothing.
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
        | Verb::SecretsRotate
        | Verb::HttpHealth
        | Verb::NetConnect
        | Verb::NetInspectTls
        | Verb::NetLookup
        | Verb::SystemUnits
        | Verb::SystemUnitStart
        | Verb::SystemUnitStop
        | Verb::SystemUnitRestart
        | Verb::SystemUnitReload
        | Verb::SystemUnitEnable
        | Verb::SystemUnitDisable
        | Verb::SystemCpu
        | Verb::SystemMemory
        | Verb::SystemDisks
        | Verb::SystemUptime
        | Verb::SystemIdentity
        | Verb::SystemProcesses
        | Verb::SystemUsers
        | Verb::SystemPorts
        | Verb::StateRead
        | Verb::StateWrite => return None,
    };
    Some(FlowEndpoint {
        kind,
        what: grant.target.identity(),
        place: Some(SourceLocation::of(&grant.target)),
    })
}

/// The flows of secrets that the host shows to the gateway of a grant.
fn gateway_secret_flows(
    grant: &Grant,
    step: &FlowStep<'_>,
) -> Vec<(FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>)> {
    let Some(gateway) = step.grants.gateway_of(grant) else { return Vec::new() };
    let place = SourceLocation::at(&gateway.source, &gateway.span);
    let secrets = gateway.transmitted_secrets().into_iter();
    let flow = |secret: SentSecret<'_>| {
        let what = secret.to;
        let sink = FlowEndpoint { kind: SinkKind::Gateway, what, place: Some(place.clone()) };
        secret_flow(gateway.describe_secret(secret.name), sink)
    };
    secrets.map(flow).collect()
}

/// The flows of secrets that the host puts into calls for the target of a grant.
fn injected_secret_flows(
    grant: &Grant,
    step: &FlowStep<'_>,
) -> Vec<(FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>)> {
    let kind = match &grant.target.kind {
        TargetKind::Http(_) | TargetKind::Objects(_) | TargetKind::Mail(_) => SinkKind::Network,
        TargetKind::Sql(_) | TargetKind::Redis(_) => SinkKind::Database,
        TargetKind::Process(_) => SinkKind::Program,
        TargetKind::Docker(_)
        | TargetKind::Files(_)
        | TargetKind::Secret(_)
        | TargetKind::Net(_)
        | TargetKind::System(_) => {
            return positioned_secret_flows(grant, step);
        }
    };
    let place = Some(SourceLocation::of(&grant.target));
    let connection = step.grants.connection_of(grant);
    // An address that is itself a secret is known to the host alone, so sending it there reveals
    // nothing.
    let is_address = |secret: &str| {
        let is_base = |http: &HttpTarget| http.base == HttpBase::Secret(secret.to_owned());
        grant.target.http().is_some_and(is_base)
    };
    let secrets_of = |target: &Target| -> Vec<(String, String)> {
        let secrets = target.transmitted_secrets().into_iter();
        let values =
            secrets.filter(|secret| secret.form == SecretForm::Value && !is_address(secret.name));
        values.map(|secret| (secret.name.to_owned(), secret.to)).collect()
    };
    let connection_secrets =
        connection.map(|connection| secrets_of(connection)).unwrap_or_default();
    let to_program =
        connection_secrets.into_iter().map(|(secret, _)| (secret, grant.target.describe()));
    let secrets = secrets_of(&grant.target).into_iter().chain(to_program);
    secrets
        .map(|(secret, to)| {
            let what = grant.target.describe_secret(&secret);
            secret_flow(what, FlowEndpoint { kind, what: to, place: place.clone() })
        })
        .collect()
}

/// The flows of a secret that the plugin may have put into requests on other slots.
fn positioned_secret_flows(
    grant: &Grant,
    step: &FlowStep<'_>,
) -> Vec<(FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>)> {
    let Some(secret) = grant.target.secret() else { return Vec::new() };
    let http_grants =
        secret.positions.iter().filter_map(|position| step.grants.get(&position.slot));
    http_grants
        .map(|http_grant| {
            let sink = FlowEndpoint {
                kind: SinkKind::Network,
                what: http_grant.target.describe(),
                place: Some(SourceLocation::of(&http_grant.target)),
            };
            secret_flow(grant.target.describe_secret(&secret.secret), sink)
        })
        .collect()
}

fn secret_flow(
    what: String,
    sink: FlowEndpoint<SinkKind>,
) -> (FlowEndpoint<SourceKind>, FlowEndpoint<SinkKind>) {
    (FlowEndpoint { kind: SourceKind::InjectedSecret, what, place: None }, sink)
}
