//! Findings: one table of rules, and one finding for each place where a rule applies.

use super::open_grant::OpenGrant;
use super::{
    AccessRow, BoundaryStatus, GrantedTarget, PluginEntry, PluginOrigin, RunbookEntry,
    SourceLocation, program_text,
};
use crate::access_report::flow::{SinkKind, SourceKind};
use crate::capability::{Risk, VERBS, Verb};
use crate::pattern::{AddressClass, StatementClass};
use crate::protected_paths;
use crate::scope::Dimension;
use crate::targets::{NameResolution, PathView, SecretOrigin, SentSecret};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A rule of the review, which gives findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingRule {
    /// A grant reaches beyond the boundary.
    BeyondBoundary,
    /// A plugin sees the plain text of a secret.
    RevealsSecret,
    /// Rows, files, container data or a revealed secret can reach a network destination.
    DataLeaves,
    /// A program on this host is run, and its file is not pinned.
    UnpinnedProgram,
    /// The destination is a secret, so that a reviewer does not know where data goes.
    HiddenDestination,
    /// The role of a database may be a superuser.
    Superuser,
    /// Statements that change a database are not limited to classes or relations.
    AnyStatement,
    /// Requests that change something may go to every path of an HTTP service.
    AnyPath,
    /// Addresses of cloud metadata services may be reached.
    MetadataAddress,
    /// A slot declares a verb whose functions the component does not import.
    DeclaredUnused,
    /// The component imports WASI, which is linked to empty implementations.
    InertWasi,
    /// A program that runs texts can get its text from the plugin.
    OpenInterpreter,
    /// A granted directory contains the system, the files of other users, or keys.
    SystemDirectory,
    /// The filter matches every container of the engine.
    EveryContainer,
    /// A plugin file is not signed by an accepted key.
    Unsigned,
    /// A program of the system's packages is run, and its file is not pinned.
    SystemProgram,
    /// A program gets a variable that can change what it runs, reads or connects to.
    SteeringVariable,
    /// A secret is sent to a server that is not verified.
    UnverifiedServer,
    /// A plugin file has a signature that does not match its bytes.
    WronglySigned,
    /// The review does not cover the targets of some environment.
    OtherEnvironment,
    /// One name means different secrets in runbooks that are reviewed together.
    TwoSources,
    /// A file or folder could not be reviewed.
    NotReviewed,
    /// A target names a command of Redis that reaches further than the keys of one database.
    ServerCommand,
    /// Messages of a `mail` target leave this machine without encryption.
    UnencryptedMail,
    /// A plugin chooses what it says to the server of a `net` target, or which names it looks up.
    SaysAtWill,
    /// A plugin sees the arguments of every process of this machine, or every unit of systemd.
    WholeMachine,
    /// A step may reach files that control runs: the runbook, its lockfile, its includes, or a
    /// protected path of the host.
    OwnRunbook,
    /// A program may make any connection.
    AnyConnection,
    /// A program may send signals to processes that it did not start.
    AnySignal,
    /// A secret comes from a variable of the environment.
    SecretFromEnvironment,
    /// A gateway resolves the name of a server, so that its addresses are not judged.
    RemoteNames,
    /// The host logs in to a gateway with the keys of an agent.
    SshAgent,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct FindingRow {
    /// The rule that this row describes.
    pub rule: FindingRule,
    /// The stable id of the rule, such as `RB004`.
    pub id: &'static str,
    /// The name of the rule, in kebab case.
    pub name: &'static str,
    /// How much harm it can do.
    pub risk: Risk,
    /// What the rule looks for, in one sentence.
    pub description: &'static str,
    /// What to do about a finding of this rule.
    pub help: &'static str,
}

macro_rules! rules {
    ($($rule:ident $id:literal $name:literal $risk:ident $description:literal $help:literal;)*) => {
        /// Every rule of the review.
        pub const FINDING_RULES: &[FindingRow] = &[$(FindingRow {
            rule: FindingRule::$rule, id: $id, name: $name, risk: Risk::$risk, description: $description,
                help: $help,
        }),*];
    };
}

rules! {
    BeyondBoundary "RB001" "beyond-boundary" Critical
        "A grant allows a call that the boundary does not."
        "Narrow the target, or have the boundary changed by its owner.";
    RevealsSecret "RB002" "reveals-secret" Critical
        "A plugin is given the plain text of a secret."
        "Use the secret by position or injection instead: the plugin then never sees it.";
    DataLeaves "RB003" "data-leaves" High
        "Rows, files, container data or a revealed secret can reach a network destination."
        "Limit paths and verbs of the destination, or split the step.";
    UnpinnedProgram "RB004" "unpinned-program" High
        "A program is run whose file may be any file at that path."
        "Add its `sha256` to the target; for a script, this pins the script only, and \
         `interpreter_sha256` pins its interpreter.";
    HiddenDestination "RB005" "hidden-destination" Medium
        "The whole address is a secret, so a reader cannot tell where data goes."
        "Write the address into the target, and only its secret part into the store.";
    Superuser "RB006" "superuser" High
        "The role may be a superuser, and no transaction is read-only for a superuser."
        "Make a role with only what the steps need.";
    AnyStatement "RB007" "any-statement" Medium
        "Statements that change the database are limited neither to classes nor to relations."
        "Add `statements` or `relations` to the target.";
    AnyPath "RB008" "any-path" Medium
        "Every path of the service may be changed."
        "Add `paths` to the target.";
    MetadataAddress "RB009" "metadata-address" Critical
        "A metadata service of a cloud, which hands out credentials, may be reached."
        "Remove `metadata` from the target's `addresses`.";
    DeclaredUnused "RB010" "declared-unused" Low
        "A slot declares a verb that the code cannot use."
        "Ask the author to remove it from plugin.toml.";
    InertWasi "RB011" "inert-wasi" Info
        "The component imports WASI, and the host links it to empty implementations."
        "Nothing, if that is expected of its toolchain.";
    OpenInterpreter "RB012" "open-interpreter" Critical
        "A program that runs texts (a shell, a language, psql) may be given its text by the \
         plugin: as an argument that is open, on standard input, or in a file that a step may \
         write. So the plugin can run any command."
        "Fix each argument, name the text by one of them, keep it where no step writes, or grant \
         the intended program instead of the interpreter. A `sha256` of the interpreter does not \
         help here.";
    SystemDirectory "RB013" "system-directory" High
        "A directory is granted that holds the system, everybody's files, or keys."
        "Grant only the folder below it that is needed.";
    EveryContainer "RB014" "every-container" High
        "The filter matches every container of the engine."
        "Name the containers by `name`, `label` or `project`.";
    SystemProgram "RB016" "system-program" Low
        "A program of the system's packages is run. Its file changes with each upgrade, and only \
         root can replace it."
        "Add its `sha256` if an upgrade must be reviewed, too.";
    SteeringVariable "RB017" "steering-variable" High
        "A program gets a variable by which it runs other code, reads other files or connects \
         elsewhere, whatever its path and digest."
        "Remove the variable, or list it with its value as `environment` of the boundary's rule.";
    OwnRunbook "RB018" "own-runbook" High
        "A grant reaches files that control runs: the runbook itself and its lockfile, or \
         protected paths of the host such as its settings, its journal, or its cache of compiled \
         code. A step can change what runs next time."
        "Grant a folder that holds none of these files, such as `files = \"./dumps\"`.";
    AnyConnection "RB024" "any-connection" Medium
        "A program may make any connection: to every address, past `addresses`, and to daemons of \
         this host, which may act for it."
        "Remove `network = true`; a program that is lent a database by `connection` does not need \
         it.";
    AnySignal "RB025" "any-signal" Medium
        "A program may send signals to every process of its user, the host of the run too."
        "Remove `signals = true`, or pin the program and fix its arguments.";
    UnverifiedServer "RB019" "unverified-server" Medium
        "A secret is sent over a network to a server that is not verified: an attacker between \
         them can take its place."
        "Write `?sslmode=verify-full` behind the address of a database, and `https` in that of a \
         service.";
    WronglySigned "RB020" "wrongly-signed" High
        "A plugin file has a signature that does not match its bytes: the file or the signature \
         was changed after signing."
        "Put back the file that was signed; or, if the change is right, have it reviewed and \
         signed again.";
    OtherEnvironment "RB022" "other-environment" High
        "There are targets of an environment beside the runbooks, and this review does not cover \
         them: it does not show what a run with `--env` may reach."
        "Review again with `--env NAME`, once for each environment.";
    TwoSources "RB023" "two-sources" Medium
        "One name stands for different secrets in runbooks that are reviewed together: the name \
         does not say which one is meant."
        "Give one of them another name, or let both files `include` the same `[secrets]`.";
    NotReviewed "RB021" "not-reviewed" Critical
        "A file that was to be reviewed cannot be read, or a folder is a link that is not \
         followed: this review does not cover its content."
        "Correct the file, or name the folder that the link leads to, and review again.";
    ServerCommand "RB029" "server-command" Medium
        "A target names a command of Redis that runs code, administers the server, reaches other \
         databases or shows what other clients do."
        "Leave the command out of `commands`, or use a target of its own for the one step that \
         needs it.";
    UnencryptedMail "RB032" "unencrypted-mail" Medium
        "Messages go to a mail server on another machine without encryption: whoever is on the way \
         reads them and can change them."
        "Remove `tls = \"off\"`, or send by a relay on this machine.";
    SaysAtWill "RB026" "says-at-will" Medium
        "A plugin may say any line to a server, or look up names of any domain: both carry what it \
         has read to whoever answers."
        "Let each pattern of `questions` begin with a fixed word, and each of `names` end in a domain of \
         yours: `\"*.example.com\"`.";
    WholeMachine "RB027" "whole-machine" Medium
        "A plugin sees the arguments of every process of this machine, where programs are often \
         given passwords, or every unit of systemd: all that the machine does."
        "Name the processes or units that are meant. Names, ages and memory of processes are seen \
         without `process_arguments`.";
    SecretFromEnvironment "RB028" "secret-from-environment" Medium
        "A secret is taken from a variable of the environment in which the host was started: \
         whoever starts it chooses the value, and other programs of that user can read it."
        "Keep the secret in an age store, a file of sops, Vault or a credential of systemd.";
    RemoteNames "RB030" "remote-names" Medium
        "A gateway resolves the name of a server: its addresses are not seen here, so that neither \
         `addresses` nor the rule about metadata services holds."
        "Name the server by its address, or let this host resolve the name: remove `remote_dns`.";
    SshAgent "RB031" "ssh-agent" Medium
        "The host logs in to a gateway with the keys of an agent, whichever it holds. The agent \
         belongs to whoever started it, and nothing of it is in the lockfile."
        "Make a key for this purpose alone and put it into the store: `key = \"secret:NAME\"`.";
    Unsigned "RB015" "unsigned-plugin" Medium
        "A plugin file has no signature by a key that the trust file accepts."
        "Have it reviewed and signed: `runbook plugin sign FILE --key KEY`.";
}

impl FindingRule {
    /// The row of this rule in `FINDING_RULES`.
    pub fn row(self) -> &'static FindingRow {
        FINDING_RULES
            .iter()
            .find(|row| row.rule == self)
            .expect("every rule has a row: checked by a test")
    }
}

