//! Stores that lie, break, flood or keep silent, and connections that are cut.

use super::{
    FaultClass, HostCall, S3, code, content, digest, folder, get, head, new_host, put, s, target,
};
use crate::bindings::runbook::objects::reader::Host as _;
use crate::bindings::runbook::objects::types::Condition;
use crate::bindings::runbook::objects::writer::Host as _;
use runbook_tests::certificates::CertificateAuthority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a store sends for a request, given its head and how many came before.
type Script = fn(&str, usize) -> Vec<u8>;

/// A store that answers by a script, one request on each connection.
struct Fake {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, heads) =
            (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(&stream, script, &seen));
            }
        });
        Self { port, heads }
    }

    /// The first lines of the requests that came.
    fn requests(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn serve(stream: &TcpStream, script: Script, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(head.clone());
        seen.len() - 1
    };
    let answer = script(&head, number);
    if answer.is_empty() {
        // It stays silent.
        std::thread::sleep(Duration::from_mins(1));
    }
    let mut stream = stream;
    let _ = stream.write_all(&answer);
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// The headers of an object.
const OBJECT: &str = "etag: \"e1\"\r\nlast-modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n";

fn list(objects: &str, end: &str) -> Vec<u8> {
    answer("200 OK", "", &format!("<ListBucketResult>{objects}{end}</ListBucketResult>"))
}

fn listed(key: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>1</Size><ETag>\"e\"</ETag>\
         <LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
    )
}

async fn list_of(fake: &Fake, more: &str) -> Result<(usize, bool), crate::fault::Fault> {
    let folder = folder();
    let mut host = new_host(&target(fake.port, more), folder.path());
    let listing = HostCall::new(&mut host).list(s(), String::new()).await;
    listing.map(|listing| (listing.objects.len(), listing.cut))
}

#[tokio::test]
async fn a_list_that_no_store_would_send_is_refused() {
    let scripts: &[(&str, Script)] = &[
        ("a key outside of the prefix", |_, _| list(&listed("b/x"), "")),
        ("a key that only begins alike", |_, _| list(&listed("a"), "")),
        ("the same page for ever", |_, _| {
            list(
                &listed("a/x"),
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
            )
        }),
        ("empty pages for ever", |_, number| {
            let token = format!("<NextContinuationToken>{number}</NextContinuationToken>");
            list("", &format!("<IsTruncated>true</IsTruncated>{token}"))
        }),
        ("more without a token", |_, _| list("", "<IsTruncated>true</IsTruncated>")),
        ("a bomb", |_, _| {
            answer(
                "200 OK",
                "",
                "<!DOCTYPE a [<!ENTITY x \"xx\">]><ListBucketResult>&x;</ListBucketResult>",
            )
        }),
        ("a page", |_, _| answer("200 OK", "", "<html>Welcome to the proxy</html>")),
        ("nothing", |_, _| answer("200 OK", "", "")),
        ("a size of no number", |_, _| list(&listed("a/x").replace("<Size>1", "<Size>-1"), "")),
        ("no time", |_, _| list(&listed("a/x").replace("2026", "then"), "")),
        ("a tag that is none", |_, _| list(&listed("a/x").replace("\"e\"", "a\nb"), "")),
        ("9 MiB", |_, _| list(&" ".repeat(9 << 20), "")),
    ];
    for (name, script) in scripts {
        let fake = Fake::start(*script);
        let fault = list_of(&fake, "").await.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Assertion, "objects.protocol"), "{name}: {fault:?}");
        assert!(fake.requests().len() <= 12, "{name}: {}", fake.requests().len());
    }
}

#[tokio::test]
async fn a_list_without_end_is_cut_where_the_target_says() {
    let fake = Fake::start(|_, number| {
        let objects: String = (0..1000).fold(String::new(), |mut text, index| {
            let _ = write!(text, "{}", listed(&format!("a/{number:05}-{index:05}")));
            text
        });
        let token = format!("<NextContinuationToken>{number}</NextContinuationToken>");
        list(&objects, &format!("<IsTruncated>true</IsTruncated>{token}"))
    });
    assert_eq!(list_of(&fake, "max_rows = 100000").await.unwrap(), (100_000, true));
    assert_eq!(fake.requests().len(), 101);
}

