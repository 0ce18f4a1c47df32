//! The table of capabilities: every verb, every host function behind it, and how much it matters.
//!
//! Manifests, grants, the gate, the linker, reports and help all read this table. A host function
//! without a row here cannot be linked.

use serde::{Deserialize, Serialize};

/// A family of host functions, bound through slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// One base address over HTTP.
    Http,
    /// One database, on a server or in a SQLite file.
    Sql,
    /// The containers that a filter matches.
    Docker,
    /// One secret of a store.
    Secrets,
    /// Servers over TCP and TLS, and DNS names.
    Net,
    /// One database of a server of Redis.
    Redis,
    /// The objects below one prefix of a bucket.
    Objects,
    /// One mail server, with the sender and the recipients of what is sent.
    Mail,
    /// One directory with all that is below it.
    Files,
    /// One program on this host.
    Process,
    /// The condition of this machine, such as its memory, disks and processes.
    System,
    /// Stored values of the plugin, in a namespace of its own.
    State,
}

/// The effect of a verb on anything outside of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerbEffect {
    /// Observes only; answers in a dry run.
    Read,
    /// Changes something; refused in a dry run.
    Change,
}

/// How much harm a verb can do when it is misused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// It can do no harm by itself.
    Info,
    /// Reads data that is rarely sensitive.
    Low,
    /// Reads data, or changes something that is easily restored.
    Medium,
    /// Changes or removes important things.
    High,
    /// Runs code or shows a secret.
    Critical,
}

const RISKS: &[(Risk, &str)] = &[
    (Risk::Info, "info"),
    (Risk::Low, "low"),
    (Risk::Medium, "medium"),
    (Risk::High, "high"),
    (Risk::Critical, "critical"),
];

impl Risk {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        RISKS.iter().find(|(risk, _)| *risk == self).map_or("", |(_, name)| *name)
    }

    /// The risk called `name`.
    pub fn find(name: &str) -> Option<Self> {
        RISKS.iter().find(|(_, known)| *known == name).map(|(risk, _)| *risk)
    }
}

/// One row of [`VERBS`].
#[derive(Debug, Clone, Copy)]
pub struct VerbRow {
    /// The verb that this row describes.
    pub verb: Verb,
    /// The capability that the verb belongs to.
    pub capability: Capability,
    /// Its name in manifests, grants and reports.
    pub name: &'static str,
    /// Whether it changes anything.
    pub effect: VerbEffect,
    /// How much harm it can do.
    pub risk: Risk,
    /// What the verb allows, as a sentence. `{}` stands for what the slot is bound to.
    pub sentence: &'static str,
}

macro_rules! verbs {
    ($($verb:ident $capability:ident $name:literal $effect:ident $risk:ident $sentence:literal;)*) => {
        /// One thing that a capability can be used for. Its meaning is the sentence of its row in
        /// [`VERBS`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each verb is described by its row in `VERBS`, which this \
                                         macro makes from the same line")]
        pub enum Verb { $($verb),* }

        /// Every verb, in the order in which reports show them.
        pub const VERBS: &[VerbRow] = &[$(VerbRow {
            verb: Verb::$verb,
            capability: Capability::$capability,
            name: $name,
            effect: VerbEffect::$effect,
            risk: Risk::$risk,
            sentence: $sentence,
        }),*];
    };
}

