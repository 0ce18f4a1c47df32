//! Servers that lie, break, flood or keep silent.

use super::{LOGIN, send_by, target};
use crate::fault::{Fault, FaultClass};
use runbook_tests::certificates::{CertificateAuthority, IssuedCertificate};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server says, and when it ends the connection.
type Script = &'static [(&'static str, &'static str)];

/// The line of a script that is said before the client says anything.
const BANNER: &str = "";

/// The line of a script after which the connection is cut.
const CUT: &str = "<cut>";

/// The line of a script after which nothing is ever said.
const SILENCE: &str = "<silence>";

const GOOD: Script = &[
    (BANNER, "220 hello\r\n"),
    ("EHLO", "250-me\r\n250 SIZE 100000\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT", "250 ok\r\n"),
    ("DATA", "354 go\r\n"),
    (".", "250 taken as 1\r\n"),
    ("QUIT", "221 bye\r\n"),
];

/// A server that answers by a script, where it has one, and else as a good one; and the lines that
/// it got.
struct Fake {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(script: Script) -> Self {
        Self::start_with(script, None)
    }

    /// A server that encrypts with this certificate after `STARTTLS`.
    fn start_with(script: Script, certificate: Option<&IssuedCertificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::<Mutex<Vec<String>>>::default();
        let (seen, config) = (Arc::clone(&got), certificate.map(tls_config));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, config) = (Arc::clone(&seen), config.clone());
                std::thread::spawn(move || serve_connection(stream, script, &seen, config));
            }
        });
        Self { port, got }
    }

    fn target(&self, more: &str) -> String {
        target(self.port, more)
    }

    fn lines(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }

    /// Whether the end of a message has come.
    fn got_a_message(&self) -> bool {
        self.lines().iter().any(|line| line == ".")
    }
}

fn tls_config(issued: &IssuedCertificate) -> Arc<rustls::ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

fn serve_connection(
    stream: TcpStream,
    script: Script,
    seen: &Mutex<Vec<String>>,
    config: Option<Arc<rustls::ServerConfig>>,
) {
    let asks_for_tls = serve(stream.try_clone().unwrap(), script, seen, Some(BANNER));
    if let (true, Some(config)) = (asks_for_tls, config) {
        let tls = rustls::ServerConnection::new(config).unwrap();
        seen.lock().unwrap().push("<encrypted>".to_owned());
        serve(rustls::StreamOwned::new(tls, stream), script, seen, None);
    }
}

/// Answers until the client asks for encryption (true), or to the end.
fn serve(
    stream: impl Read + Write,
    script: Script,
    seen: &Mutex<Vec<String>>,
    first: Option<&str>,
) -> bool {
    let mut reader = BufReader::with_capacity(1, stream);
    let answer_to = |line: &str| {
        let of = |script: Script| {
            script.iter().find(|(word, _)| line.split([' ', ':']).next() == Some(word))
        };
        of(script).or_else(|| of(GOOD)).map_or("500 what?\r\n", |(_, answer)| *answer)
    };
    let mut in_message = false;
    let mut next = first.map(str::to_owned);
    loop {
        let line = match next.take() {
            Some(line) => line,
            None => {
                let mut line = String::new();
                if !reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                    return false;
                }
                let line = line.trim_end_matches(['\r', '\n']).to_owned();
                seen.lock().unwrap().push(line.clone());
                line
            }
        };
        if in_message && line != "." {
            continue;
        }
        let answer = answer_to(&line);
        let (said, end) = match answer.split_once('<') {
            Some((said, _)) if answer.ends_with('>') => (said, &answer[said.len()..]),
            Some(_) | None => (answer, ""),
        };
        if reader.get_mut().write_all(said.as_bytes()).is_err() || reader.get_mut().flush().is_err()
        {
            return false;
        }
        match end {
            CUT => return false,
            SILENCE => {
                let _ = reader.read_to_end(&mut Vec::new());
                return false;
            }
            _ => {}
        }
        in_message = line == "DATA" && said.starts_with("354");
        if line == "STARTTLS" && said.starts_with("220") {
            return true;
        }
    }
}

