//! The bundled plugin `net`, against real servers on loopback.

use crate::home;
use runbook_tests::env::TestEnv;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};

/// Each check of a suite with its health and its summary.
fn checks(env: &TestEnv, suite: &str, status: i32) -> Vec<(String, String)> {
    env.file("net.toml", suite);
    let found = env.run(&["check", "--format", "json", "net.toml"]).status(status);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let text = |check: &serde_json::Value, key: &str| {
        check[key].as_str().unwrap_or_else(|| panic!("{key} of {check:#}")).to_owned()
    };
    found["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| (text(check, "health"), text(check, "summary")))
        .collect()
}

/// A server that does this with each connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    port
}

/// A server that greets, and repeats each line.
pub(crate) fn mail() -> u16 {
    server(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone().expect("a socket"));
        let _ = stream.write_all(b"220 mail.internal ready\r\n");
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(format!("250 {line}").as_bytes());
            line.clear();
        }
    })
}

#[test]
fn a_server_is_asked_what_the_target_lets_be_said_and_nothing_else() {
    let env = home();
    let suite = |with: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"net\"\n[targets.mail]\nnet = \"127.0.0.1\"\n\
             ports = [{}]\nquestions = [\"EHLO *\"]\n[[check]]\nid = \"greets\"\nuses = \"net:tcp\"\n\
             bind.server = \"mail\"\nwith = {with}\n",
            mail()
        )
    };
    let good = "{ banner = \"220 \", say = [{ line = \"EHLO probe\", expect = \"250 EHLO\" }] }";
    assert_eq!(checks(&env, &suite(good), 0)[0].0, "healthy");
    let (health, summary) = checks(&env, &suite("{ say = [{ line = \"DATA\" }] }"), 3).remove(0);
    assert!(health == "unknown" && summary.contains("not granted"), "{summary}");
    let port = server(drop);
    let hangs_up =
        suite("{ banner = \"220\" }").replace("ports = [", &format!("ports = [{port}, "));
    let hangs_up = hangs_up.replace("{ banner", &format!("{{ port = {port}, banner"));
    let (health, summary) = checks(&env, &hangs_up, 2).remove(0);
    assert_eq!(health, "critical", "{summary}");
    assert!(summary.contains("expected `220`; it said nothing, and closed"), "{summary}");
}

#[test]
fn a_plan_and_a_dry_run_look_because_looking_changes_nothing() {
    let env = home();
    let runbook = format!(
        "format = 1\n[runbook]\nname = \"net\"\n[targets.mail]\nnet = \"127.0.0.1\"\n\
         ports = [{}]\n[[step]]\nid = \"greets\"\nuses = \"net:tcp\"\nbind.server = \"mail\"\n\
         with = {{ banner = \"220 \" }}\n",
        mail()
    );
    env.file("r.toml", &runbook);
    env.run(&["plan", "r.toml"]).status(0);
    env.run(&["exec", "--dry-run", "r.toml"]).status(0).out("answered in");
    env.run(&["exec", "r.toml"]).status(0);
    let id = env.newest_run();
    env.run(&["audit", "show", &id]).status(0).out("net.connect").out("connect 127.0.0.1");
}

#[test]
fn a_certificate_is_compared_with_days_names_and_who_is_believed() {
    use runbook_tests::certificates::CertificateAuthority;
    let env = home();
    let authority = CertificateAuthority::new("Team Root");
    let other = CertificateAuthority::new("Other Root");
    std::fs::write(env.path().join("ca.pem"), authority.certificate()).expect("writable");
    let suite = |port: u16, with: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"net\"\n[targets.api]\nnet = \"localhost\"\n\
             ports = [{port}]\nca = \"ca.pem\"\n[[check]]\nid = \"certificate\"\n\
             uses = \"net:certificate\"\nbind.server = \"api\"\nwith = {with}\n"
        )
    };
    let good = tls(&authority.server("localhost"));
    assert_eq!(checks(&env, &suite(good, "{ names = [\"localhost\"] }"), 0)[0].0, "healthy");
    let many = "{ warn_days = 1000000000, fail_days = 7 }";
    assert_eq!(checks(&env, &suite(good, many), 1)[0].0, "warning");
    for (issued, with, words) in [
        (authority.expired_server("localhost"), "{}", "expired"),
        (authority.server("other.example"), "{}", "other.example"),
        (other.server("localhost"), "{}", "Other Root"),
        (authority.server("localhost"), "{ names = [\"b.example\"] }", "not for b.example"),
    ] {
        let (health, summary) = checks(&env, &suite(tls(&issued), with), 2).remove(0);
        assert_eq!(health, "critical", "{summary}");
        assert!(summary.contains(words), "{words}: {summary}");
    }
    let untrusted = tls(&other.server("localhost"));
    assert_eq!(checks(&env, &suite(untrusted, "{ verified = false }"), 0)[0].0, "healthy");
}

