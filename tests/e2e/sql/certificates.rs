//! Certificates of database servers and their clients, with real servers.

use super::{home, with_secret};
use runbook_tests::certificates::{CertificateAuthority, IssuedCertificate};
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// A database server with TLS.
enum Server {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

impl Server {
    fn address(&self, mode: &str) -> String {
        match self {
            Self::Postgres(server) => {
                format!("postgres://orders_admin@127.0.0.1:{}/orders?sslmode={mode}", server.port)
            }
            Self::MariaDb(server) => {
                format!("mysql://shop@127.0.0.1:{}/shop?sslmode={mode}", server.port)
            }
        }
    }
}

/// Runs a query of one row on a target with these keys.
fn ask(env: &TestEnv, address: &str, keys: &str) -> ProgramOutput {
    env.file(
        "c.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"c\"\n[secrets.word]\nsource = \"age:s.age#word\"\n\
             [targets.db]\nsql = \"{address}\"\n{keys}\n[[preflight]]\nid = \"q\"\n\
             uses = \"sql:query\"\nbind.db = \"db\"\nwith = {{ statement = \"select 1\" }}\n"
        ),
    );
    env.run(&["exec", "c.toml"])
}

const WORD: &str = "password = \"secret:word\"";

#[test]
fn a_database_server_is_verified_by_the_authority_of_its_target_alone() {
    let (ours, theirs) = (CertificateAuthority::new("ours"), CertificateAuthority::new("theirs"));
    let postgres = Postgres::start(1);
    let mariadb = MariaDb::start_with_client_certificates(&ours.server("127.0.0.1"), &ours);
    let servers = [
        (Server::Postgres(postgres), with_secret(PASSWORD)),
        (Server::MariaDb(mariadb), with_secret(mariadb::PASSWORD)),
    ];
    for (server, env) in &servers {
        env.file("ours.pem", &ours.certificate());
        env.file("theirs.pem", &theirs.certificate());
        let verified = server.address("verify-full");
        let believing = |ca: &str| ask(env, &verified, &format!("{WORD}\nca = \"{ca}.pem\""));
        let show = |issued: &IssuedCertificate| match server {
            Server::Postgres(server) => server.encrypt(issued, &ours, "scram-sha-256"),
            Server::MariaDb(server) => server.use_certificate(issued),
        };
        show(&ours.server("127.0.0.1"));
        believing("ours").status(0);
        // The CA of the target replaces those of the system.
        believing("theirs").status(4).err("issued by `ours`, which is not trusted here");
        ask(env, &verified, WORD).status(4).err("issued by `ours`, which is not trusted here");
        show(&ours.expired_server("127.0.0.1"));
        believing("ours").status(4).err("its certificate expired at 2001-02-03T00:00:00Z");
        show(&ours.server("other.example"));
        believing("ours").status(4).err("its certificate is for other.example, not for 127.0.0.1");
    }
}

