//! Tests against a real `sshd`, with servers behind it, and against servers that are none.

mod hostile;

use crate::Services;
use crate::bindings::runbook::http::reader::Host as _;
use crate::bindings::runbook::http::writer::Host as _;
use crate::bindings::runbook::net::connect::Host as _;
use crate::bindings::runbook::net::tls::Host as _;
use crate::bindings::runbook::net::types::{Endpoint, Turn};
use crate::bindings::runbook::sql::reader::Host as _;
use crate::bindings::runbook::sql::writer::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::net::testing::{
    Audit, SERVER, Secrets, allowed, greet, greeter, greeting_target, host, https,
};
use crate::testing::{Slot, effective_grants};
use runbook_authority::Verb;
use runbook_authority::targets::{SecretOrigin, VaultValue};
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::postgres::{PASSWORD, Postgres};
#[cfg(feature = "redis")]
use runbook_tests::redis::Redis;
use runbook_tests::ssh::{Agent, KeyFile, Sshd};
use runbook_tests::vault::{Behavior, VaultServer};
use runbook_tests::wait_for;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The lines of an ssh target, without its host key and credential.
fn gateway(port: u16, user: &str) -> String {
    format!("[targets.bastion]\nssh = \"127.0.0.1:{port}\"\nuser = \"{user}\"\n")
}

/// The ssh target of a server with its own host key, and the key that it accepts.
fn bastion(sshd: &Sshd) -> String {
    let trusted = format!("host_key = \"{}\"\nkey = \"secret:key\"\n", sshd.host_key());
    gateway(sshd.port, &sshd.user) + &trusted
}

