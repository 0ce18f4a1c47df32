//! Judges the changes of a step that asked for approval: only what a person has approved may
//! happen. It is asked after the grant.

use super::{Creation, Decision, Denial, Operation, Rule};
use crate::capability::{Effect, Verb};
use std::collections::BTreeSet;

/// One effect that was shown to the person who approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedEffect {
    /// The verb with its capability, such as `files.write`.
    pub verb: String,
    /// The object, as the plugin named it: `orders.csv`, `container api`, `/v1/refunds`;
    /// with `SLOT:` before it where the verb is granted on several slots. A container that is made
    /// is `NAME`, or `NAME of image IMAGE`.
    pub target: String,
    /// The summary that was shown. If it begins and ends with a backtick, it is exactly the
    /// statement or the arguments: see [`shown_statement`], [`shown_arguments`] and
    /// [`shown_creation`].
    pub summary: String,
}

/// The approved effects, the slots that they may concern, and which of them are done already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    effects: Vec<ApprovedEffect>,
    /// Every verb, with every slot that grants it.
    slots: BTreeSet<(String, String)>,
    /// For each effect, whether it is done, if it may be done only once.
    done: Vec<bool>,
    /// The effects that the host call under way can be, while the gate is asked about it part by
    /// part.
    candidates: Vec<usize>,
}

/// The object of an operation, as far as an approval can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object<'a> {
    /// All that the slot is bound to: what a statement or a program does is bounded by the grant
    /// alone. Also what is not known yet.
    Slot,
    /// One thing of the target, by its name.
    Named(&'a str),
}

/// How often an effect that was approved may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    /// As often as it is shown: for requests, and for effects that were shown word for word.
    AsShown,
    /// Any number of times: an effect that was described in words is limited by its verb and its
    /// object.
    Any,
}

/// Which part of a host call a question is about. A program in a container is judged in parts,
/// because the container is known only after it was looked at. One effect must cover all parts:
/// else two effects could be mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The question is about the whole call.
    Whole,
    /// The first of several.
    First,
    /// The last of several.
    Last,
}

fn part(operation: &Operation<'_>) -> Part {
    match (operation, operation.verb()) {
        (Operation::Exec { .. }, Verb::DockerExec) => Part::First,
        (Operation::Container { .. }, Verb::DockerExec) => Part::Last,
        _ => Part::Whole,
    }
}

/// How a statement stands in a summary that binds: on one line, between backticks, with `\\` before
/// what would be another line.
pub fn shown_statement(statement: &str) -> String {
    let mut shown = String::with_capacity(statement.len() + 2);
    shown.push('`');
    for c in statement.chars() {
        if c == '\\' || c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('`');
    shown
}

/// How arguments stand in a summary that binds: as a list of JSON, between backticks.
pub fn shown_arguments(arguments: &[String]) -> String {
    format!("`{}`", serde_json::Value::from(arguments.to_vec()))
}

/// How a container that is made stands in a summary that binds: labels, variables, image and
/// command, as `docker create` takes them.
pub fn shown_creation(creation: &Creation<'_>) -> String {
    let option = |name: &'static str| {
        move |(key, value): &(String, String)| [name.to_owned(), format!("{key}={value}")]
    };
    let mut words: Vec<String> =
        creation.container.labels.iter().flat_map(option("--label")).collect();
    words.extend(creation.environment.iter().flat_map(option("--env")));
    words.push(creation.image.to_owned());
    words.extend_from_slice(creation.command);
    shown_arguments(&words)
}

/// What may stand before a name, for people.
const KINDS: &[&str] = &["container ", "image ", "file "];

impl Approved {
    /// The effects of an approved proposal, in a step with these grants.
    pub fn new(effects: Vec<ApprovedEffect>, effective: &crate::grant::Effective) -> Self {
        let slots = effective.iter().flat_map(|grant| {
            grant.verbs.iter().map(|verb| (verb.full_name(), grant.slot.clone()))
        });
        Self {
            done: vec![false; effects.len()],
            slots: slots.collect(),
            effects,
            candidates: Vec::new(),
        }
    }