/// A server that shows this certificate.
fn tls(issued: &runbook_tests::certificates::IssuedCertificate) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a good key");
    let config = std::sync::Arc::new(config);
    server(move |stream| {
        let session = rustls::ServerConnection::new(config.clone()).expect("a good configuration");
        let _ = rustls::StreamOwned::new(session, stream).read(&mut [0; 100]);
    })
}

/// The number of the type `MX`.
const MX: u8 = 15;

/// A resolver that knows `example.com`, and `many.example.com` with three addresses, and says of
/// every other name that there is none.
pub(crate) fn resolver() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let mut datagram = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let question = &datagram[12..length];
            let end = question.iter().position(|byte| *byte == 0).expect("a name") + 5;
            let count = if question.starts_with(b"\x07example\x03com\0") {
                1
            } else if question.starts_with(b"\x04many\x07example\x03com\0") {
                3
            } else {
                0
            };
            let mut answer = datagram[..2].to_vec();
            answer.extend([0x81, if count > 0 { 0x80 } else { 0x83 }, 0, 1, 0, count]);
            answer.extend([0, 0, 0, 0]);
            answer.extend(&question[..end]);
            if count > 0 && question[end - 3] == MX {
                answer.extend([0xc0, 12, 0, MX, 0, 1, 0, 0, 1, 44, 0, 9, 0, 10]);
                answer.extend(b"\x04mail\xc0\x0c");
            } else {
                for last in 1..=count {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, last]);
                }
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    port
}

#[test]
fn records_are_compared_and_a_name_that_does_not_exist_is_a_failed_check() {
    let env = home();
    let port = resolver();
    let suite = |with: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"net\"\n[targets.names]\nnet = []\n\
             names = [\"example.com\", \"*.example.com\"]\nresolver = \"127.0.0.1:{port}\"\n\
             [[check]]\nid = \"records\"\nuses = \"net:dns\"\nbind.names = \"names\"\nwith = {with}\n"
        )
    };
    let of = |with: &str, status| checks(&env, &suite(with), status).remove(0);
    let good = "{ name = \"example.com\", type = \"A\", equals = [\"192.0.2.1\"] }";
    assert_eq!(of(good, 0), ("healthy".to_owned(), "example.com A 192.0.2.1".to_owned()));
    let other = "{ name = \"example.com\", type = \"A\", contains = [\"192.0.2.9\"] }";
    assert_eq!(of(other, 2).0, "critical");
    let (health, summary) = of("{ name = \"gone.example.com\", type = \"A\" }", 2);
    assert_eq!(health, "critical");
    assert!(summary.contains("NXDOMAIN, there is no such name"), "{summary}");
    assert_eq!(of("{ name = \"gone.example.com\", type = \"A\", absent = true }", 0).0, "healthy");
    let (health, summary) = of("{ name = \"example.org\", type = \"A\" }", 3);
    assert!(health == "unknown" && summary.contains("not granted"), "{summary}");
}

/// As they stand, and with servers of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_net_targets_do_what_they_say() {
    let authority = runbook_tests::certificates::CertificateAuthority::new("Team Root");
    let api = tls(&authority.server("localhost"));
    let here: [&[(&str, String)]; 3] = [
        &[
            ("api.example.com", "localhost".to_owned()),
            ("www.example.com", "127.0.0.1".to_owned()),
            ("ports = [443]", format!("ports = [{api}]\nca = \"ca.pem\"")),
        ],
        &[
            ("mail.internal", "localhost".to_owned()),
            ("[25]", format!("[{}]", mail())),
            ("private", "loopback".to_owned()),
        ],
        &[("10.0.0.53", format!("127.0.0.1:{}", resolver()))],
    ];
    let page = include_str!("../../docs/targets/net.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for (example, here) in examples.into_iter().zip(here) {
        let env = home();
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        std::fs::write(env.path().join("ca.pem"), authority.certificate()).expect("writable");
        let replaced = |text: String, (named, local): &(&str, String)| text.replace(named, local);
        let (health, summary) =
            checks(&env, &here.iter().fold(example.to_owned(), replaced), 0).remove(0);
        assert_eq!(health, "healthy", "{summary}");
    }
}
