//! Engines that lie, break or flood.

use super::{ALL_VERBS, slot};
use crate::bindings::runbook::docker::control::Host as _;
use crate::bindings::runbook::docker::exec::Host as _;
use crate::bindings::runbook::docker::reader::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::host;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Answers the request for a path.
type Script = fn(&str, &mut TcpStream);

/// A server that answers by a script, and the requests that it got.
struct Fake {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(stream, script, &seen));
            }
        });
        Self { port, got }
    }

    fn host(&self) -> Host {
        let targets = format!(
            "[targets.c]\ndocker = {{ name = \"app\" }}\nengine = \"tcp://127.0.0.1:{}\"\n\
             tls = \"off\"\ncommand = [\"/bin/true\"]\n",
            self.port
        );
        host(&[("c", ALL_VERBS, "c")], &targets, Path::new("/"))
    }

    fn requests(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, script: Script, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap_or_default();
    let (mut head, mut length) = (String::new(), 0);
    while reader.read_line(&mut head).is_ok_and(|count| count > 2) {
        let value = head.to_lowercase();
        let value = value.strip_prefix("content-length:").map(str::trim);
        length = value.and_then(|value| value.parse().ok()).unwrap_or(length);
        head.clear();
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap_or_default();
    let request = line.rsplit_once(' ').map(|(request, _)| request.to_owned()).unwrap_or_default();
    seen.lock().unwrap().push(request.clone());
    script(request.rsplit(' ').next().unwrap_or_default(), &mut stream);
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

fn json(stream: &mut TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    send(stream, format!("{head}{body}").as_bytes());
}

const VERSION: &str = "{\"Version\":\"1\",\"ApiVersion\":\"1.41\"}";
const CONTAINER: &str = "{\"Id\":\"abc\",\"Name\":\"/app\",\"State\":{\"Status\":\"running\"}}";

/// Answers as an engine with one container, which is good for all but one path.
fn honest(path: &str, stream: &mut TcpStream) {
    match path {
        path if path.ends_with("/version") => json(stream, VERSION),
        path if path.ends_with("/containers/json?all=true") => json(stream, "[{\"Id\":\"abc\"}]"),
        path if path.ends_with("/exec") => json(stream, "{\"Id\":\"def\"}"),
        _ => json(stream, CONTAINER),
    }
}

async fn inspect(host: &mut Host) -> Result<(), Fault> {
    HostCall::new(host).inspect(slot(), String::new()).await.map(drop)
}

#[tokio::test]
async fn an_engine_that_does_not_speak_the_api_is_a_failed_check_and_never_a_guess() {
    let scripts: [(&str, Script); 9] = [
        ("a line of another protocol", |_, stream| {
            send(stream, b"+OK\r\n\r\n");
        }),
        ("a version that is none", |_, stream| json(stream, "{\"ApiVersion\":\"banana\"}")),
        ("no version", |_, stream| json(stream, "{}")),
        ("a version without an end", |_, stream| {
            json(stream, &format!("{{\"ApiVersion\":\"{}\"}}", "9".repeat(4000)));
        }),
        ("no JSON", |_, stream| json(stream, "<html>")),
        ("another document", |_, stream| json(stream, "[1,2,3]")),
        ("chunks that are none", |_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nmore\r\n");
        }),
        ("a head without an end", |_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\n");
            while send(stream, b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            {
            }
        }),
        ("a server of something else", |_, stream| {
            send(stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found");
        }),
    ];
    for (what, script) in scripts {
        let fault = inspect(&mut Fake::start(script).host()).await.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Assertion, "docker.protocol"), "{what}: {}", fault.message);
    }
}

#[tokio::test]
async fn an_engine_of_an_unknown_version_is_spoken_to_in_the_newest_that_both_know() {
    for (version, path) in [
        ("1.41", "/v1.41/containers/app/json"),
        ("1.24", "/v1.24/containers/app/json"),
        ("99.7", "/v1.53/containers/app/json"),
    ] {
        static ANSWER: Mutex<String> = Mutex::new(String::new());
        *ANSWER.lock().unwrap() = format!("{{\"ApiVersion\":\"{version}\"}}");
        let engine = Fake::start(|path, stream| match path {
            path if path.ends_with("/version") => {
                let answer = ANSWER.lock().unwrap().clone();
                json(stream, &answer);
            }
            path => honest(path, stream),
        });
        inspect(&mut engine.host()).await.unwrap();
        assert_eq!(engine.requests().last().unwrap(), &format!("GET {path}"), "{version}");
    }
}

