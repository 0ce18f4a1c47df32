//! Users who are logged in, as utmp(5) lists them.

use super::ReadError;
use crate::bindings::runbook::system::types::Session;
use std::io::ErrorKind;
use std::path::Path;

/// Where the sessions are listed.
pub(super) const FILE: &str = "/run/utmp";

/// The type of an entry of a session of a user.
const USER_PROCESS: i16 = 7;

/// The sizes and positions of an entry, as the C library of this architecture has them: 64-bit
/// architectures that never ran 32-bit programs of the same kind have wider times.
#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")))]
mod layout {
    pub(super) const SIZE: usize = 384;
    pub(super) const SECONDS: std::ops::Range<usize> = 340..344;
}
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
mod layout {
    pub(super) const SIZE: usize = 400;
    pub(super) const SECONDS: std::ops::Range<usize> = 344..352;
}

/// The sessions in a file of utmp(5) whose process still runs.
pub(super) fn read(file: &Path) -> Result<Vec<Session>, ReadError> {
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ReadError::NotKept("list of who is logged in (`/run/utmp`)"),
        _ => ReadError::File(file.to_owned(), error),
    })?;
    Ok(bytes.chunks_exact(layout::SIZE).filter_map(session).collect())
}

fn session(entry: &[u8]) -> Option<Session> {
    let kind = i16::from_ne_bytes(entry[0..2].try_into().ok()?);
    let pid = i32::from_ne_bytes(entry[4..8].try_into().ok()?);
    // A session that ended without its entry being removed is none.
    let runs = Path::new("/proc").join(pid.to_string()).exists();
    if kind != USER_PROCESS || !runs {
        return None;
    }
    let remote = text(&entry[76..332]);
    Some(Session {
        user: text(&entry[44..76]),
        terminal: text(&entry[8..40]),
        remote: (!remote.is_empty()).then_some(remote),
        since_ms: seconds(&entry[layout::SECONDS]).saturating_mul(1000),
    })
}

/// A text of fixed size, up to its first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn seconds(bytes: &[u8]) -> u64 {
    let number = match bytes.len() {
        4 => bytes.try_into().map(|bytes| i64::from(i32::from_ne_bytes(bytes))),
        _ => bytes.try_into().map(i64::from_ne_bytes),
    };
    number.ok().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}
