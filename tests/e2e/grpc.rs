//! The bundled plugin `grpc`, against a server of the health protocol.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// The types of the frames of HTTP/2 that the server uses.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// Flags of these frames.
const END_STREAM: u8 = 1;
const ACKNOWLEDGED: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header in the literal form without index and without Huffman code.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], number, payload))
}

/// Answers the calls of one connection: the status of the service whose name is in the message.
fn serve(mut stream: TcpStream, statuses: &[(&str, u8)]) -> Option<()> {
    stream.read_exact(&mut [0; 24]).ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).ok()?;
    loop {
        let (kind, flags, number, payload) = read_frame(&mut stream)?;
        if kind == SETTINGS && flags & ACKNOWLEDGED == 0 {
            stream.write_all(&frame(SETTINGS, ACKNOWLEDGED, 0, &[])).ok()?;
        }
        if kind != DATA {
            continue;
        }
        let name = String::from_utf8_lossy(payload.get(7..).unwrap_or_default()).into_owned();
        let found = statuses.iter().find(|(known, _)| *known == name);
        // `:status: 200` is entry 8 of the static table.
        let head = [&[0x88][..], &literal("content-type", "application/grpc")].concat();
        let answer = match found {
            Some((_, status)) => [
                frame(HEADERS, END_HEADERS, number, &head),
                frame(DATA, 0, number, &[0, 0, 0, 0, 2, 8, *status]),
                frame(HEADERS, END_HEADERS | END_STREAM, number, &literal("grpc-status", "0")),
            ]
            .concat(),
            None => {
                let head = [head, literal("grpc-status", "5")].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, number, &head)
            }
        };
        stream.write_all(&answer).ok()?;
    }
}

/// A server whose services are in these states.
fn server(statuses: &'static [(&'static str, u8)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, statuses));
        }
    });
    port
}

/// The health and the summary of the only check of a suite.
fn check(env: &TestEnv, target: &str, with: &str, status: i32) -> (String, String) {
    let suite = format!(
        "format = 1\n[runbook]\nname = \"grpc\"\n[targets.orders]\n{target}\n[[check]]\n\
         id = \"orders\"\nuses = \"grpc:health\"\nbind.server = \"orders\"\nwith = {with}\n"
    );
    env.file("grpc.toml", &suite);
    let found = env.run(&["check", "--format", "json", "grpc.toml"]).status(status).stdout;
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let text = |key: &str| found["checks"][0][key].as_str().expect("a text").to_owned();
    (text("health"), text("summary"))
}

#[test]
fn a_service_that_serves_is_healthy_and_every_other_is_not() {
    let env = home();
    let port = server(&[("", 1), ("orders.v1.Orders", 1), ("orders.v1.Stock", 2), ("old", 0)]);
    let target = format!("http = \"http://127.0.0.1:{port}\"");
    for (with, status, health, words) in [
        ("{}", 0, "healthy", "the server is serving"),
        ("{ services = [\"orders.v1.Orders\"] }", 0, "healthy", "orders.v1.Orders is serving"),
        (
            "{ services = [\"orders.v1.Orders\", \"orders.v1.Stock\"] }",
            2,
            "critical",
            "orders.v1.Stock is not serving",
        ),
        ("{ services = [\"none\"] }", 2, "critical", "none is service unknown"),
        ("{ services = [\"old\"] }", 2, "critical", "old is unknown"),
        ("{ crit = \"0ms\" }", 2, "critical", "more than"),
        ("{ warn = \"0ms\" }", 1, "warning", "more than"),
    ] {
        let (found, summary) = check(&env, &target, with, status);
        assert_eq!(found, health, "{with}: {summary}");
        assert!(summary.contains(words), "{with}: {summary}");
    }
    let narrow = format!("{target}\nservices = [\"orders.v1.Orders\"]");
    let (health, summary) = check(&env, &narrow, "{ services = [\"orders.v1.Stock\"] }", 3);
    assert!(health == "unknown" && summary.contains("not granted"), "{summary}");
    let review = env.run(&["review", "grpc.toml"]).stdout;
    assert!(review.contains("only services orders.v1.Orders"), "{review}");
}

#[test]
fn a_server_that_is_away_gives_no_verdict() {
    let env = home();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").port()
    };
    let (health, summary) = check(&env, &format!("http = \"http://127.0.0.1:{port}\""), "{}", 3);
    assert_eq!(health, "unknown", "{summary}");
}

#[test]
fn the_examples_of_the_page_about_grpc_do_what_it_says() {
    let page = std::fs::read_to_string(repository().join("docs/targets/grpc.md")).expect("a page");
    let examples: Vec<_> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect();
    assert_eq!(examples.len(), 2);
    let env = home();
    let port = server(&[("orders.v1.Orders", 1), ("orders.v1.Stock", 1), ("", 1)]);
    for example in examples {
        let local = example
            .replace("https://orders.internal:50051", &format!("http://127.0.0.1:{port}"))
            .replace("http://stock.internal:50051", &format!("http://127.0.0.1:{port}"));
        env.file("page.toml", &local);
        env.run(&["validate", "page.toml"]).status(0);
        if local.contains("[[check]]") {
            env.run(&["check", "page.toml"]).status(0);
        } else {
            env.run(&["exec", "--dry-run", "page.toml"]).status(0);
            env.run(&["exec", "page.toml"]).status(0);
            let shown = env.run(&["audit", "show", &env.newest_run()]).status(0).stdout;
            assert!(shown.contains("http.health") && shown.contains("health of"), "{shown}");
        }
    }
}
