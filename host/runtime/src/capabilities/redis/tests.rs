//! Commands against a real server, and against servers that do not do what they should.

mod corpus;
mod hostile;

use crate::bindings::runbook::redis::reader::Host as _;
use crate::bindings::runbook::redis::types::Item;
use crate::bindings::runbook::redis::writer::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use runbook_authority::Verb;
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::redis::{Answer, Redis};
use std::path::Path;

const SLOTS: &[Slot] = &[("s", &["redis.read", "redis.write"], "t")];

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The target of a server on this machine, with more keys.
fn target(port: u16, more: &str) -> String {
    format!("[targets.t]\nredis = \"127.0.0.1:{port}\"\ntls = \"off\"\n{more}\n")
}

/// Sends one command. Returns the answer, and whether it may have changed something.
async fn send(host: &mut Host, verb: Verb, line: &str) -> (Result<Vec<Item>, Fault>, bool) {
    let (slot, command) = ("s".to_owned(), words(line));
    let mut call = HostCall::new(host);
    let answer = if verb == Verb::RedisRead {
        call.read(slot, command).await
    } else {
        call.write(slot, command).await
    };
    drop(call);
    (answer, !host.verbs_that_acted().is_empty())
}

async fn read(targets: &str, line: &str) -> Result<Vec<Item>, Fault> {
    send(&mut host(SLOTS, targets, Path::new("/")), Verb::RedisRead, line).await.0
}

async fn write(targets: &str, line: &str) -> (Result<Vec<Item>, Fault>, bool) {
    send(&mut host(SLOTS, targets, Path::new("/")), Verb::RedisWrite, line).await
}

fn text(bytes: &str) -> Item {
    Item::Text(bytes.as_bytes().to_vec())
}

/// The items as text, because items cannot be compared.
fn shown(items: &[Item]) -> String {
    items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn values_are_written_and_read_in_every_form_of_reply() {
    let server = Redis::start();
    let target = target(server.port, "");
    let ok = shown(&[Item::Status("OK".to_owned())]);
    assert_eq!(shown(&write(&target, "SET a 1").await.0.unwrap()), ok);
    assert_eq!(shown(&read(&target, "GET a").await.unwrap()), shown(&[text("1")]));
    assert_eq!(shown(&read(&target, "GET none").await.unwrap()), shown(&[Item::Nil]));
    assert_eq!(shown(&write(&target, "INCR a").await.0.unwrap()), shown(&[Item::Integer(2)]));
    let several = shown(&[Item::Sequence(2), text("2"), Item::Nil]);
    assert_eq!(shown(&read(&target, "MGET a none").await.unwrap()), several);
    write(&target, "XADD log 1-1 field value").await.0.unwrap();
    let nested = [
        Item::Sequence(1),
        Item::Sequence(2),
        text("1-1"),
        Item::Sequence(2),
        text("field"),
        text("value"),
    ];
    assert_eq!(shown(&read(&target, "XRANGE log - +").await.unwrap()), shown(&nested));
}

#[tokio::test]
async fn errors_of_the_server_have_classes_and_a_change_that_was_refused_has_no_effect() {
    let server = Redis::start();
    let target = target(server.port, "commands = [\"*\", \"eval\"]");
    server.command(&["SET", "text", "a"]);
    for (line, class, code, acted) in [
        ("LPUSH text a", FaultClass::Conflict, "redis.wrong-type", false),
        ("SET text", FaultClass::Invalid, "redis.error", false),
        ("INCR text", FaultClass::Invalid, "redis.error", true),
        // A script may have changed something before it fails.
        (
            "EVAL redis.call('set','b','1')redis.call('lpush','b','1') 0",
            FaultClass::Conflict,
            "redis.wrong-type",
            true,
        ),
    ] {
        let (answer, may_have_acted) = write(&target, line).await;
        let fault = answer.expect_err(line);
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{line}: {}", fault.message);
        assert_eq!(may_have_acted, acted, "{line}");
    }
}

#[tokio::test]
async fn the_user_the_password_and_the_database_are_those_of_the_target() {
    let server = Redis::start_with_password("hunter2-hunter2");
    let commands: [&[&str]; 5] = [
        &["AUTH", "hunter2-hunter2"],
        &["SELECT", "3"],
        &["SET", "a", "three"],
        &["ACL", "SETUSER", "me", "on", ">hunter2-hunter2", "~*", "+@all"],
        &["SET", "secret", "it is hunter2-hunter2"],
    ];
    server.commands(&commands);
    let with = |more: &str| target(server.port, more);
    let fault = read(&with(""), "PING").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "redis.login"));
    assert!(fault.message.contains("The target names no `password`"), "{}", fault.message);
    let fault = read(&with("password = \"secret:token\""), "PING").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "redis.login"));
    assert!(!fault.message.contains("s3cr3t"), "{}", fault.message);
    let password = "password = \"secret:password\"";
    let three = format!("{password}\ndatabase = 3");
    assert_eq!(shown(&read(&with(password), "GET a").await.unwrap()), shown(&[Item::Nil]));
    assert_eq!(shown(&read(&with(&three), "GET a").await.unwrap()), shown(&[text("three")]));
    // What the server has stored may contain the secret.
    let fault = read(&with(&three), "GET secret").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Denied, "redis.secret"));
    let me = format!("user = \"me\"\n{password}\ncommands = [\"acl whoami\"]");
    assert_eq!(shown(&read(&with(&me), "ACL WHOAMI").await.unwrap()), shown(&[text("me")]));
    let fault = read(&with(&format!("{password}\ndatabase = 99")), "PING").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Invalid, "{}", fault.message);
}

