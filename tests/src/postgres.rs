//! A PostgreSQL server for one test.

use crate::certificates::{CertificateAuthority, IssuedCertificate};
use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server with a superuser `postgres`, an ordinary role `orders_admin` (password
/// `s3cret-pg-word`, member of `pg_signal_backend` and owner of database `orders`), and a role
/// `journal` that needs no password and may make databases.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

/// The password of `orders_admin`.
pub const PASSWORD: &str = "s3cret-pg-word";

const VERSIONS: &[&str] = &[
    "/usr/lib/postgresql/15/bin/initdb",
    "/usr/lib/postgresql/16/bin/initdb",
    "/usr/lib/postgresql/17/bin/initdb",
];

/// The folder with the server's programs.
pub fn programs() -> PathBuf {
    PathBuf::from(program(VERSIONS, "postgresql-15"))
        .parent()
        .expect("the program is in a folder")
        .to_owned()
}

/// The user and group that the server runs as if the tests run as root, which PostgreSQL refuses.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("there are users");
    let entry = passwd
        .lines()
        .find(|line| line.starts_with("postgres:") || line.starts_with("nobody:"))
        .expect("postgres or nobody is a user");
    let mut fields = entry.split(':').skip(2).map(|field| field.parse().expect("ids are numbers"));
    Some((fields.next().expect("a user id"), fields.next().expect("a group id")))
}

fn as_server_user(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Starts the server of a folder.
fn launch(folder: &TempDir, port: u16) -> Server {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .expect("a log can be made");
    let mut command = Command::new(programs().join("postgres"));
    as_server_user(command.current_dir("/"))
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "autovacuum=off",
            "-c",
            "max_connections=200",
        ])
        .args([
            "-c",
            &format!("port={port}"),
            "-c",
            &format!("unix_socket_directories={}", folder.path().display()),
            "-D",
        ])
        .arg(folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    Server::start(&mut command, Stop::Interrupt, folder.path())
}

impl Postgres {
    /// Starts a server with the database `orders`: a table `orders` with `rows` rows.
    ///
    /// # Panics
    /// If the server cannot be started.
    pub fn start(rows: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rb-pg")
            .tempdir_in("/tmp")
            .expect("a folder can be made");
        if let Some((uid, gid)) = server_user() {
            chown(folder.path(), Some(uid), Some(gid)).expect("root can give a folder away");
        }
        let data = folder.path().join("data");
        let initdb = as_server_user(Command::new(programs().join("initdb")).current_dir("/"))
            .args([
                "--no-sync",
                "--auth=scram-sha-256",
                "--no-locale",
                "--encoding=UTF8",
                "--username=postgres",
                "--pwfile=/dev/stdin",
                "-D",
            ])
            .arg(&data)
            .stdin(pipe(b"postgres-word\n"))
            .output()
            .expect("initdb runs");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let port = free_port();
        let rules = data.join("pg_hba.conf");
        let others = fs::read_to_string(&rules).expect("initdb made it");
        fs::write(&rules, format!("host all journal 127.0.0.1/32 trust\n{others}"))
            .expect("it can be written");
        let server = launch(&folder, port);
        let postgres = Self { server, folder, port };
        postgres.wait_until_it_answers();
        postgres.psql(
            "postgres",
            &format!(
                "create role orders_admin login password '{PASSWORD}'; grant pg_signal_backend, \
                 pg_read_all_stats to orders_admin"
            ),
        );
        postgres.psql("postgres", "create role journal login createdb");
        postgres.psql("postgres", "create database orders owner orders_admin");
        postgres.psql(
            "orders",
            &format!(
                "create table orders (id bigint primary key, item text not null, amount \
                 numeric(12,2) not null, at timestamptz not null default now()); alter table \
                 orders owner to orders_admin; insert into orders select i, md5(i::text) || \
                 repeat('x', 40), i * 1.25 from generate_series(1, {rows}) i"
            ),
        );
        postgres
    }

    fn wait_until_it_answers(&self) {
        wait_for("PostgreSQL answers", || self.try_psql("postgres", "select 1").is_ok());
    }

