//! Lists a directory of any size: the first entries in an order, and how many there are.

use super::directory::Directory;
use crate::bindings::runbook::files::types::{FileInfo, FileKind, ListOptions, Order};
use crate::blocking::StopFlag;
use runbook_authority::pattern::relative_file_path;
use runbook_authority::pattern_matches;
use std::collections::BinaryHeap;
use std::io;

/// What was found in a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first entries in the order that was asked for.
    pub(super) entries: Vec<FileInfo>,
    /// How many entries fit.
    pub(super) total: u64,
    /// The bytes of the files that fit.
    pub(super) total_bytes: u64,
    /// How many entries have a name that no call can name.
    pub(super) unnamed: u64,
}

/// An entry with its place in the order.
struct Ranked {
    rank: (i128, String),
    entry: FileInfo,
}

impl Ranked {
    fn new(order: Order, entry: FileInfo) -> Self {
        let number = match order {
            Order::Name => 0,
            Order::Oldest => i128::from(entry.modified_ms),
            Order::Newest => -i128::from(entry.modified_ms),
            Order::Largest => -i128::from(entry.size_bytes),
        };
        Self { rank: (number, entry.path.clone()), entry }
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// Lists the directory at `path`. Of many entries, only as many as are returned are kept in memory.
pub(super) fn read(
    directory: &Directory,
    path: &str,
    options: &ListOptions,
    max_entries: usize,
    allows: impl Fn(&str) -> bool,
    stop: &StopFlag,
) -> io::Result<Found> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut found = Found::default();
    let mut first = BinaryHeap::new();
    directory.each_entry(path, |name, stat| {
        if stop.is_set() {
            return Err(StopFlag::error());
        }
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| can_be_named(name)) else {
            found.unnamed += 1;
            return Ok(());
        };
        let path = format!("{prefix}{name}");
        let fits = options.pattern.as_ref().is_none_or(|pattern| pattern_matches(pattern, name));
        if !fits || !allows(&path) {
            return Ok(());
        }
        let entry = super::file_info(path, stat);
        if options.files_only && entry.kind != FileKind::File {
            return Ok(());
        }
        found.total += 1;
        if entry.kind == FileKind::File {
            found.total_bytes = found.total_bytes.saturating_add(entry.size_bytes);
        }
        first.push(Ranked::new(options.order, entry));
        if first.len() > max_entries {
            first.pop();
        }
        Ok(())
    })?;
    found.entries = first.into_sorted_vec().into_iter().map(|ranked| ranked.entry).collect();
    Ok(found)
}

/// Whether the gate accepts a name as a path.
fn can_be_named(name: &str) -> bool {
    relative_file_path(name).is_ok()
}
