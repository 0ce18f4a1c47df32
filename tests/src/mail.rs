//! A mail server for one test: Exim, with the mailboxes that it delivers to.

use crate::certificates::{CertificateAuthority, IssuedCertificate};
use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running server with mailboxes for `ops`, `root`, `everybody`, `status` and `other`. It takes messages for `a.example` and `b.example` from whoever has logged in
/// as `probe`, and on its plain port from anybody. It takes nothing for the names `later` (for
/// now) and `nobody` (for ever), and no message of more than 100 KiB.
#[derive(Debug)]
pub struct MailServer {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1 that is encrypted from the first byte.
    pub implicit_port: u16,
    /// Its TCP port on 127.0.0.1 that is encrypted after `STARTTLS`, and lets nobody in before.
    pub starttls_port: u16,
    /// Its TCP port on 127.0.0.1 where no login is needed.
    pub plain_port: u16,
}

/// The password of `probe`.
pub const PASSWORD: &str = "hunter2-hunter2";

impl MailServer {
    /// Starts a server with this certificate. If `clients` is given, a client must have a
    /// certificate of it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(certificate: &IssuedCertificate, clients: Option<&CertificateAuthority>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in ["spool", "mails", "log"] {
            fs::create_dir(path.join(name)).expect("a folder can be made");
        }
        // The server delivers as somebody who owns nothing here.
        fs::set_permissions(path.join("mails"), fs::Permissions::from_mode(0o777))
            .expect("it is ours");
        certificate.write(path, "server");
        let clients = clients.map_or_else(String::new, |clients| {
            fs::write(path.join("clients.pem"), clients.certificate()).expect("it is written");
            format!(
                "tls_verify_certificates = {}/clients.pem\ntls_verify_hosts = *\n",
                path.display()
            )
        });
        let [implicit_port, starttls_port, plain_port] = [free_port(), free_port(), free_port()];
        let ports = [implicit_port, starttls_port, plain_port];
        let configuration = path.join("exim.conf");
        fs::write(&configuration, configured(path, ports, &clients)).expect("it is written");
        let mut command = Command::new(program(&["/usr/sbin/exim4"], "exim4-daemon-light"));
        command
            .arg("-bdf")
            .arg("-C")
            .arg(&configuration)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Server::start(&mut command, Stop::Terminate, path);
        wait_for("the mail server listens", || {
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Self { server, folder, implicit_port, starttls_port, plain_port }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its mailboxes and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many messages it has taken.
    pub fn taken(&self) -> usize {
        self.log().lines().filter(|line| line.contains(" <= ")).count()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/main")).unwrap_or_default()
    }

    /// The messages in the mailbox of a name, when as many as `count` were delivered.
    ///
    /// # Panics
    /// If they are not.
    pub fn messages(&self, name: &str, count: usize) -> Vec<String> {
        let folder = self.folder.path().join("mails").join(name).join("new");
        let read = || -> Vec<String> {
            let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
            entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
        };
        wait_for("the messages are delivered", || read().len() >= count);
        read()
    }
}

fn configured(path: &Path, [implicit, starttls, plain]: [u16; 3], clients: &str) -> String {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Nothing is ever delivered as root.
    let (user, group) = if uid == 0 { (65_534, 65_534) } else { (uid, gid) };
    let path = path.display();
    format!(
        r"exim_user = {uid}
exim_group = {gid}
never_users =
keep_environment =
primary_hostname = localhost
spool_directory = {path}/spool
log_file_path = {path}/log/%s
pid_file_path = {path}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {implicit} : {starttls} : {plain}
tls_on_connect_ports = {implicit}
tls_advertise_hosts = *
tls_certificate = {path}/server.pem
tls_privatekey = {path}/server.key
{clients}auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
host_lookup =
rfc1413_hosts =
queue_only = false
message_size_limit = 100K
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny !authenticated = *
     condition = ${{if !eq{{$received_port}}{{{plain}}}}}
     message = log in first
  deny local_parts = nobody
     message = no such user here
  defer local_parts = later
     message = come back later
  accept domains = a.example : b.example
  deny message = no relay
begin routers
all:
  driver = accept
  local_parts = ops : root : everybody : status : other
  transport = file
begin transports
file:
  driver = appendfile
  directory = {path}/mails/$local_part_data
  maildir_format
  create_directory
  return_path_add
  envelope_to_add
  user = {user}
  group = {group}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{probe}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_set_id = $auth2
"
    )
}