    /// Whether an operation is within what was approved, which then counts as done. Reading always
    /// is.
    pub fn decide(&mut self, operation: &Operation<'_>) -> Decision {
        if operation.verb().effect() == Effect::Read {
            return Decision::Allow;
        }
        let part = part(operation);
        let may_be =
            |at: &usize| matches!(part, Part::Whole | Part::First) || self.candidates.contains(at);
        let covering =
            |(at, effect): (usize, &ApprovedEffect)| Some((at, self.covers(effect, operation)?));
        let named: Vec<(usize, Times)> = self
            .effects
            .iter()
            .enumerate()
            .filter(|(at, _)| may_be(at))
            .filter_map(covering)
            .collect();
        let is_left = |&(at, times): &(usize, Times)| times == Times::Any || !self.done[at];
        let left: Vec<usize> = named.iter().copied().filter(is_left).map(|(at, _)| at).collect();
        let Some(first) = left.first().copied() else {
            self.candidates.clear();
            return self.deny(
                operation,
                if named.is_empty() { Beyond::NotShown } else { Beyond::DoneAlready },
            );
        };
        match part {
            Part::Whole => self.done[first] = true,
            Part::First => self.candidates = left,
            Part::Last => {
                self.done[first] = true;
                self.candidates.clear();
            }
        }
        Decision::Allow
    }

    fn deny(&self, operation: &Operation<'_>, beyond: Beyond) -> Decision {
        let verb = operation.verb();
        let name = verb.full_name();
        let several = if self.slots_of(&name).len() > 1 {
            "; several slots grant it, so an effect names its own, as in `SLOT:TARGET`"
        } else {
            ""
        };
        let asked = match (object(operation), wording(operation)) {
            (Object::Named(object), _) => format!(" on `{}`", object.escape_debug()),
            // An effect that was not shown for its verb was not shown word for word either, so its
            // text would explain nothing.
            (Object::Slot, Some(text)) if self.effects.iter().any(|effect| effect.verb == name) => {
                format!(" of {text}")
            }
            (Object::Slot, _) => String::new(),
        };
        let reason = match beyond {
            Beyond::NotShown => {
                format!("`{name}`{asked} is beyond what was approved: {}{several}", self.list())
            }
            Beyond::DoneAlready => format!(
                "`{name}`{asked} was done already as often as it was approved: {}",
                self.list()
            ),
        };
        Decision::Deny(Denial {
            rule: Rule::Approval,
            slot: operation.slot().to_owned(),
            verb,
            reason,
            target: String::new(),
            place: String::new(),
        })
    }

    /// All that was approved, in words.
    fn list(&self) -> String {
        let of = |effect: &ApprovedEffect| {
            let wording = if is_word_for_word(&effect.summary) {
                format!(": {}", effect.summary)
            } else {
                String::new()
            };
            format!("`{}` on `{}`{wording}", effect.verb, effect.target.escape_debug())
        };
        let effects: Vec<String> = self.effects.iter().map(of).collect();
        if effects.is_empty() { "no effect at all".to_owned() } else { effects.join(", ") }
    }

    /// How often an effect lets an operation be done; `None` if it is about something else.
    fn covers(&self, effect: &ApprovedEffect, operation: &Operation<'_>) -> Option<Times> {
        let (verb, slot) = (operation.verb().full_name(), operation.slot());
        if effect.verb != verb {
            return None;
        }
        let target = self.on_slot(effect, &verb, slot)?;
        let names = |object: &str| {
            target == object
                || KINDS
                    .iter()
                    .any(|kind| target.strip_prefix(kind).is_some_and(|name| name == object))
        };
        let is_named = match (object(operation), operation) {
            (Object::Slot, _) => true,
            // Which image it is must be shown: by the whole wording, or behind the name.
            (Object::Named(object), Operation::Create { creation, .. }) => {
                names(&format!("{object} of image {}", creation.image))
                    || (names(object) && is_word_for_word(&effect.summary))
            }
            (Object::Named(object), _) => names(object),
        };
        if !is_named {
            return None;
        }
        match wording(operation) {
            Some(text) if is_word_for_word(&effect.summary) => {
                shows(&effect.summary, &text).then_some(Times::AsShown)
            }
            Some(_) | None if matches!(operation, Operation::Http { .. }) => Some(Times::AsShown),
            Some(_) | None => Some(Times::Any),
        }
    }

