//! Decides about the effects that a step says it would make, before it makes any of them. Only an
//! effect that tells its request exactly is judged; of any other the gate decides when it is made.

use super::{ApprovedEffect, Denial, GateRequest, SystemObject, judge};
use crate::capability::{Capability, VERBS, Verb, VerbEffect};
use crate::grant::EffectiveGrants;
use runbook_contract::Mode;

/// The first effect of a proposal that the gate denies when it is made, with the reason. `None` if
/// every effect is allowed, or does not tell what exactly would be asked of the gate.
///
/// An effect is judged as the gate judges the request itself, with the same grants. A text that was
/// cut (`…`), and an effect that is described in words, are not judged.
pub fn denial_of_proposal(grants: &EffectiveGrants, effects: &[ApprovedEffect]) -> Option<Denial> {
    effects.iter().find_map(|effect| denial_of_effect(grants, effect))
}

fn denial_of_effect(grants: &EffectiveGrants, effect: &ApprovedEffect) -> Option<Denial> {
    let verb = VERBS.iter().find(|row| row.verb.full_name() == effect.verb)?.verb;
    if verb.effect() == VerbEffect::Read {
        return None;
    }
    let (slot, object) = slot_and_object(grants, verb, &effect.target)?;
    let denial = |request: &GateRequest<'_>| judge(grants, Mode::Effects, request).err();
    match verb.row().capability {
        Capability::Http => denial(&GateRequest::Http {
            slot,
            verb,
            path: object.starts_with('/').then_some(object)?,
            headers: &[],
            secrets: &[],
        }),
        Capability::Files => {
            let path = object.strip_prefix("file ").unwrap_or(object);
            denial(&GateRequest::Files { slot, verb, path })
        }
        Capability::System => {
            let object = SystemObject::Unit(object);
            denial(&GateRequest::System { slot, verb, object })
        }
        Capability::Sql => {
            let statement = exact_statement(&effect.summary)?;
            denial(&GateRequest::Sql { slot, verb, statement: Some(&statement) })
        }
        Capability::Process => {
            let arguments = exact_arguments(&effect.summary)?;
            denial(&GateRequest::Process { slot, verb, arguments: &arguments })
        }
        Capability::Redis => {
            let command: Vec<Vec<u8>> =
                exact_arguments(&effect.summary)?.into_iter().map(String::into_bytes).collect();
            denial(&GateRequest::Redis { slot, verb, command: &command })
        }
        // Which container it is, and its labels, is known only after it was inspected.
        Capability::Docker
        // A proposal names neither the key below the prefix nor the message as the gate judges it.
        | Capability::Objects
        | Capability::Mail
        // Whether the secret can be rotated is decided by the host that rotates it.
        | Capability::Secrets
        // No verb of them changes anything, or none is made yet.
        | Capability::Net
        | Capability::State => None,
    }
}

/// The slot that an effect is about and its object there, as an approval reads them: the target of
/// the effect begins with `SLOT:` if several slots grant the verb.
fn slot_and_object<'a>(
    grants: &'a EffectiveGrants,
    verb: Verb,
    target: &'a str,
) -> Option<(&'a str, &'a str)> {
    let granting: Vec<&str> = grants
        .iter()
        .filter(|grant| grant.verbs.contains(&verb))
        .map(|grant| grant.slot.as_str())
        .collect();
    if let Some((slot, object)) = target.split_once(':')
        && granting.contains(&slot)
    {
        return Some((slot, object));
    }
    match granting.as_slice() {
        [only] => Some((*only, target)),
        [] | [_, ..] => None,
    }
}

/// The text between the backticks of an exact summary; `None` if it was cut or is in words.
fn between_backticks(summary: &str) -> Option<&str> {
    summary.strip_prefix('`')?.strip_suffix('`').filter(|text| !text.is_empty())
}

/// The arguments of an exact summary, which shows them as a JSON list. `None` also if an argument
/// is not shown as it is sent.
fn exact_arguments(summary: &str) -> Option<Vec<String>> {
    serde_json::from_str(between_backticks(summary)?).ok()
}

