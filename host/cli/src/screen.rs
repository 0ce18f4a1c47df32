//! Writes to stderr on a separate thread, so that a stopped (Ctrl-S), slow or closed terminal never
//! delays a run. Write errors are ignored.

use runbook_report::truncate_to_width;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the live lines are redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(120);

/// The frames of the spinner.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The width of the progress bar, in columns.
const BAR_COLUMNS: usize = 24;

/// The width of live lines if that of the terminal is unknown, in columns.
const DEFAULT_COLUMNS: usize = 80;

/// The live line of one step under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLine {
    /// The name of the step, and what it does.
    pub text: String,
    /// When the step began.
    pub since: Instant,
}

/// How many steps of a run are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Steps that are over.
    pub over: usize,
    /// How many steps the run has.
    pub all: usize,
    /// Steps under way that have no live line.
    pub more: usize,
    /// When this process began or resumed the run.
    pub since: Instant,
}

/// The lines at the bottom of the terminal that are redrawn in place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveArea {
    /// One line for each step that is shown.
    pub lines: Vec<LiveLine>,
    /// The progress bar below them.
    pub progress: Option<Progress>,
}

impl LiveArea {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.progress.is_none()
    }

    /// The lines as text, each narrower than `columns`.
    fn render(&self, tick: usize, columns: usize) -> Vec<String> {
        let spinner = SPINNER[tick % SPINNER.len()];
        let line = |line: &LiveLine| {
            let took = elapsed(line.since);
            // One column is left free: a terminal may wrap when its last one is written.
            let room = columns.saturating_sub(took.len() + 6);
            format!("  {spinner} {} {took}", truncate_to_width(&line.text, room))
        };
        let mut drawn: Vec<String> = self.lines.iter().map(line).collect();
        drawn.extend(self.progress.as_ref().map(|progress| {
            let Progress { over, all, more, since } = progress;
            let filled = (BAR_COLUMNS * over).checked_div(*all).unwrap_or(0).min(BAR_COLUMNS);
            let bar = format!("{}{}", "━".repeat(filled), "─".repeat(BAR_COLUMNS - filled));
            let more = if *more == 0 { String::new() } else { format!(", {more} more under way") };
            truncate_to_width(
                &format!("  {bar} {over} of {all} steps, {}{more}", elapsed(*since)),
                columns.saturating_sub(1),
            )
        }));
        drawn
    }
}

/// The time since an instant, such as `7s`, `3m` or `2h`.
fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}

/// Where a [`BackgroundWriter`] writes.
pub trait Surface: Send {
    /// Writes all bytes, in order.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The width of the terminal now; `None` if it is not a terminal. It can change during a run.
    fn columns(&self) -> Option<usize>;
}

/// A queue of text, and the thread that writes it to a [`Surface`].
#[derive(Clone)]
pub struct BackgroundWriter(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    live_area: LiveArea,
    /// Whether the thread is writing what it took out of `waiting`.
    writing: bool,
    /// Whether the live lines have changed since they were drawn.
    stale: bool,
    /// Whether the terminal was closed, or the reader of the pipe has ended.
    gone: bool,
}

