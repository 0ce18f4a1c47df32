//! Every command of a real server: what acts is refused as a read, and what is read changes nothing.

use super::{SLOTS, read, target, words};
use crate::fault::FaultClass;
use crate::testing::host;
use runbook_authority::Verb;
use runbook_authority::pattern::{
    CommandEffect, CommandNaming, KeyUse, RedisCommand, command_row, command_rows,
};
use runbook_tests::redis::{Answer, Redis};
use std::collections::BTreeMap;
use std::path::Path;

/// One command of a server's table.
struct Listed {
    name: String,
    flags: Vec<String>,
}

impl Listed {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

/// The table of a server, with subcommands.
fn table(server: &Redis) -> Vec<Listed> {
    let mut found = Vec::new();
    let Answer::List(entries) = server.command(&["COMMAND"]) else { panic!("a list") };
    for entry in &entries {
        let Answer::List(row) = entry else { panic!("{entry:?}") };
        match &row[9] {
            Answer::List(subcommands) if !subcommands.is_empty() => {
                found.extend(subcommands.iter().map(listed));
                // `COMMAND` is a command without a subcommand too.
                found.extend(Some(listed(entry)).filter(|row| row.name == "command"));
            }
            _ => found.push(listed(entry)),
        }
    }
    found
}

fn listed(entry: &Answer) -> Listed {
    let Answer::List(row) = entry else { panic!("{entry:?}") };
    let text = |answer: &Answer| match answer {
        Answer::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let Answer::List(flags) = &row[2] else { panic!("{entry:?}") };
    Listed { name: text(&row[0]).replace('|', " "), flags: flags.iter().map(text).collect() }
}

/// Keys of every type.
const DATA: &[&[&str]] = &[
    &["SET", "a", "5"],
    &["SET", "b", "text", "EX", "1000"],
    &["HSET", "h", "f", "1"],
    &["RPUSH", "l", "1", "2", "3"],
    &["SADD", "s", "1", "2"],
    &["ZADD", "z", "1", "one", "2", "two"],
    &["XADD", "x", "1-1", "f", "v"],
    &["GEOADD", "g", "13", "38", "Palermo"],
    &["PFADD", "p", "1", "2"],
];

/// How often a server has run each command, without those that ask for what it knows.
fn calls(server: &Redis) -> BTreeMap<String, String> {
    let Answer::Text(stats) = server.command(&["INFO", "commandstats"]) else { panic!("text") };
    stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .map(|(name, rest)| (name.replace('|', " "), rest.to_owned()))
        .collect()
}

#[tokio::test]
async fn every_command_of_a_real_server_that_acts_is_refused_as_a_read_and_nothing_happens() {
    let server = Redis::start();
    server.commands(DATA);
    let table = table(&server);
    // The target names every command that can be named.
    let named: Vec<String> = command_rows()
        .filter(|row| row.effect != CommandEffect::Session)
        .map(|row| format!("{:?}", row.name))
        .collect();
    let open = target(server.port, &format!("commands = [\"*\", {}]", named.join(", ")));
    let digest = server.command(&["DEBUG", "DIGEST"]);
    server.command(&["CONFIG", "RESETSTAT"]);
    let mut refused = Vec::new();
    for command in &table {
        let row = command_row(&command.name)
            .unwrap_or_else(|| panic!("`{}` of the server is not in the table", command.name));
        if row.effect == CommandEffect::Read {
            continue;
        }
        for arguments in ["", " a", " a b", " a 1 b", " 0 2 a b", " f 1 a"] {
            let line = format!("{}{arguments}", command.name);
            let fault = read(&open, &line).await.err().unwrap_or_else(|| panic!("{line} was sent"));
            assert_eq!(fault.class, FaultClass::Denied, "{line}: {}", fault.message);
        }
        refused.push(command.name.clone());
    }
    assert!(refused.len() >= 80, "{}", refused.len());
    let calls = calls(&server);
    let ran: Vec<&String> = refused.iter().filter(|name| calls.contains_key(*name)).collect();
    // The client of this test has reset the counters.
    assert_eq!(ran, ["config resetstat"], "{calls:?}");
    assert_eq!(server.command(&["DEBUG", "DIGEST"]), digest);
}

#[tokio::test]
async fn what_is_sent_as_a_read_changes_no_key_of_a_real_server() {
    let server = Redis::start();
    server.commands(DATA);
    let named: Vec<String> = command_rows()
        .filter(|row| row.effect == CommandEffect::Read)
        .map(|row| format!("{:?}", row.name))
        .collect();
    let open = target(server.port, &format!("commands = [\"*\", {}]", named.join(", ")));
    let digest = server.command(&["DEBUG", "DIGEST"]);
    let mut answered = 0;
    for command in table(&server) {
        if command_row(&command.name).is_none_or(|row| row.effect != CommandEffect::Read) {
            continue;
        }
        for key in ["a", "h", "l", "s", "z", "x", "g"] {
            for arguments in [
                String::new(),
                format!(" {key}"),
                format!(" {key} 1"),
                format!(" {key} 0 -1"),
                format!(" 1 {key}"),
                format!(" {key} {key}"),
                format!(" STREAMS {key} 0"),
                " 0 MATCH * COUNT 5".to_owned(),
            ] {
                // `command` alone is a command; what follows is a subcommand.
                if command.name == "command" && !arguments.is_empty() {
                    continue;
                }
                let line = format!("{}{arguments}", command.name);
                match read(&open, &line).await {
                    Ok(_) => answered += 1,
                    Err(fault) => assert!(
                        matches!(
                            fault.class,
                            FaultClass::Invalid | FaultClass::Conflict | FaultClass::NotFound
                        ),
                        "{line}: {:?} {}",
                        fault.class,
                        fault.message
                    ),
                }
            }
        }
    }
    assert!(answered > 300, "{answered}");
    assert_eq!(server.command(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn the_table_is_as_strict_as_that_of_a_real_server() {
    let server = Redis::start();
    let table = table(&server);
    assert!(table.len() > 340, "{}", table.len());
    for command in &table {
        let row = command_row(&command.name).unwrap_or_else(|| panic!("{}", command.name));
        if command.has("write") {
            assert_ne!(row.effect, CommandEffect::Read, "{}", command.name);
        }
        if command.has("admin") {
            assert_eq!(row.naming, CommandNaming::Exact, "{}", command.name);
        }
        // Publishing acts, though no server calls it a write.
        if command.has("pubsub") && !command.name.starts_with("pubsub ") {
            assert_ne!(row.effect, CommandEffect::Read, "{}", command.name);
        }
    }
}

#[test]
fn keys_are_found_where_a_real_server_finds_them() {
    let server = Redis::start();
    let mut compared = 0;
    for line in [
        "GET a",
        "GETDEL a",
        "GETEX a PERSIST",
        "SET a b GET",
        "APPEND a b",
        "MGET a b c",
        "MSET a 1 b 2",
        "MSETNX a 1 b 2",
        "DEL a b",
        "UNLINK a b",
        "EXISTS a b",
        "TOUCH a b",
        "EXPIRE a 1 NX",
        "BLPOP a b 0",
        "BRPOP a b 0",
        "BZPOPMIN a b 0",
        "BZPOPMAX a b 0",
        "BLMOVE a b LEFT RIGHT 0",
        "BRPOPLPUSH a b 0",
        "BLMPOP 0 2 a b LEFT",
        "BZMPOP 0 2 a b MIN",
        "LMPOP 2 a b LEFT",
        "ZMPOP 2 a b MIN",
        "BITOP AND d a b",
        "BITFIELD a GET u8 0",
        "BITFIELD_RO a GET u8 0",
        "RENAME a b",
        "RENAMENX a b",
        "COPY a b",
        "COPY a b REPLACE",
        "SMOVE a b m",
        "LMOVE a b LEFT LEFT",
        "RPOPLPUSH a b",
        "LCS a b",
        "OBJECT ENCODING a",
        "OBJECT FREQ a",
        "MEMORY USAGE a",
        "XINFO STREAM a",
        "XINFO GROUPS a",
        "XINFO CONSUMERS a g",
        "XGROUP CREATE a g $",
        "XGROUP DESTROY a g",
        "XGROUP SETID a g $",
        "XADD a * f v",
        "XREAD COUNT 2 STREAMS a b 0 0",
        "XREADGROUP GROUP streams me COUNT 1 NOACK STREAMS a >",
        "XCLAIM a g c 0 1-1",
        "XACK a g 1-1",
        "SDIFF a b",
        "SDIFFSTORE d a b",
        "SINTERSTORE d a b",
        "SINTERCARD 2 a b",
        "SUNIONSTORE d a b",
        "ZDIFF 2 a b",
        "ZINTER 2 a b",
        "ZINTERCARD 2 a b LIMIT 5",
        "ZUNION 2 a b WEIGHTS 1 2",
        "ZUNIONSTORE d 2 a b",
        "ZINTERSTORE d 2 a b AGGREGATE MIN",
        "ZDIFFSTORE d 2 a b",
        "ZRANGESTORE d a 0 -1",
        "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 km",
        "GEORADIUS a 1 2 3 km STORE d",
        "GEORADIUSBYMEMBER a m 3 km STOREDIST d",
        "GEORADIUS a 1 2 3 km",
        "SORT a",
        "SORT a LIMIT 0 5 DESC ALPHA STORE d",
        "SORT_RO a LIMIT 0 5",
        "PFCOUNT a b",
        "PFMERGE a b",
        "HSET a f v",
        "HSCAN a 0 MATCH x*",
        "RESTORE a 0 x",
        "DUMP a",
        "LINSERT a BEFORE p v",
    ] {
        let mut question = vec!["COMMAND", "GETKEYS"];
        question.extend(line.split(' '));
        let Answer::List(keys) = server.command(&question) else {
            panic!("{line}: {:?}", server.command(&question))
        };
        let arguments = words(line);
        let command = RedisCommand::parse(&arguments).expect(line);
        let KeyUse::Listed(found) = command.keys() else { panic!("{line}: {:?}", command.keys()) };
        let found: Vec<String> =
            found.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        for key in &keys {
            let Answer::Text(key) = key else { panic!("{line}: {key:?}") };
            assert!(found.contains(key), "{line}: the server finds `{key}`, this {found:?}");
        }
        assert_eq!(found.len(), keys.len(), "{line}: {found:?} {keys:?}");
        compared += 1;
    }
    assert!(compared > 70, "{compared}");
}

#[tokio::test]
async fn a_plan_and_a_dry_run_read_and_change_nothing() {
    let server = Redis::start();
    server.commands(DATA);
    let mut host = host(SLOTS, &target(server.port, ""), Path::new("/"))
        .with_mode(runbook_contract::Mode::ReadOnly);
    let digest = server.command(&["DEBUG", "DIGEST"]);
    let (answer, _) = super::send(&mut host, Verb::RedisWrite, "DEL a").await;
    assert_eq!(answer.unwrap_err().class, FaultClass::Denied);
    assert!(super::send(&mut host, Verb::RedisRead, "GET a").await.0.is_ok());
    assert_eq!(server.command(&["DEBUG", "DIGEST"]), digest);
}