impl Serialize for FindingRule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.row().id)
    }
}

/// Something that a reviewer should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that found it.
    pub rule: FindingRule,
    /// How much harm it can do.
    pub risk: Risk,
    /// ``step `dump` of emergency-db.toml`` or ``plugin `docker` ``.
    pub subject: String,
    /// What was found, in one line.
    pub message: String,
    /// The line or file to look at.
    pub location: Location,
}

/// The place of a finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// A line of a file.
    Line(SourceLocation),
    /// A component file as a whole.
    File(String),
    /// A plugin inside this program, by its name.
    Bundled(String),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(place) => write!(f, "{}:{}", place.file, place.line),
            Self::File(file) => f.write_str(file),
            Self::Bundled(name) => write!(f, "`{name}`, bundled with this program"),
        }
    }
}

/// All findings, the riskiest first.
pub(super) fn find(plugins: &[PluginEntry], runbooks: &[RunbookEntry]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = plugins
        .iter()
        .flat_map(plugin_findings)
        .chain(runbooks.iter().flat_map(runbook_findings))
        .collect();
    findings.extend(secret_name_findings(runbooks));
    findings.sort_by(|a, b| {
        (b.risk, a.rule, &a.subject, &a.message).cmp(&(a.risk, b.rule, &b.subject, &b.message))
    });
    findings.dedup();
    findings
}

