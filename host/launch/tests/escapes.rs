//! A hostile program tries ways around what its target does not grant: by calls that neither open a
//! file nor make a socket nor send a signal.
#![allow(clippy::unwrap_used, reason = "tests")]

mod confined;

use confined::{
    CLOSED, OutsideProcess, below, folder_with_key, run_confined, run_without_sandbox, text,
};
use runbook_launch::confinement::Confinement;
use runbook_launch::files::{ALWAYS_READABLE, FileAccess};
use runbook_launch::network::{Network, Signals};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const NOT_OPEN: [Network; 3] = [Network::Closed, Network::Port(5432), Network::Files];

/// A script that prints each family and kind of pairs of sockets that it can make.
const PAIRS: &str = "for my $family (0..50) { for my $kind (1..6, 10) { print \"$family:$kind \" if \
                     socketpair(my $a, my $b, $family, $kind, 0) } }";

#[test]
fn a_pair_of_sockets_leads_to_no_daemon() {
    let all = text(&run_without_sandbox(PAIRS));
    for family in ["1:1", "1:2", "1:3", "1:5"] {
        assert!(all.contains(family), "the test can fail: {all}");
    }
    let folder = folder_with_key();
    let path = folder.path().join("daemon.sock");
    let daemon = UnixDatagram::bind(&path).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let pair = |then: &str| {
        format!(
            "use Socket; my $to = sockaddr_un('{}'); for my $kind (1, 2, 3, 5) {{ socketpair(A, B, \
             AF_UNIX, $kind, 0) or next; {then} }} exit 1",
            path.display()
        )
    };
    let scripts = [pair("send(A, 'x', 0, $to) and exit 0;"), pair("connect(A, $to) and exit 0;")];
    for network in NOT_OPEN {
        let confinement = Confinement { network, ..CLOSED };
        assert_eq!(text(&run_confined(PAIRS, &confinement)), "1:1 1:5 ", "{network:?}");
        for script in &scripts {
            // A pair of the kind `SEQPACKET` sends to its other end, whatever the address.
            run_confined(script, &confinement);
        }
        assert!(daemon.recv(&mut [0; 8]).is_err(), "{network:?}");
    }
    for script in &scripts {
        assert!(run_without_sandbox(script).status.success(), "the test can fail: {script}");
    }
    assert!(daemon.recv(&mut [0; 8]).is_ok());
}

/// The calls by which a process acts on another one of its user, as scripts in which `PID` stands for
/// that process. What they set is harmless.
fn acts_on_a_process() -> Vec<String> {
    let call = |number: i64, arguments: &str| {
        format!(
            "my ($limit, $zero, $one) = (pack('QQ', 0, 0), pack('L', 0), pack('Q', 1)); \
                 syscall({number}, {arguments}) == 0 or exit 1"
        )
    };
    vec![
        call(libc::SYS_prlimit64, "PID, 4, $limit, 0"),
        call(libc::SYS_prlimit64, "getppid(), 4, $limit, 0"),
        call(libc::SYS_setpriority, "0, PID, 19"),
        call(libc::SYS_ioprio_set, "1, PID, 3 << 13"),
        call(libc::SYS_sched_setaffinity, "PID, 8, $one"),
        call(libc::SYS_sched_setscheduler, "PID, 0, $zero"),
        call(libc::SYS_sched_setparam, "PID, $zero"),
    ]
}

