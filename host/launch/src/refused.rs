//! The system calls that no program of a target needs and that lead out of its sandbox: they are
//! refused, and all others are left.
//!
//! Every number is refused under both names that the kernel of `x86_64` has for it. A program for
//! another kind of processor (one of 32 bits) is killed at its first system call.

use crate::network::Network;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

type Number = libc::c_long;

/// Whether a program may change modes, owners, times and labels of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// Where its user may.
    Changed,
    /// Nowhere.
    Fixed,
}

/// What changes them.
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
/// These numbers are the same on all processors.
const SYS_FCHMODAT2: Number = 452;
const SYS_SETXATTRAT: Number = 463;
const SYS_REMOVEXATTRAT: Number = 466;
const SYS_FILE_SETATTR: Number = 469;

/// The same, by the names that only this processor has.
#[cfg(target_arch = "x86_64")]
const ATTRIBUTE_CALLS_HERE: &[Number] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
/// The same, by the names that only this processor has.
#[cfg(not(target_arch = "x86_64"))]
const ATTRIBUTE_CALLS_HERE: &[Number] = &[];

/// Commands that set flags of a file, its project or its generation.
const ATTRIBUTE_COMMANDS: [u64; 3] = [0x4008_6602, 0x401c_5820, 0x4008_7602];

/// Refused with any arguments.
const CALLS: &[Number] = &[
    // Work that the kernel does for a process without its system calls: sockets, too.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The memory, the files and the keys of other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Name spaces, in which a process is root, and the tree of files.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // A file by its number on the disk, past every path.
    libc::SYS_open_by_handle_at,
    // The kernel and the machine.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// The same, by the names that only this processor has.
#[cfg(target_arch = "x86_64")]
const CALLS_HERE: &[Number] = &[libc::SYS_iopl, libc::SYS_ioperm];
/// The same, by the names that only this processor has.
#[cfg(not(target_arch = "x86_64"))]
const CALLS_HERE: &[Number] = &[];

/// The second name of a system call on `x86_64` (that of its programs with short pointers) is the
/// first with this bit.
const SECOND_NAME: Number = 0x4000_0000;

/// Calls whose second name is another number.
#[cfg(target_arch = "x86_64")]
const OTHER_SECOND_NAMES: &[(Number, Number)] = &[
    (libc::SYS_ioctl, 514),
    (libc::SYS_sendmsg, 518),
    (libc::SYS_ptrace, 521),
    (libc::SYS_kexec_load, 528),
    (libc::SYS_sendmmsg, 538),
    (libc::SYS_process_vm_readv, 539),
    (libc::SYS_process_vm_writev, 540),
];
/// Calls whose second name is another number.
#[cfg(not(target_arch = "x86_64"))]
const OTHER_SECOND_NAMES: &[(Number, Number)] = &[];

/// `clone` may not make name spaces.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Commands to a terminal: to type into it, to copy its screen.
const TERMINAL_COMMANDS: [u64; 2] = [0x5412, 0x541c];

/// The kind of a socket, without its flags.
const SOCKET_KIND: u64 = 0xf;

type Rules = BTreeMap<Number, Vec<SeccompRule>>;

/// Refuses these system calls from here on, and every new privilege.
pub(crate) fn restrict(network: Network, attributes: Attributes) -> Result<(), Error> {
    let [calls, clone3] = filters(network, attributes)?;
    apply_filter(&clone3)?;
    apply_filter(&calls)
}

/// All numbers that are refused with any arguments.
pub(crate) fn calls() -> impl Iterator<Item = Number> {
    CALLS.iter().chain(CALLS_HERE).copied()
}

fn filters(network: Network, attributes: Attributes) -> Result<[BpfProgram; 2], Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules: Rules, errno: i32| -> Result<BpfProgram, Error> {
        let refused = SeccompAction::Errno(errno.unsigned_abs());
        Ok(BpfProgram::try_from(SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?)?)
    };
    // Its flags lie in memory, where no filter sees them. Told that there is none, programs use
    // `clone`.
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        filter(under_both_names(rules(network, attributes)?), libc::EPERM)?,
        filter(clone3, libc::ENOSYS)?,
    ])
}