/// One finding for each name that means several secrets, at the line of one target that uses it.
fn secret_name_findings(runbooks: &[RunbookEntry]) -> Vec<Finding> {
    let mut sources_by_name: BTreeMap<&str, BTreeMap<String, (&str, SourceLocation)>> =
        BTreeMap::new();
    for runbook in runbooks {
        for target in runbook
            .steps
            .iter()
            .flat_map(|step| &step.rows)
            .flat_map(|row| row.target.iter().chain(&row.connection))
        {
            for name in target.secrets() {
                let Some((name, stored)) = target.secret_origins.get_key_value(name) else {
                    continue;
                };
                sources_by_name
                    .entry(name)
                    .or_default()
                    .entry(stored.render(PathView::OnThisHost))
                    .or_insert_with(|| (&runbook.file, SourceLocation::of(target)));
            }
        }
    }
    let ambiguous_names = sources_by_name.into_iter().filter(|(_, sources)| sources.len() > 1);
    ambiguous_names
        .filter_map(|(name, sources)| {
            let meanings: Vec<_> =
                sources.iter().map(|(source, (file, _))| format!("{source} in {file}")).collect();
            let (_, place) = sources.values().next_back()?;
            let message = format!("it stands for {}", meanings.join(" and for "));
            Some(finding(
                FindingRule::TwoSources,
                &format!("secret `{name}`"),
                message,
                Location::Line(place.clone()),
            ))
        })
        .collect()
}