#[test]
fn a_program_changes_no_limit_and_no_priority_of_another_process() {
    let outside_process = OutsideProcess::new();
    let pid = outside_process.0.id().to_string();
    for script in acts_on_a_process() {
        let script = script.replace("PID", &pid);
        assert!(!run_confined(&script, &CLOSED).status.success(), "{script}");
        if !script.contains("getppid") {
            assert!(run_without_sandbox(&script).status.success(), "the test can fail: {script}");
        }
        // Itself, it may change.
        let own = script.replace(&pid, "0").replace("getppid()", "0");
        assert!(run_confined(&own, &CLOSED).status.success(), "{own}");
    }
    // All processes of the user. (Without a filter this would set them to what they have.)
    for (number, all_of_user) in [(libc::SYS_setpriority, 2), (libc::SYS_ioprio_set, 3)] {
        let script = format!("exit(syscall({number}, {all_of_user}, 0, 0) == 0 ? 0 : 1)");
        assert!(!run_confined(&script, &CLOSED).status.success(), "{script}");
    }
    let read = format!(
        "my $old = pack('QQ', 0, 0); exit(syscall({}, {pid}, 7, 0, $old) == 0 ? 0 : 1)",
        libc::SYS_prlimit64
    );
    assert!(run_confined(&read, &CLOSED).status.success(), "limits are no secret");
}

#[test]
fn a_program_shares_no_memory_and_no_queue_with_another_process() {
    let make = "my $m = shmget(0, 4096, 0600); my $q = msgget(0, 0600); my $s = semget(0, 1, 0600); \
                shmwrite($m, 'secret', 0, 6); print \"$m $q $s\"";
    let numbers = text(&run_without_sandbox(make));
    let [memory, queue, locks] = numbers.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{numbers}")
    };
    let any = Confinement { signals: Signals::Any, ..CLOSED };
    for script in [
        format!("shmread({memory}, my $text, 0, 6) or exit 1; $text eq 'secret' or exit 2"),
        format!("shmwrite({memory}, 'secret', 0, 6) or exit 1"),
        format!("msgsnd({queue}, pack('l! a*', 1, 'x'), 0) or exit 1"),
        format!("msgrcv({queue}, my $text, 10, 0, 04000) or exit 1"),
        format!("semop({locks}, pack('s3', 0, 1, 0)) or exit 1"),
    ] {
        assert!(!run_confined(&script, &CLOSED).status.success(), "{script}");
        if script.starts_with("msgrcv") {
            assert!(
                run_confined(&format!("msgsnd({queue}, pack('l! a*', 1, 'x'), 0)"), &any)
                    .status
                    .success()
            );
        }
        assert!(run_confined(&script, &any).status.success(), "the test can fail: {script}");
    }
    let remove = format!("shmctl({memory}, 0, 0); msgctl({queue}, 0, 0); semctl({locks}, 0, 0, 0)");
    assert!(run_without_sandbox(&remove).status.success());
}

#[test]
fn a_program_of_root_keeps_no_capability_that_its_target_does_not_need() {
    let facts =
        "open(F, '<', '/proc/self/status'); print map { /^Cap\\w+:\\t(\\w+)/ ? \"$1 \" : () } <F>";
    let of = |numbers: &[u64]| numbers.iter().fold(0_u64, |set, number| set | 1 << number);
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID.
    let files_and_users = of(&[0, 1, 2, 3, 4, 6, 7]);
    let kill = of(&[5]);
    // NET_BIND_SERVICE, NET_BROADCAST, NET_RAW, AUDIT_WRITE.
    let sockets = of(&[10, 11, 13, 29]);
    for (network, signals, allowed) in [
        (Network::Closed, Signals::Own, files_and_users),
        (Network::Files, Signals::Any, files_and_users | kill),
        (Network::Open, Signals::Own, files_and_users | sockets),
        (Network::Open, Signals::Any, files_and_users | kill | sockets),
    ] {
        let confinement = Confinement { network, signals, ..CLOSED };
        let sets = text(&run_confined(facts, &confinement));
        let sets: Vec<u64> =
            sets.split_whitespace().map(|set| u64::from_str_radix(set, 16).unwrap()).collect();
        let [inheritable, permitted, effective, bounding, ambient] = sets[..] else {
            panic!("{sets:?}")
        };
        assert_eq!((inheritable & !allowed, ambient), (0, 0), "{network:?} {signals:?}");
        if rustix::process::geteuid().is_root() {
            for set in [permitted, effective, bounding] {
                assert_eq!(set & !allowed, 0, "{network:?} {signals:?} {set:x}");
                assert_eq!(set & files_and_users, files_and_users, "{network:?} {set:x}");
            }
        } else {
            assert_eq!((permitted, effective), (0, 0));
        }
    }
    // Thawing a file system that is not frozen: the kernel asks for the capability first.
    let thaw = "opendir(D, '/') or exit 2; open(F, '<', '/') or exit 3; $! = 0; ioctl(F, 0xc0045878, 0); print $!+0";
    assert_eq!(text(&run_confined(thaw, &CLOSED)), "1");
    // Limits of root cannot be raised again.
    let confinement = Confinement { memory: Some(300 << 20), ..CLOSED };
    let raise = format!(
        "my $l = pack('QQ', 1 << 40, 1 << 40); syscall({}, 0, 9, $l, 0) == 0 or exit 1",
        libc::SYS_prlimit64
    );
    assert!(!run_confined(&raise, &confinement).status.success());
}

