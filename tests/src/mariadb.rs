//! A MariaDB server for one test.

use crate::certificates::{CertificateAuthority, IssuedCertificate};
use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server with a database `shop` and a user `shop` (password `shop-word`) who owns it.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

/// The password of `shop`.
pub const PASSWORD: &str = "shop-word";

impl MariaDb {
    /// Starts a server.
    ///
    /// # Panics
    /// If the server cannot be started.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with TLS and a self-signed certificate.
    ///
    /// # Panics
    /// If the server cannot be started.
    pub fn start_with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .expect("a certificate can be made");
        Self::start_with(|folder| {
            let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
            fs::write(&certificate, made.cert.pem()).expect("a file can be written");
            fs::write(&key, made.signing_key.serialize_pem()).expect("a file can be written");
            vec![
                format!("--ssl-cert={}", certificate.display()),
                format!("--ssl-key={}", key.display()),
            ]
        })
    }

    /// Starts a server with TLS and this certificate. It asks its clients for a certificate issued
    /// by `clients`.
    ///
    /// # Panics
    /// If the server cannot be started.
    pub fn start_with_client_certificates(
        certificate: &IssuedCertificate,
        clients: &CertificateAuthority,
    ) -> Self {
        Self::start_with(|folder| {
            certificate.write(folder, "server");
            fs::write(folder.join("clients.pem"), clients.certificate()).expect("it is written");
            let ids = server_user();
            chown(folder.join("server.key"), Some(ids.0), Some(ids.1))
                .expect("root can give a file away");
            let option =
                |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
            vec![
                option("ssl-cert", "server.pem"),
                option("ssl-key", "server.key"),
                option("ssl-ca", "clients.pem"),
            ]
        })
    }

    /// Makes the running server use another certificate for new connections.
    ///
    /// # Panics
    /// If the server cannot be configured.
    pub fn use_certificate(&self, certificate: &IssuedCertificate) {
        certificate.write(self.folder.path(), "server");
        let ids = server_user();
        chown(self.folder.path().join("server.key"), Some(ids.0), Some(ids.1))
            .expect("root can give a file away");
        self.sql("flush ssl");
    }

    /// Starts a server with additional arguments, which may name files in its folder.
    fn start_with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rb-my")
            .tempdir_in("/tmp")
            .expect("a folder can be made");
        let ids = server_user();
        chown(folder.path(), Some(ids.0), Some(ids.1)).expect("root can give a folder away");
        let data = format!("--datadir={}/data", folder.path().display());
        // A server that starts removes all temporary tables in its temporary folder, so two servers
        // must not share one.
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).expect("a folder can be made");
        chown(&temporary, Some(ids.0), Some(ids.1)).expect("root can give a folder away");
        let temporary = format!("--tmpdir={}", temporary.display());
        let install = program(
            &["/usr/bin/mariadb-install-db", "/usr/bin/mysql_install_db"],
            "mariadb-server",
        );
        let made = Command::new(install)
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                &data,
                &temporary,
            ])
            .current_dir("/")
            .uid(ids.0)
            .gid(ids.1)
            .output()
            .expect("mariadb-install-db runs");
        assert!(
            made.status.success(),
            "mariadb-install-db: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let log = fs::File::create(folder.path().join("log")).expect("a log can be made");
        let mut command =
            Command::new(program(&["/usr/sbin/mariadbd", "/usr/sbin/mysqld"], "mariadb-server"));
        command
            .args([
                "--no-defaults",
                &data,
                &temporary,
                "--bind-address=127.0.0.1",
                &format!("--port={port}"),
                "--skip-log-bin",
            ])
            .args([
                format!("--socket={}/sock", folder.path().display()),
                format!("--pid-file={}/pid", folder.path().display()),
            ])
            .args(arguments(folder.path()))
            .current_dir("/")
            .uid(ids.0)
            .gid(ids.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let server = Server::start(&mut command, Stop::Terminate, folder.path());
        let server = Self { server, folder, port };
        wait_for("MariaDB answers", || server.try_sql("select 1").is_ok());
        server.sql(&format!(
            "create database shop; create user shop@'127.0.0.1' identified by '{PASSWORD}'; grant \
             all on shop.* to shop@'127.0.0.1'"
        ));
        server
    }

    /// Runs SQL as root and returns the rows as text, without column names.
    ///
    /// # Panics
    /// If the SQL fails.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("mariadb: {error}"))
    }

    /// Starts a session of root that runs SQL, and waits until it has printed `held`. The session
    /// lasts until it is killed.
    ///
    /// # Panics
    /// If it prints something else or nothing.
    pub fn session(&self, sql: &str) -> Child {
        use std::io::{BufRead as _, BufReader};
        let client = program(&["/usr/bin/mariadb", "/usr/bin/mysql"], "mariadb-client");
        let mut child = Command::new(client)
            .args([
                "--no-defaults",
                "-uroot",
                &format!("--socket={}/sock", self.folder.path().display()),
            ])
            .args(["-N", "-B", "--unbuffered", "-e", sql])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mariadb runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("it is text");
        assert_eq!(line.trim(), "held", "the session holds its locks");
        child
    }

    /// Ends every other session, and waits until their transactions have ended.
    ///
    /// # Panics
    /// If they do not end.
    pub fn end_sessions(&self) {
        let others = "select coalesce(group_concat(concat('kill ', id) separator '; '), 'do 0') \
                      from information_schema.processlist where id <> connection_id() and user in \
                      ('root', 'shop')";
        wait_for("the other sessions end", || {
            let _ = self.try_sql(&self.sql(others));
            self.query_transactions("select count(*) from information_schema.innodb_trx") == "0"
        });
    }

    /// Runs a query on the table of `InnoDB`'s transactions. The server refreshes that table only
    /// if nobody has read it for 0.1 s, so this sleeps before the query.
    ///
    /// # Panics
    /// As [`sql`](Self::sql).
    pub fn query_transactions(&self, sql: &str) -> String {
        std::thread::sleep(std::time::Duration::from_millis(150));
        self.sql(sql)
    }

    /// Runs SQL as root and returns the rows as text, without column names.
    ///
    /// # Errors
    /// What the client writes to stderr, if the SQL fails.
    ///
    /// # Panics
    /// If the client cannot be started.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let output = self.client(&["-e", sql]).output().expect("mariadb runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Runs each statement as root, also after one that fails, and returns the output of those that
    /// succeed.
    ///
    /// # Panics
    /// If the client cannot be started.
    pub fn sql_each(&self, statements: &str) -> String {
        let script = self.folder.path().join("each.sql");
        fs::write(&script, statements).expect("a file can be written");
        let input = fs::File::open(script).expect("it was just written");
        let output = self.client(&["--force"]).stdin(input).output().expect("mariadb runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data, socket and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command =
            Command::new(program(&["/usr/bin/mariadb", "/usr/bin/mysql"], "mariadb-client"));
        let socket = format!("--socket={}/sock", self.folder.path().display());
        command.args(["--no-defaults", "-uroot", &socket, "-N", "-B"]).args(arguments);
        command
    }
}

/// The user and group that the server runs as. It refuses to run as root.
fn server_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("there are users");
    let entry = passwd
        .lines()
        .find(|line| line.starts_with("mysql:"))
        .or_else(|| passwd.lines().find(|line| line.starts_with("nobody:")));
    let mut fields = entry
        .expect("mysql or nobody is a user")
        .split(':')
        .skip(2)
        .map(|field| field.parse().expect("ids are numbers"));
    (fields.next().expect("a user id"), fields.next().expect("a group id"))
}