fn finding(rule: FindingRule, subject: &str, message: String, location: Location) -> Finding {
    Finding { rule, risk: rule.row().risk, subject: subject.to_owned(), message, location }
}

fn plugin_findings(plugin: &PluginEntry) -> Vec<Finding> {
    let subject = format!("plugin `{}`", plugin.reference);
    let location = match &plugin.origin {
        PluginOrigin::Bundled => Location::Bundled(plugin.name.clone()),
        PluginOrigin::File { path, .. } => Location::File(path.clone()),
    };
    let mut findings = Vec::new();
    let mut push =
        |rule, message| findings.push(finding(rule, &subject, message, location.clone()));
    if plugin.needs_inert_wasi {
        push(FindingRule::InertWasi, "needs inert WASI".to_owned());
    }
    match &plugin.origin {
        PluginOrigin::File { signature, is_wrongly_signed: true, .. } => {
            push(FindingRule::WronglySigned, format!("signature: {signature}"));
        }
        PluginOrigin::File { signature, is_trusted: false, .. } => {
            push(FindingRule::Unsigned, format!("signature: {signature}"));
        }
        PluginOrigin::File { .. } | PluginOrigin::Bundled => {}
    }
    for row in plugin.rows.iter().filter(|row| row.imported.is_empty()) {
        let message = format!(
            "declares `{}` on slot `{}` and imports no function for it",
            row.verb, row.slot
        );
        push(FindingRule::DeclaredUnused, message);
    }
    findings
}

fn runbook_findings(runbook: &RunbookEntry) -> Vec<Finding> {
    let mut findings = Vec::new();
    let writable = writable_directories(runbook);
    for step in &runbook.steps {
        let subject = format!("step `{}` of {}", step.step, runbook.file);
        findings.extend(step.rows.iter().flat_map(|row| row_findings(&subject, row)));
        findings.extend(
            step.rows.iter().flat_map(|row| written_text_findings(&subject, row, &writable)),
        );
        findings.extend(
            step.rows
                .iter()
                .filter_map(|row| own_file_finding(&subject, row, &runbook.controlling_files)),
        );
    }
    for flow in &runbook.flows {
        let is_worth_protecting = match flow.source.kind {
            SourceKind::Rows
            | SourceKind::Objects
            | SourceKind::Files
            | SourceKind::Containers
            | SourceKind::MachineTexts
            | SourceKind::RevealedSecret => true,
            SourceKind::Program
            | SourceKind::Responses
            | SourceKind::Machine
            | SourceKind::InjectedSecret => false,
        };
        if is_worth_protecting && flow.sink.kind == SinkKind::Network {
            let subject = format!(
                "step `{}` of {}",
                flow.steps.last().map_or("", String::as_str),
                runbook.file
            );
            let whole_file = || Location::File(runbook.file.clone());
            let location = flow.sink.place.clone().map_or_else(whole_file, Location::Line);
            findings.push(finding(FindingRule::DataLeaves, &subject, flow.sentence(), location));
        }
    }
    findings
}

