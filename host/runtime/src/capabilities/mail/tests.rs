//! Messages to a real server, and to servers that do not do what they should.

mod hostile;

use crate::bindings::runbook::mail::sender::Host as _;
use crate::bindings::runbook::mail::sender::Receipt;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::mail::MailServer;
use std::path::Path;

const SLOTS: &[Slot] = &[("s", &["mail.send"], "t")];

/// The target of a server on this machine, with more keys.
fn target(port: u16, more: &str) -> String {
    format!(
        "[targets.t]\nmail = \"localhost:{port}\"\nfrom = \"checks@a.example\"\n\
         to = [\"ops@a.example\", \"root@b.example\"]\n{more}\n"
    )
}

/// Sends one message. Returns the answer, and whether it may have been delivered.
async fn send(host: &mut Host, subject: &str, text: &str) -> (Result<Receipt, Fault>, bool) {
    let before = host.verbs_that_acted().len();
    let mut call = HostCall::new(host);
    let answer = call.send("s".to_owned(), subject.to_owned(), text.to_owned()).await;
    drop(call);
    (answer, host.verbs_that_acted().len() > before)
}

async fn send_by(targets: &str, folder: &Path, subject: &str) -> (Result<Receipt, Fault>, bool) {
    send(&mut host(SLOTS, targets, folder), subject, "text").await
}

const LOGIN: &str = "user = \"probe\"\npassword = \"secret:password\"\n";

/// A server with a certificate for `localhost`, and the folder with the authority in `ca.pem`.
fn server() -> (MailServer, tempfile::TempDir) {
    let authority = CertificateAuthority::new("Team");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    (MailServer::start(&authority.server("localhost"), None), folder)
}

/// How a target is encrypted that leads to one of the ports of a server.
fn ways(server: &MailServer) -> [(u16, String); 3] {
    let with_ca = |more: &str| format!("{more}ca = \"ca.pem\"\n{LOGIN}");
    [
        (server.implicit_port, with_ca("starttls = false\n")),
        (server.starttls_port, with_ca("")),
        (server.plain_port, "tls = \"off\"".to_owned()),
    ]
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name}: {message}"))
}

#[tokio::test]
async fn a_message_goes_from_the_sender_to_the_recipients_of_the_target_alone() {
    let (server, folder) = server();
    let text = "Größe\n.\n..two\nBcc: other@a.example\n\r\nend";
    for (count, (port, more)) in ways(&server).iter().enumerate() {
        let targets = target(*port, more);
        let (receipt, acted) =
            send(&mut host(SLOTS, &targets, folder.path()), "orders: Größe 5", text).await;
        let receipt = receipt.unwrap_or_else(|fault| panic!("{more}: {}", fault.message));
        assert!(acted && receipt.answer.starts_with("250 "), "{}", receipt.answer);
        for name in ["ops", "root"] {
            let messages = server.messages(name, count + 1);
            let sent = messages
                .iter()
                .find(|message| message.contains(&receipt.message_id))
                .or(messages.first());
            let message = sent.expect("a message");
            assert_eq!(header(message, "Return-path"), "<checks@a.example>");
            assert_eq!(header(message, "From"), "checks@a.example");
            assert_eq!(header(message, "To"), "ops@a.example, root@b.example");
            assert_eq!(header(message, "Subject"), "orders: =?utf-8?b?R3LDtsOfZQ==?= 5");
            assert_eq!(header(message, "Auto-Submitted"), "auto-generated");
            assert!(
                message.ends_with("\n\nGr=C3=B6=C3=9Fe\n.\n..two\nBcc: other@a.example\n\nend\n"),
                "{message}"
            );
        }
    }
    assert_eq!(server.taken(), 3);
    assert!(!server.folder().join("mails/other").exists());
}

#[tokio::test]
async fn a_mail_server_is_verified_by_the_authority_of_its_target_alone() {
    let (server, folder) = server();
    let other = CertificateAuthority::new("Other");
    std::fs::write(folder.path().join("other.pem"), other.certificate()).unwrap();
    let ways =
        [(server.implicit_port, "starttls = false\n"), (server.starttls_port, "starttls = true\n")];
    for (port, way) in ways {
        let wrong_name =
            target(port, &format!("{way}{LOGIN}ca = \"ca.pem\"")).replace("localhost", "127.0.0.1");
        for targets in [
            target(port, &format!("{way}{LOGIN}")),
            target(port, &format!("{way}{LOGIN}ca = \"other.pem\"")),
            wrong_name,
        ] {
            let (answer, acted) = send_by(&targets, folder.path(), "a").await;
            let fault = answer.unwrap_err();
            let found = (fault.class, fault.code.as_str());
            let expected = (FaultClass::Assertion, "mail.certificate");
            assert_eq!(found, expected, "{targets}: {}", fault.message);
            assert!(!acted);
        }
    }
    // The wrong way to begin: a server that waits for a handshake, and one that speaks first.
    let encrypted_first = target(server.implicit_port, "starttls = true\ntimeout = \"1s\"");
    let fault = send_by(&encrypted_first, folder.path(), "a").await.0.unwrap_err();
    assert_eq!(fault.class, FaultClass::Timeout, "{}", fault.message);
    let speaks_first = target(server.starttls_port, "starttls = false");
    let fault = send_by(&speaks_first, folder.path(), "a").await.0.unwrap_err();
    assert_eq!(fault.code, "mail.tls-protocol", "{}", fault.message);
    assert_eq!(server.taken(), 0);
}

