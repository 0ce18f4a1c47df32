//! Connections to the Unix socket of an `http` target, which the gate has allowed.
//!
//! Invariant: the socket that is checked is the socket that is connected to. It is opened once,
//! without links, and the connection goes through what was opened.

use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::targets::{ENGINE_SOCKETS, USER_ENGINE_SOCKETS, USER_FOLDERS};
use runbook_authority::{GateRequest, Verb};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// A Unix socket that the gate has allowed.
#[derive(Debug)]
pub(crate) struct AllowedSocket(PathBuf);

/// Why a socket could not be connected to. Nothing was sent.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// There is no socket, or nobody listens.
    Connect(io::Error),
    /// The path has become a link, is no socket, or is that of a container engine.
    Replaced(String),
    /// The connection took longer than this timeout.
    TimedOut(Duration),
}

impl std::fmt::Display for SocketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Replaced(what) => f.write_str(what),
            Self::TimedOut(timeout) => write!(f, "no connection within {} s", timeout.as_secs()),
        }
    }
}

impl Host {
    /// Asks the gate about the socket of a target.
    pub(crate) fn allowed_socket(
        &mut self,
        (slot, verb): (&str, Verb),
        path: &Path,
    ) -> Result<AllowedSocket, Fault> {
        let connection = ConnectionState::New;
        self.enter(&GateRequest::Socket { slot, verb, path, connection })?;
        Ok(AllowedSocket(path.to_owned()))
    }
}

impl AllowedSocket {
    /// The path, with links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Connects to the socket, unless it is another one than a reviewer could have meant.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<UnixStream, SocketError> {
        tokio::time::timeout(timeout, connect_to(&self.0))
            .await
            .map_err(|_| SocketError::TimedOut(timeout))?
    }
}

/// Connects to the socket at a path whose links are resolved, unless it has become a link or is the
/// socket of a container engine.
pub(crate) async fn connect_to(path: &Path) -> Result<UnixStream, SocketError> {
    let path = path.to_owned();
    let socket = blocking::run(move |_| open(&path, &engine_sockets())).await?;
    // A connection to this path goes to the opened socket, whatever has its name now.
    let opened = format!("/proc/self/fd/{}", socket.as_raw_fd());
    UnixStream::connect(opened).await.map_err(SocketError::Connect)
}

/// Opens a socket, to be connected to only.
fn open(path: &Path, engine_sockets: &[PathBuf]) -> Result<OwnedFd, SocketError> {
    let replaced = |what: &str| SocketError::Replaced(format!("`{}` {what}", path.display()));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let socket = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).map_err(
        |error| match error {
            rustix::io::Errno::LOOP => replaced("has become a symbolic link"),
            error => SocketError::Connect(error.into()),
        },
    )?;
    let opened = rustix::fs::fstat(&socket).map_err(|error| SocketError::Connect(error.into()))?;
    if FileType::from_raw_mode(opened.st_mode) != FileType::Socket {
        return Err(replaced("is not a socket"));
    }
    let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
    let is_opened = |engine: &&PathBuf| {
        rustix::fs::stat(engine.as_path()).is_ok_and(|stat| identity(&stat) == identity(&opened))
    };
    match engine_sockets.iter().find(is_opened) {
        Some(engine) => Err(replaced(&format!(
            "is the socket of a container engine, `{}`, by another path",
            engine.display()
        ))),
        None => Ok(socket),
    }
}

/// The sockets of container engines that this host may have: those of the host, and those of the
/// users who are logged in.
fn engine_sockets() -> Vec<PathBuf> {
    let users = std::fs::read_dir(USER_FOLDERS).into_iter().flatten().flatten();
    let of_users = users.flat_map(|user| {
        let folder = user.path();
        USER_ENGINE_SOCKETS.iter().map(move |socket| folder.join(socket))
    });
    ENGINE_SOCKETS.iter().map(PathBuf::from).chain(of_users).collect()
}

/// The fault for a socket that cannot be connected to.
pub(crate) fn socket_fault(target: &str, error: SocketError) -> Fault {
    let new = |class, code, what: String| Fault::new(class, code, format!("{target}: {what}"));
    match error {
        SocketError::Replaced(what) => new(FaultClass::Invalid, "http.socket", what),
        SocketError::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            new(FaultClass::Invalid, "http.socket", format!("this user may not connect: {error}"))
        }
        SocketError::Connect(error) => {
            new(FaultClass::Transient, "http.connect", format!("cannot be connected to: {error}"))
        }
        SocketError::TimedOut(timeout) => {
            let what = format!("did not answer within {}", crate::limits::format_limit(timeout));
            new(FaultClass::Timeout, "http.timeout", what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn reason(path: &Path, engines: &[PathBuf]) -> String {
        match open(path, engines) {
            Ok(_) => "opened".to_owned(),
            Err(SocketError::Replaced(what)) => what,
            Err(SocketError::Connect(error)) => format!("{:?}", error.kind()),
            Err(SocketError::TimedOut(timeout)) => format!("{timeout:?}"),
        }
    }

    /// Each way in which the path of a socket can come to mean another thing.
    #[test]
    fn what_was_put_in_the_place_of_a_socket_is_not_connected_to() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("app")).unwrap();
        std::fs::create_dir_all(home.join("engine")).unwrap();
        let (app, engine) = (home.join("app/x.sock"), home.join("engine/x.sock"));
        let _app = UnixListener::bind(&app).unwrap();
        let _engine = UnixListener::bind(&engine).unwrap();
        let engines = [engine.clone(), home.join("none.sock")];
        assert_eq!(reason(&app, &engines), "opened");
        assert!(reason(&engine, &engines).contains("container engine"));
        assert_eq!(reason(&home.join("app/none"), &engines), "NotFound");
        assert!(reason(&home.join("app"), &engines).contains("is not a socket"));
        std::fs::remove_file(&app).unwrap();
        std::fs::write(&app, "").unwrap();
        assert!(reason(&app, &engines).contains("is not a socket"));
        // The socket of the engine by a hard link, by a link, and behind a link.
        std::fs::remove_file(&app).unwrap();
        std::fs::hard_link(&engine, &app).unwrap();
        assert!(reason(&app, &engines).contains("container engine"));
        std::fs::remove_file(&app).unwrap();
        symlink(&engine, &app).unwrap();
        assert!(reason(&app, &engines).contains("symbolic link"));
        std::fs::remove_dir_all(home.join("app")).unwrap();
        symlink(home.join("engine"), home.join("app")).unwrap();
        assert!(reason(&app, &[]).contains("symbolic link"));
    }

    /// The name is given to another socket between the check and the connection.
    #[tokio::test]
    async fn a_connection_goes_to_the_socket_that_was_checked_whatever_has_its_name_then() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let path = home.join("app.sock");
        let checked = UnixListener::bind(&path).unwrap();
        let opened = open(&path, &[]).unwrap();
        std::fs::rename(&path, home.join("old.sock")).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        UnixStream::connect(format!("/proc/self/fd/{}", opened.as_raw_fd())).await.unwrap();
        checked.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(checked.accept().is_ok());
        assert_eq!(other.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