impl BackgroundWriter {
    /// Starts the thread that writes to the surface.
    pub fn new(surface: impl Surface + 'static) -> Self {
        let screen = Self(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }));
        let shared = Arc::clone(&screen.0);
        let started = std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || shared.write_all(surface));
        if started.is_err() {
            // If no thread can be started, the run goes on without output.
            screen.0.lock().gone = true;
        }
        screen
    }

    /// Writes a text and ends its line. Returns at once.
    pub fn print(&self, text: &str) {
        self.write(format!("{text}\n"));
    }

    /// Writes a text without ending its line. Returns at once.
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
    pub fn show(&self, live_area: LiveArea) {
        let mut state = self.0.lock();
        if !state.gone && state.live_area != live_area {
            (state.live_area, state.stale) = (live_area, true);
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
        // The state has no invariant that a panic could break.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut surface: impl Surface) {
        let (mut lines_below, mut tick) = (0, 0);
        loop {
            let Some((texts, live_area)) = self.next() else { return };
            let drawn = live_area.render(tick, surface.columns().unwrap_or(DEFAULT_COLUMNS));
            tick += 1;
            let frame = frame(lines_below, &texts, &drawn);
            lines_below = drawn.len();
            let written = surface.write(frame.as_bytes());
            let mut state = self.lock();
            state.writing = false;
            if let Err(error) = written
                && is_permanent(&error)
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
            let is_redraw_due = !state.live_area.is_empty() && begin.elapsed() >= REDRAW_INTERVAL;
            if !state.waiting.is_empty() || state.stale || is_redraw_due {
                break;
            }
            state = if state.live_area.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let left = REDRAW_INTERVAL.saturating_sub(begin.elapsed());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        (state.writing, state.stale) = (true, false);
        Some((std::mem::take(&mut state.waiting), state.live_area.clone()))
    }
}

/// The bytes that erase the live lines, write the texts, and draw the live lines again.
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

/// Whether a write error is permanent: a closed terminal is, a full disk is not.
fn is_permanent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let permanent =
        [Errno::IO, Errno::PIPE, Errno::BADF, Errno::NXIO, Errno::NODEV, Errno::CONNRESET];
    Errno::from_io_error(error).is_none_or(|errno| permanent.contains(&errno))
}

/// Writes all bytes, even if another program that shares the descriptor has made it non-blocking.
///
/// # Errors
/// Errors of the system, except `EAGAIN` and `EINTR`.
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

/// The width of a terminal, in columns; `None` if the stream is not a terminal.
pub fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Stderr of this process.
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

    /// A surface whose `write` returns only when `let_go` has a result for it.
    struct SlowSurface {
        let_go: Receiver<io::Result<()>>,
        frames: Sender<String>,
    }

    impl Surface for SlowSurface {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.frames.send(String::from_utf8_lossy(bytes).into_owned());
            self.let_go.recv().unwrap_or(Ok(()))
        }

        fn columns(&self) -> Option<usize> {
            Some(40)
        }
    }

    fn slow_writer() -> (BackgroundWriter, Sender<io::Result<()>>, Receiver<String>) {
        let ((allow, let_go), (frames, received)) = (channel(), channel());
        (BackgroundWriter::new(SlowSurface { let_go, frames }), allow, received)
    }

    #[test]
    fn a_stopped_terminal_does_not_block_printing() {
        let (screen, allow, received) = slow_writer();
        for number in 0..1_000 {
            screen.print(&number.to_string());
        }
        assert!(!screen.is_gone());
        drop(allow);
        screen.flush();
        let all: String = received.try_iter().collect();
        assert_eq!(all.lines().count(), 1_000, "and nothing is lost");
    }

    #[test]
    fn nothing_is_written_to_a_closed_terminal() {
        for errno in [rustix::io::Errno::IO, rustix::io::Errno::PIPE] {
            let (screen, allow, _seen) = slow_writer();
            allow.send(Err(errno.into())).expect("the thread waits");
            screen.print("one");
            screen.flush();
            assert!(screen.is_gone());
            screen.print("two");
            screen.flush();
        }
    }

    #[test]
    fn writing_continues_after_a_full_disk() {
        let (screen, allow, received) = slow_writer();
        allow.send(Err(rustix::io::Errno::NOSPC.into())).expect("the thread waits");
        screen.print("one");
        screen.flush();
        assert!(!screen.is_gone());
        allow.send(Ok(())).expect("the thread waits");
        screen.print("two");
        screen.flush();
        assert_eq!(received.try_iter().collect::<String>(), "one\ntwo\n");
    }

    #[test]
    fn live_lines_are_cut_erased_and_redrawn_below_printed_text() {
        let now = Instant::now();
        let line = LiveLine {
            text: "a step with a very long description of what it does".to_owned(),
            since: now,
        };
        let progress = Some(Progress { over: 1, all: 2, more: 3, since: now });
        let drawn = LiveArea { lines: vec![line], progress }.render(0, 50);
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
