//! The system calls that are refused to every program of a target, because they lead out of its
//! sandbox and no program needs them. All other calls are allowed.
//!
//! On `x86_64` the kernel has a second number for every call, that of the x32 ABI, and both numbers
//! are refused. A program of another architecture (such as a 32-bit one) is killed at its first
//! call.

use crate::files::FileAccess;
use crate::network::{Network, Signals};
use crate::rules::{Number, Rules, rule_if_all};
use crate::{file_commands, other_processes};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpOp, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

/// The calls that are refused with any arguments.
const REFUSED_CALLS: &[Number] = &[
    // By `io_uring` a process has the kernel make connections, for example, without other calls.
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
    // Namespaces, in which a process can be root, and mounts.
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
    SYS_OPEN_TREE_ATTR,
    // Opens a file by its number on the disk, without a path.
    libc::SYS_open_by_handle_at,
    // Decides who may open a file, for all processes of the host.
    libc::SYS_fanotify_init,
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
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// The `libc` crate lacks this number. It is the same on all architectures.
const SYS_OPEN_TREE_ATTR: Number = 467;

/// As above, for calls that only exist on this architecture.
#[cfg(target_arch = "x86_64")]
const REFUSED_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[libc::SYS_iopl, libc::SYS_ioperm];
/// As above, for calls that only exist on this architecture.
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_CALLS_OF_THIS_ARCHITECTURE: &[Number] = &[];

/// The bit that distinguishes the x32 number of a call from its usual number (x32 is the ABI of
/// `x86_64` with 32-bit pointers).
const X32_SYSCALL_BIT: Number = 0x4000_0000;

/// The calls whose x32 number is not the usual number with that bit: the usual number, and the
/// other.
#[cfg(target_arch = "x86_64")]
const IRREGULAR_X32_NUMBERS: &[(Number, Number)] = &[
    (libc::SYS_ioctl, 514),
    (libc::SYS_sendmsg, 518),
    (libc::SYS_ptrace, 521),
    (libc::SYS_kexec_load, 528),
    (libc::SYS_move_pages, 533),
    (libc::SYS_sendmmsg, 538),
    (libc::SYS_process_vm_readv, 539),
    (libc::SYS_process_vm_writev, 540),
];
/// The calls whose x32 number is not the usual number with that bit: the usual number, and the
/// other.
#[cfg(not(target_arch = "x86_64"))]
const IRREGULAR_X32_NUMBERS: &[(Number, Number)] = &[];

/// The flags of `clone` that make namespaces, and are refused.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The commands of `ioctl` that type into a terminal (`TIOCSTI`) or copy its screen (`TIOCLINUX`).
const TERMINAL_COMMANDS: [u64; 2] = [0x5412, 0x541c];

/// The bits of the kind in the second argument of `socket`, which also has flags.
const SOCKET_KIND_MASK: u64 = 0xf;

/// Refuses to this process, from now on, the system calls that lead to other sockets, processes
/// and files than these, and every new privilege.
pub(crate) fn restrict(
    network: Network,
    signals: Signals,
    files: &FileAccess,
) -> Result<(), Error> {
    let [calls, clone3] = filters(network, signals, files)?;
    apply_filter(&clone3)?;
    apply_filter(&calls)
}

/// The numbers of all calls that are refused with any arguments.
pub(crate) fn refused_calls() -> impl Iterator<Item = Number> {
    REFUSED_CALLS.iter().chain(REFUSED_CALLS_OF_THIS_ARCHITECTURE).copied()
}

fn filters(
    network: Network,
    signals: Signals,
    files: &FileAccess,
) -> Result<[BpfProgram; 2], Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules: Rules, errno: i32| -> Result<BpfProgram, Error> {
        let refusal = SeccompAction::Errno(errno.unsigned_abs());
        Ok(BpfProgram::try_from(SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)?)?)
    };
    // The flags of `clone3` lie in memory, which a filter cannot read. If the call fails with
    // `ENOSYS`, programs use `clone` instead.
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        filter(with_x32_numbers(rules(network, signals, files)?), libc::EPERM)?,
        filter(clone3, libc::ENOSYS)?,
    ])
}