/// The statement of an exact summary, without the escapes of
/// [`shown_statement`](super::shown_statement).
fn exact_statement(summary: &str) -> Option<String> {
    let shown = between_backticks(summary)?;
    let mut statement = String::with_capacity(shown.len());
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            statement.push(c);
            continue;
        }
        statement.push(match rest.next()? {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            '\\' => '\\',
            'u' => escaped_character(&mut rest)?,
            _ => return None,
        });
    }
    Some(statement)
}

/// The character of `{1b}`, which follows `\u`.
fn escaped_character(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
    *rest = after.chars();
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::shown_statement;
    use super::super::tests::grants_with_verbs;
    use super::*;

    fn effect(verb: &str, target: &str, summary: &str) -> ApprovedEffect {
        let [verb, target, summary] = [verb, target, summary].map(str::to_owned);
        ApprovedEffect { verb, target, summary }
    }

    /// A capability whose effects tell their request: its name, its verbs, the last of them that of
    /// the effect, the keys of the target, an effect that is allowed and one that is not, as object
    /// and summary.
    type JudgedEffect =
        (&'static str, &'static str, &'static str, [&'static str; 2], [&'static str; 2]);

    const JUDGED: &[JudgedEffect] = &[
        (
            "http",
            "post",
            "http = \"https://a.example\"\npaths = [\"/incidents\"]",
            ["/incidents", "POST"],
            ["/drain", "POST"],
        ),
        (
            "sql",
            "execute",
            "sql = \"sqlite:a.db\"\nstatements = [\"update\"]",
            ["database", "`update a set x = 'b\\\\c\\n'`"],
            ["database", "`delete from a`"],
        ),
        (
            "process",
            "run",
            "process = \"/usr/bin/true\"\narguments = [\"/a\"]",
            ["the program", "`[\"/a\"]`"],
            ["the program", "`[\"/b\"]`"],
        ),
        (
            "redis",
            "write",
            "redis = \"127.0.0.1\"\ntls = \"off\"\naddresses = [\"loopback\"]\n\
             commands = [\"set\", \"del\"]\nkeys = [\"a:*\"]",
            ["key a:1", "`[\"set\",\"a:1\",\"x\"]`"],
            ["key b", "`[\"del\",\"b\"]`"],
        ),
        (
            "files",
            "write",
            "files = \"/tmp\"\naccess = \"write\"",
            ["file a.csv", "write it"],
            ["file ../a.csv", "write it"],
        ),
        (
            "system",
            "units unit-stop",
            "system = [\"units\", \"unit-stop\"]\nunits = [\"a.service\", \"b.service\"]\n\
             control = [\"a.service\"]",
            ["a.service", "stop a.service"],
            ["b.service", "stop b.service"],
        ),
    ];

    #[test]
    fn an_effect_that_is_known_exactly_is_judged_as_the_call_itself() {
        for (capability, verb, target, allowed, denied) in JUDGED {
            let verbs: Vec<&str> = verb.split(' ').collect();
            let grants = grants_with_verbs(capability, &verbs, target);
            let name = format!("{capability}.{}", verbs[verbs.len() - 1]);
            let judged = |[object, summary]: &[&str; 2]| {
                denial_of_proposal(&grants, &[effect(&name, object, summary)])
            };
            assert_eq!(judged(allowed), None, "{name}");
            let denial = judged(denied).unwrap_or_else(|| panic!("{name} is not denied"));
            assert!(denial.to_string().contains("is not granted"), "{denial}");
        }
    }

    #[test]
    fn an_effect_that_is_told_in_words_or_cut_off_is_left_to_the_gate() {
        let grants = grants_with_verbs(
            "process",
            &["run"],
            "process = \"/usr/bin/true\"\narguments = [\"/a\"]",
        );
        for summary in ["run it", "``", "`[\"/b\"…", "`/b`", ""] {
            let proposal = [effect("process.run", "the program", summary)];
            assert_eq!(denial_of_proposal(&grants, &proposal), None, "{summary}");
        }
        // A verb that is not granted names no slot whose target could be judged.
        assert_eq!(denial_of_proposal(&grants, &[effect("http.post", "/a", "POST")]), None);
    }

    #[test]
    fn a_statement_is_read_as_it_was_shown() {
        for statement in ["select 1", "a\\n\n\t\r'\"`", "\u{1b}\u{7f}\\u{1b}"] {
            assert_eq!(exact_statement(&shown_statement(statement)).as_deref(), Some(statement));
        }
    }
}