fn rules(network: Network, attributes: Attributes) -> Result<Rules, Error> {
    let mut rules: Rules = calls().map(|number| (number, Vec::new())).collect();
    let mut spaces = Vec::new();
    for flag in NEW_NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        spaces.push(all([(0, SeccompCmpOp::MaskedEq(flag), flag)])?);
    }
    rules.insert(libc::SYS_clone, spaces);
    let mut commands = Vec::new();
    let of_attributes: &[u64] = match attributes {
        Attributes::Changed => &[],
        Attributes::Fixed => {
            let calls = ATTRIBUTE_CALLS.iter().chain(ATTRIBUTE_CALLS_HERE);
            rules.extend(calls.map(|number| (*number, Vec::new())));
            &ATTRIBUTE_COMMANDS
        }
    };
    for command in TERMINAL_COMMANDS.iter().chain(of_attributes) {
        commands.push(all([(1, SeccompCmpOp::Eq, *command)])?);
    }
    rules.insert(libc::SYS_ioctl, commands);
    // The program dies with its host, whatever it says.
    let death = u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs());
    let kill = u64::from(libc::SIGKILL.unsigned_abs());
    let another = all([(0, SeccompCmpOp::Eq, death), (1, SeccompCmpOp::Ne, kill)])?;
    rules.insert(libc::SYS_prctl, vec![another]);
    add_sockets(&mut rules, network)?;
    Ok(rules)
}

fn add_sockets(rules: &mut Rules, network: Network) -> Result<(), Error> {
    let family = |family: i32| (0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()));
    let sockets = match network {
        Network::Open => return Ok(()),
        Network::Closed => Vec::new(),
        Network::Files => vec![all([family(libc::AF_UNIX)])?],
        Network::Port(_) => {
            let mut refused = vec![all([family(libc::AF_INET), family(libc::AF_INET6)])?];
            // Landlock judges TCP alone, and not what is much like it (MPTCP, SCTP).
            let tcp = u64::from(libc::IPPROTO_TCP.unsigned_abs());
            refused.push(all([(2, SeccompCmpOp::Ne, 0), (2, SeccompCmpOp::Ne, tcp)])?);
            let stream = u64::from(libc::SOCK_STREAM.unsigned_abs());
            for kind in (0..=SOCKET_KIND).filter(|kind| *kind != stream) {
                refused.push(all([(1, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind)])?);
            }
            refused
        }
    };
    rules.insert(libc::SYS_socket, sockets);
    // Whoever connects serves nobody.
    rules.insert(libc::SYS_bind, Vec::new());
    rules.insert(libc::SYS_listen, Vec::new());
    // A connection that is made by sending is not judged by every Landlock.
    let fast = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (number, position) in
        [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
    {
        rules.insert(number, vec![all([(position, SeccompCmpOp::MaskedEq(fast), fast)])?]);
    }
    Ok(())
}

/// The rule that holds where each of these comparisons of an argument does.
fn all<const N: usize>(of: [(u8, SeccompCmpOp, u64); N]) -> Result<SeccompRule, Error> {
    let mut conditions = Vec::new();
    for (position, op, value) in of {
        // The kernel reads 32 bits of each of these arguments.
        conditions.push(SeccompCondition::new(position, SeccompCmpArgLen::Dword, op, value)?);
    }
    Ok(SeccompRule::new(conditions)?)
}

fn under_both_names(mut rules: Rules) -> Rules {
    if cfg!(target_arch = "x86_64") {
        let other = |number: Number| {
            let found = OTHER_SECOND_NAMES.iter().find(|(first, _)| *first == number);
            found.map(|(_, second)| *second)
        };
        let names = |number: Number| std::iter::once(number).chain(other(number));
        let second: Rules = rules
            .iter()
            .flat_map(|(number, rules)| {
                names(*number).map(|name| (SECOND_NAME | name, rules.clone()))
            })
            .collect();
        rules.extend(second);
    }
    rules
}
