use super::conversation::without_secrets;
use crate::bindings::runbook::net::connect::Host as _;
use crate::bindings::runbook::net::tls::Host as _;
use crate::bindings::runbook::net::types::{Answer, AnswerEnd, Connection, Endpoint, Turn};
use crate::capabilities::truncation_tests::{AllowedRemainder, CAP, Channel};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host, host_with_audited_names};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

mod dns;
mod tls;

const SERVER: &[Slot] = &[("s", &["net.connect", "net.inspect-tls"], "t")];

fn target(address: SocketAddr, more: &str) -> String {
    format!("[targets.t]\nnet = \"{}\"\nports = [{}]\n{more}\n", address.ip(), address.port())
}

fn only() -> Endpoint {
    Endpoint { host: None, port: None }
}

fn turn(say: Option<&str>, until: Option<&str>) -> Turn {
    Turn { say: say.map(str::to_owned), until: until.map(str::to_owned) }
}

async fn check(host: &mut Host, turns: &[Turn]) -> Result<Connection, Fault> {
    HostCall::new(host).check("s".to_owned(), only(), turns.to_vec()).await
}

async fn check_at(targets: &str, turns: &[Turn]) -> Result<Connection, Fault> {
    check(&mut host(SERVER, targets, Path::new("/")), turns).await
}

/// A server that calls `serve` with each connection, and the number of connections so far.
async fn server<F>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

/// A mail server: greets, answers each line, and closes the connection after `QUIT`.
async fn mail(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let _ = stream.write_all(b"220 mail.internal ready\r\n").await;
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        let _ = stream.write_all(format!("250 {line}").as_bytes()).await;
        if line.starts_with("QUIT") {
            return;
        }
        line.clear();
    }
}

fn texts(connection: &Connection) -> Vec<String> {
    let text = |answer: &Answer| String::from_utf8_lossy(&answer.content).into_owned();
    connection.answers.iter().map(text).collect()
}

#[tokio::test]
async fn a_banner_is_read_and_each_line_that_may_be_said_is_answered() {
    let (address, _) = server(mail).await;
    let targets = target(address, "questions = [\"EHLO *\", \"QUIT\"]");
    let turns = [
        turn(None, Some("ready\r\n")),
        turn(Some("EHLO probe"), Some("probe\r\n")),
        turn(Some("QUIT"), Some("QUIT\r\n")),
    ];
    let connection = check_at(&targets, &turns).await.unwrap();
    assert_eq!(
        texts(&connection),
        ["220 mail.internal ready\r\n", "250 EHLO probe\r\n", "250 QUIT\r\n"]
    );
    assert!(connection.answers.iter().all(|answer| answer.end == AnswerEnd::Found));
    assert_eq!(connection.peer, address.to_string());
    assert_eq!((connection.host.as_str(), connection.port), ("127.0.0.1", address.port()));
    // Without turns, the call only connects.
    assert!(check_at(&targets, &[]).await.unwrap().answers.is_empty());
}

#[tokio::test]
async fn a_conversation_ends_where_the_server_does() {
    let (address, _) = server(mail).await;
    let targets = target(address, "questions = [\"QUIT\"]");
    let turns = [turn(Some("QUIT"), Some("221")), turn(None, Some("more"))];
    let connection = check_at(&targets, &turns).await.unwrap();
    assert_eq!(connection.answers.len(), 1);
    assert_eq!(connection.answers[0].end, AnswerEnd::Closed);
    assert!(texts(&connection)[0].contains("250 QUIT"));
}

#[tokio::test]
async fn endless_bytes_are_cut_at_the_limit_of_the_target() {
    let endless = |mut stream: TcpStream| async move {
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    };
    let (address, _) = server(endless).await;
    for size in ["1B", "1000B", "64KiB"] {
        let targets = target(address, &format!("max_bytes = \"{size}\""));
        let turns = [turn(None, Some("never")), turn(None, Some("x"))];
        let connection = check_at(&targets, &turns).await.unwrap();
        assert_eq!(connection.answers.len(), 1, "{size}");
        assert_eq!(connection.answers[0].end, AnswerEnd::Cut, "{size}");
        let expected = match size {
            "1B" => 1,
            "1000B" => 1000,
            _ => 64 << 10,
        };
        assert_eq!(connection.answers[0].content.len(), expected);
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_left_at_the_timeout() {
    let silent = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"22").await;
        std::future::pending::<()>().await;
    };
    let (address, _) = server(silent).await;
    let targets = target(address, "timeout = \"300ms\"");
    let fault = check_at(&targets, &[turn(None, Some("220"))]).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Timeout, "{}", fault.message);
    assert!(
        fault.message.contains("did not send `220` in time; 2 bytes came"),
        "{}",
        fault.message
    );
    let (mute, _) = server(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut host = host(SERVER, &target(mute, "timeout = \"300ms\""), Path::new("/"));
    let inspected = HostCall::new(&mut host).inspect("s".to_owned(), only()).await;
    assert_eq!(inspected.unwrap_err().class, FaultClass::Timeout);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_transient() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fault = check_at(&target(closed, ""), &[]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "net.connect"));
    assert!(fault.message.contains("cannot be connected to"), "{}", fault.message);
}

