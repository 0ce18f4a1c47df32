//! `--events`: writes each event of a run as a line of JSON when it happens. If the file cannot be
//! written, that is only a warning, because the journal has every event.

use crate::failure::Failure;
use crate::screen::{BackgroundWriter, Surface, write_whole};
use crate::ui;
use runbook_engine::{Record, RunId};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Writes events on a thread of its own, so that a slow reader does not delay a run.
pub struct EventWriter {
    out: BackgroundWriter,
    start: Instant,
}

/// The file or stream that events are written to. Its first write error is a warning.
struct Sink {
    out: OwnedFd,
    name: String,
    failed: bool,
}

impl Surface for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = write_whole(self.out.as_fd(), bytes);
        if let Err(error) = &written
            && !std::mem::replace(&mut self.failed, true)
        {
            ui::warning(&format!(
                "events could not be written to {}: {error}; no further events are written",
                self.name
            ));
        }
        // Later writes would follow an incomplete line, so the error ends all writing.
        written.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn columns(&self) -> Option<usize> {
        None
    }
}

impl EventWriter {
    /// Opens a file, which is replaced, or a pipe; `-` is stdout.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let (out, name) = if path == Path::new("-") {
            (
                rustix::io::dup(rustix::stdio::stdout()).map_err(io::Error::from)?,
                "stdout".to_owned(),
            )
        } else {
            let name = format!("`{}`", path.display());
            let file = File::create(path).map_err(|error| {
                Failure::usage(format!("events cannot be written to {name}: {error}"))
                    .hint("name another file")
            })?;
            (OwnedFd::from(file), name)
        };
        Ok(Self {
            out: BackgroundWriter::new(Sink { out, name, failed: false }),
            start: Instant::now(),
        })
    }

    /// Writes one event as a line of JSON.
    pub fn write(&self, run: RunId, record: &Record) {
        self.out.print(&runbook_report::event_line(run, record, Some(self.start.elapsed())));
    }

    /// Waits until all events are written.
    pub fn flush(&self) {
        self.out.flush();
    }
}