#[tokio::test]
async fn a_request_goes_to_the_endpoint_of_the_target_and_nowhere_else() {
    static OTHER: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    OTHER.store(listener.local_addr().unwrap().port().into(), Ordering::SeqCst);
    listener.set_nonblocking(true).unwrap();
    let fake = Fake::start(|_, number| {
        let statuses = [
            "301 Moved Permanently",
            "302 Found",
            "303 See Other",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ];
        let port = OTHER.load(Ordering::SeqCst);
        let headers = format!("location: http://127.0.0.1:{port}/backups/a/b\r\n");
        let body = "<Error><Code>PermanentRedirect</Code><Message>m</Message>\
                    <Endpoint>evil.example</Endpoint></Error>";
        answer(statuses[number % 5], &headers, body)
    });
    let folder = folder();
    let mut host = new_host(&target(fake.port, ""), folder.path());
    for _ in 0..5 {
        let fault = get(&mut host, "b").await.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Invalid, "objects.redirect"));
        assert!(fault.message.contains("PermanentRedirect"), "{}", fault.message);
        let fault = put(&mut host, "b", b"x").await.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Invalid, "objects.redirect"));
    }
    assert!(host.verbs_that_acted().is_empty());
    assert!(listener.accept().is_err(), "nobody came");
    for head in fake.heads.lock().unwrap().iter() {
        assert!(head.contains(&format!("host: 127.0.0.1:{}\r\n", fake.port)), "{head}");
        assert!(!head.contains("hunter2"), "{head}");
    }
}

#[tokio::test]
async fn what_a_store_answers_has_a_class_and_a_refused_change_has_no_effect() {
    use FaultClass::{Conflict, Invalid, NotFound, Transient, Unknown};
    let scripts: &[(Script, (FaultClass, &str), FaultClass, bool)] = &[
        (|_, _| answer("404 N", "", ""), (NotFound, "objects.not-found"), NotFound, false),
        (|_, _| answer("403 N", "", ""), (Invalid, "objects.access-denied"), Invalid, false),
        (
            |_, _| answer("400 N", "", "<Error><Code>X"),
            (Invalid, "objects.refused"),
            Invalid,
            false,
        ),
        (|_, _| answer("409 N", "", ""), (Conflict, "objects.condition"), Conflict, false),
        (|_, _| answer("429 N", "", ""), (Transient, "objects.busy"), Transient, false),
        (|_, _| answer("503 N", "", ""), (Transient, "objects.busy"), Transient, false),
        (|_, _| answer("500 N", "", ""), (Transient, "objects.server"), Unknown, true),
    ];
    for (script, of_read, of_change, has_acted) in scripts {
        let fake = Fake::start(*script);
        let folder = folder();
        let targets = target(fake.port, "");
        let fault = get(&mut new_host(&targets, folder.path()), "b").await.unwrap_err();
        assert_eq!(code(&fault), *of_read, "{}", fault.message);
        let mut host = new_host(&targets, folder.path());
        let fault = put(&mut host, "b", b"x").await.unwrap_err();
        assert_eq!(fault.class, *of_change, "{}", fault.message);
        assert_eq!(!host.verbs_that_acted().is_empty(), *has_acted, "{}", fault.message);
    }
}

#[tokio::test]
async fn an_object_that_is_not_what_its_headers_say_is_a_failed_check() {
    let scripts: &[(&str, Script)] = &[
        ("another digest", |_, _| {
            let digest = "0".repeat(64);
            answer("200 OK", &format!("{OBJECT}x-amz-meta-sha256: {digest}\r\n"), "hello")
        }),
        ("no tag", |_, _| answer("200 OK", &OBJECT.replace("etag", "other"), "hello")),
        ("no time", |_, _| answer("200 OK", &OBJECT.replace("2026", "then"), "hello")),
        ("a tag that is none", |_, _| answer("200 OK", &OBJECT.replace("e1", "e 1"), "hello")),
        ("no length", |_, _| {
            format!("HTTP/1.1 200 OK\r\n{OBJECT}transfer-encoding: chunked\r\n\r\n0\r\n\r\n")
                .into_bytes()
        }),
        ("no HTTP", |_, _| b"+PONG\r\n".to_vec()),
    ];
    for (name, script) in scripts {
        let fake = Fake::start(*script);
        let folder = folder();
        let mut host = new_host(&target(fake.port, ""), folder.path());
        let fault = get(&mut host, "b").await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Assertion, "{name}: {fault:?}");
        let mut call = HostCall::new(&mut host);
        let copied = call.download(s(), "b".to_owned(), "dir".to_owned(), "copy".to_owned()).await;
        assert_eq!(copied.unwrap_err().class, FaultClass::Assertion, "{name}");
        assert!(!folder.path().join("data/copy").exists(), "{name}");
    }
    // A digest that is none is not compared.
    let fake = Fake::start(|_, _| {
        answer("200 OK", &format!("{OBJECT}x-amz-meta-sha256: nonsense\r\n"), "hello")
    });
    let folder = folder();
    let mut host = new_host(&target(fake.port, ""), folder.path());
    assert_eq!(get(&mut host, "b").await.unwrap(), b"hello");
    assert_eq!(head(&mut host, "b").await.unwrap().sha256, None);
}