verbs! {
    HttpGet Http "get" Read Low "reads {} with GET";
    HttpHead Http "head" Read Low "reads the headers of {} with HEAD";
    HttpHealth Http "health" Read Low "asks {} by gRPC how its services are";
    HttpPost Http "post" Change Medium "sends data to {} with POST";
    HttpPut Http "put" Change Medium "replaces things at {} with PUT";
    HttpPatch Http "patch" Change Medium "changes things at {} with PATCH";
    HttpDelete Http "delete" Change High "deletes things at {} with DELETE";
    SqlQuery Sql "query" Read Medium "reads {} in transactions that cannot write";
    SqlExecute Sql "execute" Change High "runs statements that change {}";
    SqlTransaction Sql "transaction" Change High "runs transactions that change {}";
    SqlBackup Sql "backup" Read Medium "copies all of {}";
    SqlRestore Sql "restore" Change High "replaces all of {} by a copy";
    DockerList Docker "list" Read Low "lists {}";
    DockerInspect Docker "inspect" Read Low "looks at {}, environment hidden";
    DockerLogs Docker "logs" Read Medium "reads the logs of {}";
    DockerStats Docker "stats" Read Low "measures {}";
    DockerStart Docker "start" Change Medium "starts {}";
    DockerStop Docker "stop" Change High "stops {}";
    DockerRestart Docker "restart" Change High "restarts {}";
    DockerPull Docker "pull" Change Medium "fetches images for {}";
    DockerTag Docker "tag" Change Medium "names images for {}";
    DockerCreate Docker "create" Change High "creates {}";
    DockerRemove Docker "remove" Change High "removes {}";
    DockerPrune Docker "prune" Change High "removes stopped ones of {}";
    DockerExec Docker "exec" Change Critical "runs programs inside {}";
    SecretsDescribe Secrets "describe" Read Info "knows when {} was changed";
    SecretsUse Secrets "use" Read Medium "sends {}, unseen, where the grant says";
    SecretsReveal Secrets "reveal" Read Critical "sees the plain text of {}";
    SecretsRotate Secrets "rotate" Change High "gives {} a new value, unseen, which a database role gets as its password";
    NetConnect Net "connect" Read Medium "opens connections to {}";
    NetInspectTls Net "inspect-tls" Read Low "reads the certificate of {}";
    NetLookup Net "lookup" Read Low "looks up {}";
    RedisRead Redis "read" Read Medium "reads {} with commands that cannot write";
    RedisWrite Redis "write" Change High "sends commands that change {}";
    ObjectsHead Objects "head" Read Low "sees the size and the time of {}";
    ObjectsList Objects "list" Read Low "lists {}";
    ObjectsGet Objects "get" Read Medium "reads {}";
    ObjectsPut Objects "put" Change High "writes {}";
    ObjectsDelete Objects "delete" Change High "deletes {}";
    MailSend Mail "send" Change High "sends messages, which cannot be taken back, by {}";
    FilesRead Files "read" Read Medium "reads the files of {}";
    FilesWrite Files "write" Change High "writes files in {}";
    FilesRename Files "rename" Change High "renames files in {}";
    FilesRemove Files "remove" Change High "removes files from {}";
    ProcessRun Process "run" Change Critical "runs {}";
    ProcessInspect Process "inspect" Read Medium "runs {} where it can read and change nothing";
    SystemCpu System "cpu" Read Low "measures the processors and the load of {}";
    SystemMemory System "memory" Read Low "measures the memory of {}";
    SystemDisks System "disks" Read Low "measures the file systems of {}";
    SystemUptime System "uptime" Read Info "knows how long {} has been running";
    SystemIdentity System "identity" Read Low "reads the host name, kernel and distribution of {}";
    SystemProcesses System "processes" Read Medium "sees processes of {}";
    SystemUsers System "users" Read Medium "sees who is logged in on {}";
    SystemPorts System "ports" Read Medium "sees the ports that listen on {}";
    SystemUnits System "units" Read Low "sees the state of units of {}";
    SystemUnitStart System "unit-start" Change Medium "starts units of {}";
    SystemUnitStop System "unit-stop" Change High "stops units of {}";
    SystemUnitRestart System "unit-restart" Change High "restarts units of {}";
    SystemUnitReload System "unit-reload" Change Medium "lets units of {} read their configuration again";
    SystemUnitEnable System "unit-enable" Change High "lets units start with {}";
    SystemUnitDisable System "unit-disable" Change High "lets units not start with {}";
    StateRead State "read" Read Info "reads what it kept in {}";
    StateWrite State "write" Change Low "keeps values in {}";
}