/// The directories that steps of the runbook may write to, each with the slots that may: the first
/// one in file order, and the number of others.
fn writable_directories(runbook: &RunbookEntry) -> BTreeMap<&Path, String> {
    let mut writers: BTreeMap<&Path, (&str, &str, usize)> = BTreeMap::new();
    for step in &runbook.steps {
        for row in &step.rows {
            if let Some(files) = row.target.as_ref().and_then(|target| target.files())
                && row.verb == Verb::FilesWrite.full_name()
            {
                writers.entry(files.root.real()).or_insert((&row.slot, &step.step, 0)).2 += 1;
            }
        }
    }
    let slots_text = |(slot, step, count)| match count {
        1 => format!("slot `{slot}` of step `{step}`"),
        count => format!("slot `{slot}` of step `{step}` (and {} more)", count - 1),
    };
    writers.into_iter().map(|(directory, writer)| (directory, slots_text(writer))).collect()
}

/// The finding for a grant that reaches files that control runs: a protected path of the host, or a
/// file of the runbook.
fn own_file_finding(
    subject: &str,
    row: &AccessRow,
    controlling_files: &[PathBuf],
) -> Option<Finding> {
    let (granted, target) = (row.granted.as_ref()?, row.target.as_ref()?);
    let verb = VERBS.iter().map(|known| known.verb).find(|verb| verb.full_name() == row.verb)?;
    if let Some(overlap) = protected_paths::default_protected_path(&target.kind, &[verb]) {
        let message = format!(
            "slot `{}` may `{}`: {} {}",
            row.slot, row.verb, overlap.granted_path, overlap.relation
        );
        return Some(finding(
            FindingRule::OwnRunbook,
            subject,
            message,
            Location::Line(granted.place.clone()),
        ));
    }
    let directory = target.files()?.root.real();
    let controlling_file = controlling_files
        .iter()
        .find(|file| super::is_changing_verb(&row.verb) && file.starts_with(directory))?;
    let message = format!(
        "slot `{}` may `{}` in `{}`, where `{}` lies",
        row.slot,
        row.verb,
        directory.display(),
        controlling_file.display()
    );
    Some(finding(FindingRule::OwnRunbook, subject, message, Location::Line(granted.place.clone())))
}

/// The findings for a program that runs a text from a folder that a step of the same runbook may
/// write to.
fn written_text_findings(
    subject: &str,
    row: &AccessRow,
    writable: &BTreeMap<&Path, String>,
) -> Vec<Finding> {
    let (Some(granted), Some(process)) =
        (&row.granted, row.target.as_ref().and_then(|target| target.process()))
    else {
        return Vec::new();
    };
    let messages = program_text::program_texts(process).into_iter().flat_map(|text| {
        writable.iter().filter_map(move |(directory, writers)| {
            let text_description = text.describe_below(directory)?;
            Some(format!(
                "slot `{}` runs {text_description}, and {writers} may write in `{}`: any command",
                row.slot,
                directory.display()
            ))
        })
    });
    messages
        .map(|message| {
            finding(
                FindingRule::OpenInterpreter,
                subject,
                message,
                Location::Line(granted.place.clone()),
            )
        })
        .collect()
}

fn row_findings(subject: &str, row: &AccessRow) -> Vec<Finding> {
    let Some(granted) = &row.granted else { return Vec::new() };
    let row = GrantedRow { row, granted };
    let open_findings = row.row.open_grants.iter().map(|open| row.open_grant_finding(open));
    let found = row.boundary_finding().into_iter().chain(open_findings).chain(row.verb_finding());
    let found = found.chain(row.variable_findings()).chain(row.server_findings());
    let found = found.chain(row.secret_findings());
    let place = || Location::Line(granted.place.clone());
    found.map(|(rule, message)| finding(rule, subject, message, place())).collect()
}

/// A row of a granted verb.
struct GrantedRow<'a> {
    row: &'a AccessRow,
    granted: &'a GrantedTarget,
}

