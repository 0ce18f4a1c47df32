//! Writes to stderr on a thread of its own. A terminal that is stopped (Ctrl-S), slow or closed
//! never delays a run, which holds leases and has effects under way. Errors of writing are ignored.

use runbook_report::cut;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the moving lines are drawn again.
const TICK: Duration = Duration::from_millis(120);

/// The signs that show that the program is alive.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Columns of the bar that shows how much of a run is over.
const BAR: usize = 24;

/// Columns to cut moving lines to where the terminal does not say how wide it is.
const COLUMNS: usize = 80;

/// A step under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLine {
    /// What the step does, in a few words.
    pub text: String,
    /// When the step began.
    pub since: Instant,
}

/// How much of a run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Steps that are over.
    pub over: usize,
    /// How many steps the run has.
    pub all: usize,
    /// Steps under way for which there is no line.
    pub more: usize,
    /// When the run was begun or continued here.
    pub since: Instant,
}

/// Lines at the bottom of the terminal, drawn again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveArea {
    /// One line for each step that is shown.
    pub lines: Vec<LiveLine>,
    /// The line below them that says how much of the run is over.
    pub progress: Option<Progress>,
}

impl LiveArea {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.progress.is_none()
    }

    /// The lines as they are drawn now, each no wider than the terminal.
    fn drawn(&self, tick: usize, columns: usize) -> Vec<String> {
        let spinner = SPINNER[tick % SPINNER.len()];
        let line = |line: &LiveLine| {
            let took = elapsed(line.since);
            // One column is left free: a terminal may wrap when its last one is written.
            let room = columns.saturating_sub(took.len() + 6);
            format!("  {spinner} {} {took}", cut(&line.text, room))
        };
        let mut drawn: Vec<String> = self.lines.iter().map(line).collect();
        drawn.extend(self.progress.as_ref().map(|progress| {
            let Progress { over, all, more, since } = progress;
            let filled = (BAR * over).checked_div(*all).unwrap_or(0).min(BAR);
            let bar = format!("{}{}", "━".repeat(filled), "─".repeat(BAR - filled));
            let more = if *more == 0 { String::new() } else { format!(", {more} more under way") };
            cut(
                &format!("  {bar} {over} of {all} steps, {}{more}", elapsed(*since)),
                columns.saturating_sub(1),
            )
        }));
        drawn
    }
}

/// How long ago something was, such as `7s`, `3m` or `2h`.
fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}

/// Where lines are written, and how wide it is now, if it is a terminal.
pub trait Surface: Send {
    /// Writes all bytes, in order.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Its columns, asked each time: a window is made wider while a run goes on.
    fn columns(&self) -> Option<usize>;
}

/// The lines that wait to be written, and the thread that writes them.
#[derive(Clone)]
pub struct Screen(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    moving: LiveArea,
    /// The thread writes what it took out of `waiting`.
    writing: bool,
    /// The moving lines have changed since they were drawn.
    stale: bool,
    /// Whether nobody reads any more: the terminal was closed, or the reader of the pipe has ended.
    gone: bool,
}

impl Screen {
    /// Starts the thread that writes to the surface.
    pub fn new(surface: impl Surface + 'static) -> Self {
        let screen = Self(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }));
        let shared = Arc::clone(&screen.0);
        let started = std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || shared.write_all(surface));
        if started.is_err() {
            // A machine without room for one more thread: the run matters more than what is said
            // about it.
            screen.0.lock().gone = true;
        }
        screen
    }

    /// Writes a text and ends its line. Returns at once.
    pub fn print(&self, text: &str) {
        self.write(format!("{text}\n"));
    }

    /// Writes the beginning of a line that a person is to finish. Returns at once.
    pub fn prompt(&self, text: &str) {
        self.write(text.to_owned());
    }

    fn write(&self, text: String) {
        let mut state = self.0.lock();
        if !state.gone {
            state.waiting.push_back(text);
            self.0.changed.notify_all();
        }
    }

    /// Draws these lines below everything that is printed, until they are replaced.
    pub fn show(&self, moving: LiveArea) {
        let mut state = self.0.lock();
        if !state.gone && state.moving != moving {
            (state.moving, state.stale) = (moving, true);
            self.0.changed.notify_all();
        }
    }

    /// Whether the reader of stderr is gone.
    pub fn is_gone(&self) -> bool {
        self.0.lock().gone
    }

    /// Waits until everything is written.
    pub fn flush(&self) {
        let mut state = self.0.lock();
        while !state.gone && (state.writing || state.stale || !state.waiting.is_empty()) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is guarded are texts; a panic elsewhere leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut surface: impl Surface) {
        let (mut lines_below, mut tick) = (0, 0);
        loop {
            let Some((texts, moving)) = self.next() else { return };
            let drawn = moving.drawn(tick, surface.columns().unwrap_or(COLUMNS));
            tick += 1;
            let frame = frame(lines_below, &texts, &drawn);
            lines_below = drawn.len();
            let written = surface.write(frame.as_bytes());
            let mut state = self.lock();
            state.writing = false;
            if let Err(error) = written
                && nobody_reads(&error)
            {
                (state.gone, state.stale) = (true, false);
                state.waiting.clear();
            }
            self.changed.notify_all();
        }
    }

    /// Waits for something to write; `None` if the reader is gone.
    fn next(&self) -> Option<(VecDeque<String>, LiveArea)> {
        let mut state = self.lock();
        let begin = Instant::now();
        loop {
            if state.gone {
                return None;
            }
            let due = !state.moving.is_empty() && begin.elapsed() >= TICK;
            if !state.waiting.is_empty() || state.stale || due {
                break;
            }
            state = if state.moving.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let left = TICK.saturating_sub(begin.elapsed());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        (state.writing, state.stale) = (true, false);
        Some((std::mem::take(&mut state.waiting), state.moving.clone()))
    }
}