impl Verb {
    /// The row of this verb in `VERBS`.
    pub fn row(self) -> &'static VerbRow {
        VERBS.iter().find(|row| row.verb == self).expect("the macro makes one row for each verb")
    }

    /// The verb with its capability, such as `http.get`, as plans, denials and the audit log write
    /// it.
    pub fn full_name(self) -> String {
        format!("{}.{}", self.row().capability.name(), self.row().name)
    }

    /// Whether the verb changes anything.
    pub fn effect(self) -> VerbEffect {
        self.row().effect
    }

    /// The verb of this name in a capability.
    pub fn find(capability: Capability, name: &str) -> Option<Self> {
        VERBS
            .iter()
            .find(|row| row.capability == capability && row.name == name)
            .map(|row| row.verb)
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

impl Serialize for Verb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.full_name())
    }
}

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let (capability, verb) = name.split_once('.').unwrap_or((&name, ""));
        Capability::find(capability)
            .and_then(|capability| Self::find(capability, verb))
            .ok_or_else(|| serde::de::Error::custom(format!("unknown verb `{name}`")))
    }
}

const CAPABILITIES: &[(Capability, &str)] = &[
    (Capability::Http, "http"),
    (Capability::Sql, "sql"),
    (Capability::Docker, "docker"),
    (Capability::Secrets, "secrets"),
    (Capability::Net, "net"),
    (Capability::Redis, "redis"),
    (Capability::Objects, "objects"),
    (Capability::Mail, "mail"),
    (Capability::Files, "files"),
    (Capability::Process, "process"),
    (Capability::System, "system"),
    (Capability::State, "state"),
];

impl Capability {
    /// Every capability, in the order in which reports show them.
    pub fn all() -> impl Iterator<Item = Self> {
        CAPABILITIES.iter().map(|(capability, _)| *capability)
    }

    /// Its name in manifests and WIT.
    pub fn name(self) -> &'static str {
        CAPABILITIES
            .iter()
            .find(|(capability, _)| *capability == self)
            .map_or("", |(_, name)| *name)
    }

    /// The capability called `name`.
    pub fn find(name: &str) -> Option<Self> {
        CAPABILITIES.iter().find(|(_, known)| *known == name).map(|(capability, _)| *capability)
    }

    /// Its verbs, in table order.
    pub fn verbs(self) -> impl Iterator<Item = Verb> {
        VERBS.iter().filter(move |row| row.capability == self).map(|row| row.verb)
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The availability of a host function on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// This host has the function and links it.
    Linked,
    /// It is declared in WIT for plugin authors to plan with; a plugin that imports it is refused.
    Planned,
}

/// One host function of the WIT contract, and the verb that allows it.
#[derive(Debug, Clone, Copy)]
pub struct FunctionRow {
    /// The interface, such as `runbook:http/reader@1.0.0`.
    pub interface: &'static str,
    /// The function, such as `get`.
    pub function: &'static str,
    /// The verb that allows it; `None` if every plugin may call it.
    pub verb: Option<Verb>,
    /// Whether this host links it.
    pub availability: Availability,
}

macro_rules! functions {
    ($($interface:literal $availability:ident { $($function:literal $verb:expr;)* })*) => {
        /// Every function of the WIT contract.
        pub const FUNCTIONS: &[FunctionRow] = &[$($(FunctionRow {
            interface: $interface,
            function: $function,
            verb: $verb,
            availability: Availability::$availability,
        },)*)*];
    };
}

