//! Reads lines from the terminal. The end of input, an error and an unfinished line are never an
//! answer: the terminal is gone then.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};
use std::io::{self, BufRead};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The result of reading a line from the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedLine {
    /// A line that was finished with Enter, trimmed.
    Line(String),
    /// A line that is not UTF-8.
    NotText,
    /// The terminal is gone: no further line will come.
    Gone,
}

/// Discards what was typed before a question is shown, because it cannot be meant as its answer.
pub fn discard_typed() {
    // It fails only where there is no terminal; then nothing was typed.
    let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
    if let Ok(mut lines) = READER.lines.try_lock() {
        while lines.try_recv().is_ok() {
            READER.is_line_pending.store(false, Ordering::SeqCst);
        }
    }
}

/// Reads one line, and blocks until it is finished.
pub fn read_line() -> TypedLine {
    read_line_from(&mut io::stdin().lock(), || {
        let stdin = rustix::stdio::stdin();
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

/// Reads one line. `wait` blocks until there is input, if another program has made the descriptor
/// non-blocking.
fn read_line_from(input: &mut impl BufRead, mut wait: impl FnMut() -> io::Result<()>) -> TypedLine {
    let mut bytes = Vec::new();
    loop {
        match input.read_until(b'\n', &mut bytes) {
            Ok(_) if bytes.last() == Some(&b'\n') => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait().is_ok() => {}
            Ok(_) | Err(_) => return TypedLine::Gone,
        }
    }
    String::from_utf8(bytes)
        .map_or(TypedLine::NotText, |text| TypedLine::Line(text.trim().to_owned()))
}

/// The thread that reads the terminal. There is only one, because a thread that waits for a key
/// cannot be stopped, and a second one would compete for the same answer.
struct Reader {
    /// Requests one line from the thread.
    request: UnboundedSender<()>,
    lines: Mutex<UnboundedReceiver<TypedLine>>,
    /// Whether a requested line was not read yet.
    is_line_pending: AtomicBool,
}

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let ((request, mut requests), (sender, lines)) = (unbounded_channel(), unbounded_channel());
    std::thread::spawn(move || {
        while requests.blocking_recv().is_some() && sender.send(read_line()).is_ok() {}
    });
    Reader { request, lines: Mutex::new(lines), is_line_pending: AtomicBool::new(false) }
});

/// Reads one line. If the future is dropped before a line was typed, the next call gets the line.
pub async fn next_line() -> TypedLine {
    let mut lines = READER.lines.lock().await;
    if !READER.is_line_pending.swap(true, Ordering::SeqCst) && READER.request.send(()).is_err() {
        return TypedLine::Gone;
    }
    let typed = lines.recv().await.unwrap_or(TypedLine::Gone);
    READER.is_line_pending.store(false, Ordering::SeqCst);
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &[u8]) -> TypedLine {
        read_line_from(&mut io::BufReader::new(text), || Ok(()))
    }

    #[test]
    fn only_a_line_that_was_finished_is_an_answer() {
        assert_eq!(line_of(b"yes\nno\n"), TypedLine::Line("yes".to_owned()));
        assert_eq!(line_of(b"\n"), TypedLine::Line(String::new()));
        assert_eq!(line_of(b"yes"), TypedLine::Gone);
        assert_eq!(line_of(b""), TypedLine::Gone);
        assert_eq!(line_of(b"\xff\n"), TypedLine::NotText);
    }

    /// A reader that returns one element at each read, then the end of input.
    struct Pieces(Vec<Result<&'static [u8], io::ErrorKind>>);

    impl io::Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = if self.0.is_empty() { Ok(&b""[..]) } else { self.0.remove(0) };
            let piece = piece.map_err(io::Error::from)?;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_non_blocking_descriptor_is_waited_for_and_an_error_is_no_answer() {
        let mut n_waits = 0;
        let pieces = Pieces(vec![
            Err(io::ErrorKind::WouldBlock),
            Ok(b"y"),
            Err(io::ErrorKind::Interrupted),
            Ok(b"es\n"),
        ]);
        let typed = read_line_from(&mut io::BufReader::new(pieces), || {
            n_waits += 1;
            Ok(())
        });
        assert_eq!((typed, n_waits), (TypedLine::Line("yes".to_owned()), 1));
        let pieces = Pieces(vec![Ok(b"yes"), Err(io::ErrorKind::Other)]);
        assert_eq!(read_line_from(&mut io::BufReader::new(pieces), || Ok(())), TypedLine::Gone);
    }
}