/// Each kind of answer that is read as a whole, and each that is read part by part.
#[tokio::test]
async fn an_engine_cannot_fill_the_memory_of_the_host() {
    fn flood(stream: &mut TcpStream, head: &[u8], part: &[u8]) {
        send(stream, head);
        while send(stream, part) {}
    }
    fn endless(stream: &mut TcpStream) {
        let part = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
        flood(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &part);
    }
    let version: Script = |_, stream| endless(stream);
    let huge: Script = |_, stream| {
        flood(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            &vec![b'['; 1 << 16],
        );
    };
    let failing: Script = |_, stream| {
        let head = b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n";
        flood(stream, head, &vec![b'e'; 1 << 16]);
    };
    let inspection: Script = |path, stream| match path {
        path if path.ends_with("/app/json") => endless(stream),
        path => honest(path, stream),
    };
    for script in [version, huge, failing, inspection] {
        too_large(&inspect(&mut Fake::start(script).host()).await.unwrap_err());
    }
    let list: Script = |path, stream| match path {
        path if path.contains("all=true") => endless(stream),
        path => honest(path, stream),
    };
    let mut host = Fake::start(list).host();
    too_large(&HostCall::new(&mut host).list(slot()).await.unwrap_err());
    // A piece of a log that says that it has four gigabytes.
    let log: Script = |path, stream| match path {
        path if path.contains("/logs") => {
            send(stream, b"HTTP/1.1 200 OK\r\n\r\n\x01\0\0\0\xff\xff\xff\xff");
            while send(stream, &vec![b'x'; 1 << 16]) {}
        }
        path => honest(path, stream),
    };
    let mut host = Fake::start(log).host();
    too_large(&HostCall::new(&mut host).logs(slot(), String::new(), 10).await.unwrap_err());
    let stats: Script = |path, stream| match path {
        path if path.contains("/stats") => endless(stream),
        path => honest(path, stream),
    };
    let mut host = Fake::start(stats).host();
    too_large(&HostCall::new(&mut host).stats(slot(), String::new()).await.unwrap_err());
    let output: Script = |path, stream| match path {
        path if path.ends_with("/start") => {
            let head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\
                         \x01\0\0\0\xff\xff\xff\xff";
            flood(stream, head, &vec![b'x'; 1 << 16]);
        }
        path => honest(path, stream),
    };
    let mut host = Fake::start(output).host();
    let command = vec!["/bin/true".to_owned()];
    let mut call = HostCall::new(&mut host);
    too_large(&call.run(slot(), String::new(), command).await.unwrap_err());
}

fn too_large(fault: &Fault) {
    let found = (fault.class, fault.code.as_str());
    assert_eq!(found, (FaultClass::Limit, "docker.answer-too-large"), "{}", fault.message);
}

#[tokio::test]
async fn an_engine_is_asked_at_its_own_place_whatever_it_answers() {
    static ELSEWHERE: Mutex<u16> = Mutex::new(0);
    let elsewhere = Fake::start(honest);
    *ELSEWHERE.lock().unwrap() = elsewhere.port;
    let engine = Fake::start(|path, stream| match path {
        path if path.ends_with("/version") => honest(path, stream),
        path => {
            let port = *ELSEWHERE.lock().unwrap();
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}{path}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            send(stream, head.as_bytes());
        }
    });
    let fault = inspect(&mut engine.host()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{}", fault.message);
    assert_eq!(elsewhere.requests(), [""; 0]);
}

/// After a stop was sent, only an answer says what has become of it. Before, nothing was done.
#[tokio::test]
async fn a_connection_that_breaks_leaves_a_change_in_doubt_only_after_it_was_sent() {
    let cut: Script = |path, stream| match path {
        path if path.contains("/stop") => {}
        path => honest(path, stream),
    };
    let mut host = Fake::start(cut).host();
    let fault = HostCall::new(&mut host).stop(slot(), String::new(), 1).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{}", fault.message);
    assert_eq!(host.verbs_that_acted(), [runbook_authority::Verb::DockerStop]);
    let silent: Script = |path, stream| match path {
        path if path.ends_with("/app/json") => {}
        path => honest(path, stream),
    };
    let mut host = Fake::start(silent).host();
    let fault = HostCall::new(&mut host).stop(slot(), String::new(), 1).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{}", fault.message);
    assert!(host.verbs_that_acted().is_empty());
}