#[tokio::test]
async fn a_server_of_redis_is_verified_by_the_authority_of_its_target_alone() {
    let (authority, other) =
        (CertificateAuthority::new("Team"), CertificateAuthority::new("Other"));
    let server = Redis::start_with_tls(&authority.server("localhost"), None);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.certificate()).unwrap();
    let ping = async |host_name: &str, ca: &str| {
        let toml = format!("[targets.t]\nredis = \"{host_name}:{}\"\n{ca}\n", server.tls_port);
        send(&mut host(SLOTS, &toml, folder.path()), Verb::RedisRead, "PING").await.0
    };
    let answer = shown(&[Item::Status("PONG".to_owned())]);
    assert_eq!(shown(&ping("localhost", "ca = \"ca.pem\"").await.unwrap()), answer);
    for (name, ca) in
        [("localhost", ""), ("localhost", "ca = \"other.pem\""), ("127.0.0.1", "ca = \"ca.pem\"")]
    {
        let fault = ping(name, ca).await.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        assert_eq!(
            found,
            (FaultClass::Assertion, "redis.certificate"),
            "{name} {ca}: {}",
            fault.message
        );
    }
    // A server that speaks no TLS waits for the rest of a command. One that speaks nothing else
    // ends the connection.
    let plain = format!("[targets.t]\nredis = \"localhost:{}\"\ntimeout = \"1s\"\n", server.port);
    let fault = read(&plain, "PING").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "redis.tls-timeout"));
    assert!(fault.message.contains("within 1s; a server without TLS"), "{}", fault.message);
    assert!(fault.message.contains("`tls = \"off\"`"), "{}", fault.message);
    let fault = read(&target(server.tls_port, ""), "PING").await.unwrap_err();
    assert!(fault.message.contains("remove `tls = \"off\"`"), "{}", fault.message);
}

#[tokio::test]
async fn a_server_of_redis_that_asks_for_a_certificate_gets_that_of_the_target() {
    let authority = CertificateAuthority::new("Team");
    let server = Redis::start_with_tls(&authority.server("localhost"), Some(&authority));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    authority.client("me").write(folder.path(), "me");
    let base = format!("[targets.t]\nredis = \"localhost:{}\"\nca = \"ca.pem\"\n", server.tls_port);
    let with = format!("{base}client_cert = \"me.pem\"\nclient_key = \"me.key\"\n");
    let ping = async |toml: &str| {
        send(&mut host(SLOTS, toml, folder.path()), Verb::RedisRead, "PING").await.0
    };
    ping(&with).await.unwrap_or_else(|fault| panic!("{}", fault.message));
    let fault = ping(&base).await.unwrap_err();
    let found = (fault.class, fault.code.as_str());
    assert_eq!(found, (FaultClass::Invalid, "redis.client-certificate"), "{}", fault.message);
}

#[tokio::test]
async fn keys_and_commands_beyond_the_target_are_denied_before_a_connection_is_made() {
    let server = Redis::start();
    server.command(&["SET", "other", "a"]);
    let limited =
        target(server.port, "keys = [\"mine:*\"]\ncommands = [\"get\", \"del\", \"mget\"]");
    server.command(&["CONFIG", "RESETSTAT"]);
    for line in ["GET other", "MGET mine:a other", "TTL mine:a"] {
        let fault = read(&limited, line).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{line}: {}", fault.message);
    }
    assert_eq!(write(&limited, "DEL other").await.0.unwrap_err().class, FaultClass::Denied);
    let Answer::Text(stats) = server.command(&["INFO", "stats"]) else { panic!("text") };
    // The connections of this test alone.
    assert!(stats.contains("total_connections_received:1\r\n"), "{stats}");
    assert_eq!(shown(&read(&limited, "GET mine:a").await.unwrap()), shown(&[Item::Nil]));
    assert_eq!(server.command(&["EXISTS", "other"]), Answer::Number(1));
}

#[tokio::test]
async fn what_a_server_said_before_it_ended_the_connection_is_the_reason() {
    let server = Redis::start();
    server.commands(&[&["CONFIG", "SET", "maxclients", "1"]]);
    let held = loop {
        use std::io::{Read as _, Write as _};
        let mut held = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let mut said = [0; 5];
        // Until the server has noticed that the connection before is closed, it takes no other.
        if held.write_all(b"PING\r\n").and_then(|()| held.read_exact(&mut said)).is_ok()
            && &said == b"+PONG"
        {
            break held;
        }
    };
    // The server says it before it is asked, and closes the connection.
    for _ in 0..20 {
        let fault = read(&target(server.port, ""), "PING").await.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        let expected = (FaultClass::Transient, "redis.no-connection-left");
        assert_eq!(found, expected, "{}", fault.message);
        assert!(fault.message.contains("its connections are used up"), "{}", fault.message);
    }
    drop(held);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_by_what_it_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let fault = read(&target(port, ""), "PING").await.unwrap_err();
    server.join().unwrap();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "redis.protocol"));
    assert!(fault.message.contains("(it said `SSH-2.0-OpenSSH_9.2`)"), "{}", fault.message);
}