async fn fault_of(server: &Fake, more: &str) -> (Fault, bool) {
    let (answer, acted) = send_by(&server.target(more), Path::new("/"), "a").await;
    (answer.expect_err("it is no good server"), acted)
}

#[tokio::test]
async fn an_answer_that_refuses_has_a_class_and_nothing_was_sent() {
    let cases: &[(Script, FaultClass, &str)] = &[
        (&[(BANNER, "554 no\r\n")], FaultClass::Invalid, "mail.refused"),
        (&[(BANNER, "421 full\r\n")], FaultClass::Transient, "mail.try-later"),
        (&[("EHLO", "502 no\r\n")], FaultClass::Invalid, "mail.refused"),
        (&[("MAIL", "451 later\r\n")], FaultClass::Transient, "mail.try-later"),
        (&[("MAIL", "553 no\r\n")], FaultClass::Invalid, "mail.refused"),
        (
            &[("MAIL", "250 ok\r\n"), ("RCPT", "450 later\r\n")],
            FaultClass::Transient,
            "mail.try-later",
        ),
        (&[("RCPT", "550-not\r\n550 here\r\n")], FaultClass::Invalid, "mail.recipient"),
        (&[("DATA", "554 no\r\n")], FaultClass::Invalid, "mail.refused"),
        (&[("DATA", "250 what\r\n")], FaultClass::Invalid, "mail.refused"),
        (&[(".", "452 full\r\n")], FaultClass::Transient, "mail.try-later"),
        (&[(".", "554 it is spam\r\n")], FaultClass::Invalid, "mail.refused"),
        (&[("EHLO", "250-me\r\n250 SIZE 100\r\n")], FaultClass::Limit, "mail.message-too-large"),
    ];
    for (script, class, code) in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"").await;
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (*class, *code), "{script:?}: {}", fault.message);
        assert!(!acted, "{script:?}");
    }
}

#[tokio::test]
async fn a_message_of_which_nobody_knows_whether_it_was_taken_is_in_doubt_and_is_sent_once() {
    let cases: &[(Script, FaultClass)] = &[
        (&[(".", "<cut>")], FaultClass::Unknown),
        (&[(".", "25<cut>")], FaultClass::Unknown),
        (&[(".", "garbage\r\n")], FaultClass::Unknown),
        (&[(".", "354 go on\r\n")], FaultClass::Unknown),
        (&[(".", "<silence>")], FaultClass::Timeout),
        (&[(".", "250-taken\r\n<silence>")], FaultClass::Timeout),
    ];
    for (script, class) in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"\ntimeout = \"2s\"").await;
        assert_eq!(fault.class, *class, "{script:?}: {}", fault.message);
        assert!(fault.message.contains("it may be delivered"), "{script:?}: {}", fault.message);
        assert!(acted, "{script:?}");
        let sent = server.lines().iter().filter(|line| *line == ".").count();
        assert_eq!(sent, 1, "{script:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_message_does_has_sent_nothing() {
    let cases: &[(Script, FaultClass)] = &[
        (&[(BANNER, "<cut>")], FaultClass::Transient),
        (&[("EHLO", "<cut>")], FaultClass::Transient),
        (&[("EHLO", "250-me\r\n<cut>")], FaultClass::Transient),
        (&[("MAIL", "<cut>")], FaultClass::Transient),
        (&[("RCPT", "<cut>")], FaultClass::Transient),
        (&[("DATA", "<cut>")], FaultClass::Transient),
        (&[("DATA", "354 go<cut>")], FaultClass::Transient),
    ];
    for (script, class) in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"").await;
        assert_eq!(fault.class, *class, "{script:?}: {}", fault.message);
        assert!(!acted && !server.got_a_message(), "{script:?}");
    }
}