/// What takes the lines below away, writes the texts, and draws the lines below anew.
fn frame(lines_below: usize, texts: &VecDeque<String>, below: &[String]) -> String {
    let mut frame = String::new();
    if lines_below > 0 {
        frame.push('\r');
        frame.push_str(&"\u{1b}[A".repeat(lines_below - 1));
        frame.push_str("\u{1b}[J");
    }
    frame.extend(texts.iter().map(String::as_str));
    frame.push_str(&below.join("\n"));
    frame
}

/// Whether an error will not go away: a full disk may have room again, a closed terminal stays
/// closed.
fn nobody_reads(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lasting =
        [Errno::IO, Errno::PIPE, Errno::BADF, Errno::NXIO, Errno::NODEV, Errno::CONNRESET];
    Errno::from_io_error(error).is_none_or(|errno| lasting.contains(&errno))
}

/// Writes all bytes, also where a descriptor was made non-blocking by another program that shares
/// it.
///
/// # Errors
/// What the system says, but for `EAGAIN` and `EINTR`.
pub fn write_whole(stream: impl std::os::fd::AsFd, mut bytes: &[u8]) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    while !bytes.is_empty() {
        match rustix::io::write(&stream, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How wide a terminal is; `None` if there is none.
pub fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// The stream stderr of this process.
pub struct Stderr;

impl Surface for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = io::stderr().lock();
        write_whole(rustix::stdio::stderr(), bytes)?;
        stream.flush()
    }

    fn columns(&self) -> Option<usize> {
        columns(io::stderr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes one frame each time that it is let.
    struct Slow {
        let_go: Receiver<io::Result<()>>,
        frames: Sender<String>,
    }

    impl Surface for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.frames.send(String::from_utf8_lossy(bytes).into_owned());
            self.let_go.recv().unwrap_or(Ok(()))
        }

        fn columns(&self) -> Option<usize> {
            Some(40)
        }
    }

    fn slow() -> (Screen, Sender<io::Result<()>>, Receiver<String>) {
        let ((allow, let_go), (frames, seen)) = (channel(), channel());
        (Screen::new(Slow { let_go, frames }), allow, seen)
    }

    #[test]
    fn a_terminal_that_is_stopped_holds_nobody_up() {
        let (screen, allow, seen) = slow();
        for number in 0..1_000 {
            screen.print(&number.to_string());
        }
        assert!(!screen.is_gone());
        drop(allow);
        screen.flush();
        let all: String = seen.try_iter().collect();
        assert_eq!(all.lines().count(), 1_000, "and nothing is lost");
    }

    #[test]
    fn a_terminal_that_is_gone_is_written_to_no_more() {
        for errno in [rustix::io::Errno::IO, rustix::io::Errno::PIPE] {
            let (screen, allow, _seen) = slow();
            allow.send(Err(errno.into())).expect("the thread waits");
            screen.print("one");
            screen.flush();
            assert!(screen.is_gone());
            screen.print("two");
            screen.flush();
        }
    }

    #[test]
    fn a_full_disk_may_have_room_again() {
        let (screen, allow, seen) = slow();
        allow.send(Err(rustix::io::Errno::NOSPC.into())).expect("the thread waits");
        screen.print("one");
        screen.flush();
        assert!(!screen.is_gone());
        allow.send(Ok(())).expect("the thread waits");
        screen.print("two");
        screen.flush();
        assert_eq!(seen.try_iter().collect::<String>(), "one\ntwo\n");
    }

    #[test]
    fn moving_lines_are_cut_taken_away_and_drawn_again_below_what_is_printed() {
        let now = Instant::now();
        let line = LiveLine {
            text: "a step with a very long description of what it does".to_owned(),
            since: now,
        };
        let progress = Some(Progress { over: 1, all: 2, more: 3, since: now });
        let drawn = LiveArea { lines: vec![line], progress }.drawn(0, 50);
        assert_eq!(drawn.len(), 2);
        assert!(
            drawn.iter().all(|line| unicode_width::UnicodeWidthStr::width(line.as_str()) < 50),
            "{drawn:?}"
        );
        assert!(drawn[1].contains("1 of 2 steps"), "{drawn:?}");
        let texts = VecDeque::from(["said\n".to_owned()]);
        assert_eq!(frame(2, &texts, &["x".to_owned()]), "\r\u{1b}[A\u{1b}[Jsaid\nx");
        assert_eq!(frame(0, &texts, &[]), "said\n");
    }
}
