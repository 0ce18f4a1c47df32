use super::*;
use crate::capability::VERBS;
use crate::gate::MailMessage;
use crate::grant::EffectiveGrants;
use crate::targets::ContainerFacts;

fn effect(verb: &str, target: &str) -> ApprovedEffect {
    ApprovedEffect {
        verb: verb.to_owned(),
        target: target.to_owned(),
        summary: "in words".to_owned(),
    }
}

/// What was approved, in a step whose slot `s` (and `other`, if it is there) grants every verb.
fn approved(effects: &[ApprovedEffect], slots: &[&str]) -> ApprovedEffects {
    let mut approved = ApprovedEffects::new(effects.to_vec(), &EffectiveGrants::none());
    approved.slots = VERBS
        .iter()
        .flat_map(|row| slots.iter().map(|slot| (row.verb.full_name(), (*slot).to_owned())))
        .collect();
    approved
}

fn allows(approved: &ApprovedEffects, request: &GateRequest<'_>) -> bool {
    approved.clone().decide(request) == GateDecision::Allow
}

const SHOWN: &str = "update t set a = 1\n where id = 2";

/// Each kind of request with an exact summary: the approved effect, the request that it covers, and
/// similar requests that it must not cover.
fn exact_cases() -> Vec<(ApprovedEffect, GateRequest<'static>, Vec<GateRequest<'static>>)> {
    let sql = |verb, statement| GateRequest::Sql { slot: "s", verb, statement: Some(statement) };
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
    let process = |arguments| GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments };
    let exec = |command| GateRequest::Exec { slot: "s", verb: Verb::DockerExec, command };
    let of_process = others.iter().map(|arguments| process(arguments)).collect();
    all.push((shown(Verb::ProcessRun, shown_arguments(arguments)), process(arguments), of_process));
    let of_exec = others.iter().map(|command| exec(command)).collect();
    all.push((shown(Verb::DockerExec, shown_arguments(arguments)), exec(arguments), of_exec));
    let message = |subject, text| GateRequest::Mail {
        slot: "s",
        verb: Verb::MailSend,
        message: MailMessage { subject, text, number: 1 },
    };
    let summary = shown_arguments(&["a".to_owned(), "b\nc".to_owned()]);
    let others = [("a", "b"), ("a", "b\nc "), ("b\nc", "a"), ("", "b\nc"), ("a", "b c")];
    let of_mail = others.map(|(subject, text)| message(subject, text)).to_vec();
    all.push((shown(Verb::MailSend, summary), message("a", "b\nc"), of_mail));
    all
}

#[test]
fn an_effect_with_an_exact_summary_is_allowed_exactly_and_once() {
    for (effect, request, others) in exact_cases() {
        let verb = request.verb().full_name();
        let approved_once = approved(std::slice::from_ref(&effect), &["s"]);
        for other in &others {
            assert!(
                !allows(&approved_once, other),
                "{verb}: {other:?} was let through as {}",
                effect.summary
            );
            // With a summary in words, the grant alone limits the request.
            let in_words = approved(
                &[ApprovedEffect { summary: "in words".to_owned(), ..effect.clone() }],
                &["s"],
            );
            assert!(allows(&in_words, other), "{verb}: {other:?}");
        }
        let decide = |approved: &mut ApprovedEffects| match approved.decide(&request) {
            // The request for the container follows the one for the command.
            GateDecision::Allow if request.verb() == Verb::DockerExec => {
                let container = ContainerFacts { name: &effect.target, labels: &[] };
                approved.decide(&GateRequest::Container {
                    slot: "s",
                    verb: Verb::DockerExec,
                    container,
                })
            }
            decision => decision,
        };
        let mut used = approved_once.clone();
        assert_eq!(decide(&mut used), GateDecision::Allow, "{verb}");
        let GateDecision::Deny(denial) = decide(&mut used) else { panic!("{verb} was done twice") };
        assert!(
            denial.reason.contains("done already as often as it was approved"),
            "{}",
            denial.reason
        );
        let mut approved_twice = approved(&[effect.clone(), effect.clone()], &["s"]);
        assert_eq!(
            [(); 3].map(|()| decide(&mut approved_twice) == GateDecision::Allow),
            [true, true, false],
            "{verb}"
        );
    }
}

