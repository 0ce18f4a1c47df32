//! The bundled plugin `mail`, against a real server.

use crate::home;
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::mail::{MailServer, PASSWORD};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server, and a home whose store has the password and whose folder has the authority.
fn started() -> (MailServer, TestEnv) {
    let authority = CertificateAuthority::new("Team Root");
    let server = MailServer::start(&authority.server("localhost"), None);
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#mail"], PASSWORD).status(0);
    std::fs::write(env.path().join("ca.pem"), authority.certificate()).expect("writable");
    (server, env)
}

/// A runbook with one message to `ops@a.example`, by the plain port of a server of this machine.
fn runbook(port: u16, more: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"mail\"\ntitle = \"Tell the team\"\n[targets.team]\n\
         mail = \"127.0.0.1:{port}\"\ntls = \"off\"\nfrom = \"checks@a.example\"\n\
         to = [\"ops@a.example\"]\n\
         [[step]]\nid = \"tell\"\nuses = \"mail:send\"\nbind.mailbox = \"team\"\n\
         with = {{ subject = \"orders is down\", text = \"See INC-42.\" }}\n\
         irreversible = \"a message cannot be taken back\"\n{more}\n"
    )
}

fn tells(output: &ProgramOutput, words: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(words), "{words}: {said}");
}

#[test]
fn a_plan_shows_the_message_and_only_a_run_sends_it() {
    let (server, env) = started();
    env.file("r.toml", &runbook(server.plain_port, ""));
    let plan = env.run(&["plan", "r.toml"]).status(0);
    tells(&plan, r#"["orders is down","See INC-42."]"#);
    tells(&plan, "irreversible: a message cannot be taken back");
    env.run(&["exec", "--dry-run", "r.toml"]).status(0);
    let review = env.run(&["review", "r.toml"]);
    tells(&review, "sends messages, which cannot be taken back, by mail server 127.0.0.1:");
    tells(&review, "from checks@a.example to ops@a.example");
    assert_eq!(server.taken(), 0);
    env.run(&["exec", "--yes", "r.toml"]).status(0);
    let message = server.messages("ops", 1).remove(0);
    assert!(message.contains("\nSubject: orders is down\n"), "{message}");
    assert!(message.ends_with("\n\nSee INC-42.\n"), "{message}");
    let id = env.newest_run();
    let audit = env.run(&["audit", "show", &id]).status(0);
    audit.out("mail.send").out("message 1 subject orders is down text of 11 bytes");
    assert_eq!(server.taken(), 1);
    // A message cannot be undone.
    env.run(&["undo", &id, "--yes"]);
    assert_eq!(server.taken(), 1);
}

#[test]
fn a_team_is_told_by_mail_how_a_run_has_ended() {
    let (server, env) = started();
    let notify = "[[notify]]\non = [\"failed\", \"succeeded\"]\nuses = \"mail:send\"\n\
                  bind.mailbox = \"team\"\n\
                  with = { subject = \"{{ run.title }}: {{ run.outcome }}\", text = \"Look.\" }\n";
    env.file("r.toml", &runbook(server.plain_port, notify));
    env.run(&["exec", "--yes", "r.toml"]).status(0);
    let told = server.messages("ops", 2);
    assert!(
        told.iter().any(|message| message.contains("\nSubject: Tell the team: succeeded\n")),
        "{told:?}"
    );
    let mut ids: Vec<&str> = told
        .iter()
        .filter_map(|message| message.lines().find(|line| line.starts_with("Message-ID: ")))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{told:?}");
    assert_eq!(server.taken(), 2);
}

/// A server that takes a whole message and hangs up. It counts the messages.
fn server_that_hangs_up() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let reader = BufReader::new(stream.try_clone().expect("a socket"));
            let _ = stream.write_all(b"220 hello\r\n");
            let mut in_message = false;
            for line in reader.lines().map_while(Result::ok) {
                if in_message && line == "." {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    break;
                }
                if in_message {
                    continue;
                }
                in_message = line == "DATA";
                let answer = if in_message { "354 go\r\n" } else { "250 ok\r\n" };
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (port, count)
}

#[test]
fn a_message_without_an_answer_is_not_sent_again_by_itself() {
    let (port, count) = server_that_hangs_up();
    let env = home();
    let again = "retry = { attempts = 3, delay = \"1ms\" }\n";
    env.file("r.toml", &runbook(port, again));
    let run = env.run(&["exec", "--yes", "r.toml"]);
    assert_ne!(run.status, 0);
    tells(&run, "it may be delivered");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let id = env.newest_run();
    env.run(&["resume", &id, "--yes"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_run_that_is_killed_at_any_host_call_sends_at_most_one_message() {
    let mut killed = 0;
    for failpoint in ["entered", "returned"] {
        for number in 1.. {
            let (server, env) = started();
            env.file("r.toml", &runbook(server.plain_port, ""));
            let mut command = env.command(&["exec", "r.toml", "--yes"]);
            command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
            let first = runbook_tests::env::finish(command.output().expect("the program starts"));
            if first.status != -1 {
                break;
            }
            killed += 1;
            let before = server.taken();
            let id = env.newest_run();
            env.run(&["resume", &id, "--yes"]);
            let after = server.taken();
            assert!(after <= 1 && after >= before, "{failpoint}:{number}: {before} {after}");
        }
    }
    assert!(killed > 1, "{killed}");
}

/// As they stand, and with a server of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_mail_targets_do_what_they_say() {
    let (server, env) = started();
    let page = include_str!("../../docs/targets/mail.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        let implicit = format!(
            "mail = \"localhost:{}\"\nstarttls = false\nca = \"ca.pem\"",
            server.implicit_port
        );
        let local = example
            .replace("mail = \"mail.example.org\"", &implicit)
            .replace("smtp.internal:587", &format!("localhost:{}", server.starttls_port))
            .replace("localhost:25\"", &format!("localhost:{}\"", server.plain_port))
            .replace("[\"private\"]", "[\"loopback\"]");
        env.file("local.toml", &local);
        env.run(&["doctor", "--targets", "local.toml"]).status(0);
        env.run(&["exec", "--yes", "local.toml"]).status(0);
    }
    // The first sends two: what it begins, and how it ended.
    assert_eq!(server.taken(), 4);
    server.messages("ops", 3);
    server.messages("everybody", 1);
    server.messages("status", 1);
}
