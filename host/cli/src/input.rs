//! Reads what a person types. The end of input, an error and an unfinished line are never an
//! answer: they mean that the terminal is gone.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};
use std::io::{self, BufRead};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What came from the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedLine {
    /// A line that was finished with Enter, without the space around it.
    Line(String),
    /// A line that is not UTF-8.
    NotText,
    /// Nobody can type any more.
    Gone,
}

/// Throws away what was typed before a question is shown: it is no answer to it. It was meant for
/// something else, or nobody meant it.
pub fn discard_typed() {
    // Where there is no terminal, nobody has typed.
    let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
    if let Ok(mut lines) = READER.lines.try_lock() {
        while lines.try_recv().is_ok() {
            READER.asked.store(false, Ordering::SeqCst);
        }
    }
}

/// One line, read here and now.
pub fn line() -> TypedLine {
    from(&mut io::stdin().lock(), || {
        let stdin = rustix::stdio::stdin();
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

/// `wait` waits for more where another program made the descriptor non-blocking.
fn from(input: &mut impl BufRead, mut wait: impl FnMut() -> io::Result<()>) -> TypedLine {
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

/// The thread that reads the terminal. There is one for the whole program: a thread that waits for
/// a key cannot be stopped, and a second one would compete for the same answer.
struct Reader {
    ask: UnboundedSender<()>,
    lines: Mutex<UnboundedReceiver<TypedLine>>,
    asked: AtomicBool,
}

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let ((ask, mut asked), (sender, lines)) = (unbounded_channel(), unbounded_channel());
    std::thread::spawn(
        move || while asked.blocking_recv().is_some() && sender.send(line()).is_ok() {},
    );
    Reader { ask, lines: Mutex::new(lines), asked: AtomicBool::new(false) }
});

/// Reads one line. If the future is dropped before a line was typed, the next call gets it.
pub async fn next_line() -> TypedLine {
    let mut lines = READER.lines.lock().await;
    if !READER.asked.swap(true, Ordering::SeqCst) && READER.ask.send(()).is_err() {
        return TypedLine::Gone;
    }
    let typed = lines.recv().await.unwrap_or(TypedLine::Gone);
    READER.asked.store(false, Ordering::SeqCst);
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &[u8]) -> TypedLine {
        from(&mut io::BufReader::new(text), || Ok(()))
    }

    #[test]
    fn only_a_line_that_was_finished_is_an_answer() {
        assert_eq!(typed(b"yes\nno\n"), TypedLine::Line("yes".to_owned()));
        assert_eq!(typed(b"\n"), TypedLine::Line(String::new()));
        assert_eq!(typed(b"yes"), TypedLine::Gone);
        assert_eq!(typed(b""), TypedLine::Gone);
        assert_eq!(typed(b"\xff\n"), TypedLine::NotText);
    }

    /// Gives what it has piece by piece; `None` is an error.
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
    fn a_descriptor_that_does_not_block_is_waited_for_and_an_error_is_no_answer() {
        let mut waited = 0;
        let pieces = Pieces(vec![
            Err(io::ErrorKind::WouldBlock),
            Ok(b"y"),
            Err(io::ErrorKind::Interrupted),
            Ok(b"es\n"),
        ]);
        let typed = from(&mut io::BufReader::new(pieces), || {
            waited += 1;
            Ok(())
        });
        assert_eq!((typed, waited), (TypedLine::Line("yes".to_owned()), 1));
        let pieces = Pieces(vec![Ok(b"yes"), Err(io::ErrorKind::Other)]);
        assert_eq!(from(&mut io::BufReader::new(pieces), || Ok(())), TypedLine::Gone);
    }
}
