//! The system calls by which a program acts on other processes without sending a signal. Landlock
//! does not judge them. A program whose target grants no signals is refused them.
//!
//! A filter does not know the numbers of the program's own processes, so only "myself" (0) can be
//! told from others: a program changes its own limits and priority, and not those of a child.

use crate::rules::{Number, Rules, rule_if_all};
use seccompiler::{Error, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// The calls that share memory, messages or locks with other processes of the user (System V and
/// POSIX message queues), and those that act on the memory of a process.
const SHARING_CALLS: &[Number] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
];

/// The calls whose first argument is a process: 0 stands for the caller.
const CALLS_ON_A_PROCESS: &[Number] = &[
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// The calls whose first argument says what the second is the number of, and the largest first
/// argument that does not stand for all processes of a user.
const CALLS_ON_A_GROUP: [(Number, u64); 2] =
    [(libc::SYS_setpriority, PRIO_PGRP), (libc::SYS_ioprio_set, IOPRIO_WHO_PGRP)];

/// `PRIO_PROCESS` is 0, `PRIO_USER` is 2.
const PRIO_PGRP: u64 = 1;
/// `IOPRIO_WHO_PROCESS` is 1, `IOPRIO_WHO_USER` is 3.
const IOPRIO_WHO_PGRP: u64 = 2;

/// The numbers of the calls that are refused with any arguments.
pub(crate) fn sharing_calls() -> impl Iterator<Item = Number> {
    SHARING_CALLS.iter().copied()
}

/// Adds the rules that refuse every act on another process.
pub(crate) fn add_rules(rules: &mut Rules) -> Result<(), Error> {
    rules.extend(sharing_calls().map(|number| (number, Vec::new())));
    for number in CALLS_ON_A_PROCESS {
        rules.insert(*number, vec![rule_if_all([(0, SeccompCmpOp::Ne, 0)])?]);
    }
    for (number, largest) in CALLS_ON_A_GROUP {
        let of_others = rule_if_all([(1, SeccompCmpOp::Ne, 0)])?;
        let of_the_user = rule_if_all([(0, SeccompCmpOp::Gt, largest)])?;
        rules.insert(number, vec![of_others, of_the_user]);
    }
    // The limits of another process may be read, and not set: the pointer to the new ones is null.
    let of_another = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?;
    let sets = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![of_another, sets])?]);
    Ok(())
}