/// No file is open in these scripts, so a command that is not refused ends with `EBADF`.
#[test]
fn no_command_changes_a_file_that_is_open_to_be_read() {
    let allowed = [
        0x8008_6601,
        0x8004_6601,
        0xc020_660b,
        0x801c_581f,
        0x8008_7601,
        0x8004_7601,
        0x4004_9409,
        0x4020_940d,
        0xc018_9436,
        0x8100_9431_u64,
    ];
    let listed = allowed.map(|command| command.to_string()).join(",");
    let script = format!(
        "my %ok = map {{ $_ => 1 }} ({listed}); for my $kind (0x66, 0x58, 0x76, 0x94) {{ for my $size \
         (0, 4, 8, 16, 24, 28, 32, 256, 4096) {{ for my $direction (0..3) {{ for my $number (0..255) \
         {{ my $c = $direction << 30 | $size << 16 | $kind << 8 | $number; $! = 0; \
         syscall({}, -1, $c, 0); my $e = $!+0; print \"$c $e \" if $e != ($ok{{$c}} ? 9 : 1) }} }} }} }} \
         print 'end'",
        libc::SYS_ioctl
    );
    let folder = folder_with_key();
    for writes in [below(&[]), below(&[folder.path()])] {
        let files = FileAccess { writes, ..FileAccess::ANY };
        assert_eq!(text(&run_confined(&script, &Confinement { files, ..CLOSED })), "end");
    }
    let copy =
        format!("exec('cp', '--reflink=auto', '{0}/key', '{0}/copy')", folder.path().display());
    let files = FileAccess { writes: below(&[folder.path()]), ..FileAccess::ANY };
    assert!(run_confined(&copy, &Confinement { files, ..CLOSED }).status.success());
    assert_eq!(std::fs::read(folder.path().join("copy")).unwrap(), b"secret");
}

#[test]
fn a_program_cannot_say_that_it_was_not_started() {
    let channels =
        "print grep { /^socket|memfd/ } map { readlink($_) // '' } glob('/proc/self/fd/*')";
    assert_eq!(text(&run_confined(channels, &CLOSED)), "", "it does not inherit the channel");
    // `run_confined` asserts that no refusal is read.
    let forge = "for my $n (grep { (readlink(\"/proc/self/fd/$_\") // '') =~ /^socket|memfd/ } 0..300) { \
                 open(F, \">&=$n\") and syswrite(F, '\"Orphan\"') } exit 125";
    assert_eq!(run_confined(forge, &CLOSED).status.code(), Some(125));
}

