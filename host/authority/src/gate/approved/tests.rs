use super::*;
use crate::capability::VERBS;
use crate::grant::Effective;
use crate::targets::ContainerFacts;

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
    approved.clone().decide(operation) == GateDecision::Allow
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
    let process = |arguments| Operation::Process { slot: "s", verb: Verb::ProcessRun, arguments };
    let exec = |command| Operation::Exec { slot: "s", verb: Verb::DockerExec, command };
    let of_process = others.iter().map(|arguments| process(arguments)).collect();
    all.push((shown(Verb::ProcessRun, shown_arguments(arguments)), process(arguments), of_process));
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
            GateDecision::Allow if done.verb() == Verb::DockerExec => {
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
        assert_eq!(decide(&mut spent), GateDecision::Allow, "{verb}");
        let GateDecision::Deny(denial) = decide(&mut spent) else {
            panic!("{verb} was done twice")
        };
        assert!(
            denial.reason.contains("done already as often as it was approved"),
            "{}",
            denial.reason
        );
        let mut twice = approved(&[effect.clone(), effect.clone()], &["s"]);
        assert_eq!(
            [(); 3].map(|()| decide(&mut twice) == GateDecision::Allow),
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
        approved.decide(&Operation::Exec { slot, verb, command }) == GateDecision::Allow
            && approved.decide(&Operation::Container { slot, verb, container: facts })
                == GateDecision::Allow
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
        let alone = Operation::Container { slot: "s", verb: Verb::DockerExec, container: facts };
        assert!(matches!(approved.decide(&alone), GateDecision::Deny(_)));
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
            assert_eq!(whole.decide(&done) == GateDecision::Allow, at == 0, "{target} {done:?}");
            assert!(
                at != 0 || matches!(whole.decide(&done), GateDecision::Deny(_)),
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
    let effect =
        ApprovedEffect { verb: "sql.execute".to_owned(), target: "it".to_owned(), summary: shown };
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
                (0..5).filter(|_| approved.decide(&operation) == GateDecision::Allow).count();
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
            done.effect == VerbEffect::Read,
            "{}",
            done.verb.full_name()
        );
        for named in VERBS {
            let approved = approved(&[effect(&named.verb.full_name(), "anything")], &["s"]);
            let expected = done.effect == VerbEffect::Read || named.verb == done.verb;
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
                let of_slot = approved(&[effect(&verb, &format!("s:{named}"))], &["s", "other"]);
                assert_eq!(
                    allows(&of_slot, operation),
                    named == done,
                    "{verb}: `{named}` approved, `{done}` done"
                );
                let of_other =
                    approved(&[effect(&verb, &format!("other:{named}"))], &["s", "other"]);
                assert!(!allows(&of_other, operation), "{verb}: it was approved for another slot");
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
