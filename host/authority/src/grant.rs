//! From what a plugin declares and what a runbook binds to what a step may do: D ∩ G, or a refusal.

use crate::capability::{Capability, Verb};
use crate::manifest::{self, KnownInput, Manifest, Need, VerbCondition};
use crate::targets::{Target, TargetKind, Targets};
use runbook_document::{Located, Source, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One line such as `bind.db = "orders"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The plugin's slot, and where its name stands.
    pub slot: Located<String>,
    /// The target, and where its name stands.
    pub target: Located<String>,
}

/// Where a plugin is used: for messages.
#[derive(Debug, Clone)]
pub struct UseSite<'a> {
    /// The id of the step.
    pub step: &'a str,
    /// The operation that is used, as `plugin:operation`.
    pub uses: &'a str,
    /// The name of the operation, without its plugin.
    pub operation: &'a str,
    /// The file that the use is written in.
    pub source: &'a Arc<Source>,
    /// The place of `uses` in that file.
    pub span: &'a Span,
    /// The input, as far as it is known: it decides which verbs are granted.
    pub input: KnownInput<'a>,
}

/// What one slot of one step is granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The name of the slot.
    pub slot: String,
    /// The capability that the slot declares.
    pub capability: Capability,
    /// The verbs that may be used: those that the operation needs.
    pub verbs: Vec<Verb>,
    /// The target that the slot is bound to.
    pub target: Arc<Target>,
}

/// A verb that only some inputs need, on a slot that is bound, and whether this input does.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionalVerb {
    /// The slot.
    pub slot: String,
    /// The verb. It is granted if it may be needed.
    pub verb: Verb,
    /// What the slot is bound to.
    pub target: Arc<Target>,
    /// Whether the input needs it.
    pub need: Need,
    /// When an input needs it, as the manifest says: `` `cases[].method` is `"DELETE"` ``.
    pub condition: String,
}

impl ConditionalVerb {
    /// Why it is granted, or why it is not, in one line without a full stop.
    pub fn reason(&self) -> String {
        let place = |at: &str| match at {
            "" => "the input".to_owned(),
            at => format!("`{at}` of the input"),
        };
        match &self.need {
            Need::Met { at } => format!("needed by {}", place(at)),
            Need::Unknown { at } => {
                format!("may be needed: {} is a template, known only at run time", place(at))
            }
            Need::No => {
                format!("this input does not need it; it is needed if {}", self.condition)
            }
        }
    }
}

/// All that one step may do. It can only be made by [`grant`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effective {
    grants: BTreeMap<String, Grant>,
    /// What the input decides, by slot and verb.
    conditional: Vec<ConditionalVerb>,
    /// The connections that process targets borrow.
    connections: BTreeMap<String, Arc<Target>>,
}

impl Effective {
    /// The authority of a plugin that was granted nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with every verb on every slot, which no plugin can declare: for tests of rules that
    /// hold for every grant.
    #[cfg(test)]
    pub(crate) fn with_every_verb(mut self) -> Self {
        for grant in self.grants.values_mut() {
            grant.verbs = crate::capability::VERBS.iter().map(|row| row.verb).collect();
        }
        self
    }

    /// The grant of one slot.
    pub fn get(&self, slot: &str) -> Option<&Grant> {
        self.grants.get(slot)
    }

    /// All grants, sorted by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    /// The verbs that only some inputs need, on bound slots, whether granted or not.
    pub fn conditional(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter()
    }

    /// The verbs that are not granted because the input does not need them.
    pub fn withheld(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter().filter(|conditional| !conditional.need.is_granted())
    }

    /// What the input decides about a verb on a slot; `None` if every input needs it or none may
    /// have it.
    pub fn conditional_verb(&self, slot: &str, verb: Verb) -> Option<&ConditionalVerb> {
        self.conditional
            .iter()
            .find(|conditional| conditional.slot == slot && conditional.verb == verb)
    }

    /// The sql target that a process target takes its connection from.
    pub fn connection(&self, name: &str) -> Option<&Arc<Target>> {
        self.connections.get(name)
    }

    /// The sql target whose connection the program of a grant is given.
    pub fn lent(&self, grant: &Grant) -> Option<&Arc<Target>> {
        let TargetKind::Process(process) = &grant.target.kind else { return None };
        self.connection(process.connection.as_ref()?)
    }

    /// The names of all secrets that the step's host functions may need.
    pub fn secrets(&self) -> Vec<&str> {
        let targets =
            self.grants.values().map(|grant| &grant.target).chain(self.connections.values());
        let mut names: Vec<_> = targets.flat_map(|target| target.secrets()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Which rule a binding breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalRule {
    /// The plugin has no such operation.
    UnknownOperation,
    /// The operation has no such slot.
    UnknownSlot,
    /// A slot that the operation needs is not bound.
    Unbound,
    /// There is no target of that name.
    UnknownTarget,
    /// The target is another kind of thing than the slot.
    WrongKind,
    /// The target grants more than the plugin declares.
    Wider,
    /// The target grants less than the operation needs.
    Narrower,
}

const RULES: &[(RefusalRule, &str, &str)] = &[
    (RefusalRule::UnknownOperation, "E0110", "unknown-operation"),
    (RefusalRule::UnknownSlot, "E0111", "unknown-slot"),
    (RefusalRule::Unbound, "E0112", "unbound-slot"),
    (RefusalRule::UnknownTarget, "E0113", "unknown-target"),
    (RefusalRule::WrongKind, "E0114", "wrong-kind"),
    (RefusalRule::Wider, "E0115", "grant-wider-than-declared"),
    (RefusalRule::Narrower, "E0116", "grant-narrower-than-needed"),
];

impl RefusalRule {
    /// Whether it compares a slot with what its target is, and not with what the plugin says.
    pub fn concerns_target(self) -> bool {
        match self {
            Self::UnknownTarget | Self::WrongKind | Self::Wider | Self::Narrower => true,
            Self::UnknownOperation | Self::UnknownSlot | Self::Unbound => false,
        }
    }

    /// The stable code of the error, such as `E0112`.
    pub fn code(self) -> &'static str {
        RULES.iter().find(|(rule, ..)| *rule == self).map_or("", |(_, code, _)| *code)
    }

    /// The name of the rule, such as `unbound-slot`.
    pub fn name(self) -> &'static str {
        RULES.iter().find(|(rule, ..)| *rule == self).map_or("", |(.., name)| *name)
    }
}

/// A binding that is refused before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that refuses the binding.
    pub rule: RefusalRule,
    /// What is wrong, with plugin and slot, for people.
    pub message: String,
    /// The file with the line to change.
    pub source: Arc<Source>,
    /// The place in that file.
    pub span: Span,
    /// What to write there, as an imperative.
    pub help: String,
}

impl From<Refusal> for runbook_document::Diagnostic {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.rule.code(), &refusal.source, refusal.span, refusal.message)
            .label(refusal.rule.name())
            .help(refusal.help)
    }
}

/// Judges the bindings of one step. All refusals are returned at once.
///
/// # Errors
/// Every [`Refusal`]: an operation, slot or target that does not exist, a slot that is needed and
/// not bound, a target of another kind, or one that grants more than is declared or less than is
/// needed.
pub fn grant(
    site: &UseSite<'_>,
    manifest: &Manifest,
    bindings: &[Binding],
    targets: &Targets,
) -> Result<Effective, Vec<Refusal>> {
    let check = BindingCheck { site, manifest, targets };
    let operation = check.operation().map_err(|refusal| vec![refusal])?;
    let mut effective = Effective::none();
    let mut refusals = Vec::new();
    for binding in
        bindings.iter().filter(|binding| !operation.slots.contains_key(&binding.slot.value))
    {
        refusals.push(check.unknown_slot(operation, binding));
    }
    for (slot, needed) in &operation.slots {
        match bindings.iter().find(|binding| binding.slot.value == *slot) {
            Some(binding) => {
                let decided: Vec<_> =
                    needed.iter().map(|verb| (*verb, check.need(operation, slot, *verb))).collect();
                match check.slot(slot, &decided, binding) {
                    Ok(grant) => {
                        effective.note_conditions(operation, &grant, &decided);
                        effective.insert(grant, targets);
                    }
                    Err(refusal) => refusals.push(refusal),
                }
            }
            None if operation.optional.contains(slot) => {}
            None => refusals.push(check.unbound(slot, needed)),
        }
    }
    if refusals.is_empty() { Ok(effective) } else { Err(refusals) }
}

impl Effective {
    fn note_conditions(
        &mut self,
        operation: &manifest::Operation,
        grant: &Grant,
        decided: &[(Verb, Option<Need>)],
    ) {
        let conditional = |(verb, need): &(Verb, Option<Need>)| {
            let conditions = operation.conditions(&grant.slot, *verb);
            let sentences: Vec<_> = conditions.map(VerbCondition::sentence).collect();
            Some(ConditionalVerb {
                slot: grant.slot.clone(),
                verb: *verb,
                target: Arc::clone(&grant.target),
                need: need.clone()?,
                condition: sentences.join(", or if "),
            })
        };
        self.conditional.extend(decided.iter().filter_map(conditional));
    }

    /// Adds a grant. One without a verb is none: nothing of its target is opened for it.
    fn insert(&mut self, grant: Grant, targets: &Targets) {
        if grant.verbs.is_empty() {
            return;
        }
        if let TargetKind::Process(process) = &grant.target.kind
            && let Some(connection) = process.connection.as_ref().and_then(|name| targets.get(name))
        {
            self.connections.insert(connection.name.clone(), Arc::clone(connection));
        }
        self.grants.insert(grant.slot.clone(), grant);
    }
}

struct BindingCheck<'a> {
    site: &'a UseSite<'a>,
    manifest: &'a Manifest,
    targets: &'a Targets,
}

impl BindingCheck<'_> {
    fn operation(&self) -> Result<&manifest::Operation, Refusal> {
        self.manifest.operations.get(self.site.operation).ok_or_else(|| {
            let known: Vec<_> = self.manifest.operations.keys().map(String::as_str).collect();
            let help = runbook_document::nearest(self.site.operation, known.iter().copied())
                .map_or_else(
                    || format!("it has: {}", known.join(", ")),
                    // As the runbook names the plugin: a file by its path.
                    |near| {
                        let reference = self
                            .site
                            .uses
                            .rsplit_once(':')
                            .map_or(self.site.uses, |(reference, _)| reference);
                        format!("did you mean `{reference}:{near}`?")
                    },
                );
            let message = format!(
                "plugin `{}` has no operation `{}`",
                self.manifest.name, self.site.operation
            );
            self.refusal(RefusalRule::UnknownOperation, message, self.site.span, help)
        })
    }

    fn unknown_slot(&self, operation: &manifest::Operation, binding: &Binding) -> Refusal {
        let known: Vec<_> = operation.slots.keys().map(String::as_str).collect();
        let help = match (
            runbook_document::nearest(&binding.slot.value, known.iter().copied()),
            known.is_empty(),
        ) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "remove the binding: the operation uses no slot".to_owned(),
            (None, false) => format!("its slots: {}", known.join(", ")),
        };
        let message = format!("`{}` has no slot `{}`", self.site.uses, binding.slot.value);
        self.refusal(RefusalRule::UnknownSlot, message, &binding.slot.span, help)
    }

    /// Whether the input needs a verb; `None` if every input does.
    fn need(&self, operation: &manifest::Operation, slot: &str, verb: Verb) -> Option<Need> {
        operation
            .conditions(slot, verb)
            .map(|condition| condition.need(&self.site.input))
            .reduce(|need, next| need.or(|| next))
    }

    fn unbound(&self, slot: &str, needed: &[Verb]) -> Refusal {
        let capability =
            self.manifest.slots.get(slot).map_or(Capability::Http, |slot| slot.capability);
        let fitting: Vec<_> = self
            .targets
            .iter()
            .filter(|target| target.capability() == capability)
            .map(|target| target.name.as_str())
            .collect();
        let help = match fitting.as_slice() {
            [] => format!(
                "add a target with `{capability} = …` and `bind.{slot} = \"its-name\"` to step `{}`",
                self.site.step
            ),
            [first, ..] => format!("add `bind.{slot} = \"{first}\"` to step `{}`", self.site.step),
        };
        let message = format!(
            "slot `{slot}` of `{}` is not bound; it needs {}",
            self.site.uses,
            manifest::list(needed)
        );
        self.refusal(RefusalRule::Unbound, message, self.site.span, help)
    }

    fn slot(
        &self,
        slot: &str,
        decided: &[(Verb, Option<Need>)],
        binding: &Binding,
    ) -> Result<Grant, Refusal> {
        let Some(target) = self.targets.get(&binding.target.value) else {
            let known: Vec<_> = self.targets.names().collect();
            let help = runbook_document::nearest(&binding.target.value, known.iter().copied())
                .map_or_else(
                    || format!("add `[targets.{}]`", binding.target.value),
                    |near| format!("did you mean `{near}`?"),
                );
            let message = format!(
                "slot `{slot}` of `{}` is bound to `{}`, which is not a target",
                self.site.uses, binding.target.value
            );
            return Err(self.refusal(
                RefusalRule::UnknownTarget,
                message,
                &binding.target.span,
                help,
            ));
        };
        let declared = self
            .manifest
            .slots
            .get(slot)
            .expect("operations only use declared slots: checked when the manifest was read");
        if target.capability() != declared.capability {
            let message = format!(
                "slot `{slot}` of `{}` needs a `{}` target, but `{}` is a `{}` target",
                self.site.uses,
                declared.capability,
                target.name,
                target.capability()
            );
            let help = format!("bind it to a `{}` target", declared.capability);
            return Err(self.refusal(RefusalRule::WrongKind, message, &binding.target.span, help));
        }
        let is_granted = |need: &Option<Need>| need.as_ref().is_none_or(Need::is_granted);
        let granted: Vec<_> = decided.iter().filter(|(_, need)| is_granted(need)).collect();
        if let Some(listed) = &target.verbs {
            self.check_listed(slot, &granted, declared, target, &listed.value)?;
        }
        Ok(Grant {
            slot: slot.to_owned(),
            capability: declared.capability,
            verbs: granted.into_iter().map(|(verb, _)| *verb).collect(),
            target: Arc::clone(target),
        })
    }

    /// A target that lists its verbs must list no more than the plugin declares and no less than
    /// the operation needs.
    fn check_listed(
        &self,
        slot: &str,
        needed: &[&(Verb, Option<Need>)],
        declared: &manifest::Slot,
        target: &Target,
        listed: &[Verb],
    ) -> Result<(), Refusal> {
        let refusal = |rule, message, help| Refusal {
            rule,
            message,
            source: Arc::clone(&target.source),
            span: target.span.clone(),
            help,
        };
        let missing: Vec<_> = needed.iter().filter(|(verb, _)| !listed.contains(verb)).collect();
        if !missing.is_empty() {
            // All at once: one after the other is one more round for each.
            let template = missing.iter().find_map(|(_, need)| match need {
                Some(Need::Unknown { at }) => Some(at.as_str()),
                Some(Need::Met { .. } | Need::No) | None => None,
            });
            let may = if template.is_some() { "may need" } else { "needs" };
            let because = template.map_or_else(String::new, |at| match at {
                "" => ", because its input is a template".to_owned(),
                at => format!(", because `{at}` of its input is a template"),
            });
            let missing: Vec<Verb> = missing.iter().map(|(verb, _)| *verb).collect();
            let all = manifest::list(&missing);
            let message = format!(
                "`{}` {may} {all} on slot `{slot}`{because}, but target `{}` grants only {}",
                self.site.uses,
                target.name,
                manifest::list(listed)
            );
            let help = match &target.kind {
                TargetKind::Files(_) => format!(
                    "set `access = \"write\"` in `[targets.{}]`, if that is right",
                    target.name
                ),
                TargetKind::Process(_) if missing == [Verb::ProcessInspect] => {
                    format!(
                        "set `read_only = true` in `[targets.{}]`: the program is then run where it can change nothing",
                        target.name
                    )
                }
                _ => format!(
                    "add {all} to the verbs of `[targets.{}]`, if that is right",
                    target.name
                ),
            };
            return Err(refusal(RefusalRule::Narrower, message, help));
        }
        let wider = match &target.kind {
            // A directory's access is one word for several verbs: it is too wide only if the plugin
            // changes nothing at all.
            TargetKind::Files(_) => {
                let changes = |verbs: &[Verb]| {
                    verbs.iter().any(|verb| verb.effect() == crate::Effect::Change)
                };
                (changes(listed) && !changes(&declared.verbs)).then_some(Verb::FilesWrite)
            }
            _ => listed.iter().find(|verb| !declared.verbs.contains(verb)).copied(),
        };
        let Some(extra) = wider else { return Ok(()) };
        let message = format!(
            "target `{}` grants `{extra}`, but slot `{slot}` of plugin `{}` declares only {}",
            target.name,
            self.manifest.name,
            manifest::list(&declared.verbs)
        );
        let help = match &target.kind {
            TargetKind::Files(_) => {
                format!(
                    "bind slot `{slot}` of step `{}` to a target without `access = \"write\"`",
                    self.site.step
                )
            }
            _ => format!(
                "remove `{extra}` from the verbs of `[targets.{}]`, or bind another target",
                target.name
            ),
        };
        Err(refusal(RefusalRule::Wider, message, help))
    }

    fn refusal(&self, rule: RefusalRule, message: String, span: &Span, help: String) -> Refusal {
        Refusal { rule, message, source: Arc::clone(self.site.source), span: span.clone(), help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_document::Diagnostics;
    use std::path::Path;

    const PLUGIN: &str = r#"
format = 1
[plugin]
name = "docker"
version = "1.0.0"
description = "d"
[slots.container]
capability = "docker"
verbs = ["inspect", "stop", "start"]
reason = "r"
[slots.notes]
capability = "files"
verbs = ["read"]
reason = "r"
[[operation]]
name = "stop"
kind = "step"
summary = "s"
slots = { container = ["inspect", "stop"], notes = ["read"] }
optional = ["notes"]
"#;

    /// What granting says of a runbook whose targets are `targets` and whose step binds `bindings`.
    fn refusals(operation: &str, targets: &str, bindings: &[(&str, &str)]) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        let manifest = Manifest::parse(&Source::new("plugin.toml", PLUGIN), &mut diagnostics)
            .expect("the test's manifest is good");
        let source = Source::new("r.toml", format!("# step\n{targets}"));
        let document = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
        let Some(runbook_document::Value::Table(table)) =
            document.get("targets").map(|node| &node.value)
        else {
            panic!("no targets")
        };
        let mut all = Targets::default();
        let folder = crate::targets::Folder::without_links(Path::new("/base")).expect("absolute");
        all.read(&source, table, folder, &mut diagnostics);
        assert!(!diagnostics.has_errors(), "{diagnostics:?}");
        let located = |text: &str| Located { value: text.to_owned(), span: 0..1 };
        let bindings: Vec<_> = bindings
            .iter()
            .map(|(slot, target)| Binding { slot: located(slot), target: located(target) })
            .collect();
        let uses = format!("docker:{operation}");
        let site = UseSite {
            step: "stop-app",
            uses: &uses,
            operation,
            source: &source,
            span: &(0..1),
            input: KnownInput::empty(),
        };
        let refusals = grant(&site, &manifest, &bindings, &all).err().unwrap_or_default();
        let place = |refusal: &Refusal| refusal.source.place(&refusal.span);
        refusals
            .iter()
            .map(|refusal| {
                format!(
                    "{} {} [{}] {}",
                    refusal.rule.name(),
                    refusal.message,
                    place(refusal),
                    refusal.help
                )
            })
            .collect()
    }

    const APP: &str = "[targets.app]\ndocker = { name = \"app\" }\n";

    #[test]
    fn a_bound_step_gets_the_verbs_of_its_operation_and_no_more() {
        assert!(refusals("stop", APP, &[("container", "app")]).is_empty());
    }

    /// What granting says of a step whose plugin needs each verb of a capability only for an input
    /// that names it under `wants`, or for one that names none.
    fn granted_for(
        capability: Capability,
        toml: &str,
        input: &serde_json::Value,
        unknown: &[&str],
    ) -> Result<Effective, Vec<String>> {
        let names: Vec<_> = capability.verbs().map(|verb| verb.row().name).collect();
        let verbs = format!("[\"{}\"]", names.join("\", \""));
        let conditions: String = names
            .iter()
            .map(|verb| {
                format!("{{ slot = \"s\", verb = \"{verb}\", any_of = [\"wants[].verb\"], is = \"{verb}\" }},\n")
            })
            .collect();
        let plugin = format!(
            "format = 1\n[plugin]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
             [slots.s]\ncapability = \"{capability}\"\nverbs = {verbs}\nreason = \"r\"\n\
             [[operation]]\nname = \"o\"\nkind = \"step\"\nsummary = \"s\"\nslots = {{ s = {verbs} }}\n\
             needed_if = [\n{conditions}]\n"
        );
        let mut diagnostics = Diagnostics::default();
        let manifest = Manifest::parse(&Source::new("plugin.toml", plugin), &mut diagnostics)
            .unwrap_or_else(|| panic!("{diagnostics:?}"));
        let source = Source::new("r.toml", format!("[targets.t]\n{toml}\n"));
        let document = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
        let Some(runbook_document::Value::Table(table)) =
            document.get("targets").map(|node| &node.value)
        else {
            panic!("no targets")
        };
        let mut all = Targets::default();
        let folder = crate::targets::Folder::without_links(Path::new("/base")).expect("absolute");
        all.read(&source, table, folder, &mut diagnostics);
        assert!(!diagnostics.has_errors(), "{diagnostics:?}");
        let located = |text: &str| Located { value: text.to_owned(), span: 0..1 };
        let bindings = [Binding { slot: located("s"), target: located("t") }];
        let unknown = unknown.iter().map(|&place| place.to_owned()).collect();
        let site = UseSite {
            step: "one",
            uses: "p:o",
            operation: "o",
            source: &source,
            span: &(0..1),
            input: KnownInput { value: input, unknown: &unknown },
        };
        grant(&site, &manifest, &bindings, &all)
            .map_err(|refusals| refusals.into_iter().map(|refusal| refusal.message).collect())
    }

    /// A target of each capability that has one.
    const TARGETS: &[(Capability, &str)] = &[
        (Capability::Http, "http = \"http://h\""),
        (Capability::Sql, "sql = \"postgres://a@h/d\""),
        (Capability::Docker, "docker = { name = \"c\" }"),
        (Capability::Files, "files = \"x\"\naccess = \"write\""),
        (Capability::Process, "process = \"/bin/x\"\narguments = []"),
        (Capability::Secrets, "secret = \"x\"\npositions = [{ slot = \"s\", header = \"a\" }]"),
    ];

    #[test]
    fn each_verb_is_granted_to_an_input_that_needs_it_or_may_need_it_and_to_no_other() {
        use crate::gate::{Decision, Mode, Operation, decide};
        for (capability, toml) in TARGETS {
            for verb in capability.verbs() {
                let name = verb.row().name;
                let wants = serde_json::json!({ "wants": [{ "verb": name }, { "verb": "other" }] });
                let template = serde_json::json!({ "wants": [{ "verb": "{{ x }}" }] });
                let granted = |input: &serde_json::Value, unknown: &[&str]| {
                    granted_for(*capability, toml, input, unknown)
                        .unwrap_or_else(|refusals| panic!("{name}: {refusals:?}"))
                };
                // What is granted is the verb that the input names, whatever else is declared. A
                // program that may run anything has only `run`, which its target says, so its
                // other verb is judged by that before any input is.
                let by_target = toml.starts_with("process") && verb == Verb::ProcessInspect;
                if !by_target {
                    let certain = granted(&wants, &[]);
                    assert_eq!(certain.get("s").map(|grant| grant.verbs.clone()), Some(vec![verb]));
                    let reason = certain.conditional_verb("s", verb).expect("it has one").reason();
                    assert_eq!(reason, "needed by `wants[0].verb` of the input");
                }
                if *capability != Capability::Process {
                    let possible = granted(&template, &["/wants/0/verb"]);
                    assert_eq!(
                        possible.get("s").map(|grant| grant.verbs.len()),
                        Some(capability.verbs().count())
                    );
                    let reason = possible.conditional_verb("s", verb).expect("it has one").reason();
                    assert_eq!(
                        reason,
                        "may be needed: `wants[0].verb` of the input is a template, known only at run time"
                    );
                }
                for input in [
                    serde_json::json!({}),
                    serde_json::json!({ "wants": [] }),
                    serde_json::json!({ "wants": [{ "verb": "other" }, {}] }),
                    serde_json::json!({ "wants": name }),
                    template.clone(),
                ] {
                    let none = granted(&input, &["/elsewhere"]);
                    assert_eq!(none.iter().count(), 0, "{name} for {input}");
                    assert!(none.secrets().is_empty(), "{name} for {input}");
                    let operation = Operation::Docker { slot: "s", verb };
                    let Decision::Deny(denial) = decide(&none, Mode::Effects, &operation) else {
                        panic!("`{name}` is allowed for {input}")
                    };
                    let said = denial.to_string();
                    let expected = format!(
                        "is not granted: this input does not need it; it is needed if `wants[].verb` is `\"{name}\"`"
                    );
                    assert!(said.contains(&expected), "{said}");
                    assert!(said.ends_with("(rule `input` of target `t`)"), "{said}");
                }
            }
        }
        let with_targets: Vec<_> = TARGETS.iter().map(|(capability, _)| *capability).collect();
        for capability in Capability::all() {
            let is_planned =
                matches!(capability, Capability::Net | Capability::System | Capability::State);
            assert!(is_planned || with_targets.contains(&capability), "{capability} has no target");
        }
    }

    #[test]
    fn a_target_that_lists_its_verbs_needs_to_list_only_those_that_the_input_needs() {
        let toml = "http = \"http://h\"\nverbs = [\"get\"]";
        let granted = |input: serde_json::Value, unknown: &[&str]| {
            granted_for(Capability::Http, toml, &input, unknown).map(drop)
        };
        assert_eq!(granted(serde_json::json!({ "wants": [{ "verb": "get" }] }), &[]), Ok(()));
        let needs = "`p:o` needs `delete` on slot `s`, but target `t` grants only `get`";
        let deletes = serde_json::json!({ "wants": [{ "verb": "get" }, { "verb": "delete" }] });
        assert_eq!(granted(deletes, &[]), Err(vec![needs.to_owned()]));
        let template = serde_json::json!({ "wants": [{ "verb": "{{ x }}" }] });
        let refusals = granted(template, &["/wants/0/verb"]).expect_err("it may be any of them");
        let expected = "`p:o` may need `head`, `post`, `put`, `patch`, `delete` on slot `s`, because `wants[0].verb` of its input is a template, but target `t` grants only `get`";
        assert_eq!(refusals, [expected]);
    }

    #[test]
    fn an_unbound_slot_is_refused_with_the_line_to_add() {
        assert_eq!(
            refusals("stop", APP, &[]),
            [
                "unbound-slot slot `container` of `docker:stop` is not bound; it needs `inspect`, `stop` [r.toml:1] add `bind.container = \"app\"` to step `stop-app`"
            ]
        );
    }

    #[test]
    fn a_grant_wider_than_declared_is_refused_at_the_target() {
        let targets = "[targets.app]\ndocker = { name = \"app\" }\nverbs = [\"inspect\", \"stop\", \"exec\"]\n";
        assert_eq!(
            refusals("stop", targets, &[("container", "app")]),
            [
                "grant-wider-than-declared target `app` grants `exec`, but slot `container` of plugin `docker` declares only `inspect`, `start`, `stop` \
              [r.toml:2] remove `exec` from the verbs of `[targets.app]`, or bind another target"
            ]
        );
    }

    #[test]
    fn a_writable_directory_for_a_slot_that_only_reads_is_refused() {
        let targets = format!("{APP}[targets.dir]\nfiles = \"x\"\naccess = \"write\"\n");
        let found = refusals("stop", &targets, &[("container", "app"), ("notes", "dir")]);
        assert!(
            found.len() == 1
                && found[0].starts_with("grant-wider-than-declared target `dir` grants `write`"),
            "{found:?}"
        );
    }

    #[test]
    fn a_grant_narrower_than_needed_is_refused_at_the_target() {
        let targets = "[targets.app]\ndocker = { name = \"app\" }\nverbs = [\"inspect\"]\n";
        let found = refusals("stop", targets, &[("container", "app")]);
        assert!(
            found[0].starts_with(
                "grant-narrower-than-needed `docker:stop` needs `stop` on slot `container`"
            ),
            "{found:?}"
        );
    }

    #[test]
    fn wrong_names_and_kinds_are_all_refused_at_once() {
        let targets = format!("{APP}[targets.api]\nhttp = \"http://h\"\n");
        let found = refusals(
            "stop",
            &targets,
            &[("container", "api"), ("notes", "nobody"), ("contaner", "app")],
        );
        let rules: Vec<_> =
            found.iter().map(|text| text.split(' ').next().expect("a rule")).collect();
        assert_eq!(rules, ["unknown-slot", "wrong-kind", "unknown-target"]);
        assert!(found[0].ends_with("did you mean `container`?"), "{found:?}");
        assert!(refusals("stpo", APP, &[])[0].ends_with("did you mean `docker:stop`?"));
    }
}