#[test]
fn what_a_program_only_reads_below_tmp_it_does_not_write() {
    let read = tempfile::Builder::new().prefix("launch-").tempdir_in("/tmp").unwrap();
    std::fs::create_dir(read.path().join("out")).unwrap();
    let key = read.path().join("key");
    std::fs::write(&key, "secret").unwrap();
    let out = read.path().join("out");
    let script = format!(
        "open(F, '<', '{0}/key') or exit 1; open(F, '>', '{0}/key') and exit 2; open(F, '>', \
         '{0}/new'); unlink('{0}/key') and exit 4; chmod(0777, '{0}/key') and exit 5; open(F, '>', \
         '{0}/out/new') or exit 6; open(F, '>', '/tmp/mine') or exit 7",
        read.path().display()
    );
    for reads in [below(&[read.path()]), below(&[&key, &out]), below(&[read.path(), &out])] {
        let files = FileAccess { reads: reads.clone(), writes: below(&[&out]), own: Vec::new() };
        let output = run_confined(&script, &Confinement { files, ..CLOSED });
        assert_eq!(output.status.code(), Some(0), "{reads:?} {output:?}");
        assert_eq!(std::fs::read(&key).unwrap(), b"secret");
        assert!(out.join("new").exists() && !read.path().join("new").exists());
        std::fs::remove_file(out.join("new")).unwrap();
    }
}

#[test]
fn a_program_learns_of_no_file_in_a_folder_that_it_may_not_list() {
    let watches = "print join(' ', map { syscall($_->[0], $_->[1]) >= 0 ? 'yes' : 'no' } CALLS)";
    let mut calls = format!("[{}, 0]", libc::SYS_inotify_init1);
    if cfg!(target_arch = "x86_64") {
        calls = format!("{calls}, [253, 0], [{}, 0]", 0x4000_0000 | libc::SYS_inotify_init1);
    }
    let script = watches.replace("CALLS", &format!("({calls})"));
    let files = FileAccess { reads: below(&[]), ..FileAccess::ANY };
    let limited = text(&run_confined(&script, &Confinement { files, ..CLOSED }));
    assert!(!limited.contains("yes") && limited.contains("no"), "{limited}");
    assert!(text(&run_confined(&script, &CLOSED)).contains("yes"), "the test can fail");
}

/// What every program may read holds no private key, on a host of any kind.
#[test]
fn no_list_for_every_program_holds_a_folder_of_keys() {
    for path in ALWAYS_READABLE {
        assert!(!["/etc/pki", "/etc/pki/tls", "/etc/ssl"].contains(path), "{path}");
        let mut folders = vec![Path::new(path).to_owned()];
        while let Some(folder) = folders.pop().filter(|_| path.starts_with("/etc")) {
            assert!(!folder.ends_with("private"), "{}", folder.display());
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
    }
}

/// Programs of the base system, as root and as another user.
#[test]
fn ordinary_programs_run_in_the_narrowest_sandbox() {
    let folder = folder_with_key();
    let files = FileAccess { reads: below(&[]), writes: below(&[folder.path()]), own: Vec::new() };
    let confinement = Confinement { files, memory: Some(2 << 30), ..CLOSED };
    for command in [
        "nice -n 5 true",
        "ionice -c 3 true",
        "taskset 1 true",
        "chrt --batch 0 true",
        "prlimit --nofile=64 true",
        "sort --parallel=2 key",
        "cp -a key copy",
        "tar -cf all.tar key && mkdir -p un && tar -xf all.tar -C un",
        "mktemp /tmp/x.XXXXXX",
        "chown $(id -u):$(id -g) key && chmod 600 key && touch -d 2020-01-01 key",
        "head -c 1000000 /dev/zero | gzip | gunzip | wc -c",
        "bash -c 'cat <(echo a) <(echo b)'",
        "find . -type f -exec sha256sum {} +",
        "timeout 20 sleep 0",
        "setsid -w true",
        "flock key true",
        "date; hostname; uname -a; nproc; id; ls -la; stat key",
    ] {
        let script = format!("cd {} && {command}", folder.path().display());
        let output = run_confined(
            &format!(
                "exec('/bin/bash', '-c', q\u{1}set -e; export PATH=/usr/bin:/bin:/usr/sbin:/sbin; {script}\u{1})"
            ),
            &confinement,
        );
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(output.stderr.is_empty(), "{command}: {output:?}");
    }
}