/// Greets through a gateway with these secrets.
async fn greet_with(gateway: &str, secrets: &[(&'static str, &str)]) -> Result<String, Fault> {
    let (address, _) = greeter().await;
    let targets = gateway.to_owned() + &greeting_target(address, "");
    greet(&mut host(SERVER, &targets, secrets, &[], &Audit::default())).await
}

#[tokio::test]
async fn http_sql_and_net_work_through_a_real_sshd() {
    let sshd = Sshd::start("");
    let secrets = [("key", sshd.client_key.as_str()), ("pw", PASSWORD)];
    let audit = Audit::default();

    let authority = CertificateAuthority::new("behind");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate()).unwrap();
    let port = https(&authority).await.port();
    let targets = format!(
        "{}[targets.t]\nhttp = \"https://localhost:{port}\"\nca = {ca:?}\nvia = \"bastion\"\n",
        bastion(&sshd)
    );
    let api: &[Slot] = &[("s", &["http.get"], "t")];
    let mut call = host(api, &targets, &secrets, &[("localhost", &["127.0.0.1"])], &audit);
    for _ in 0..2 {
        let response =
            HostCall::new(&mut call).get("s".to_owned(), "/a".to_owned(), Vec::new()).await;
        let response = response.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"ok".as_slice()));
        assert_eq!(response.peer, format!("127.0.0.1:{port} through bastion"));
    }
    assert_eq!(
        allowed(&audit),
        [
            "GET /a",
            "forward to 127.0.0.1",
            "connect 127.0.0.1 (gateway 127.0.0.1)",
            "GET /a",
            "reused connection, forward to 127.0.0.1"
        ]
    );

    let postgres = Postgres::start(3);
    postgres.encrypt(&authority.server("127.0.0.1"), &authority, "scram-sha-256");
    let targets = format!(
        "{}[targets.t]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders?sslmode=verify-full\"\n\
         ca = {ca:?}\npassword = \"secret:pw\"\nsuperuser = true\nvia = \"bastion\"\n",
        bastion(&sshd),
        postgres.port
    );
    let database: &[Slot] = &[("s", &["sql.query", "sql.execute"], "t")];
    let mut call = host(database, &targets, &secrets, &[], &audit);
    let count = "select count(*) from orders".to_owned();
    let rows = HostCall::new(&mut call).query("s".to_owned(), count, Vec::new()).await.unwrap();
    assert_eq!(rows.rows.len(), 1);
    let delete = "delete from orders where id = 1".to_owned();
    HostCall::new(&mut call).execute("s".to_owned(), delete, Vec::new()).await.unwrap();
    assert_eq!(postgres.psql("orders", "select count(*) from orders"), "2");

    let (address, count) = greeter().await;
    let targets = bastion(&sshd) + &greeting_target(address, "");
    let mut call = host(SERVER, &targets, &secrets, &[], &audit);
    let greeting = greet(&mut call).await.unwrap();
    assert_eq!(greeting, format!("\"220 ready\\r\\n\" by {address} through bastion"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let targets = format!(
        "{}[targets.t]\nnet = \"127.0.0.1\"\nports = [{port}]\nca = {ca:?}\nvia = \"bastion\"\n",
        bastion(&sshd)
    );
    let mut call = host(SERVER, &targets, &secrets, &[], &audit);
    let endpoint = Endpoint { host: None, port: None };
    let inspection = HostCall::new(&mut call).inspect("s".to_owned(), endpoint).await.unwrap();
    assert_eq!(inspection.protocol, "TLSv1.3");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_works_through_a_real_sshd() {
    use crate::bindings::runbook::redis::reader::Host as _;
    use crate::bindings::runbook::redis::types::Item;
    let (sshd, redis) = (Sshd::start(""), Redis::start());
    redis.command(&["SET", "greeting", "hello"]);
    let targets = format!(
        "{}[targets.t]\nredis = \"127.0.0.1:{}\"\ntls = \"off\"\nvia = \"bastion\"\n",
        bastion(&sshd),
        redis.port
    );
    let audit = Audit::default();
    let secrets = [("key", sshd.client_key.as_str())];
    let mut call = host(&[("s", &["redis.read"], "t")], &targets, &secrets, &[], &audit);
    let command = vec![b"get".to_vec(), b"greeting".to_vec()];
    let items = HostCall::new(&mut call).read("s".to_owned(), command).await.unwrap();
    assert!(matches!(&items[..], [Item::Text(text)] if text == b"hello"), "{items:?}");
    assert_eq!(sshd.logins(), 1);
    assert!(allowed(&audit).contains(&"forward to 127.0.0.1".to_owned()), "{audit:?}");
}

/// The host reads a secret with the grant of its source alone, and that has the gateway.
#[tokio::test]
async fn a_secret_of_a_server_behind_a_gateway_is_read_through_it() {
    let sshd = Sshd::start("");
    let vault = VaultServer::start("of-vault", Behavior::Unsealed);
    let targets = format!(
        "{}[targets.t]\nhttp = \"http://127.0.0.1:{}\"\nvia = \"bastion\"\n\
         headers = {{ X-Vault-Token = \"secret:token\" }}\n",
        bastion(&sshd),
        vault.port
    );
    let grants = effective_grants(&[("s", &["http.get"], "t")], &targets, Path::new("/"));
    let grant = grants.get("s").unwrap();
    let origin = SecretOrigin::Vault(VaultValue {
        target: Arc::clone(&grant.target),
        gateway: grants.gateway_of(grant).cloned(),
        path: "/v1/kv/data/orders/db".to_owned(),
        field: "password".to_owned(),
        version: None,
    });
    let secrets = BTreeMap::from([
        ("key", sshd.client_key.clone()),
        ("token", runbook_tests::vault::TOKEN.to_owned()),
    ]);
    let services = Services { secrets: Arc::new(Secrets(secrets)), ..Services::none() };
    let fetched = crate::fetch_from_target("db", &origin, "run", &services).await.unwrap();
    let fetched = fetched.map_err(|why| format!("{why}: {}", sshd.log()));
    assert_eq!(fetched.map(|secret| secret.value.expose_text() == Some("of-vault")), Ok(true));
    assert_eq!(sshd.logins(), 1);
}

/// A session is kept for one call and one target, and closed with the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_reused_within_a_call_only_and_ends_with_it() {
    let sshd = Sshd::start("");
    let secrets = [("key", sshd.client_key.as_str())];
    let (address, count) = greeter().await;
    let other = greeting_target(address, "").replace("[targets.t]", "[targets.u]");
    let targets = bastion(&sshd) + &greeting_target(address, "") + &other;
    let slots: &[Slot] = &[("s", &["net.connect"], "t"), ("o", &["net.connect"], "u")];
    let mut call = host(slots, &targets, &secrets, &[], &Audit::default());
    for expected in 1..=3 {
        greet(&mut call).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), expected);
    }
    assert_eq!(sshd.logins(), 1, "{}", sshd.log());
    let (endpoint, turn) =
        (Endpoint { host: None, port: None }, Turn { say: None, until: Some("\n".to_owned()) });
    HostCall::new(&mut call).check("o".to_owned(), endpoint, vec![turn]).await.unwrap();
    assert_eq!(sshd.logins(), 2, "another target has a session of its own");
    assert!(!sshd.sessions().is_empty());
    drop(call);
    let have_ended = || wait_for("the sessions end", || sshd.sessions().is_empty());
    tokio::task::block_in_place(have_ended);
    let mut call = host(slots, &targets, &secrets, &[], &Audit::default());
    greet(&mut call).await.unwrap();
    assert_eq!(sshd.logins(), 3, "another call has a session of its own");
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let sshd = Sshd::start("");
    let folder = tempfile::tempdir().unwrap();
    let old = KeyFile::create(folder.path(), "old", "ed25519", "");
    let secrets = [("key", sshd.client_key.as_str())];
    for trusted in [old.public(), old.fingerprint()] {
        let targets = gateway(sshd.port, &sshd.user)
            + &format!("host_key = \"{trusted}\"\nkey = \"secret:key\"\n");
        let fault = greet_with(&targets, &secrets).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "ssh.host-key"));
        assert!(
            fault.message.contains(&sshd.fingerprint())
                && fault.message.contains(&old.fingerprint()),
            "{}",
            fault.message
        );
    }
    assert_eq!(sshd.logins(), 0);
    // A key of another type than the server has is not shown at all.
    let rsa = KeyFile::create(folder.path(), "rsa", "ecdsa", "");
    let targets = gateway(sshd.port, &sshd.user)
        + &format!("host_key = \"{}\"\nkey = \"secret:key\"\n", rsa.public());
    let fault = greet_with(&targets, &secrets).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "ssh.protocol"));
    // One of several is enough.
    let keys = format!("host_key = [\"{}\", \"{}\"]\n", old.public(), sshd.fingerprint());
    let targets = gateway(sshd.port, &sshd.user) + &keys + "key = \"secret:key\"\n";
    greet_with(&targets, &secrets).await.unwrap();
}

