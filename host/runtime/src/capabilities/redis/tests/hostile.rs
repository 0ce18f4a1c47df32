//! Servers that lie, break, flood or keep silent.

use super::{read, target, write};
use crate::fault::FaultClass;
use runbook_tests::redis::read_command;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server sends for a command; `None` closes the connection.
type Script = fn(&[String]) -> Option<Vec<u8>>;

/// A server that answers by a script, and the commands that it got.
struct Fake {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, got) =
            (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(&stream, script, &seen));
            }
        });
        Self { port, got }
    }

    fn target(&self, more: &str) -> String {
        target(self.port, more)
    }

    /// The commands of plugins that came.
    fn commands(&self) -> Vec<String> {
        let got = self.got.lock().unwrap().clone();
        got.into_iter().filter(|line| !line.starts_with("COMMAND ")).collect()
    }
}

fn serve(stream: &TcpStream, script: Script, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = read_command(&mut reader) {
        seen.lock().unwrap().push(words.join(" "));
        match script(&words) {
            Some(bytes) if (&*stream).write_all(&bytes).is_ok() => {}
            Some(_) | None => return,
        }
    }
}

/// An entry of a table, with one flag.
fn entry(name: &str, flag: &str) -> Vec<u8> {
    format!("*1\r\n*3\r\n${}\r\n{name}\r\n:-1\r\n*1\r\n+{flag}\r\n", name.len()).into_bytes()
}

const NO_KEYS: &[u8] = b"-ERR The command has no key arguments\r\n";

/// A server that says of every command that it only reads.
#[expect(clippy::unnecessary_wraps, reason = "a script may also give no answer")]
fn readonly(words: &[String]) -> Option<Vec<u8>> {
    Some(match (words[0].as_str(), words.get(1).map(String::as_str)) {
        ("COMMAND", Some("INFO")) => entry(&words[2].to_lowercase(), "readonly"),
        ("COMMAND", _) => NO_KEYS.to_vec(),
        _ => b"+OK\r\n".to_vec(),
    })
}

#[tokio::test]
async fn a_server_that_says_that_flushall_only_reads_gets_nothing() {
    let server = Fake::start(readonly);
    let named = "commands = [\"*\", \"flushall\", \"eval\", \"config set\", \"shutdown\"]";
    for line in [
        "FLUSHALL",
        "EVAL x 0",
        "CONFIG SET a b",
        "SHUTDOWN",
        "SET a b",
        "DEL a",
        "PFCOUNT a",
        "GETDEL a",
    ] {
        let fault = read(&server.target(named), line).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{line}: {}", fault.message);
    }
    // It hides the keys of a command, which were found without it.
    let limited = server.target("keys = [\"mine\"]");
    assert_eq!(read(&limited, "GET other").await.unwrap_err().class, FaultClass::Denied);
    assert_eq!(server.commands(), Vec::<String>::new());
    assert!(read(&limited, "GET mine").await.is_ok());
    assert_eq!(server.commands(), ["GET mine"]);
}

#[tokio::test]
async fn what_a_server_says_makes_a_decision_stricter() {
    let writes: Script = |words| match words.get(1).map(String::as_str) {
        Some("INFO") => Some(entry("get", "write")),
        _ => readonly(words),
    };
    let knows_nothing: Script = |words| match words.get(1).map(String::as_str) {
        Some("INFO") => Some(b"*1\r\n*-1\r\n".to_vec()),
        _ => readonly(words),
    };
    let administers: Script = |words| match words.get(1).map(String::as_str) {
        Some("INFO") => Some(entry("get", "admin")),
        _ => readonly(words),
    };
    let more_keys: Script = |words| match words.get(1).map(String::as_str) {
        Some("GETKEYSANDFLAGS") => {
            Some(b"*2\r\n*2\r\n$1\r\na\r\n*1\r\n+RO\r\n*2\r\n$5\r\nother\r\n*1\r\n+RO\r\n".to_vec())
        }
        _ => readonly(words),
    };
    let changes_key: Script = |words| match words.get(1).map(String::as_str) {
        Some("GETKEYSANDFLAGS") => {
            Some(b"*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RW\r\n+update\r\n".to_vec())
        }
        _ => readonly(words),
    };
    for script in [writes, knows_nothing, administers, more_keys, changes_key] {
        let server = Fake::start(script);
        let fault = read(&server.target("keys = [\"a\"]"), "GET a").await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{}", fault.message);
        assert_eq!(server.commands(), Vec::<String>::new());
    }
    // An older server, which does not say how keys are used.
    let old: Script = |words| match words.get(1).map(String::as_str) {
        Some("GETKEYSANDFLAGS") => {
            Some(b"-ERR Unknown subcommand or wrong number of arguments\r\n".to_vec())
        }
        Some("GETKEYS") => Some(b"*1\r\n$1\r\na\r\n".to_vec()),
        _ => readonly(words),
    };
    assert!(read(&Fake::start(old).target("keys = [\"a\"]"), "GET a").await.is_ok());
}

