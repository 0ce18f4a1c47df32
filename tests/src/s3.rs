//! A server of S3 for one test, over a folder. It checks the signature of each request.

use crate::server::{Server, Stop};
use crate::{free_port, wait_for};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A running server with one bucket, [`BUCKET`].
#[derive(Debug)]
pub struct S3 {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

/// The bucket that a server has.
pub const BUCKET: &str = "backups";

/// The access key that a server knows.
pub const ACCESS_KEY: &str = "AKIDRUNBOOK";

/// The secret key of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "hunter2-hunter2";

impl S3 {
    /// Starts a server.
    ///
    /// # Panics
    /// If it cannot be built or started.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket is a folder");
        let (server, port) = run(folder.path(), free_port());
        Self { server, folder, port }
    }

    /// Stops it as a crash would, and starts it again on the same port with the same objects.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server = run(self.folder.path(), self.port).0;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file of an object.
    pub fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    /// Files that the server keeps of uploads that are not complete.
    ///
    /// # Panics
    /// If its folder cannot be read.
    pub fn unfinished_parts(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).expect("its folder");
        let names = files.map(|file| file.expect("a file").file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".upload_id-")).count()
    }
}

fn run(folder: &Path, port: u16) -> (Server, u16) {
    let mut command = Command::new(server_program());
    command
        .arg(port.to_string())
        .arg(folder)
        .args([ACCESS_KEY, SECRET_KEY])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let server = Server::start(&mut command, Stop::Terminate, folder);
    wait_for("the server of S3 listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

/// Builds the server beside the current test, once, and returns its path. It is no member of the
/// workspace, because it has some 160 crates that nothing else needs.
fn server_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().expect("a test has a path");
        let deps = test.ancestors().find(|folder| folder.ends_with("deps"));
        let target = deps.and_then(Path::parent).and_then(Path::parent).expect("cargo's folders");
        let target = target.join("s3-server");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--target-dir"])
            .arg(&target)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("s3-server"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("debug/runbook-s3-server")
    };
    BUILT.get_or_init(build).clone()
}
