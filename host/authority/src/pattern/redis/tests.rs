use super::*;

fn command(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The keys of a command, as words; `*` is any key, and a pattern stands after `~`.
fn keys(line: &str) -> String {
    let arguments = command(line);
    let command = RedisCommand::parse(&arguments).unwrap_or_else(|error| panic!("{line}: {error}"));
    match command.keys() {
        KeyUse::Listed(keys) => {
            keys.iter().map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>().join(" ")
        }
        KeyUse::Matching(pattern) => format!("~{}", String::from_utf8_lossy(pattern)),
        KeyUse::Any => "*".to_owned(),
        KeyUse::OtherDatabase => "elsewhere".to_owned(),
    }
}

#[test]
fn the_keys_of_each_form_of_command_are_found_in_its_arguments() {
    for (line, expected) in [
        ("GET a", "a"),
        ("getdel a", "a"),
        ("MGET a b c", "a b c"),
        ("MSET a 1 b 2", "a b"),
        ("BLPOP a b 0", "a b"),
        ("BITOP AND d a b", "d a b"),
        ("RENAME a b", "a b"),
        ("COPY a b REPLACE", "a b"),
        ("COPY a b DB 3", "elsewhere"),
        ("copy a b replace db 3", "elsewhere"),
        ("OBJECT ENCODING a", "a"),
        ("MEMORY USAGE a SAMPLES 5", "a"),
        ("XINFO STREAM a FULL", "a"),
        ("XGROUP CREATE a g $", "a"),
        ("ZUNION 2 a b WEIGHTS 1 2", "a b"),
        ("ZUNIONSTORE d 2 a b", "d a b"),
        ("ZUNIONSTORE d 9 a b", "*"),
        ("ZUNION 0 a", "*"),
        ("LMPOP 1 a LEFT", "a"),
        ("BLMPOP 0 2 a b LEFT", "a b"),
        ("XREAD COUNT 2 STREAMS a b 0 0", "a b"),
        ("XREAD STREAMS a b 0", "*"),
        ("XREADGROUP GROUP streams me COUNT 1 NOACK STREAMS a >", "a"),
        ("XREADGROUP GROUP g me a >", "*"),
        ("SORT a", "a"),
        ("SORT a LIMIT 0 5 DESC ALPHA STORE d", "a d"),
        ("SORT a STORE d STORE e", "a d e"),
        ("SORT a BY w_*", "*"),
        ("SORT a GET o_*", "*"),
        ("SORT_RO a GET #", "*"),
        ("GEORADIUS a 1 2 3 km STORE d", "a d"),
        ("GEORADIUS a 1 2 3 km COUNT 1 STOREDIST d STORE e", "a d e"),
        ("GEORADIUSBYMEMBER a m 3 km STORE d", "a d"),
        ("SCAN 0", "*"),
        ("SCAN 0 MATCH a:*", "~a:*"),
        ("SCAN 0 COUNT 5 match a:* TYPE string", "~a:*"),
        ("SCAN 0 MATCH a:* MATCH *", "*"),
        ("SCAN 0 COUNT 5 MATCH", "*"),
        ("KEYS a:*", "~a:*"),
        ("RANDOMKEY", "*"),
        ("DBSIZE", "*"),
        ("FLUSHDB", "*"),
        ("EVAL x 1 a", "*"),
        ("FCALL f 0", "*"),
        ("JSON.GET a", "*"),
        ("GET", "*"),
        ("PING", ""),
        ("INFO memory", ""),
    ] {
        assert_eq!(keys(line), expected, "{line}");
    }
}

#[test]
fn a_command_is_known_by_one_name_in_every_spelling() {
    for (line, name) in [
        ("get a", "get"),
        ("GeT a", "get"),
        ("CLIENT LIST", "client list"),
        ("config SET a b", "config set"),
        ("COMMAND", "command"),
        ("COMMAND INFO get", "command info"),
        ("Json.Get a", "json.get"),
    ] {
        assert_eq!(RedisCommand::parse(&command(line)).expect(line).name, name);
    }
    for line in
        ["", "config|set a b", "client", "CLIENT NONSENSE", "get\r\nflushall", "gét", "\0get"]
    {
        assert!(RedisCommand::parse(&command(line)).is_err(), "{line:?}");
    }
    assert_eq!(RedisCommand::parse(&[]), Err(CommandError::Empty));
}

#[test]
fn a_pattern_of_the_server_is_within_one_of_the_target_or_counts_as_outside() {
    let patterns = ["session:*".to_owned(), "cache".to_owned()];
    for within in ["session:*", "session:a*", "session:*:b*", "cache", "session:x"] {
        assert!(is_within(within.as_bytes(), &patterns), "{within}");
    }
    for outside in
        ["*", "sess*", "session:?", "session:[ab]", "session:\\*", "cache*", "[s]ession:a"]
    {
        assert!(!is_within(outside.as_bytes(), &patterns), "{outside}");
    }
    assert!(!is_within(b"session:\xff*", &patterns));
}

#[test]
fn two_commands_never_have_the_same_text() {
    let shown = |argument: &[u8]| shown_command(&[argument.to_vec()]).remove(0);
    assert_eq!(shown(b"plain \xc3\xa4"), "plain ä");
    assert_ne!(shown(b"\\xff"), shown(b"\xff"));
    assert_ne!(shown(b"\\\\xff"), shown(b"\\xff"));
}