#[test]
fn a_database_server_that_asks_who_its_client_is_gets_the_certificate_of_the_target() {
    let (ours, theirs) = (CertificateAuthority::new("ours"), CertificateAuthority::new("theirs"));
    let postgres = Postgres::start(1);
    postgres.encrypt(&ours.server("127.0.0.1"), &ours, "scram-sha-256 clientcert=verify-full");
    let mariadb = MariaDb::start_with_client_certificates(&ours.server("127.0.0.1"), &ours);
    mariadb.sql("alter user shop@'127.0.0.1' require x509");
    let servers = [
        (Server::Postgres(postgres), with_secret(PASSWORD)),
        (Server::MariaDb(mariadb), with_secret(mariadb::PASSWORD)),
    ];
    for (server, env) in &servers {
        env.file("ours.pem", &ours.certificate());
        ours.client("orders_admin").write(env.path(), "good");
        ours.client("orders_admin").write(env.path(), "other");
        ours.expired_client("orders_admin").write(env.path(), "expired");
        theirs.client("orders_admin").write(env.path(), "strange");
        let verified = server.address("verify-full");
        let showing = |certificate: &str, key: &str| {
            let keys = format!(
                "{WORD}\nca = \"ours.pem\"\nclient_cert = \"{certificate}.pem\"\n\
                 client_key = \"{key}.key\""
            );
            ask(env, &verified, &keys)
        };
        showing("good", "good").status(0);
        ask(env, &verified, &format!("{WORD}\nca = \"ours.pem\"")).status(4);
        showing("strange", "strange").status(4).err("it refuses the certificate");
        showing("expired", "expired").status(4).err("it refuses the certificate");
        showing("good", "other").status(4).err("it does not belong to the certificate of");
        showing("good", "none").status(4).err("none.key");
        let key = env.path().join("other.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("it is ours");
        showing("other", "other").status(4).err("other.key");
    }
    // The name in the certificate must be that of the user.
    let (server, env) = &servers[0];
    ours.client("somebody").write(env.path(), "somebody");
    let keys = format!(
        "{WORD}\nca = \"ours.pem\"\nclient_cert = \"somebody.pem\"\nclient_key = \"somebody.key\""
    );
    ask(env, &server.address("verify-full"), &keys).status(4).err("authentication failed");
}

#[test]
fn a_client_key_can_be_a_secret_and_replaces_the_password() {
    let ours = CertificateAuthority::new("ours");
    let postgres = Postgres::start(1);
    postgres.encrypt(&ours.server("127.0.0.1"), &ours, "cert");
    let client = ours.client("orders_admin");
    let env = with_secret(&client.key);
    client.write(env.path(), "good");
    env.file("ours.pem", &ours.certificate());
    let server = Server::Postgres(postgres);
    let keys = "ca = \"ours.pem\"\nclient_cert = \"good.pem\"\nclient_key = \"secret:word\"";
    ask(&env, &server.address("verify-full"), keys).status(0);
    // A certificate that does not belong to the key.
    ours.client("orders_admin").write(env.path(), "good");
    ask(&env, &server.address("verify-full"), keys).status(4).err("does not belong");
}

#[test]
fn tls_keys_without_effect_are_errors() {
    let env = home();
    let pair = "client_cert = \"a.pem\"\nclient_key = \"a.key\"";
    for (address, keys, said) in [
        ("postgres://a@h/d?sslmode=require", "ca = \"a.pem\"", "`ca` has no effect here"),
        ("postgres://a@h/d", "ca = \"a.pem\"", "`ca` has no effect here"),
        ("postgres://a@h/d?sslmode=disable", pair, "`client_cert` has no effect here"),
        ("mysql://a@h/d", pair, "`client_key` has no effect here"),
        ("sqlite:a.db", "ca = \"a.pem\"", "`ca` has no effect here"),
        ("sqlite:a.db", "addresses = [\"private\"]", "over a network"),
        ("postgres://a@h/d?host=/run/postgresql", pair, "a socket is not encrypted"),
        (
            "postgres://a@h/d?sslmode=require",
            "client_cert = \"a.pem\"",
            "`client_cert` needs `client_key` beside it",
        ),
        (
            "postgres://a@h/d?sslmode=require",
            "client_key = \"a.key\"",
            "`client_key` needs `client_cert` beside it",
        ),
        (
            "postgres://a@h/d?sslmode=verify-full",
            "ca = \"secret:\"",
            "`ca` must be the path of a PEM file or `secret:NAME`",
        ),
    ] {
        let text = format!(
            "format = 1\n[runbook]\nname = \"c\"\n[targets.db]\nsql = \"{address}\"\n{keys}\n\
             [[preflight]]\nid = \"q\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
             with = {{ statement = \"select 1\" }}\n"
        );
        env.file("c.toml", &text);
        env.run(&["validate", "c.toml"]).status(2).err(said);
    }
}