    /// Starts the server again after [`kill`](Self::kill), at the same port, with the same data.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_again(&mut self) {
        // A killed server leaves its pid file behind.
        let _ = fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        self.server = launch(&self.folder, self.port);
        self.wait_until_it_answers();
    }

    /// The URL of a new database that belongs to the role `journal`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("create database \"{name}\" owner journal"));
        format!("postgres://journal@127.0.0.1:{}/{name}", self.port)
    }

    /// Waits until there is at least one of these sessions, and the last statement of each is older
    /// than a second by the server's clock. `sessions` is a condition on `pg_stat_activity`.
    ///
    /// # Panics
    /// After 2 minutes.
    pub fn wait_until_older_than_a_second(&self, sessions: &str) {
        let ages = format!(
            "select coalesce(bool_and(clock_timestamp() - query_start > interval '1.1 s'), false) \
             from pg_stat_activity where {sessions}"
        );
        crate::wait_for(&ages, || self.psql("postgres", &ages) == "t");
    }

    /// Runs SQL as the superuser and returns what `psql -At` prints.
    ///
    /// # Panics
    /// If the SQL fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|error| panic!("psql: {error}"))
    }

    /// Runs SQL as the superuser and returns what `psql -At` prints.
    ///
    /// # Errors
    /// What `psql` writes to stderr, if the SQL fails.
    ///
    /// # Panics
    /// If `psql` cannot be started.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self
            .client("psql")
            .args(["-XAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .output()
            .expect("psql runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// A client program, connected as the superuser.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", "postgres-word");
        command
    }

    /// A session of `orders_admin` that sleeps, until it is terminated.
    ///
    /// # Panics
    /// If psql cannot be started.
    pub fn sleeper(&self) -> Child {
        self.session("select pg_sleep(600)")
    }

    /// A session of `orders_admin` that runs SQL, statement by statement.
    ///
    /// # Panics
    /// If psql cannot be started.
    pub fn session(&self, sql: &str) -> Child {
        self.named_session("psql", sql)
    }

    /// A session of `orders_admin` with the application name `application` that runs a script of
    /// psql.
    ///
    /// # Panics
    /// If psql cannot be started.
    pub fn named_session(&self, application: &str, script: &str) -> Child {
        let mut command = self.client("psql");
        command
            .env("PGUSER", "orders_admin")
            .env("PGPASSWORD", PASSWORD)
            .env("PGAPPNAME", application);
        command
            .args(["-XAt", "-d", "orders"])
            .stdin(pipe(script.as_bytes()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql runs")
    }

    /// Turns TLS on with this certificate, and requires of `orders_admin` a client certificate
    /// issued by `clients`. `method` is the authentication method in `pg_hba.conf`.
    ///
    /// # Panics
    /// If the server cannot be configured.
    pub fn encrypt(
        &self,
        certificate: &IssuedCertificate,
        clients: &CertificateAuthority,
        method: &str,
    ) {
        let data = self.folder.path().join("data");
        certificate.write(&data, "server");
        fs::write(data.join("clients.pem"), clients.certificate()).expect("it is written");
        if let Some((uid, gid)) = server_user() {
            for name in ["server.pem", "server.key", "clients.pem"] {
                chown(data.join(name), Some(uid), Some(gid)).expect("root can give a file away");
            }
        }
        let rules = data.join("pg_hba.conf");
        let old = fs::read_to_string(&rules).expect("initdb made it");
        let others: Vec<_> = old.lines().filter(|line| !line.starts_with("hostssl")).collect();
        let rule = format!("hostssl all orders_admin 127.0.0.1/32 {method}");
        fs::write(&rules, format!("{rule}\n{}\n", others.join("\n"))).expect("it is written");
        for setting in [
            "ssl_cert_file = 'server.pem'",
            "ssl_key_file = 'server.key'",
            "ssl_ca_file = 'clients.pem'",
            "ssl = on",
        ] {
            self.psql("postgres", &format!("alter system set {setting}"));
        }
        // A session that begins after the reload uses the new settings.
        let before = self.psql("postgres", "select pg_conf_load_time()");
        self.psql("postgres", "select pg_reload_conf()");
        crate::wait_for("PostgreSQL has read its settings", || {
            let (ssl, after) = (
                self.psql("postgres", "show ssl"),
                self.psql("postgres", "select pg_conf_load_time()"),
            );
            ssl == "on" && after != before
        });
    }

    /// Stops the server at once, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data, socket and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A stdin from which these bytes can be read.
fn pipe(bytes: &[u8]) -> Stdio {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(bytes).expect("a temporary file can be written");
    file.rewind().expect("a file can be rewound");
    Stdio::from(file)
}