    fn slots_of(&self, verb: &str) -> Vec<&str> {
        self.slots
            .iter()
            .filter(|(known, _)| known == verb)
            .map(|(_, slot)| slot.as_str())
            .collect()
    }

    /// What the effect names below this slot; `None` if it is about another one, or does not say
    /// about which of several.
    fn on_slot<'e>(&self, effect: &'e ApprovedEffect, verb: &str, slot: &str) -> Option<&'e str> {
        let granting = self.slots_of(verb);
        match effect.target.split_once(':') {
            Some((named, rest)) if granting.contains(&named) => (named == slot).then_some(rest),
            Some(_) | None => (granting == [slot]).then_some(effect.target.as_str()),
        }
    }
}

/// Why an operation is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    NotShown,
    DoneAlready,
}

/// Whether a summary is a statement or arguments, and nothing else. One that was too long to be
/// shown ends with `…`.
fn is_word_for_word(summary: &str) -> bool {
    summary.len() > 2
        && summary.starts_with('`')
        && (summary.ends_with('`') || summary.ends_with('…'))
}

/// Whether a summary shows this. If the text was too long to be shown, its beginning is bound.
fn shows(summary: &str, wording: &str) -> bool {
    summary.strip_suffix('…').map_or(wording == summary, |beginning| wording.starts_with(beginning))
}

/// What an operation does, as a summary would show it word for word.
fn wording(operation: &Operation<'_>) -> Option<String> {
    match operation {
        Operation::Sql { statement, .. } => statement.map(shown_statement),
        Operation::Process { arguments, .. } => Some(shown_arguments(arguments)),
        Operation::Exec { command, .. } => Some(shown_arguments(command)),
        Operation::Create { creation, .. } => Some(shown_creation(creation)),
        Operation::Redirect { .. }
        | Operation::Http { .. }
        | Operation::Connect { .. }
        | Operation::Docker { .. }
        | Operation::Container { .. }
        | Operation::Image { .. }
        | Operation::Secret { .. }
        | Operation::Files { .. } => None,
    }
}