/// Approves pairs of two commands and two containers. Of all pairs, exactly the approved ones are
/// allowed, each once.
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
    let exec = |approved: &mut ApprovedEffects, command: &[String], container: &str| {
        let (slot, verb) = ("s", Verb::DockerExec);
        let facts = ContainerFacts { name: container, labels: &[] };
        approved.decide(&GateRequest::Exec { slot, verb, command }) == GateDecision::Allow
            && approved.decide(&GateRequest::Container { slot, verb, container: facts })
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
        // In the second round each approval is used up, so every pair is denied.
        for (round, (command, container)) in
            pairs.iter().map(|pair| (1, pair)).chain(pairs.iter().map(|pair| (2, pair)))
        {
            let expected = round == 1 && shown.contains(&(*command, *container));
            let is_done = exec(&mut approved, &commands[*command], containers[*container]);
            assert_eq!(is_done, expected, "{shown:?} {command} {container} round {round}");
        }
        // A request for the container without one for the command before it is denied.
        let facts = ContainerFacts { name: "api", labels: &[] };
        let container_only =
            GateRequest::Container { slot: "s", verb: Verb::DockerExec, container: facts };
        assert!(matches!(approved.decide(&container_only), GateDecision::Deny(_)));
    }
}

/// Varies each part of a container to create: only the container that was shown is allowed.
#[test]
fn a_container_is_made_of_the_image_and_with_the_variables_that_were_approved() {
    let pairs = |text: &str| vec![("A".to_owned(), text.to_owned())];
    let words = |text: &str| vec![text.to_owned()];
    let (shown_values, other_values) =
        ((pairs("1"), pairs("l"), words("ls")), (pairs("2"), pairs("m"), words("rm")));
    for variation in 0..1 << 5 {
        let is_other = |bit: u8| variation >> bit & 1 == 1;
        let environment = if is_other(0) { &other_values.0 } else { &shown_values.0 };
        let labels = if is_other(1) { &other_values.1 } else { &shown_values.1 };
        let command = if is_other(2) { &other_values.2 } else { &shown_values.2 };
        let (image, name) =
            (if is_other(3) { "x:2" } else { "x:1" }, if is_other(4) { "db" } else { "job" });
        let create = |environment, labels, command, image, name| GateRequest::Create {
            slot: "s",
            verb: Verb::DockerCreate,
            creation: Creation {
                container: ContainerFacts { name, labels },
                image,
                command,
                environment,
            },
        };
        let shown = create(&shown_values.0, &shown_values.1, &shown_values.2, "x:1", "job");
        let request = create(environment, labels, command, image, name);
        let effect = |target: &str, summary: Option<String>| ApprovedEffect {
            verb: "docker.create".to_owned(),
            target: target.to_owned(),
            summary: summary.unwrap_or_else(|| "in words".to_owned()),
        };
        for target in ["job", "container job", "container job of image x:1"] {
            let mut exact = approved(&[effect(target, exact_summary(&shown))], &["s"]);
            assert_eq!(
                exact.decide(&request) == GateDecision::Allow,
                variation == 0,
                "{target} {request:?}"
            );
            assert!(
                variation != 0 || matches!(exact.decide(&request), GateDecision::Deny(_)),
                "it was made twice"
            );
            // With a summary in words, the grant limits the rest; the image must always be
            // approved.
            let in_words = approved(&[effect(target, None)], &["s"]);
            assert_eq!(
                allows(&in_words, &request),
                target.contains("image") && !is_other(3) && !is_other(4),
                "{target} {request:?}"
            );
        }
        assert!(
            !allows(
                &approved(&[effect("job of image x:2", exact_summary(&shown))], &["s"]),
                &request
            ),
            "it contradicts itself"
        );
    }
}

#[test]
fn the_beginning_of_a_summary_that_was_too_long_is_compared() {
    let long = format!("update t set a = '{}'", "x".repeat(5_000));
    let shown: String = shown_statement(&long).chars().take(4_000).chain(['…']).collect();
    let effect =
        ApprovedEffect { verb: "sql.execute".to_owned(), target: "it".to_owned(), summary: shown };
    let approved = approved(&[effect], &["s"]);
    let execute = |statement| GateRequest::Sql {
        slot: "s",
        verb: Verb::SqlExecute,
        statement: Some(statement),
    };
    assert!(allows(&approved, &execute(&long)));
    let other_statement = long.replace("set a", "set b");
    assert!(
        !allows(&approved, &execute(&other_statement)) && !allows(&approved, &execute("update t"))
    );
}

