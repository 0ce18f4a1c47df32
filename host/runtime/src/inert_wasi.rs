//! The inert WASI, for components of toolchains that import WASI: it has no environment, no
//! arguments, no directories and no sockets, and printed text goes to the log. It is linked only
//! when a component imports it, and every review shows that.
//!
//! Its clock and its random numbers are real, because languages need them to seed hash tables, and
//! they reveal nothing.

use crate::log::Log;
use crate::sanitizer::Truncation;
use runbook_contract::LogLevel;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxView};

/// How many bytes of each output stream are kept.
const MAX_PRINTED: usize = 64 << 10;

/// How many resources (streams, pollables) may exist at once; each uses memory of the host.
const MAX_RESOURCES: usize = 1000;

/// The packages of WASI that are linked.
const PACKAGES: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:random/", "wasi:io/", "wasi:filesystem/", "wasi:sockets/"];

/// Whether the inert WASI has this interface.
pub(crate) fn has(interface: &str) -> bool {
    let version = interface.split_once('@').map_or("", |(_, version)| version);
    PACKAGES.iter().any(|package| interface.starts_with(package)) && version.starts_with("0.2.")
}

/// The state of the inert WASI in one call; created when it is first used.
pub(crate) struct InertWasi {
    ctx: WasiCtx,
    table: ResourceTable,
    stdout: CappedOutput,
    stderr: CappedOutput,
}

impl InertWasi {
    pub(crate) fn new() -> Self {
        let (stdout, stderr) = (CappedOutput::default(), CappedOutput::default());
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

    /// Moves the printed text to the log.
    pub(crate) fn drain(&self, log: &mut Log) {
        for (output, level) in [(&self.stdout, LogLevel::Info), (&self.stderr, LogLevel::Warn)] {
            let bytes = std::mem::take(&mut *output.lock());
            let is_full = bytes.len() == MAX_PRINTED;
            // The last character may have been cut in two.
            let text = String::from_utf8_lossy(&bytes);
            let text =
                if is_full { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
            log.add_printed(
                level,
                text.to_owned(),
                if is_full { Truncation::Beginning } else { Truncation::Whole },
            );
        }
    }
}

/// The first bytes of a stream; the rest is dropped.
#[derive(Clone, Default)]
struct CappedOutput(Arc<Mutex<Vec<u8>>>);

impl CappedOutput {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for CappedOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for CappedOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for CappedOutput {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes_kept = self.lock();
        let left = MAX_PRINTED.saturating_sub(bytes_kept.len());
        bytes_kept.extend_from_slice(&bytes[..bytes.len().min(left)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