#[tokio::test]
async fn a_known_hosts_file_is_pinned_and_matches_as_openssh_reads_it() {
    let sshd = Sshd::start("");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_hosts");
    let name = format!("[127.0.0.1]:{}", sshd.port);
    let key = sshd.host_key();
    let secrets = [("key", sshd.client_key.as_str())];
    let targets =
        gateway(sshd.port, &sshd.user) + &format!("known_hosts = {file:?}\nkey = \"secret:key\"\n");
    let fault_with = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        greet_with(&targets, &secrets).await.err().map(|fault| (fault.code, fault.message))
    };
    for text in [
        format!("{name} {key}\n"),
        format!("# a comment\nother {key}\n\n10.0.0.1,{name} {key} with a comment\n"),
        format!("[127.0.*]:{} {key}\n", sshd.port),
        format!("unreadable line\n{name} ssh-dss AAAA\n{name} {key}\n"),
    ] {
        assert_eq!(fault_with(&text).await, None, "{text}");
    }
    // As `ssh-keygen -H` writes it.
    std::fs::write(&file, format!("{name} {key}\n")).unwrap();
    let mut hash = std::process::Command::new("/usr/bin/ssh-keygen");
    assert!(hash.args(["-H", "-f"]).arg(&file).output().unwrap().status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("|1|"), "{text}");
    assert_eq!(fault_with(&text).await, None);
    for text in [
        String::new(),
        format!("127.0.0.1 {key}\n"),
        format!("!{name},* {key}\n"),
        format!("@cert-authority {name} {key}\n"),
        format!("{name} {key}\n@revoked * {key}\n"),
    ] {
        let (code, message) = fault_with(&text).await.expect(&text);
        assert!(code == "ssh.known-hosts" && message.contains("no key for"), "{text}: {message}");
    }
    // Others could add a key.
    std::fs::write(&file, format!("{name} {key}\n")).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&file, mode(0o646)).unwrap();
    let fault = greet_with(&targets, &secrets).await.unwrap_err();
    assert!(fault.message.contains("chmod go-w"), "{}", fault.message);
    std::fs::set_permissions(&file, mode(0o644)).unwrap();
    // Changed since the target was read.
    let (address, _) = greeter().await;
    let all = targets.clone() + &greeting_target(address, "");
    let mut call = host(SERVER, &all, &secrets, &[], &Audit::default());
    std::fs::write(&file, format!("{name} {key}\n{name} {key}\n")).unwrap();
    let fault = greet(&mut call).await.unwrap_err();
    assert!(fault.message.contains("changed since"), "{}", fault.message);
}