#[tokio::test]
async fn a_store_that_falls_silent_is_left_at_the_timeout() {
    let silent: Script = |_, _| Vec::new();
    let fake = Fake::start(silent);
    let folder = folder();
    let mut host = new_host(&target(fake.port, "timeout = \"300ms\""), folder.path());
    let fault = get(&mut host, "b").await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Timeout, "objects.timeout"));
    assert!(host.verbs_that_acted().is_empty());
    let fault = put(&mut host, "b", b"x").await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Timeout, "objects.timeout"));
    // It may have been written.
    assert!(!host.verbs_that_acted().is_empty());
}

#[tokio::test]
async fn what_is_put_has_the_storage_class_of_the_target() {
    let fake = Fake::start(|_, _| answer("200 OK", OBJECT, ""));
    let folder = folder();
    for (more, expected) in [("storage_class = \"GLACIER_IR\"", true), ("", false)] {
        let mut host = new_host(&target(fake.port, more), folder.path());
        put(&mut host, "b", b"hello").await.unwrap();
        let head = fake.heads.lock().unwrap().last().unwrap().clone();
        assert_eq!(head.contains("x-amz-storage-class: GLACIER_IR\r\n"), expected, "{head}");
        assert_eq!(head.contains("x-amz-storage-class"), expected, "{head}");
        // It is a part of what is signed.
        assert_eq!(head.contains("x-amz-meta-sha256;x-amz-storage-class"), expected, "{head}");
    }
}

/// A proxy before a server that cuts connections: the first of each `every` after `up` bytes to the
/// server or `down` bytes from it.
fn cutting_proxy(server: u16, every: usize, up: usize, down: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let cut = number % every == 0;
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let pump = |from: &TcpStream, to: &TcpStream, limit: usize| {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let (mut buffer, mut left) = ([0; 16 << 10], limit);
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        if to.write_all(&buffer[..count.min(left)]).is_err() || count >= left {
                            break;
                        }
                        left -= count;
                    }
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                });
            };
            pump(&client, &server, if cut { up } else { usize::MAX });
            pump(&server, &client, if cut { down } else { usize::MAX });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cut_goes_on_where_it_was() {
    let server = S3::start();
    let folder = folder();
    let bytes = content(20 << 20);
    std::fs::write(folder.path().join("data/file"), &bytes).unwrap();
    let dir = || "dir".to_owned();
    // Parts are cut on the way up: each third connection, which is never the last request.
    let port = cutting_proxy(server.port, 3, 3 << 20, usize::MAX);
    let mut host = new_host(&target(port, ""), folder.path());
    let mut call = HostCall::new(&mut host);
    let up = call.upload(s(), "b".to_owned(), dir(), "file".to_owned(), Condition::Absent).await;
    assert_eq!(up.unwrap().digest, digest(&bytes));
    assert!(std::fs::read(server.object("a/b")).unwrap() == bytes);
    assert_eq!(server.unfinished_parts(), 0);
    // And on the way down: all but each second connection.
    let port = cutting_proxy(server.port, 2, usize::MAX, 3 << 20);
    let mut host = new_host(&target(port, ""), folder.path());
    let mut call = HostCall::new(&mut host);
    let down = call.download(s(), "b".to_owned(), dir(), "back".to_owned()).await.unwrap();
    assert_eq!((down.digest, down.size_bytes), (digest(&bytes), 20 << 20));
    assert!(std::fs::read(folder.path().join("data/back")).unwrap() == bytes);
    // A server that cuts each connection at once is left after some attempts, and nothing remains.
    let port = cutting_proxy(server.port, 1, usize::MAX, 200);
    let mut host = new_host(&target(port, ""), folder.path());
    let mut call = HostCall::new(&mut host);
    let fault = call.download(s(), "b".to_owned(), dir(), "none".to_owned()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{fault:?}");
    assert!(!folder.path().join("data/none").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_while_it_is_copied_is_a_conflict_and_no_file() {
    let scripts: &[(&str, Script)] = &[
        ("another tag", |_, number| {
            let tag = if number == 0 { "e1" } else { "e2" };
            let headers = OBJECT.replace("e1", tag);
            format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{headers}\r\nhello").into_bytes()
        }),
        ("its condition does not hold", |_, number| match number {
            0 => format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{OBJECT}\r\nhello").into_bytes(),
            _ => answer("412 Precondition Failed", "", ""),
        }),
        ("it is shorter", |_, number| match number {
            0 => format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{OBJECT}\r\nhello").into_bytes(),
            _ => answer("416 Range Not Satisfiable", "", ""),
        }),
    ];
    for (name, script) in scripts {
        let fake = Fake::start(*script);
        let folder = folder();
        let mut host = new_host(&target(fake.port, ""), folder.path());
        let mut call = HostCall::new(&mut host);
        let copied = call.download(s(), "b".to_owned(), "dir".to_owned(), "copy".to_owned()).await;
        let fault = copied.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Conflict, "objects.replaced"), "{name}: {fault:?}");
        assert!(!folder.path().join("data/copy").exists(), "{name}");
        let heads = fake.heads.lock().unwrap();
        assert!(heads[1].contains("range: bytes=5-\r\n"), "{}", heads[1]);
        assert!(heads[1].contains("if-match: \"e1\"\r\n"), "{}", heads[1]);
    }
    // A server that sends the whole instead of the part that was asked for.
    let fake = Fake::start(|_, _| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{OBJECT}\r\nhello").into_bytes()
    });
    let folder = folder();
    let mut host = new_host(&target(fake.port, ""), folder.path());
    let mut call = HostCall::new(&mut host);
    let copied = call.download(s(), "b".to_owned(), "dir".to_owned(), "copy".to_owned()).await;
    assert_eq!(code(&copied.unwrap_err()), (FaultClass::Assertion, "objects.protocol"));
}