impl GrantedRow<'_> {
    /// The values that the grant allows in one dimension.
    fn reach(&self, key: &str) -> &[String] {
        self.granted.reach.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the grant allows this value in a dimension.
    fn allows(&self, key: &str, value: &str) -> bool {
        self.reach(key).iter().any(|allowed| allowed == value)
    }

    fn boundary_finding(&self) -> Option<(FindingRule, String)> {
        let Some(BoundaryStatus::Exceeded { witness }) = &self.row.boundary else { return None };
        let AccessRow { verb, slot, .. } = self.row;
        let message = if witness.is_empty() {
            format!("`{verb}` on slot `{slot}` cannot be compared with the boundary")
        } else {
            format!("`{verb}` on slot `{slot}` would allow: {witness}")
        };
        Some((FindingRule::BeyondBoundary, message))
    }

    fn open_grant_finding(&self, open: &OpenGrant) -> (FindingRule, String) {
        let AccessRow { verb, slot, .. } = self.row;
        match open {
            OpenGrant::Interpreter { program, argument } => (
                FindingRule::OpenInterpreter,
                format!(
                    "slot `{slot}` may run `{program}` with {argument} as an argument: any command"
                ),
            ),
            OpenGrant::ReadsInput { program } => (
                FindingRule::OpenInterpreter,
                format!(
                    "slot `{slot}` may give `{program}` its commands on standard input: any command"
                ),
            ),
            OpenGrant::SystemDirectory { directory } => (
                FindingRule::SystemDirectory,
                format!("slot `{slot}` may `{verb}` below `{directory}`"),
            ),
            OpenGrant::AnyLine { pattern } => (
                FindingRule::SaysAtWill,
                format!(
                    "slot `{slot}` may say any line that fits `{pattern}` to {}",
                    self.granted.what
                ),
            ),
            OpenGrant::AnyName { pattern } => (
                FindingRule::SaysAtWill,
                format!("slot `{slot}` may look up any name that fits `{pattern}`"),
            ),
            OpenGrant::EveryUnit { pattern } => (
                FindingRule::WholeMachine,
                format!("slot `{slot}` may see every unit that fits `{pattern}`"),
            ),
            OpenGrant::EveryArgument { pattern } => (
                FindingRule::WholeMachine,
                format!(
                    "slot `{slot}` may see the arguments of every process that fits `{pattern}`"
                ),
            ),
            OpenGrant::ServerCommand { command } => (
                FindingRule::ServerCommand,
                format!("slot `{slot}` may send `{command}` to {}", self.granted.what),
            ),
            OpenGrant::UnencryptedMail => (
                FindingRule::UnencryptedMail,
                format!("slot `{slot}` sends messages by {} without encryption", self.granted.what),
            ),
            OpenGrant::EveryContainer => {
                (FindingRule::EveryContainer, format!("slot `{slot}` may `{verb}` every container"))
            }
        }
    }

    /// The finding for the verb itself, with what it is granted on.
    fn verb_finding(&self) -> Option<(FindingRule, String)> {
        let (AccessRow { verb, slot, sentence, .. }, what) = (self.row, &self.granted.what);
        let found = match verb.as_str() {
            "secrets.reveal" => (FindingRule::RevealsSecret, format!("slot `{slot}` {sentence}")),
            "process.run" if self.allows("sha256", "*") => {
                if self.reach("programs").iter().all(|program| is_system_program(program)) {
                    let message = format!(
                        "slot `{slot}` {sentence}; its file belongs to the system's packages"
                    );
                    (FindingRule::SystemProgram, message)
                } else {
                    (FindingRule::UnpinnedProgram, format!("slot `{slot}` {sentence}"))
                }
            }
            verb if verb.starts_with("http.") && self.allows("hosts", "*") => {
                (FindingRule::HiddenDestination, format!("slot `{slot}` is bound to {what}"))
            }
            verb if verb.starts_with("http.")
                && super::is_changing_verb(verb)
                && self.allows("paths", "/**") =>
            {
                (FindingRule::AnyPath, format!("slot `{slot}` may change every path of {what}"))
            }
            "sql.execute" | "sql.transaction"
                if self.allows("relations", "*")
                    && self.reach("statements").len() >= StatementClass::names().len() =>
            {
                let message = format!("slot `{slot}` may run every statement on {what}");
                (FindingRule::AnyStatement, message)
            }
            _ => return None,
        };
        Some(found)
    }

    /// The findings for variables that can change what a program does. In a container, only
    /// `create` sets variables.
    fn variable_findings(&self) -> impl Iterator<Item = (FindingRule, String)> {
        let AccessRow { verb, slot, .. } = self.row;
        let verb_sets_variables = !verb.starts_with("docker.") || verb == "docker.create";
        let variables =
            self.reach(Dimension::Environment.key()).iter().filter(move |_| verb_sets_variables);
        variables.filter_map(move |variable| {
            let name = variable.split('=').next().unwrap_or_default();
            let effect = crate::targets::variable_effect(name)?.sentence();
            let message = format!("slot `{slot}` sets {variable}, which {effect}");
            Some((FindingRule::SteeringVariable, message))
        })
    }

    /// The findings for secrets that come from the environment.
    fn secret_findings(&self) -> Vec<(FindingRule, String)> {
        let AccessRow { slot, target, connection, gateway, .. } = self.row;
        let message = |(name, origin): (&str, &SecretOrigin)| match origin {
            SecretOrigin::Variable(variable) => Some(format!(
                "slot `{slot}` uses secret `{name}`, which is the variable `{variable}`"
            )),
            SecretOrigin::Age(_)
            | SecretOrigin::Sops(_)
            | SecretOrigin::Credential(_)
            | SecretOrigin::Program(_)
            | SecretOrigin::Vault(_) => None,
        };
        let mut found = Vec::new();
        let targets = [target, connection].into_iter().flatten();
        let of_targets = targets.map(|target| (target.secrets(), &target.secret_origins));
        let of_gateway = gateway.iter().map(|gateway| (gateway.secrets(), &gateway.secret_origins));
        for (names, origins) in of_targets.chain(of_gateway) {
            let named = names.into_iter().filter_map(|name| Some((name, origins.get(name)?)));
            found.extend(named.filter_map(message));
        }
        found.into_iter().map(|message| (FindingRule::SecretFromEnvironment, message)).collect()
    }

    /// The findings for the server of the grant: it is not verified, the role is a superuser, or it
    /// is a metadata service.
    fn server_findings(&self) -> Vec<(FindingRule, String)> {
        let AccessRow { slot, target, connection, gateway, .. } = self.row;
        let targets = [target, connection]
            .into_iter()
            .filter_map(|target| unverified_server(&target.as_deref()?.transmitted_secrets()));
        let to_gateway =
            gateway.as_ref().and_then(|gateway| unverified_server(&gateway.transmitted_secrets()));
        let mut found: Vec<_> = targets
            .chain(to_gateway)
            .map(|message| (FindingRule::UnverifiedServer, format!("slot `{slot}` {message}")))
            .collect();
        let bound_message = || format!("slot `{slot}` is bound to {}", self.granted.what);
        if self.allows("network", "true") {
            found.push((
                FindingRule::AnyConnection,
                format!("slot `{slot}` may make any connection"),
            ));
        }
        if self.allows("signals", "true") {
            found.push((FindingRule::AnySignal, format!("slot `{slot}` may signal any process")));
        }
        if self.allows("superuser", "true") {
            found.push((FindingRule::Superuser, bound_message()));
        }
        let is_remote = target
            .as_ref()
            .and_then(|target| target.via.as_ref())
            .is_some_and(|via| via.resolution == NameResolution::Remote);
        if is_remote {
            found.push((FindingRule::RemoteNames, bound_message()));
        }
        if let Some(gateway) = gateway
            && gateway.uses_agent()
        {
            let message = format!("slot `{slot}` is reached through {}", gateway.describe());
            found.push((FindingRule::SshAgent, message));
        }
        if !self.allows("hosts", "*")
            && !is_remote
            && self.reach("addresses").iter().any(|word| is_metadata(word))
        {
            found.push((FindingRule::MetadataAddress, bound_message()));
        }
        found
    }
}

/// Whether a class of addresses, or an address, is that of a metadata service.
fn is_metadata(word: &str) -> bool {
    word == AddressClass::Metadata.name()
        || word.parse().is_ok_and(|address| AddressClass::of(address) == AddressClass::Metadata)
}

/// The finding about a target that sends a secret to a remote server without verifying it.
fn unverified_server(secrets: &[SentSecret<'_>]) -> Option<String> {
    let (secret, transport) =
        secrets.iter().find_map(|secret| Some((secret, secret.unverified?)))?;
    Some(format!("sends {} to {} by `{transport}`", secret.describe(), secret.to))
}

/// Whether a program is in a folder where only the system's packages put files.
fn is_system_program(program: &str) -> bool {
    const FOLDERS: &[&str] =
        &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/share/"];
    FOLDERS
        .iter()
        .any(|folder| program.strip_prefix(folder).is_some_and(|rest| !rest.contains(['*', '?'])))
}