#[tokio::test]
async fn a_mail_server_that_asks_for_a_certificate_gets_that_of_the_target() {
    let authority = CertificateAuthority::new("Team");
    let server = MailServer::start(&authority.server("localhost"), Some(&authority));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    authority.client("me").write(folder.path(), "me");
    for (port, more) in &ways(&server)[..2] {
        let base = target(*port, more);
        let with = format!("{base}client_cert = \"me.pem\"\nclient_key = \"me.key\"\n");
        let (answer, _) = send_by(&with, folder.path(), "a").await;
        answer.unwrap_or_else(|fault| panic!("{}", fault.message));
        let (answer, acted) = send_by(&base, folder.path(), "a").await;
        let fault = answer.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        let expected = (FaultClass::Invalid, "mail.client-certificate");
        assert_eq!(found, expected, "{}", fault.message);
        assert!(!acted);
    }
    assert_eq!(server.taken(), 2);
}

#[tokio::test]
async fn a_mail_server_lets_the_user_of_the_target_in_with_its_password() {
    let (server, folder) = server();
    let with = |login: &str| target(server.starttls_port, &format!("ca = \"ca.pem\"\n{login}"));
    send_by(&with(LOGIN), folder.path(), "a").await.0.unwrap();
    for (login, code) in [
        ("user = \"other\"\npassword = \"secret:password\"", "mail.login"),
        ("user = \"probe\"\npassword = \"secret:token\"", "mail.login"),
        // Without a login, nobody is a recipient.
        ("", "mail.recipient"),
    ] {
        let (answer, acted) = send_by(&with(login), folder.path(), "a").await;
        let fault = answer.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, code), "{login}");
        assert!(!fault.message.contains("s3cr3t"), "{}", fault.message);
        assert!(!acted);
    }
    assert_eq!(server.taken(), 1);
    assert!(server.log().contains("A=plain:probe"), "{}", server.log());
}

#[tokio::test]
async fn nobody_gets_a_message_if_one_recipient_is_refused() {
    let (server, folder) = server();
    for (names, class, code) in [
        (&["ops@a.example", "nobody@a.example"], FaultClass::Invalid, "mail.recipient"),
        (&["nobody@a.example", "ops@a.example"], FaultClass::Invalid, "mail.recipient"),
        (&["ops@a.example", "later@a.example"], FaultClass::Transient, "mail.try-later"),
        (&["later@a.example", "nobody@a.example"], FaultClass::Invalid, "mail.recipient"),
        (&["ops@a.example", "ops@elsewhere.example"], FaultClass::Invalid, "mail.recipient"),
    ] {
        let targets = format!(
            "[targets.t]\nmail = \"localhost:{}\"\nfrom = \"checks@a.example\"\n\
             to = {names:?}\ntls = \"off\"\n",
            server.plain_port
        );
        let (answer, acted) = send_by(&targets, folder.path(), "a").await;
        let fault = answer.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{}", fault.message);
        assert!(fault.message.contains("nobody gets the message"), "{}", fault.message);
        assert!(!acted, "{names:?}");
    }
    assert_eq!(server.taken(), 0);
}

#[tokio::test]
async fn a_message_larger_than_the_target_or_the_server_allows_is_not_sent() {
    let (server, folder) = server();
    for (more, bytes, code) in [
        ("max_bytes = \"2KiB\"", 3 << 10, "mail.message-too-large"),
        ("", 300 << 10, "mail.message-too-large"),
        ("max_bytes = \"1MiB\"", 150 << 10, "mail.message-too-large"),
    ] {
        let targets = target(server.plain_port, &format!("tls = \"off\"\n{more}"));
        let text = "0123456789abcde\n".repeat(bytes / 16);
        let mut host = host(SLOTS, &targets, folder.path());
        let (answer, acted) = send(&mut host, "a", &text).await;
        let fault = answer.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Limit, code), "{more}");
        assert!(!acted);
    }
    let targets = target(server.plain_port, "tls = \"off\"");
    let text = "0123456789abcde\n".repeat(5000);
    send(&mut host(SLOTS, &targets, folder.path()), "a", &text).await.0.unwrap();
    assert!(server.messages("ops", 1)[0].ends_with(&text), "it comes whole");
    assert_eq!(server.taken(), 1);
}

#[tokio::test]
async fn only_messages_that_may_have_been_taken_count() {
    let (server, folder) = server();
    let targets = target(server.plain_port, "tls = \"off\"\nmax_messages = 2");
    let mut host = host(SLOTS, &targets, folder.path());
    // This one is refused before it is sent.
    let too_long = "0123456789abcde\n".repeat(20_000);
    assert_eq!(send(&mut host, "a", &too_long).await.0.unwrap_err().class, FaultClass::Limit);
    let first = send(&mut host, "a", "1").await.0.unwrap();
    let second = send(&mut host, "a", "2").await.0.unwrap();
    assert_ne!(first.message_id, second.message_id);
    assert_eq!(send(&mut host, "a", "3").await.0.unwrap_err().class, FaultClass::Denied);
    assert_eq!(server.taken(), 2);
}