functions! {
    "runbook:base/log@1.0.0" Linked { "write" None; }
    "runbook:base/clock@1.0.0" Linked { "now-ms" None; "monotonic-ns" None; "sleep-ms" None; }
    "runbook:http/reader@1.0.0" Linked { "get" Some(Verb::HttpGet); "head" Some(Verb::HttpHead); }
    "runbook:http/writer@1.0.0" Linked {
        "post" Some(Verb::HttpPost); "put" Some(Verb::HttpPut); "patch" Some(Verb::HttpPatch); "delete" Some(Verb::HttpDelete);
    }
    "runbook:http/health@1.0.0" Linked { "check" Some(Verb::HttpHealth); }
    "runbook:sql/reader@1.0.0" Linked { "kind" Some(Verb::SqlQuery); "query" Some(Verb::SqlQuery); }
    "runbook:sql/writer@1.0.0" Linked { "execute" Some(Verb::SqlExecute); "transaction" Some(Verb::SqlTransaction); }
    "runbook:sql/snapshot@1.0.0" Linked { "backup" Some(Verb::SqlBackup); "restore" Some(Verb::SqlRestore); }
    "runbook:docker/reader@1.0.0" Linked {
        "list" Some(Verb::DockerList); "inspect" Some(Verb::DockerInspect); "logs" Some(Verb::DockerLogs); "stats" Some(Verb::DockerStats);
    }
    "runbook:docker/control@1.0.0" Linked {
        "start" Some(Verb::DockerStart); "stop" Some(Verb::DockerStop); "restart" Some(Verb::DockerRestart);
    }
    "runbook:docker/lifecycle@1.0.0" Linked {
        "pull" Some(Verb::DockerPull); "tag" Some(Verb::DockerTag); "create" Some(Verb::DockerCreate);
        "remove" Some(Verb::DockerRemove); "prune" Some(Verb::DockerPrune);
    }
    "runbook:docker/exec@1.0.0" Linked { "run" Some(Verb::DockerExec); }
    "runbook:secrets/metadata@1.0.0" Linked { "describe" Some(Verb::SecretsDescribe); }
    "runbook:secrets/reveal@1.0.0" Linked { "reveal" Some(Verb::SecretsReveal); }
    "runbook:secrets/rotation@1.0.0" Linked {
        "observe" Some(Verb::SecretsDescribe); "rotate" Some(Verb::SecretsRotate); "restore" Some(Verb::SecretsRotate);
    }
    "runbook:net/connect@1.0.0" Linked { "check" Some(Verb::NetConnect); }
    "runbook:net/tls@1.0.0" Linked { "inspect" Some(Verb::NetInspectTls); }
    "runbook:net/dns@1.0.0" Linked { "lookup" Some(Verb::NetLookup); }
    "runbook:redis/reader@1.0.0" Linked { "read" Some(Verb::RedisRead); }
    "runbook:redis/writer@1.0.0" Linked { "write" Some(Verb::RedisWrite); }
    "runbook:objects/reader@1.0.0" Linked {
        "head" Some(Verb::ObjectsHead); "list" Some(Verb::ObjectsList); "get" Some(Verb::ObjectsGet); "download" Some(Verb::ObjectsGet);
    }
    "runbook:objects/writer@1.0.0" Linked {
        "put" Some(Verb::ObjectsPut); "upload" Some(Verb::ObjectsPut); "delete" Some(Verb::ObjectsDelete);
    }
    "runbook:mail/sender@1.0.0" Linked { "send" Some(Verb::MailSend); }
    "runbook:files/reader@1.0.0" Linked {
        "read" Some(Verb::FilesRead); "list" Some(Verb::FilesRead); "stat" Some(Verb::FilesRead); "digest" Some(Verb::FilesRead);
        "entries" Some(Verb::FilesRead); "read-decoded" Some(Verb::FilesRead); "tail" Some(Verb::FilesRead); "count" Some(Verb::FilesRead);
    }
    "runbook:files/writer@1.0.0" Linked {
        "write" Some(Verb::FilesWrite); "remove" Some(Verb::FilesRemove); "replace" Some(Verb::FilesWrite);
        "rename" Some(Verb::FilesRename); "prune" Some(Verb::FilesRemove);
    }
    "runbook:process/runner@1.0.0" Linked { "run" Some(Verb::ProcessRun); }
    "runbook:process/inspector@1.0.0" Linked { "run" Some(Verb::ProcessInspect); }
    "runbook:system/reader@1.0.0" Linked {
        "cpu" Some(Verb::SystemCpu); "load" Some(Verb::SystemCpu); "memory" Some(Verb::SystemMemory);
        "disks" Some(Verb::SystemDisks); "uptime" Some(Verb::SystemUptime); "identity" Some(Verb::SystemIdentity);
        "processes" Some(Verb::SystemProcesses); "users" Some(Verb::SystemUsers); "ports" Some(Verb::SystemPorts);
    }
    "runbook:system/units@1.0.0" Linked { "inspect" Some(Verb::SystemUnits); "list" Some(Verb::SystemUnits); }
    "runbook:system/control@1.0.0" Linked {
        "start" Some(Verb::SystemUnitStart); "stop" Some(Verb::SystemUnitStop);
        "restart" Some(Verb::SystemUnitRestart); "reload" Some(Verb::SystemUnitReload);
        "enable" Some(Verb::SystemUnitEnable); "disable" Some(Verb::SystemUnitDisable);
    }
    "runbook:state/reader@1.0.0" Planned { "get" Some(Verb::StateRead); "list" Some(Verb::StateRead); }
    "runbook:state/writer@1.0.0" Planned {
        "put" Some(Verb::StateWrite); "delete" Some(Verb::StateWrite); "compare-and-swap" Some(Verb::StateWrite);
    }
}