fn rules(network: Network, signals: Signals, files: &FileAccess) -> Result<Rules, Error> {
    let mut rules: Rules = refused_calls().map(|number| (number, Vec::new())).collect();
    let mut namespace_rules = Vec::new();
    for flag in NEW_NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        namespace_rules.push(rule_if_all([(0, SeccompCmpOp::MaskedEq(flag), flag)])?);
    }
    rules.insert(libc::SYS_clone, namespace_rules);
    let mut command_rules = Vec::new();
    for command in TERMINAL_COMMANDS {
        command_rules.push(rule_if_all([(1, SeccompCmpOp::Eq, command)])?);
    }
    rules.insert(libc::SYS_ioctl, command_rules);
    // A program cannot change its parent death signal: it dies with its host.
    let set_death_signal = u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs());
    let kill = u64::from(libc::SIGKILL.unsigned_abs());
    let not_kill =
        rule_if_all([(0, SeccompCmpOp::Eq, set_death_signal), (1, SeccompCmpOp::Ne, kill)])?;
    rules.insert(libc::SYS_prctl, vec![not_kill]);
    file_commands::add_rules(&mut rules, files)?;
    match signals {
        Signals::Any => {}
        Signals::Own => other_processes::add_rules(&mut rules)?,
    }
    add_socket_rules(&mut rules, network)?;
    Ok(rules)
}

/// Adds the rules that refuse every socket beside those of `network`.
fn add_socket_rules(rules: &mut Rules, network: Network) -> Result<(), Error> {
    let is_not_family = |family: i32| (0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()));
    let sockets = match network {
        Network::Open => return Ok(()),
        Network::Closed => {
            rules.insert(libc::SYS_connect, Vec::new());
            Vec::new()
        }
        Network::Files => not_of_kinds(&[libc::SOCK_STREAM])?,
        Network::Port(_) => {
            let not_internet = [is_not_family(libc::AF_INET), is_not_family(libc::AF_INET6)];
            let mut refused = vec![rule_if_all(not_internet)?];
            // Landlock limits TCP alone, and no other protocol of streams (MPTCP, SCTP).
            let tcp = u64::from(libc::IPPROTO_TCP.unsigned_abs());
            refused.push(rule_if_all([(2, SeccompCmpOp::Ne, 0), (2, SeccompCmpOp::Ne, tcp)])?);
            refused.extend(other_kinds(&[libc::SOCK_STREAM])?);
            refused
        }
    };
    rules.insert(libc::SYS_socket, sockets);
    // Each end of a pair of datagram sockets (`SOCK_RAW` is one, too) sends to any socket by its
    // path, and connects to it.
    rules.insert(libc::SYS_socketpair, not_of_kinds(&[libc::SOCK_STREAM, libc::SOCK_SEQPACKET])?);
    // The program may connect, but not be a server.
    rules.insert(libc::SYS_bind, Vec::new());
    rules.insert(libc::SYS_listen, Vec::new());
    // Not every version of Landlock limits connections that `MSG_FASTOPEN` makes while sending.
    let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (number, position) in
        [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
    {
        let has_flag = (position, SeccompCmpOp::MaskedEq(fast_open), fast_open);
        rules.insert(number, vec![rule_if_all([has_flag])?]);
    }
    Ok(())
}

/// The rules that match a socket that is no Unix socket of these kinds.
fn not_of_kinds(kinds: &[i32]) -> Result<Vec<SeccompRule>, Error> {
    let unix = u64::from(libc::AF_UNIX.unsigned_abs());
    let mut rules = vec![rule_if_all([(0, SeccompCmpOp::Ne, unix)])?];
    rules.extend(other_kinds(kinds)?);
    Ok(rules)
}

/// The rules that match a socket of every kind but these, with any flags.
fn other_kinds(kinds: &[i32]) -> Result<Vec<SeccompRule>, Error> {
    let is_allowed = |kind: u64| kinds.iter().any(|other| u64::from(other.unsigned_abs()) == kind);
    (0..=SOCKET_KIND_MASK)
        .filter(|kind| !is_allowed(*kind))
        .map(|kind| rule_if_all([(1, SeccompCmpOp::MaskedEq(SOCKET_KIND_MASK), kind)]))
        .collect()
}

/// Adds the rules of each call under its x32 number too.
fn with_x32_numbers(mut rules: Rules) -> Rules {
    if cfg!(target_arch = "x86_64") {
        let irregular = |number: Number| {
            let found = IRREGULAR_X32_NUMBERS.iter().find(|(usual, _)| *usual == number);
            found.map(|(_, x32)| *x32)
        };
        let numbers = |number: Number| std::iter::once(number).chain(irregular(number));
        let x32_rules: Rules = rules
            .iter()
            .flat_map(|(number, rules)| {
                numbers(*number).map(|number| (X32_SYSCALL_BIT | number, rules.clone()))
            })
            .collect();
        rules.extend(x32_rules);
    }
    rules
}