#[tokio::test]
async fn a_login_is_never_repeated_as_another_user() {
    let server = Fake::start(|words| {
        Some(match words[0].as_str() {
            "AUTH" => b"-ERR wrong number of arguments for 'auth' command\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        })
    });
    let fault =
        read(&server.target("user = \"probe\"\npassword = \"secret:password\""), "PING").await;
    let fault = fault.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "redis.login"));
    assert_eq!(server.commands(), ["AUTH probe hunter2-hunter2"]);
}

#[tokio::test]
async fn a_connection_that_is_cut_after_a_change_was_sent_leaves_it_in_doubt() {
    let cut: Script = |words| if words[0] == "COMMAND" { readonly(words) } else { None };
    let (answer, may_have_acted) = write(&Fake::start(cut).target(""), "SET a b").await;
    let fault = answer.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Unknown, "redis.in-doubt"),
        "{}",
        fault.message
    );
    assert!(may_have_acted);
    // Before the command was sent, nothing is in doubt.
    let (answer, may_have_acted) = write(&Fake::start(|_| None).target(""), "SET a b").await;
    let fault = answer.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Transient, "redis.broken"),
        "{}",
        fault.message
    );
    assert!(!may_have_acted);
    // A read is never in doubt.
    let fault = read(&Fake::start(cut).target(""), "GET a").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient);
}

#[tokio::test]
async fn a_server_of_redis_that_never_answers_is_left_at_the_timeout() {
    let silent: Script = |words| {
        if words[0] == "COMMAND" { readonly(words) } else { Some(Vec::new()) }
    };
    let timeout = "timeout = \"300ms\"";
    let (answer, may_have_acted) = write(&Fake::start(silent).target(timeout), "SET a b").await;
    let fault = answer.unwrap_err();
    assert_eq!((fault.class, may_have_acted), (FaultClass::Timeout, true), "{}", fault.message);
    assert!(fault.message.contains("may have taken effect"), "{}", fault.message);
    let (answer, may_have_acted) =
        write(&Fake::start(|_| Some(Vec::new())).target(timeout), "SET a b").await;
    assert_eq!((answer.unwrap_err().class, may_have_acted), (FaultClass::Timeout, false));
}

#[tokio::test]
async fn an_answer_larger_than_the_target_allows_is_a_fault_and_not_read() {
    let large: Script = |words| {
        if words[0] == "COMMAND" {
            return readonly(words);
        }
        let mut bytes = b"$100000000\r\n".to_vec();
        bytes.resize(4 << 20, b'x');
        Some(bytes)
    };
    let fault =
        read(&Fake::start(large).target("max_bytes = \"100KiB\""), "GET a").await.unwrap_err();
    let found = (fault.class, fault.code.as_str());
    assert_eq!(found, (FaultClass::Limit, "redis.answer-too-large"), "{}", fault.message);
    // The table of a server is limited too.
    let endless: Script = |_| Some(vec![b'x'; 4 << 20]);
    assert!(read(&Fake::start(endless).target(""), "GET a").await.is_err());
    // Exactly as large as the target allows: `$100`, the bytes and two line ends are 108.
    let exact: Script = |words| {
        if words[0] == "COMMAND" {
            return readonly(words);
        }
        Some([b"$100\r\n".as_slice(), &[b'x'; 100], b"\r\n"].concat())
    };
    let server = Fake::start(exact);
    assert!(read(&server.target("max_bytes = \"108B\""), "GET a").await.is_ok());
    assert!(read(&server.target("max_bytes = \"107B\""), "GET a").await.is_err());
}

#[tokio::test]
async fn an_answer_that_is_none_of_the_protocol_ends_the_call_and_nothing_else() {
    const ANSWERS: &[Script] = &[
        |_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        |_| Some(b"*1\r\n".repeat(100_000)),
        |_| Some(b"*1000000000000\r\n".to_vec()),
        |_| Some(b"$-5\r\n".to_vec()),
        |_| Some(b"$99999999999999999999\r\n".to_vec()),
        |_| Some(b"%9223372036854775807\r\n".to_vec()),
        |_| Some(b"|1\r\n+a\r\n".to_vec()),
        |_| Some(b">2\r\n+a\r\n+b\r\n".to_vec()),
        |_| Some(b":not a number\r\n".to_vec()),
        |_| Some(b"\xff\xfe\r\n".to_vec()),
        |_| Some(b"\r\n".to_vec()),
    ];
    for (index, script) in ANSWERS.iter().enumerate() {
        let server = Fake::start(*script);
        let target = server.target("timeout = \"500ms\"");
        let done = read(&target, "GET a");
        let fault = tokio::time::timeout(Duration::from_mins(1), done).await.expect("in time");
        assert!(fault.is_err(), "{index}");
        assert_eq!(server.commands(), Vec::<String>::new(), "{index}");
    }
}
