//! Commands of Redis, by the table of this program and by that of a server.

use super::{grants, rule};
use crate::capability::Verb;
use crate::gate::GateRequest;
use crate::grant::EffectiveGrants;
use crate::pattern::{CommandEffect, RedisCommand, ServerFacts, ServerKey, command_rows};

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn redis(grants: &EffectiveGrants, verb: Verb, line: &str) -> Option<&'static str> {
    rule(grants, &GateRequest::Redis { slot: "s", verb, command: &words(line) })
}

#[test]
fn each_command_that_changes_something_is_denied_as_a_read_whatever_the_target_names() {
    let mut changes = 0;
    for row in command_rows() {
        let named = if row.effect == CommandEffect::Session { "get" } else { row.name };
        let grants = grants("redis", &format!("redis = \"h\"\ncommands = [\"*\", \"{named}\"]"));
        // `command` alone is a command too.
        let arguments = if row.name == "command" { "" } else { " a b c d e" };
        let line = format!("{}{arguments}", row.name);
        let (read, write) =
            (redis(&grants, Verb::RedisRead, &line), redis(&grants, Verb::RedisWrite, &line));
        match row.effect {
            CommandEffect::Read => {
                assert_eq!((read, write), (None, None), "{line}");
            }
            CommandEffect::Change => {
                assert_eq!((read, write), (Some("verb"), None), "{line}");
                changes += 1;
            }
            CommandEffect::Session => {
                assert_eq!((read, write), (Some("command"), Some("command")), "{line}");
            }
        }
    }
    assert!(changes >= 80, "{changes}");
}

#[test]
fn a_command_that_must_be_named_is_allowed_by_no_pattern() {
    let any = grants("redis", "redis = \"h\"\ncommands = [\"*\", \"config *\", \"ev*\"]");
    let none = grants("redis", "redis = \"h\"");
    for line in
        ["EVAL x 0", "CONFIG SET a b", "CONFIG GET *", "FLUSHALL", "SHUTDOWN", "DEBUG SLEEP 1"]
    {
        for grants in [&any, &none] {
            assert_eq!(redis(grants, Verb::RedisWrite, line), Some("command"), "{line}");
        }
        let name = RedisCommand::parse(&words(line)).expect("a command").name;
        let named = grants("redis", &format!("redis = \"h\"\ncommands = [\"{name}\"]"));
        assert_eq!(redis(&named, Verb::RedisWrite, line), None, "{line}");
    }
    // A command that is unknown here, such as one of a module.
    assert_eq!(redis(&any, Verb::RedisRead, "JSON.GET a"), Some("command"));
    let named = grants("redis", "redis = \"h\"\ncommands = [\"json.get\"]");
    assert_eq!(redis(&named, Verb::RedisRead, "JSON.GET a"), None);
    let limited = grants("redis", "redis = \"h\"\ncommands = [\"json.get\"]\nkeys = [\"a\"]");
    assert_eq!(redis(&limited, Verb::RedisRead, "JSON.GET a"), Some("key"));
}

#[test]
fn each_key_of_a_command_must_fit_and_one_that_cannot_be_told_does_not() {
    let grants = grants(
        "redis",
        "redis = \"h\"\nkeys = [\"session:*\", \"cart\"]\ncommands = [\"*\", \"keys\", \"eval\", \"flushdb\"]",
    );
    for (line, expected) in [
        ("GET session:1", None),
        ("MGET session:1 cart", None),
        ("MGET session:1 card", Some("key")),
        ("MSET session:1 a cart b", None),
        ("MSET session:1 a other cart", Some("key")),
        ("RENAME session:1 stolen", Some("key")),
        ("SORT session:1 STORE stolen", Some("key")),
        ("SORT session:1 BY weight_*", Some("key")),
        ("COPY session:1 session:2", None),
        ("COPY session:1 session:2 DB 1", Some("command")),
        ("SCAN 0", Some("key")),
        ("SCAN 0 MATCH session:*", None),
        ("KEYS *", Some("key")),
        ("KEYS session:*", None),
        ("RANDOMKEY", Some("key")),
        ("DBSIZE", Some("key")),
        ("FLUSHDB", Some("key")),
        ("EVAL x 1 cart", Some("key")),
        ("PING", None),
        ("INFO", None),
    ] {
        assert_eq!(redis(&grants, Verb::RedisWrite, line), expected, "{line}");
    }
    let binary = [b"get".to_vec(), b"session:\xff".to_vec()];
    let request = GateRequest::Redis { slot: "s", verb: Verb::RedisRead, command: &binary };
    assert_eq!(rule(&grants, &request), Some("key"));
    // `*` among other patterns is no limit.
    let open = super::grants("redis", "redis = \"h\"\nkeys = [\"a\", \"*\"]");
    assert_eq!(rule(&open, &request), None);
}

#[test]
fn the_table_of_the_server_makes_a_decision_stricter_and_never_wider() {
    let limited = grants("redis", "redis = \"h\"\nkeys = [\"a\"]\ncommands = [\"*\", \"new.cmd\"]");
    let open = grants("redis", "redis = \"h\"\ncommands = [\"*\", \"new.cmd\"]");
    let judged =
        |grants: &EffectiveGrants, verb, line: &str, flags: &[&str], keys: &[(&str, bool)]| {
            let facts = ServerFacts {
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                keys: keys
                    .iter()
                    .map(|(name, is_changed)| ServerKey {
                        name: name.as_bytes().to_vec(),
                        is_changed: *is_changed,
                    })
                    .collect(),
            };
            let (command, facts) = (words(line), Some(&facts));
            rule(grants, &GateRequest::RedisFacts { slot: "s", verb, command: &command, facts })
        };
    let read = Verb::RedisRead;
    assert_eq!(judged(&limited, read, "GET a", &["readonly", "fast"], &[("a", false)]), None);
    // Stricter: the server says that the command writes, is for administrators, or uses more keys.
    assert_eq!(judged(&open, read, "GET a", &["write"], &[("a", false)]), Some("verb"));
    assert_eq!(judged(&open, read, "GET a", &["readonly"], &[("a", true)]), Some("verb"));
    assert_eq!(judged(&open, read, "INFO", &["admin"], &[]), Some("command"));
    assert_eq!(
        judged(&limited, read, "GET a", &["readonly"], &[("a", false), ("b", false)]),
        Some("key")
    );
    let command = words("GET a");
    let unknown = GateRequest::RedisFacts { slot: "s", verb: read, command: &command, facts: None };
    assert_eq!(rule(&open, &unknown), Some("command"));
    // Never wider: whatever the server says of a command that acts.
    for row in command_rows() {
        let arguments = if row.name == "command" { "" } else { " a b c" };
        let line = format!("{}{arguments}", row.name);
        let before = redis(&limited, read, &line);
        let after = judged(&limited, read, &line, &["readonly", "fast"], &[("a", false)]);
        assert!(before.is_none() || after == before, "{line}: {before:?} became {after:?}");
    }
    // A command that is unknown here reads only if the server says so, and says nothing else.
    assert_eq!(judged(&open, read, "NEW.CMD a", &["readonly"], &[("a", false)]), None);
    for flags in [
        &[][..],
        &["fast"],
        &["readonly", "write"],
        &["readonly", "admin"],
        &["readonly", "pubsub"],
    ] {
        assert_eq!(judged(&open, read, "NEW.CMD a", flags, &[]), Some("verb"), "{flags:?}");
    }
}