/// A store that does all of an upload but answers its end as `end` says.
fn multipart(head: &str, end: &[u8]) -> Vec<u8> {
    if head.starts_with("POST") && head.contains("?uploads") {
        return answer("200 OK", "", "<R><UploadId>id-1</UploadId></R>");
    }
    if head.starts_with("POST") {
        return end.to_vec();
    }
    answer("200 OK", OBJECT, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_leaves_no_parts_and_tells_whether_it_may_have_acted() {
    let scripts: &[(&str, Script, FaultClass, bool)] = &[
        (
            "an error in an answer of success",
            |head, _| {
                multipart(
                    head,
                    &answer("200 OK", "", "\n\n<Error><Code>PreconditionFailed</Code></Error>"),
                )
            },
            FaultClass::Conflict,
            false,
        ),
        (
            "an error of the server",
            |head, _| {
                multipart(head, &answer("200 OK", "", "<Error><Code>InternalError</Code></Error>"))
            },
            FaultClass::Unknown,
            true,
        ),
        (
            "no answer",
            |head, _| multipart(head, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n<R>"),
            FaultClass::Unknown,
            true,
        ),
        (
            "the condition",
            |head, _| multipart(head, &answer("412 Precondition Failed", "", "")),
            FaultClass::Conflict,
            false,
        ),
        (
            "no id",
            |head, _| {
                if head.contains("?uploads") {
                    answer("200 OK", "", "<R></R>")
                } else {
                    answer("200 OK", OBJECT, "")
                }
            },
            FaultClass::Assertion,
            false,
        ),
    ];
    for (name, script, class, has_acted) in scripts {
        let fake = Fake::start(*script);
        let folder = folder();
        std::fs::write(folder.path().join("data/file"), content(9 << 20)).unwrap();
        let mut host = new_host(&target(fake.port, ""), folder.path());
        let copied = HostCall::new(&mut host)
            .upload(s(), "b".to_owned(), "dir".to_owned(), "file".to_owned(), Condition::Absent)
            .await;
        let fault = copied.unwrap_err();
        assert_eq!(fault.class, *class, "{name}: {fault:?}");
        assert_eq!(!host.verbs_that_acted().is_empty(), *has_acted, "{name}: {fault:?}");
        let aborted = fake.requests().iter().any(|line| line.starts_with("DELETE /"));
        assert_eq!(aborted, !has_acted && *name != "no id", "{name}: {:?}", fake.requests());
    }
}

/// A proxy that ends TLS before a server, and asks for a client certificate if `ask` is set.
pub(super) fn tls_proxy(server: u16, authority: &CertificateAuthority, ask: bool) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    authority.server("localhost").write(folder.path(), "server");
    let chain = vec![CertificateDer::from_pem_file(folder.path().join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if ask {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
            .unwrap();
        let roots = Arc::new(roots);
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let to = ("127.0.0.1", server);
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}
