//! The inert WASI, for components of toolchains that cannot do without: no environment, no
//! arguments, no directories, no sockets, and what is printed goes to the log. It is linked only
//! when a component imports it, and every review shows that.
//!
//! The clock and the random numbers in it are real: a language that seeds its hash tables needs
//! them, and they reveal nothing.

use crate::log::Log;
use crate::outgoing::Truncation;
use runbook_contract::LogLevel;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxView};

/// Bytes that are kept of each stream.
const KEPT: usize = 64 << 10;

/// Streams, pollables and the like that may be alive at once; each is memory of the host.
const MAX_RESOURCES: usize = 1000;

/// The packages that are linked.
const PACKAGES: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:random/", "wasi:io/", "wasi:filesystem/", "wasi:sockets/"];

/// Whether the inert WASI has this interface.
pub(crate) fn has(interface: &str) -> bool {
    let version = interface.split_once('@').map_or("", |(_, version)| version);
    PACKAGES.iter().any(|package| interface.starts_with(package)) && version.starts_with("0.2.")
}

/// What the inert WASI of one call holds; made when it is first used.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    stdout: Printed,
    stderr: Printed,
}

impl Wasi {
    pub(crate) fn new() -> Self {
        let (stdout, stderr) = (Printed::default(), Printed::default());
        let ctx = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(1 << 20)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self { ctx, table, stdout, stderr }
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    /// Moves what was printed to the log.
    pub(crate) fn drain(&self, log: &mut Log) {
        for (printed, level) in [(&self.stdout, LogLevel::Info), (&self.stderr, LogLevel::Warn)] {
            let bytes = std::mem::take(&mut *printed.lock());
            let full = bytes.len() == KEPT;
            // The last character may have been cut in two.
            let text = String::from_utf8_lossy(&bytes);
            let text =
                if full { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
            log.add_printed(
                level,
                text.to_owned(),
                if full { Truncation::Beginning } else { Truncation::Whole },
            );
        }
    }
}

/// The first bytes of a stream; the rest is dropped.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Printed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut kept = self.lock();
        let left = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(left)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