#[tokio::test]
async fn a_wrong_user_key_is_invalid_and_one_with_a_passphrase_works() {
    let sshd = Sshd::start("");
    let folder = tempfile::tempdir().unwrap();
    let stranger = KeyFile::create(folder.path(), "stranger", "ed25519", "");
    let targets = bastion(&sshd);
    let fault = greet_with(&targets, &[("key", &stranger.private())]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.login"));
    assert!(fault.message.contains(&format!("`{}`", sshd.user)), "{}", fault.message);
    let fault = greet_with(&targets, &[("key", "not a key")]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.key"));
    assert!(!fault.message.contains("not a key"), "{}", fault.message);
    for key_type in ["ed25519", "ecdsa", "rsa"] {
        let key = KeyFile::create(folder.path(), key_type, key_type, "open sesame");
        sshd.accept(&key);
        let private = key.private();
        let with_passphrase = targets.clone() + "passphrase = \"secret:words\"\n";
        let secrets = |words| [("key", private.as_str()), ("words", words)];
        greet_with(&with_passphrase, &secrets("open sesame\n")).await.unwrap();
        for (targets, words) in [(&with_passphrase, "close sesame"), (&targets, "open sesame")] {
            let fault = greet_with(targets, &secrets(words)).await.unwrap_err();
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.key"));
        }
    }
}

#[tokio::test]
async fn an_agent_signs_and_the_variable_of_the_environment_is_not_read() {
    let sshd = Sshd::start("");
    let folder = tempfile::tempdir().unwrap();
    let (known, stranger) = (
        KeyFile::create(folder.path(), "known", "ed25519", ""),
        KeyFile::create(folder.path(), "stranger", "ed25519", ""),
    );
    sshd.accept(&known);
    let targets = |agent: &Path| {
        gateway(sshd.port, &sshd.user)
            + &format!("host_key = \"{}\"\nagent = {agent:?}\n", sshd.host_key())
    };
    let agent = Agent::start(&known);
    greet_with(&targets(&agent.socket()), &[]).await.unwrap();
    let agent = Agent::start(&stranger);
    let fault = greet_with(&targets(&agent.socket()), &[]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.login"));
    let fault = greet_with(&targets(&folder.path().join("none")), &[]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.agent"));
    // Nothing here reads the environment or the home directory.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/ssh");
    for file in ["mod.rs", "login.rs", "host_keys.rs", "stream.rs"] {
        let text = std::fs::read_to_string(sources.join(file)).unwrap();
        for reads in ["env::", "connect_env", "home_dir", "check_known_hosts", "learn_known"] {
            assert!(!text.contains(reads), "{file}: {reads}");
        }
    }
}

#[tokio::test]
async fn an_sshd_that_forbids_forwarding_is_a_fault_that_says_so() {
    for config in ["AllowTcpForwarding no", "PermitOpen 127.0.0.1:1", "DisableForwarding yes"] {
        let sshd = Sshd::start(config);
        let secrets = [("key", sshd.client_key.as_str())];
        let fault = greet_with(&bastion(&sshd), &secrets).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "ssh.forwarding"));
        assert!(fault.message.contains("its own rules forbid a connection to 127.0.0.1:"));
    }
    let sshd = Sshd::start("");
    let secrets = [("key", sshd.client_key.as_str())];
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let targets = bastion(&sshd) + &greeting_target(closed, "");
    let mut call = host(SERVER, &targets, &secrets, &[], &Audit::default());
    let fault = greet(&mut call).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "ssh.unreachable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sshd_that_is_killed_in_the_middle_leaves_a_read_transient_and_a_change_in_doubt() {
    let postgres = Postgres::start(3);
    let database: &[Slot] = &[("s", &["sql.query", "sql.execute"], "t")];
    // This change takes its time at COMMIT.
    postgres.psql(
        "orders",
        "create table slow (id int); alter table slow owner to orders_admin; create function nap() \
         returns trigger language plpgsql as 'begin perform pg_sleep(300); return null; end'; \
         create constraint trigger nap after insert on slow deferrable initially deferred for each \
         row execute function nap()",
    );
    for (verb, statement, class) in [
        (Verb::SqlQuery, "select pg_sleep(300)", FaultClass::Transient),
        (Verb::SqlExecute, "insert into slow values (1)", FaultClass::Unknown),
    ] {
        let mut sshd = Sshd::start("");
        let secrets = [("key", sshd.client_key.as_str()), ("pw", PASSWORD)];
        let targets = format!(
            "{}[targets.t]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\n\
             password = \"secret:pw\"\nsuperuser = true\nvia = \"bastion\"\n",
            bastion(&sshd),
            postgres.port
        );
        let mut call = host(database, &targets, &secrets, &[], &Audit::default());
        let statement = statement.to_owned();
        let runs = tokio::spawn(async move {
            let mut call = HostCall::new(&mut call);
            match verb {
                Verb::SqlQuery => call.query("s".to_owned(), statement, Vec::new()).await.map(drop),
                _ => call.execute("s".to_owned(), statement, Vec::new()).await.map(drop),
            }
        });
        let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        let is_sleeping = || postgres.psql("postgres", sleeping) != "0";
        tokio::task::block_in_place(|| wait_for("the statement runs", is_sleeping));
        tokio::task::block_in_place(|| sshd.kill());
        let fault = runs.await.unwrap().unwrap_err();
        assert_eq!(fault.class, class, "{verb}: {}", fault.message);
        let is_over = || postgres.psql("postgres", sleeping) == "0";
        tokio::task::block_in_place(|| wait_for("the server ends it", is_over));
    }
}

/// A body whose end is the end of the connection must not look complete if the gateway is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_a_killed_sshd_cuts_is_no_complete_answer() {
    let mut sshd = Sshd::start("");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nthe first half").await;
        std::future::pending::<()>().await;
    });
    let targets = format!(
        "{}[targets.t]\nhttp = \"http://127.0.0.1:{port}\"\nvia = \"bastion\"\n",
        bastion(&sshd)
    );
    let api: &[Slot] = &[("s", &["http.get", "http.post"], "t")];
    let secrets = [("key", sshd.client_key.as_str())];
    let mut call = host(api, &targets, &secrets, &[], &Audit::default());
    let sent_request = tokio::spawn(async move {
        let mut call = HostCall::new(&mut call);
        let (slot, path) = ("s".to_owned(), "/".to_owned());
        call.post(slot, path, Vec::new(), b"x".to_vec(), Vec::new()).await.map(drop)
    });
    tokio::task::block_in_place(|| {
        wait_for("the request arrives", || sshd.log().contains("direct-tcpip"));
        std::thread::sleep(Duration::from_millis(500));
        sshd.kill();
    });
    let fault = sent_request.await.unwrap().expect_err("half of a body");
    assert_eq!(fault.class, FaultClass::Unknown, "{}", fault.message);
}