#[test]
fn a_request_is_sent_as_often_as_it_was_approved() {
    for verb in [Verb::HttpPost, Verb::HttpPut, Verb::HttpPatch, Verb::HttpDelete] {
        let request =
            GateRequest::Http { slot: "s", verb, path: "/refunds", headers: &[], secrets: &[] };
        for count in 0..3 {
            let mut approved =
                approved(&vec![effect(&verb.full_name(), "/refunds"); count], &["s"]);
            let let_through =
                (0..5).filter(|_| approved.decide(&request) == GateDecision::Allow).count();
            assert_eq!(let_through, count, "{}", verb.full_name());
        }
    }
}

#[test]
fn a_verb_that_changes_something_is_allowed_if_and_only_if_it_was_approved() {
    for requested_verb in VERBS {
        let request = GateRequest::Docker { slot: "s", verb: requested_verb.verb };
        assert_eq!(
            allows(&approved(&[], &["s"]), &request),
            requested_verb.effect == VerbEffect::Read,
            "{}",
            requested_verb.verb.full_name()
        );
        for approved_verb in VERBS {
            let approved = approved(&[effect(&approved_verb.verb.full_name(), "anything")], &["s"]);
            let expected = requested_verb.effect == VerbEffect::Read
                || approved_verb.verb == requested_verb.verb;
            assert_eq!(
                allows(&approved, &request),
                expected,
                "{} approved, {} done",
                approved_verb.verb.full_name(),
                requested_verb.verb.full_name()
            );
        }
    }
}

#[test]
fn an_object_with_a_name_is_allowed_if_and_only_if_it_was_approved_by_that_name() {
    let labels: Vec<(String, String)> = Vec::new();
    let names = ["/a", "/a?b", "/b", "a", "b", ""];
    for requested_name in names {
        let requests = [
            GateRequest::Http {
                slot: "s",
                verb: Verb::HttpPost,
                path: requested_name,
                headers: &[],
                secrets: &[],
            },
            GateRequest::Files { slot: "s", verb: Verb::FilesWrite, path: requested_name },
            GateRequest::Files { slot: "s", verb: Verb::FilesRemove, path: requested_name },
            GateRequest::Container {
                slot: "s",
                verb: Verb::DockerStop,
                container: ContainerFacts { name: requested_name, labels: &labels },
            },
            GateRequest::Image { slot: "s", verb: Verb::DockerPull, image: requested_name },
        ];
        for request in &requests {
            let verb = request.verb().full_name();
            for approved_name in names {
                let approved_effects = approved(&[effect(&verb, approved_name)], &["s"]);
                assert_eq!(
                    allows(&approved_effects, request),
                    approved_name == requested_name,
                    "{verb}: `{approved_name}` approved, `{requested_name}` done"
                );
                let of_slot =
                    approved(&[effect(&verb, &format!("s:{approved_name}"))], &["s", "other"]);
                assert_eq!(
                    allows(&of_slot, request),
                    approved_name == requested_name,
                    "{verb}: `{approved_name}` approved, `{requested_name}` done"
                );
                let of_other =
                    approved(&[effect(&verb, &format!("other:{approved_name}"))], &["s", "other"]);
                assert!(!allows(&of_other, request), "{verb}: it was approved for another slot");
                let of_any = approved(&[effect(&verb, approved_name)], &["s", "other"]);
                assert!(!allows(&of_any, request), "{verb}: it is unknown which slot was approved");
            }
        }
    }
    let stop = GateRequest::Container {
        slot: "s",
        verb: Verb::DockerStop,
        container: ContainerFacts { name: "api", labels: &labels },
    };
    assert!(allows(&approved(&[effect("docker.stop", "container api")], &["s"]), &stop));
    assert!(!allows(&approved(&[effect("docker.stop", "container api2")], &["s"]), &stop));
}
