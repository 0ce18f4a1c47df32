//! Rows of an answer: without secrets, and no more than the target allows.

use super::file_systems::Found;
use super::{Part, container};
use crate::bindings::runbook::system::types::{
    FileSystem, FileSystemList, Listener, ListenerList, Process, ProcessList, Session, SessionList,
};
use crate::host::Host;
use runbook_authority::targets::SystemTarget;

/// The rows that a target allows.
pub(super) struct Rows<T> {
    pub(super) found: Vec<T>,
    pub(super) count: u32,
    pub(super) cut: bool,
}

/// The first rows within the limits of the target. `bytes` is the size of the texts of a row: a row
/// is given whole or not at all.
pub(super) fn rows<T>(
    all: Vec<T>,
    unread: usize,
    target: &SystemTarget,
    bytes: impl Fn(&T) -> usize,
) -> Rows<T> {
    let total = all.len() + unread;
    let (mut found, mut remaining) = (Vec::new(), target.max_bytes.0);
    for row in all {
        let size = bytes(&row) as u64;
        if found.len() as u64 >= u64::from(target.max_rows) || size > remaining {
            break;
        }
        remaining -= size;
        found.push(row);
    }
    let cut = found.len() < total;
    Rows { found, count: u32::try_from(total).unwrap_or(u32::MAX), cut }
}

impl Host {
    /// A text without secrets. Only whole texts are given, so a secret cannot lie across a cut.
    fn clean(&self, text: &str) -> String {
        self.scrubber().text(text).into_owned()
    }

    pub(super) fn file_systems(&mut self, part: &Part, found: Found) -> FileSystemList {
        let clean = |one: FileSystem| FileSystem {
            mount: self.clean(&one.mount),
            device: self.clean(&one.device),
            kind: self.clean(&one.kind),
            ..one
        };
        let all = found.readable.into_iter().map(clean).collect();
        let bytes = |one: &FileSystem| one.mount.len() + one.device.len() + one.kind.len();
        let rows = rows(all, found.unreadable, part.system(), bytes);
        self.count_transferred(rows.found.iter().map(bytes).sum());
        let Rows { found, count, cut } = rows;
        FileSystemList { found, count, cut, in_container: container::in_container() }
    }

    pub(super) fn processes_of(&mut self, part: &Part, found: Vec<Process>) -> ProcessList {
        let clean = |one: Process| Process {
            name: self.clean(&one.name),
            arguments: one
                .arguments
                .map(|arguments| arguments.iter().map(|text| self.clean(text)).collect()),
            ..one
        };
        let all = found.into_iter().map(clean).collect();
        let bytes = |one: &Process| {
            let arguments = one.arguments.iter().flatten().map(String::len).sum::<usize>();
            one.name.len() + arguments
        };
        let rows = rows(all, 0, part.system(), bytes);
        self.count_transferred(rows.found.iter().map(bytes).sum());
        let Rows { found, count, cut } = rows;
        ProcessList { found, count, cut, in_container: container::in_container() }
    }

    pub(super) fn sessions(&mut self, part: &Part, found: Vec<Session>) -> SessionList {
        let clean = |one: Session| Session {
            user: self.clean(&one.user),
            terminal: self.clean(&one.terminal),
            remote: one.remote.map(|remote| self.clean(&remote)),
            ..one
        };
        let all = found.into_iter().map(clean).collect();
        let bytes = |one: &Session| {
            one.user.len() + one.terminal.len() + one.remote.as_ref().map_or(0, String::len)
        };
        let rows = rows(all, 0, part.system(), bytes);
        self.count_transferred(rows.found.iter().map(bytes).sum());
        let Rows { found, count, cut } = rows;
        SessionList { found, count, cut, in_container: container::in_container() }
    }

    pub(super) fn listeners(&mut self, part: &Part, found: Vec<Listener>) -> ListenerList {
        let clean =
            |one: Listener| Listener { process: one.process.map(|name| self.clean(&name)), ..one };
        let all = found.into_iter().map(clean).collect();
        let bytes =
            |one: &Listener| one.address.len() + one.process.as_ref().map_or(0, String::len);
        let rows = rows(all, 0, part.system(), bytes);
        self.count_transferred(rows.found.iter().map(bytes).sum());
        let Rows { found, count, cut } = rows;
        ListenerList { found, count, cut, in_container: container::in_container() }
    }
}
