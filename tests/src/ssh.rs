//! An SSH server, and an SSH agent, each with keys of its own.

use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running `sshd` on loopback. It lets the user of the test log in with [`Sshd::client_key`].
#[derive(Debug)]
pub struct Sshd {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    /// The user that may log in.
    pub user: String,
    /// A private key that is accepted, in the format of OpenSSH.
    pub client_key: String,
}

/// A private key in the format of OpenSSH, in a file.
#[derive(Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// Makes a key of this type (`ed25519`, `rsa`, `ecdsa`), with a passphrase if that is not empty.
    ///
    /// # Panics
    /// If `ssh-keygen` fails.
    pub fn create(folder: &Path, name: &str, key_type: &str, passphrase: &str) -> Self {
        let path = folder.join(name);
        let made = Command::new(program(&["/usr/bin/ssh-keygen"], "openssh-client"))
            .args(["-q", "-t", key_type, "-N", passphrase, "-C", "test", "-f"])
            .arg(&path)
            .output()
            .expect("ssh-keygen runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(path)
    }

    /// The private key.
    ///
    /// # Panics
    /// If the file is gone.
    pub fn private(&self) -> String {
        fs::read_to_string(&self.0).expect("a key")
    }

    /// The line of its public key.
    ///
    /// # Panics
    /// If the file is gone.
    pub fn public(&self) -> String {
        let line = fs::read_to_string(self.0.with_extension("pub")).expect("a key");
        line.trim().to_owned()
    }

    /// Its fingerprint, as `ssh-keygen -l` prints it.
    ///
    /// # Panics
    /// If `ssh-keygen` fails.
    pub fn fingerprint(&self) -> String {
        let listed = Command::new(program(&["/usr/bin/ssh-keygen"], "openssh-client"))
            .arg("-lf")
            .arg(&self.0)
            .output()
            .expect("ssh-keygen runs");
        let line = String::from_utf8_lossy(&listed.stdout).into_owned();
        line.split(' ').nth(1).expect("a fingerprint").to_owned()
    }
}

/// The user that the test runs as.
fn own_user() -> String {
    let output = Command::new("id").arg("-un").output().expect("`id` runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Sshd {
    /// Starts a server with these further lines of `sshd_config`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rb-ssh").tempdir().expect("a folder");
        KeyFile::create(folder.path(), "host", "ed25519", "");
        let client = KeyFile::create(folder.path(), "client", "ed25519", "");
        let (port, user) = (free_port(), own_user());
        let authorized = folder.path().join("authorized_keys");
        fs::write(&authorized, format!("{}\n", client.public())).expect("it can be written");
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nAuthorizedKeysFile \
             {0}/authorized_keys\nPidFile none\nUsePAM no\nStrictModes no\nLogLevel DEBUG1\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             {config}\n",
            folder.path().display()
        );
        fs::write(folder.path().join("sshd_config"), text).expect("it can be written");
        let client_key = client.private();
        let server = launch(&folder, port);
        Self { server, folder, port, user, client_key }
    }

    /// The line of its public host key.
    ///
    /// # Panics
    /// If the file is gone.
    pub fn host_key(&self) -> String {
        KeyFile(self.folder.path().join("host")).public()
    }

    /// The fingerprint of its host key.
    ///
    /// # Panics
    /// If `ssh-keygen` fails.
    pub fn fingerprint(&self) -> String {
        KeyFile(self.folder.path().join("host")).fingerprint()
    }

    /// Accepts this key too.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn accept(&self, key: &KeyFile) {
        let authorized = self.folder.path().join("authorized_keys");
        let others = fs::read_to_string(&authorized).expect("it is there");
        fs::write(authorized, format!("{others}{}\n", key.public())).expect("it can be written");
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// What it has logged.
    ///
    /// # Panics
    /// If there is no log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("there is a log")
    }

    /// How many logins it has accepted.
    pub fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// The processes of its open sessions.
    pub fn sessions(&self) -> Vec<u32> {
        let mut found = vec![self.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(children(parent));
            next += 1;
        }
        found.split_off(1)
    }

    /// Ends the server and all its sessions as a crash would.
    ///
    /// # Panics
    /// If a session cannot be ended.
    pub fn kill(&mut self) {
        let sessions = self.sessions();
        self.server.kill();
        for session in sessions {
            // One may end with another.
            let _ = Command::new("kill").args(["-s", "KILL", &session.to_string()]).output();
        }
    }
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    ids.filter(is_child).collect()
}

fn launch(folder: &TempDir, port: u16) -> Server {
    if rustix::process::geteuid().is_root() {
        // sshd refuses to start as root without this folder.
        let _ = fs::create_dir("/run/sshd");
    }
    let log = fs::File::create(folder.path().join("log")).expect("a log can be made");
    let mut command = Command::new(program(&["/usr/sbin/sshd"], "openssh-server"));
    command
        .args(["-D", "-e", "-f"])
        .arg(folder.path().join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let server = Server::start(&mut command, Stop::Terminate, folder.path());
    wait_for("sshd answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

/// A running agent that holds one key.
#[derive(Debug)]
pub struct Agent {
    _server: Server,
    folder: TempDir,
}

impl Agent {
    /// Starts an agent with this key, which has no passphrase.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(key: &KeyFile) -> Self {
        let folder = tempfile::Builder::new().prefix("rb-agent").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
        let socket = folder.path().join("agent");
        let mut command = Command::new(program(&["/usr/bin/ssh-agent"], "openssh-client"));
        command.args(["-D", "-a"]).arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server::start(&mut command, Stop::Terminate, folder.path());
        wait_for("the agent listens", || socket.exists());
        let added = Command::new(program(&["/usr/bin/ssh-add"], "openssh-client"))
            .arg("-q")
            .arg(&key.0)
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .expect("ssh-add runs");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        Self { _server: server, folder }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }
}
