//! A pseudo terminal for tests: it records all output, keys can be typed, and it can be closed
//! while a program runs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Whether the terminal is the controlling terminal of the program. Only then does the program get
/// SIGHUP when the terminal is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It is, as in a shell: when it is closed, the program gets SIGHUP.
    Session,
    /// It is not, as after `nohup` or `setsid`: when it is closed, writes to it fail.
    None,
}

/// A terminal of 80 columns.
#[derive(Debug)]
pub struct Terminal {
    master: Option<Arc<OwnedFd>>,
    slave: String,
    shown: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Opens one.
    ///
    /// # Panics
    /// If the system has none.
    pub fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("the system has pseudo terminals");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("it has a size");
        let slave = ptsname(&master, Vec::new())
            .expect("it has a name")
            .into_string()
            .expect("it is ASCII");
        let (master, shown, stop) =
            (Arc::new(master), Arc::default(), Arc::new(AtomicBool::new(false)));
        let reader = std::thread::spawn({
            let (master, shown, stop) =
                (Arc::clone(&master), Arc::clone(&shown), Arc::clone(&stop));
            move || read(&master, &shown, &stop)
        });
        Self { master: Some(master), slave, shown, stop, reader: Some(reader) }
    }

    /// Opens the program's side of the terminal, without making it a controlling terminal.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn open_client_side(&self) -> File {
        let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).expect("a flag is small");
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(noctty)
            .open(&self.slave)
            .expect("it can be opened")
    }

    /// Starts a program with this terminal as stdin, stdout and stderr.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, program: &Command, control: Control) -> Child {
        let mut command = match control {
            Control::Session => Command::new("setsid"),
            Control::None => Command::new("env"),
        };
        if control == Control::Session {
            command.arg("--ctty");
        }
        command.arg(program.get_program()).args(program.get_args()).env_clear();
        command
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm");
        command.current_dir(program.get_current_dir().unwrap_or_else(|| "/".as_ref()));
        let stdio = || Stdio::from(self.open_client_side());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().expect("the program starts")
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If it was closed.
    pub fn type_keys(&self, keys: &str) {
        let master = self.master.as_ref().expect("it is open");
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(master, rest).expect("keys can be pressed");
            rest = &rest[written..];
        }
    }

    /// All output so far. If the program has ended, this is all of its output.
    pub fn shown(&self) -> String {
        self.master.iter().for_each(|master| read_available(master, &self.shown));
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }

    /// Closes the terminal, as a closed window or a lost connection does. [`shown`](Self::shown)
    /// still returns the output.
    pub fn close(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.master.iter().for_each(|master| read_available(master, &self.shown));
        self.master = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

fn read(master: &OwnedFd, shown: &Mutex<Vec<u8>>, stop: &AtomicBool) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::SeqCst) {
        let fd = master.as_fd();
        let mut poll_fds = [PollFd::new(&fd, PollFlags::IN)];
        let _ = poll(&mut poll_fds, Some(&timeout));
        if poll_fds[0].revents().contains(PollFlags::IN) {
            read_available(master, shown);
        } else if !poll_fds[0].revents().is_empty() {
            // No process has the other side open now, but one may open it later.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Reads what is available now. The lock is held while reading, so that bytes from two threads are
/// appended in the order in which they arrived.
fn read_available(master: &OwnedFd, shown: &Mutex<Vec<u8>>) {
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut buffer = [0; 4096];
    loop {
        let fd = master.as_fd();
        let mut poll_fds = [PollFd::new(&fd, PollFlags::IN)];
        let _ = poll(&mut poll_fds, Some(&now));
        if !poll_fds[0].revents().contains(PollFlags::IN) {
            return;
        }
        match rustix::io::read(master, &mut buffer) {
            Ok(length) => shown.extend_from_slice(&buffer[..length]),
            Err(_) => return,
        }
    }
}