#[tokio::test]
async fn a_mail_server_that_is_silent_is_left_at_the_timeout() {
    let cases: &[Script] = &[
        &[(BANNER, "<silence>")],
        &[(BANNER, "220 hel<silence>")],
        &[("EHLO", "250-me\r\n250-<silence>")],
        &[("RCPT", "<silence>")],
        &[("DATA", "<silence>")],
    ];
    for script in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"\ntimeout = \"1s\"").await;
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Timeout, "mail.timeout"), "{script:?}");
        assert!(!acted && !server.got_a_message(), "{script:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_of_smtp_or_has_no_end_is_refused() {
    let cases: &[(Script, &str)] = &[
        (&[(BANNER, "SSH-2.0-OpenSSH_9.2\r\n")], "it says `SSH-2.0"),
        (&[(BANNER, "HTTP/1.1 400 Bad Request\r\n\r\n")], "it says `HTTP"),
        (&[(BANNER, "220hello\r\n")], "it says `220hello"),
        (&[(BANNER, "099 hello\r\n")], "it says"),
        (&[(BANNER, "999 hello\r\n")], "it says"),
        (&[(BANNER, "+20 hello\r\n")], "it says"),
        (&[(BANNER, "220-a\r\n250 b\r\n")], "disagree"),
        (&[("RCPT", "250-a\r\n550 b\r\n")], "disagree"),
    ];
    for (script, words) in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"").await;
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Assertion, "mail.protocol"), "{}", fault.message);
        assert!(fault.message.contains(words), "{}", fault.message);
        assert!(!acted);
    }
}

/// One line without an end, or many lines without a last one.
#[tokio::test]
async fn an_endless_answer_is_left_at_the_limit() {
    for unit in ["220-and so on\r\n", "220 and so on "] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(unit.repeat(100).as_bytes()).is_ok() {}
        });
        let (answer, acted) = send_by(&target(port, "tls = \"off\""), Path::new("/"), "a").await;
        let fault = answer.unwrap_err();
        assert_eq!(fault.code, "mail.protocol", "{}", fault.message);
        assert!(fault.message.contains("has more than"), "{}", fault.message);
        assert!(!acted);
    }
}

/// CVE-2011-0411 and its kind: what comes before the encryption is never taken for what comes after.
#[tokio::test]
async fn bytes_that_come_before_the_encryption_are_never_read_as_if_they_came_after() {
    let authority = CertificateAuthority::new("Team");
    let certificate = authority.server("localhost");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    let offers = ("EHLO", "250-me\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n");
    let more = format!("starttls = true\nca = \"ca.pem\"\n{LOGIN}");
    let sent = async |server: &Fake| send_by(&server.target(&more), folder.path(), "a").await;
    // It works with a server that does as it should.
    let good: &'static [(&str, &str)] =
        Box::leak(Box::new([offers, ("STARTTLS", "220 go\r\n"), ("AUTH", "235 welcome\r\n")]));
    let server = Fake::start_with(good, Some(&certificate));
    let (answer, acted) = sent(&server).await;
    answer.unwrap_or_else(|fault| panic!("{}", fault.message));
    assert!(acted && server.got_a_message());
    let lines = server.lines();
    assert_eq!(lines[..4], ["EHLO [127.0.0.1]", "STARTTLS", "<encrypted>", "EHLO [127.0.0.1]"]);
    let cases = [
        ("220 go\r\n250 me\r\n", "mail.tls-injection"),
        ("220 go\r\n2", "mail.tls-injection"),
        ("220 go\r\n250-me\r\n250 AUTH PLAIN\r\n235 in\r\n", "mail.tls-injection"),
        ("454 not now\r\n", "mail.tls-missing"),
        ("501 no\r\n", "mail.tls-missing"),
        ("250 go\r\n", "mail.tls-missing"),
    ];
    for (answer, code) in cases {
        let script: Script = Box::leak(Box::new([offers, ("STARTTLS", answer)]));
        let server = Fake::start_with(script, Some(&certificate));
        let (answered, acted) = sent(&server).await;
        let fault = answered.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Assertion, code), "{answer}: {}", fault.message);
        assert!(!acted);
        let said = server.lines();
        assert!(
            !said.iter().any(|line| line.contains("AUTH") || line.contains("MAIL")),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_server_from_which_starttls_was_stripped_gets_neither_the_password_nor_the_message() {
    for answer in [
        "250 me\r\n",
        "250-me\r\n250 AUTH PLAIN LOGIN\r\n",
        "250-me\r\n250 XXXXXXXX\r\n",
        "250-me\r\n250 STARTTLSX\r\n",
        "250 STARTTLS\r\n",
    ] {
        let script: Script = Box::leak(Box::new([("EHLO", answer)]));
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, &format!("starttls = true\n{LOGIN}")).await;
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Assertion, "mail.tls-missing"), "{}", fault.message);
        assert!(!acted);
        assert_eq!(server.lines(), ["EHLO [127.0.0.1]"], "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_out_of_turn_gets_nothing_more() {
    let cases: &[Script] = &[
        &[(BANNER, "220 hello\r\n250 me\r\n")],
        &[("EHLO", "250 me\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n")],
        &[("RCPT", "250 ok\r\n250 ok\r\n")],
        &[("DATA", "354 go\r\n250 taken\r\n")],
    ];
    for script in cases {
        let server = Fake::start(script);
        let (fault, acted) = fault_of(&server, "tls = \"off\"").await;
        let found = (fault.class, fault.code.as_str());
        assert_eq!(
            found,
            (FaultClass::Assertion, "mail.protocol"),
            "{script:?}: {}",
            fault.message
        );
        assert!(!acted && !server.got_a_message(), "{script:?}");
    }
}