/// Verbs that are also used by the functions of other verbs: each with those other verbs. Such a
/// function asks the gate for both, because it reads from or writes to a second slot for the
/// plugin.
pub const INDIRECT_USES: &[(Verb, &[Verb])] = &[
    (
        Verb::SecretsUse,
        &[
            Verb::HttpGet,
            Verb::HttpHead,
            Verb::HttpPost,
            Verb::HttpPut,
            Verb::HttpPatch,
            Verb::HttpDelete,
        ],
    ),
    (Verb::SqlQuery, &[Verb::SecretsRotate]),
    (Verb::SqlExecute, &[Verb::SecretsRotate]),
    (Verb::FilesRead, &[Verb::ProcessRun, Verb::SqlRestore, Verb::ObjectsPut]),
    (Verb::FilesWrite, &[Verb::ProcessRun, Verb::SqlBackup, Verb::FilesRename, Verb::ObjectsGet]),
];

/// The functions that need a verb, directly or by [`INDIRECT_USES`].
pub fn functions_of(verb: Verb) -> impl Iterator<Item = &'static FunctionRow> {
    let calling_verbs: &[Verb] = INDIRECT_USES
        .iter()
        .find(|(indirect_verb, _)| *indirect_verb == verb)
        .map_or(&[], |(_, calling_verbs)| calling_verbs);
    FUNCTIONS.iter().filter(move |row| {
        row.verb.is_some_and(|row_verb| row_verb == verb || calling_verbs.contains(&row_verb))
    })
}

/// The row of one imported function, if the contract has it.
pub fn function_row(interface: &str, function: &str) -> Option<&'static FunctionRow> {
    FUNCTIONS.iter().find(|row| row.interface == interface && row.function == function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_one_name_and_is_found_by_it() {
        for row in VERBS {
            assert_eq!(Verb::find(row.capability, row.name), Some(row.verb));
            assert!(row.sentence.contains("{}"), "{}", row.name);
        }
    }

    #[test]
    fn every_verb_has_a_function() {
        for row in VERBS {
            assert!(functions_of(row.verb).next().is_some(), "{}", row.verb.full_name());
        }
    }

    #[test]
    fn interfaces_of_a_verb_belong_to_its_capability() {
        for function in FUNCTIONS {
            let Some(verb) = function.verb else { continue };
            assert!(
                function.interface.starts_with(&format!("runbook:{}/", verb.row().capability)),
                "{}",
                function.interface
            );
        }
    }
}