fn object<'a>(operation: &Operation<'a>) -> Object<'a> {
    match operation {
        Operation::Redirect { base, to, .. } => {
            let prefix = base.path().trim_end_matches('/');
            Object::Named(
                to.path().strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or("/"),
            )
        }
        Operation::Container { container, .. } => Object::Named(container.name),
        Operation::Create { creation, .. } => Object::Named(creation.container.name),
        Operation::Image { image, .. } => Object::Named(image),
        Operation::Http { path, .. } | Operation::Files { path, .. } => Object::Named(path),
        Operation::Connect { .. }
        | Operation::Sql { .. }
        | Operation::Docker { .. }
        | Operation::Exec { .. }
        | Operation::Secret { .. }
        | Operation::Process { .. } => Object::Slot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::VERBS;
    use crate::gate::ContainerFacts;
    use crate::grant::Effective;

    fn effect(verb: &str, target: &str) -> ApprovedEffect {
        ApprovedEffect {
            verb: verb.to_owned(),
            target: target.to_owned(),
            summary: "in words".to_owned(),
        }
    }

    /// What was approved, in a step whose slot `s` (and `other`, if it is there) grants every verb.
    fn approved(effects: &[ApprovedEffect], slots: &[&str]) -> Approved {
        let mut approved = Approved::new(effects.to_vec(), &Effective::none());
        approved.slots = VERBS
            .iter()
            .flat_map(|row| slots.iter().map(|slot| (row.verb.full_name(), (*slot).to_owned())))
            .collect();
        approved
    }

    fn allows(approved: &Approved, operation: &Operation<'_>) -> bool {
        approved.clone().decide(operation) == Decision::Allow
    }

    const SHOWN: &str = "update t set a = 1\n where id = 2";

    /// Each operation that is bound word for word: what it was approved as, what it does, and what
    /// else it might do.
    fn departures() -> Vec<(ApprovedEffect, Operation<'static>, Vec<Operation<'static>>)> {
        let sql = |verb, statement| Operation::Sql { slot: "s", verb, statement: Some(statement) };
        let shown = |verb: Verb, summary: String| ApprovedEffect {
            verb: verb.full_name(),
            target: "it".to_owned(),
            summary,
        };
        let arguments: &'static [String] = Box::leak(Box::new(["-x".to_owned(), "a b".to_owned()]));
        let others: Vec<&'static [String]> =
            [&["-x", "a", "b"][..], &["-x"], &["-x", "a b", ""], &[], &["-x", "a c"]]
                .map(|words| {
                    &*Box::leak(
                        words
                            .iter()
                            .map(|word| (*word).to_owned())
                            .collect::<Vec<_>>()
                            .into_boxed_slice(),
                    )
                })
                .to_vec();
        let mut all = Vec::new();
        for verb in [Verb::SqlExecute, Verb::SqlTransaction] {
            let statements = [
                "update t set a = 1  where id = 2",
                "update t set a = 1\\n where id = 2",
                "update t set a = 2",
                "",
                "`",
            ];
            let others = statements.into_iter().map(|statement| sql(verb, statement)).collect();
            all.push((shown(verb, shown_statement(SHOWN)), sql(verb, SHOWN), others));
        }
        let process =
            |arguments| Operation::Process { slot: "s", verb: Verb::ProcessRun, arguments };
        let exec = |command| Operation::Exec { slot: "s", verb: Verb::DockerExec, command };
        let of_process = others.iter().map(|arguments| process(arguments)).collect();
        all.push((
            shown(Verb::ProcessRun, shown_arguments(arguments)),
            process(arguments),
            of_process,
        ));
        let of_exec = others.iter().map(|command| exec(command)).collect();
        all.push((shown(Verb::DockerExec, shown_arguments(arguments)), exec(arguments), of_exec));
        all
    }

    #[test]
    fn what_was_shown_word_for_word_is_done_word_for_word_and_once() {
        for (effect, done, others) in departures() {
            let verb = done.verb().full_name();
            let plain = approved(std::slice::from_ref(&effect), &["s"]);
            for other in &others {
                assert!(
                    !allows(&plain, other),
                    "{verb}: {other:?} was let through as {}",
                    effect.summary
                );
                // Told in words, the grant alone bounds it.
                let told = approved(
                    &[ApprovedEffect { summary: "in words".to_owned(), ..effect.clone() }],
                    &["s"],
                );
                assert!(allows(&told, other), "{verb}: {other:?}");
            }
            let decide = |approved: &mut Approved| match approved.decide(&done) {
                // The container is asked about behind the command.
                Decision::Allow if done.verb() == Verb::DockerExec => {
                    let container = ContainerFacts { name: &effect.target, labels: &[] };
                    approved.decide(&Operation::Container {
                        slot: "s",
                        verb: Verb::DockerExec,
                        container,
                    })
                }
                decision => decision,
            };
            let mut spent = plain.clone();
            assert_eq!(decide(&mut spent), Decision::Allow, "{verb}");
            let Decision::Deny(denial) = decide(&mut spent) else {
                panic!("{verb} was done twice")
            };
            assert!(
                denial.reason.contains("done already as often as it was approved"),
                "{}",
                denial.reason
            );
            let mut twice = approved(&[effect.clone(), effect.clone()], &["s"]);
            assert_eq!(
                [(); 3].map(|()| decide(&mut twice) == Decision::Allow),
                [true, true, false],
                "{verb}"
            );
        }
    }

    /// Two commands and two containers that were approved in pairs: of all pairs, in any order,
    /// exactly those are let through.
    #[test]
    fn a_command_and_its_container_are_approved_together() {
        let commands =
            [vec!["rm".to_owned(), "-rf".to_owned(), "/cache".to_owned()], vec!["ls".to_owned()]];
        let containers = ["api", "db"];
        let effect = |command: &Vec<String>, container: &str| ApprovedEffect {
            verb: "docker.exec".to_owned(),
            target: format!("container {container}"),
            summary: shown_arguments(command),
        };
        let exec = |approved: &mut Approved, command: &[String], container: &str| {
            let (slot, verb) = ("s", Verb::DockerExec);
            let facts = ContainerFacts { name: container, labels: &[] };
            approved.decide(&Operation::Exec { slot, verb, command }) == Decision::Allow
                && approved.decide(&Operation::Container { slot, verb, container: facts })
                    == Decision::Allow
        };
        let pairs: Vec<_> =
            (0..2).flat_map(|command| (0..2).map(move |container| (command, container))).collect();
        for shown in 0..1 << pairs.len() {
            let shown: Vec<_> = pairs
                .iter()
                .enumerate()
                .filter(|(at, _)| shown >> at & 1 == 1)
                .map(|(_, pair)| *pair)
                .collect();
            let effects: Vec<_> = shown
                .iter()
                .map(|(command, container)| effect(&commands[*command], containers[*container]))
                .collect();
            let mut approved = approved(&effects, &["s"]);
            // A refused pair uses nothing up, so the pairs follow each other twice.
            for (round, (command, container)) in
                pairs.iter().map(|pair| (1, pair)).chain(pairs.iter().map(|pair| (2, pair)))
            {
                let expected = round == 1 && shown.contains(&(*command, *container));
                let is_done = exec(&mut approved, &commands[*command], containers[*container]);
                assert_eq!(is_done, expected, "{shown:?} {command} {container} round {round}");
            }
            // The question about the container alone is about nothing.
            let facts = ContainerFacts { name: "api", labels: &[] };
            let alone =
                Operation::Container { slot: "s", verb: Verb::DockerExec, container: facts };
            assert!(matches!(approved.decide(&alone), Decision::Deny(_)));
        }
    }

    /// Each part of a container that is made, as it was shown or as another one: only as it was
    /// shown.
    #[test]
    fn a_container_is_made_of_the_image_and_with_the_variables_that_were_approved() {
        let pairs = |text: &str| vec![("A".to_owned(), text.to_owned())];
        let words = |text: &str| vec![text.to_owned()];
        let (is, other) =
            ((pairs("1"), pairs("l"), words("ls")), (pairs("2"), pairs("m"), words("rm")));
        for at in 0..1 << 5 {
            let is_other = |bit: u8| at >> bit & 1 == 1;
            let environment = if is_other(0) { &other.0 } else { &is.0 };
            let labels = if is_other(1) { &other.1 } else { &is.1 };
            let command = if is_other(2) { &other.2 } else { &is.2 };
            let (image, name) =
                (if is_other(3) { "x:2" } else { "x:1" }, if is_other(4) { "db" } else { "job" });
            let create = |environment, labels, command, image, name| Operation::Create {
                slot: "s",
                verb: Verb::DockerCreate,
                creation: Creation {
                    container: ContainerFacts { name, labels },
                    image,
                    command,
                    environment,
                },
            };
            let shown = create(&is.0, &is.1, &is.2, "x:1", "job");
            let done = create(environment, labels, command, image, name);
            let effect = |target: &str, summary: Option<String>| ApprovedEffect {
                verb: "docker.create".to_owned(),
                target: target.to_owned(),
                summary: summary.unwrap_or_else(|| "in words".to_owned()),
            };
            for target in ["job", "container job", "container job of image x:1"] {
                let mut whole = approved(&[effect(target, wording(&shown))], &["s"]);
                assert_eq!(whole.decide(&done) == Decision::Allow, at == 0, "{target} {done:?}");
                assert!(
                    at != 0 || matches!(whole.decide(&done), Decision::Deny(_)),
                    "it was made twice"
                );
                // Told in words, the grant bounds the rest; the image is bound always.
                let told = approved(&[effect(target, None)], &["s"]);
                assert_eq!(
                    allows(&told, &done),
                    target.contains("image") && !is_other(3) && !is_other(4),
                    "{target} {done:?}"
                );
            }
            assert!(
                !allows(&approved(&[effect("job of image x:2", wording(&shown))], &["s"]), &done),
                "it contradicts itself"
            );
        }
    }

    #[test]
    fn of_what_is_too_long_to_be_shown_the_beginning_is_bound() {
        let long = format!("update t set a = '{}'", "x".repeat(5_000));
        let shown: String = shown_statement(&long).chars().take(4_000).chain(['…']).collect();
        let effect = ApprovedEffect {
            verb: "sql.execute".to_owned(),
            target: "it".to_owned(),
            summary: shown,
        };
        let approved = approved(&[effect], &["s"]);
        let execute = |statement| Operation::Sql {
            slot: "s",
            verb: Verb::SqlExecute,
            statement: Some(statement),
        };
        assert!(allows(&approved, &execute(&long)));
        let other = long.replace("set a", "set b");
        assert!(!allows(&approved, &execute(&other)) && !allows(&approved, &execute("update t")));
    }

    #[test]
    fn a_request_is_sent_as_often_as_it_was_approved() {
        for verb in [Verb::HttpPost, Verb::HttpPut, Verb::HttpPatch, Verb::HttpDelete] {
            let operation =
                Operation::Http { slot: "s", verb, path: "/refunds", headers: &[], secrets: &[] };
            for count in 0..3 {
                let mut approved =
                    approved(&vec![effect(&verb.full_name(), "/refunds"); count], &["s"]);
                let let_through =
                    (0..5).filter(|_| approved.decide(&operation) == Decision::Allow).count();
                assert_eq!(let_through, count, "{}", verb.full_name());
            }
        }
    }

    #[test]
    fn a_verb_that_changes_something_is_allowed_if_and_only_if_it_was_approved() {
        for done in VERBS {
            let operation = Operation::Docker { slot: "s", verb: done.verb };
            assert_eq!(
                allows(&approved(&[], &["s"]), &operation),
                done.effect == Effect::Read,
                "{}",
                done.verb.full_name()
            );
            for named in VERBS {
                let approved = approved(&[effect(&named.verb.full_name(), "anything")], &["s"]);
                let expected = done.effect == Effect::Read || named.verb == done.verb;
                assert_eq!(
                    allows(&approved, &operation),
                    expected,
                    "{} approved, {} done",
                    named.verb.full_name(),
                    done.verb.full_name()
                );
            }
        }
    }

    #[test]
    fn what_has_a_name_is_allowed_if_and_only_if_it_was_approved_by_that_name() {
        let labels: Vec<(String, String)> = Vec::new();
        let names = ["/a", "/a?b", "/b", "a", "b", ""];
        for done in names {
            let operations = [
                Operation::Http {
                    slot: "s",
                    verb: Verb::HttpPost,
                    path: done,
                    headers: &[],
                    secrets: &[],
                },
                Operation::Files { slot: "s", verb: Verb::FilesWrite, path: done },
                Operation::Files { slot: "s", verb: Verb::FilesRemove, path: done },
                Operation::Container {
                    slot: "s",
                    verb: Verb::DockerStop,
                    container: ContainerFacts { name: done, labels: &labels },
                },
                Operation::Image { slot: "s", verb: Verb::DockerPull, image: done },
            ];
            for operation in &operations {
                let verb = operation.verb().full_name();
                for named in names {
                    let plain = approved(&[effect(&verb, named)], &["s"]);
                    assert_eq!(
                        allows(&plain, operation),
                        named == done,
                        "{verb}: `{named}` approved, `{done}` done"
                    );
                    let of_slot =
                        approved(&[effect(&verb, &format!("s:{named}"))], &["s", "other"]);
                    assert_eq!(
                        allows(&of_slot, operation),
                        named == done,
                        "{verb}: `{named}` approved, `{done}` done"
                    );
                    let of_other =
                        approved(&[effect(&verb, &format!("other:{named}"))], &["s", "other"]);
                    assert!(
                        !allows(&of_other, operation),
                        "{verb}: it was approved for another slot"
                    );
                    let of_any = approved(&[effect(&verb, named)], &["s", "other"]);
                    assert!(
                        !allows(&of_any, operation),
                        "{verb}: it is unknown which slot was approved"
                    );
                }
            }
        }
        let stop = Operation::Container {
            slot: "s",
            verb: Verb::DockerStop,
            container: ContainerFacts { name: "api", labels: &labels },
        };
        assert!(allows(&approved(&[effect("docker.stop", "container api")], &["s"]), &stop));
        assert!(!allows(&approved(&[effect("docker.stop", "container api2")], &["s"]), &stop));
    }
}
