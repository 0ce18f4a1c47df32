//! The system calls by which a program changes files, or learns of them, without opening one to
//! write or to read. Landlock does not judge them, so a filter refuses them.

use crate::files::{FileAccess, Paths};
use crate::rules::{Number, Rules, rule_if_all};
use seccompiler::{Error, SeccompCmpOp, SeccompRule};

/// The calls that change modes, owners, times and labels of files.
const ATTRIBUTE_CALLS: &[Number] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
];
/// The `libc` crate lacks these numbers. They are the same on all architectures.
const SYS_FCHMODAT2: Number = 452;
const SYS_SETXATTRAT: Number = 463;
const SYS_REMOVEXATTRAT: Number = 466;
const SYS_FILE_SETATTR: Number = 469;

/// As above, for calls that only exist on this architecture.
#[cfg(target_arch = "x86_64")]
const ATTRIBUTE_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
/// As above, for calls that only exist on this architecture.
#[cfg(not(target_arch = "x86_64"))]
const ATTRIBUTE_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[];

/// The calls that begin to watch files: what is made in a folder is told by its name, to a program
/// that may not list the folder too.
const WATCH_CALLS: &[Number] = &[libc::SYS_inotify_init1];
/// As above, for calls that only exist on this architecture.
#[cfg(target_arch = "x86_64")]
const WATCH_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[libc::SYS_inotify_init];
/// As above, for calls that only exist on this architecture.
#[cfg(not(target_arch = "x86_64"))]
const WATCH_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[];

/// The kinds of commands of `ioctl` that are for files and file systems, and of each kind the
/// commands that are allowed: those that only read, and those that copy within files that are open
/// to be written. The others change flags, labels, subvolumes and sizes, or stop a file system,
/// with a file that is open to be read.
const FILE_COMMANDS: [(u64, &[u64]); 4] = [
    // Flags of a file (two sizes of a number), and where it lies on the disk.
    (b'f' as u64, &[0x8008_6601, 0x8004_6601, 0xc020_660b]),
    // The attributes of a file.
    (b'X' as u64, &[0x801c_581f]),
    // The version of a file (two sizes of a number).
    (b'v' as u64, &[0x8008_7601, 0x8004_7601]),
    // `cp --reflink` and the like, and the label of a file system.
    (0x94, &[0x4004_9409, 0x4020_940d, 0xc018_9436, 0x8100_9431]),
];

/// The bits of a command of `ioctl` that are its kind.
const KIND_MASK: u64 = 0xff00;

/// Adds the rules for a program that may open these files.
pub(crate) fn add_rules(rules: &mut Rules, files: &FileAccess) -> Result<(), Error> {
    let refuse_all = |rules: &mut Rules, calls: &[Number]| {
        rules.extend(calls.iter().map(|number| (*number, Vec::new())));
    };
    match &files.writes {
        Paths::Any => {}
        Paths::Below(paths) => {
            if paths.is_empty() {
                refuse_all(rules, ATTRIBUTE_CALLS);
                refuse_all(rules, ATTRIBUTE_CALLS_OF_THIS_ARCHITECTURE);
            }
            rules.entry(libc::SYS_ioctl).or_default().extend(command_rules()?);
        }
    }
    match &files.reads {
        Paths::Any => {}
        Paths::Below(_) => {
            refuse_all(rules, WATCH_CALLS);
            refuse_all(rules, WATCH_CALLS_OF_THIS_ARCHITECTURE);
        }
    }
    Ok(())
}

/// For each kind, the rule that matches every command that is not allowed.
fn command_rules() -> Result<Vec<SeccompRule>, Error> {
    let mut rules = Vec::new();
    for (kind, allowed) in FILE_COMMANDS {
        let mut conditions = vec![(1, SeccompCmpOp::MaskedEq(KIND_MASK), kind << 8)];
        conditions.extend(allowed.iter().map(|command| (1, SeccompCmpOp::Ne, *command)));
        rules.push(rule_if_all(conditions)?);
    }
    Ok(rules)
}
