//! The system calls of a process that may change nothing: all that is not listed here is refused.

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

type Number = libc::c_long;

/// The system calls that are allowed with all arguments. Outside of the process they can only read,
/// and write to files that are open for writing already: its output, its pipes and `/dev/null`.
const UNCONDITIONAL: &[Number] = &[
    // Reading files and their metadata. Landlock limits which files may be opened, and how.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    // Output and pipes.
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Memory of its own.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Processes of its own.
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_getpriority,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    // Signals to itself by the kernel, and time.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // A second filter refuses it with `ENOSYS`, so that programs fall back to `clone`, whose flags
    // a filter can check.
    libc::SYS_clone3,
];

/// As [`UNCONDITIONAL`], for system calls that only exist on this architecture.
#[cfg(target_arch = "x86_64")]
const UNCONDITIONAL_ON_THIS_ARCHITECTURE: &[Number] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_eventfd,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_arch_prctl,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
];
/// As [`UNCONDITIONAL`], for system calls that only exist on this architecture.
#[cfg(not(target_arch = "x86_64"))]
const UNCONDITIONAL_ON_THIS_ARCHITECTURE: &[Number] = &[libc::SYS_getrlimit];

/// The system calls that are allowed if one argument has one of a few values: call, position of the
/// argument, values.
#[expect(clippy::unnecessary_cast, reason = "these numbers have another type with musl")]
const CONDITIONAL: &[(Number, u8, &[u64])] = &[
    // Not `F_SETLK` and the like (a lock blocks other processes), `F_SETOWN` (sends signals),
    // `F_NOTIFY`, `F_SETLEASE`.
    (
        libc::SYS_fcntl,
        1,
        &[
            libc::F_DUPFD as u64,
            libc::F_DUPFD_CLOEXEC as u64,
            libc::F_GETFD as u64,
            libc::F_SETFD as u64,
            libc::F_GETFL as u64,
            libc::F_SETFL as u64,
            libc::F_GETPIPE_SZ as u64,
            libc::F_SETPIPE_SZ as u64,
        ],
    ),
    // Questions about a terminal or a pipe. No command that sets something of a disk, a file system
    // or a terminal.
    (
        libc::SYS_ioctl,
        1,
        &[
            libc::TCGETS as u64,
            libc::TIOCGWINSZ as u64,
            libc::TIOCGPGRP as u64,
            libc::FIONREAD as u64,
            libc::FIONBIO as u64,
            libc::FIOCLEX as u64,
            libc::FIONCLEX as u64,
        ],
    ),
    // Not `PR_SET_PDEATHSIG`: the program dies with its host.
    (
        libc::SYS_prctl,
        0,
        &[
            libc::PR_SET_NAME as u64,
            libc::PR_GET_NAME as u64,
            libc::PR_GET_DUMPABLE as u64,
            libc::PR_GET_NO_NEW_PRIVS as u64,
            libc::PR_SET_NO_NEW_PRIVS as u64,
            libc::PR_CAPBSET_READ as u64,
            PR_SET_VMA,
        ],
    ),
    // Limits may be read, and not set: the pointer to the new limit is null.
    (libc::SYS_prlimit64, 2, &[0]),
];

/// The command by which glibc gives a name to a range of memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// All system calls that are allowed with some arguments or with all.
pub(crate) fn allowed_calls() -> impl Iterator<Item = Number> {
    UNCONDITIONAL
        .iter()
        .chain(UNCONDITIONAL_ON_THIS_ARCHITECTURE)
        .copied()
        .chain(CONDITIONAL.iter().map(|(number, ..)| *number))
        .chain([libc::SYS_clone])
}

/// The flags of `clone` that are refused: they make namespaces, in which a process can be root.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// The filter of all system calls, and the filter that answers `clone3` with "no such call".
pub(crate) fn filters() -> Result<[BpfProgram; 2], Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules, otherwise, matched| -> Result<BpfProgram, Error> {
        Ok(BpfProgram::try_from(SeccompFilter::new(rules, otherwise, matched, arch)?)?)
    };
    let not_permitted = SeccompAction::Errno(errno(libc::EPERM));
    let allow_list = filter(rules()?, not_permitted, SeccompAction::Allow)?;
    let no_such_call = SeccompAction::Errno(errno(libc::ENOSYS));
    let clone3 = filter(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        no_such_call,
    )?;
    Ok([allow_list, clone3])
}

/// Whether this kernel lets a process filter its system calls.
pub(crate) fn is_available() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
        .is_ok_and(|actions| actions.split_whitespace().any(|action| action == "errno"))
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

fn rules() -> Result<BTreeMap<Number, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<Number, Vec<SeccompRule>> = UNCONDITIONAL
        .iter()
        .chain(UNCONDITIONAL_ON_THIS_ARCHITECTURE)
        .map(|number| (*number, Vec::new()))
        .collect();
    for (number, position, values) in CONDITIONAL {
        let mut allowed = Vec::new();
        for value in *values {
            // Numbers of commands are 32 bits wide in the kernel; a pointer (that of `prlimit64`)
            // is 64.
            let length = if *number == libc::SYS_prlimit64 {
                SeccompCmpArgLen::Qword
            } else {
                SeccompCmpArgLen::Dword
            };
            allowed.push(SeccompRule::new(vec![SeccompCondition::new(
                *position,
                length,
                SeccompCmpOp::Eq,
                *value,
            )?])?);
        }
        rules.insert(*number, allowed);
    }
    let no_new_namespaces = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(NEW_NAMESPACES),
        0,
    )?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_new_namespaces])?]);
    Ok(rules)
}

/// Refuses every system call that is not allowed here, from now on.
pub(crate) fn restrict() -> Result<(), Error> {
    // The filter of `clone3` first: the other one refuses the call that adds a filter.
    let [allow_list, clone3] = filters()?;
    apply_filter(&clone3)?;
    apply_filter(&allow_list)
}