#[tokio::test]
async fn what_the_target_does_not_list_is_denied_before_any_packet() {
    let (address, connections) = server(mail).await;
    let targets = target(address, "questions = [\"NOOP\"]");
    let elsewhere =
        |host: Option<&str>, port: Option<u16>| Endpoint { host: host.map(str::to_owned), port };
    let quiet: &[Turn] = &[];
    let loud = [turn(None, Some("220")), turn(Some("NOOP"), None), turn(Some("DATA"), None)];
    let crafty = [turn(Some("NOOP\r\nDATA"), None)];
    for (endpoint, turns, rule) in [
        (elsewhere(Some("127.0.0.2"), None), quiet, "host"),
        (elsewhere(Some("localhost"), None), quiet, "host"),
        (elsewhere(None, Some(address.port() ^ 1)), quiet, "port"),
        (only(), &loud, "questions"),
        (only(), &crafty, "questions"),
    ] {
        let mut host = host(SERVER, &targets, Path::new("/"));
        let fault = HostCall::new(&mut host).check("s".to_owned(), endpoint, turns.to_vec()).await;
        assert_eq!(fault.unwrap_err().class, FaultClass::Denied, "{rule}");
        assert_eq!(host.into_trace().denials[0].rule.name(), rule);
    }
    let fault = check_at(&targets, &[turn(None, Some(""))]).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Invalid);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_several_hosts_each_is_judged_by_its_own_address() {
    let (address, connections) = server(mail).await;
    let targets = format!(
        "[targets.t]\nnet = [\"a.example\", \"127.0.0.1\"]\nports = [{}]\n",
        address.port()
    );
    let told = Arc::<Mutex<Vec<String>>>::default();
    let names: &[(&str, &[&str])] = &[("a.example", &["127.0.0.1"])];
    let mut host = host_with_audited_names(SERVER, &targets, names, &told);
    let mut reached = async |name: &str| {
        let endpoint = Endpoint { host: Some(name.to_owned()), port: None };
        HostCall::new(&mut host).check("s".to_owned(), endpoint, Vec::new()).await
    };
    // That the target lists 127.0.0.1 as a host does not allow the name `a.example` to lead there.
    assert_eq!(reached("a.example").await.unwrap_err().class, FaultClass::Denied);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    assert!(reached("127.0.0.1").await.is_ok());
}

#[tokio::test]
async fn an_answer_that_shows_a_secret_is_refused_also_where_it_lies_across_two() {
    let speaks = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"the token is s3cr3t").await;
        let mut line = [0; 6];
        let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut line).await;
        let _ = stream.write_all(b"-t0ken, keep it\r\n").await;
    };
    let (address, _) = server(speaks).await;
    let mut host = host(SERVER, &target(address, "questions = [\"NEXT\"]"), Path::new("/"));
    host.secret("token").await.unwrap();
    let turns = [turn(None, Some("s3cr3t")), turn(Some("NEXT"), Some("\r\n"))];
    let fault = check(&mut host, &turns).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Denied, "net.secret"));
    // If only the first part of the secret came, that part is cut off.
    let part = texts(&check(&mut host, &turns[..1]).await.unwrap()).concat();
    assert!(part.starts_with("the token is ") && !part.contains("s3cr"), "{part}");
}

/// What servers say, as a guest sees it.
pub(in crate::capabilities) fn channels() -> Vec<Channel> {
    // The host does not read past the cut: the server may never send more.
    vec![Channel {
        allowed_remainder: AllowedRemainder::Beginning,
        ..Channel::bytes("what a server says", CAP, |scrubber, text| {
            let content = text.iter().copied().take(CAP).collect();
            match without_secrets(vec![Answer { content, end: AnswerEnd::Cut }], scrubber) {
                Ok(answers) => answers.into_iter().flat_map(|answer| answer.content).collect(),
                Err(name) => name.into_bytes(),
            }
        })
    }]
}