#[tokio::test]
async fn an_sshd_that_never_answers_is_left_at_the_timeout_of_the_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let kept = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            kept.lock().unwrap().push(stream);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::create(folder.path(), "key", "ed25519", "");
    let targets = gateway(port, "ops")
        + &format!("host_key = \"{}\"\nkey = \"secret:key\"\ntimeout = \"300ms\"\n", key.public());
    let fault = greet_with(&targets, &[("key", &key.private())]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "ssh.timeout"));
    // Nothing keeps the connection open.
    let mut stream = accepted.lock().unwrap().pop().unwrap();
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).await.unwrap();
    assert!(sent.starts_with(b"SSH-2.0-"));
}

#[tokio::test]
async fn the_addresses_of_the_gateway_are_judged_by_its_own_key() {
    let (address, _) = greeter().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::create(folder.path(), "key", "ed25519", "");
    let with = |more: &str| {
        format!(
            "[targets.bastion]\nssh = \"bastion.internal:{port}\"\nuser = \"ops\"\n\
             host_key = \"{}\"\nkey = \"secret:key\"\ntimeout = \"300ms\"\n{more}\n{}",
            key.public(),
            greeting_target(address, "addresses = [\"loopback\"]"),
        )
    };
    let names: &[(&str, &[&str])] = &[("bastion.internal", &["127.0.0.1", "169.254.169.254"])];
    let private = key.private();
    let secrets = [("key", private.as_str())];
    for (more, expected) in [
        ("", &["denied connect 127.0.0.1", "denied connect 169.254.169.254"][..]),
        ("addresses = [\"private\"]", &["denied connect 127.0.0.1", "denied connect 169.254"]),
        ("addresses = [\"loopback\"]", &["allowed connect 127.0.0.1", "denied connect 169.254"]),
    ] {
        let audit = Audit::default();
        let fault = greet(&mut host(SERVER, &with(more), &secrets, names, &audit)).await;
        let fault = fault.unwrap_err();
        let lines = audit.lock().unwrap().clone();
        let about_gateway: Vec<_> = lines.iter().filter(|line| line.contains("(gateway")).collect();
        assert_eq!(about_gateway.len(), 2, "{lines:?}");
        for (line, expected) in about_gateway.iter().zip(expected) {
            assert!(line.starts_with(expected), "{lines:?}");
        }
        let is_reached = expected[0].starts_with("allowed");
        assert_eq!(fault.class == FaultClass::Denied, !is_reached, "{}", fault.message);
        let connected = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert_eq!(connected.is_ok(), is_reached, "{more}");
    }
}

/// The destination is judged first: for a denied one, not even the gateway is connected to.
#[tokio::test]
async fn a_denied_destination_sends_no_packet_to_the_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::create(folder.path(), "key", "ed25519", "");
    let gateway = gateway(listener.local_addr().unwrap().port(), "ops")
        + &format!("host_key = \"{}\"\nkey = \"secret:key\"\n", key.public());
    let names: &[(&str, &[&str])] = &[("db.internal", &["10.1.2.3", "169.254.169.254"])];
    let private = key.private();
    for more in ["", "addresses = [\"loopback\"]"] {
        let targets = format!(
            "{gateway}[targets.t]\nnet = \"db.internal\"\nports = [25]\nvia = \"bastion\"\n{more}\n"
        );
        let audit = Audit::default();
        let secrets = [("key", private.as_str())];
        let fault = greet(&mut host(SERVER, &targets, &secrets, names, &audit)).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied);
        let lines = audit.lock().unwrap().clone();
        assert_eq!(
            lines[1..],
            ["denied forward to 10.1.2.3", "denied forward to 169.254.169.254"].map(str::to_owned)
        );
    }
    let connected = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(connected.is_err());
}