#[tokio::test]
async fn a_login_is_sent_in_the_way_that_the_server_offers_and_its_echo_is_scrubbed() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let password = runbook_tests::mail::PASSWORD;
    let plain = format!("AUTH PLAIN {}", encode(&format!("\0probe\0{password}")));
    let (user, word) = (encode("probe"), encode(password));
    let (user, word): (&'static str, &'static str) = (user.leak(), word.leak());
    let login: Script = Box::leak(Box::new([
        ("EHLO", "250-me\r\n250 auth login\r\n"),
        ("AUTH", "334 VXNlcm5hbWU6\r\n"),
        (user, "334 UGFzc3dvcmQ6\r\n"),
        (word, "235 in\r\n"),
    ]));
    let both: Script = &[("EHLO", "250-me\r\n250 AUTH LOGIN PLAIN\r\n"), ("AUTH", "235 in\r\n")];
    let with_login = format!("tls = \"off\"\n{LOGIN}");
    for (script, said) in [(both, vec![plain.as_str()]), (login, vec!["AUTH LOGIN", user, word])] {
        let server = Fake::start(script);
        let (answer, _) = send_by(&server.target(&with_login), Path::new("/"), "a").await;
        answer.unwrap_or_else(|fault| panic!("{}", fault.message));
        assert_eq!(server.lines()[1..=said.len()], said);
    }
    let echoed = format!("535 you said {word} which is {password}\r\n");
    let repeats_password: Script = Box::leak(Box::new([
        ("EHLO", "250-me\r\n250 AUTH PLAIN\r\n"),
        ("AUTH", Box::leak(echoed.into_boxed_str())),
    ]));
    let (fault, acted) = fault_of(&Fake::start(repeats_password), &with_login).await;
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "mail.login"));
    assert!(
        !fault.message.contains(word) && !fault.message.contains(password),
        "{}",
        fault.message
    );
    assert!(!acted);
    for (answer, class) in [
        ("250 me\r\n", FaultClass::Invalid),
        ("250-me\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n", FaultClass::Invalid),
    ] {
        let script: Script = Box::leak(Box::new([("EHLO", answer)]));
        let server = Fake::start(script);
        let (fault, _) = fault_of(&server, &with_login).await;
        assert_eq!((fault.class, fault.code.as_str()), (class, "mail.login"), "{}", fault.message);
        assert_eq!(server.lines()[1..], ["QUIT"][..0]);
    }
}
