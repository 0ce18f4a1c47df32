//! A hostile program that may change files tries what its target does not grant, and is refused.
//! The same program succeeds without a sandbox, which shows that each test can fail.
#![allow(clippy::unwrap_used, reason = "tests")]

mod confined;

use confined::{
    CLOSED, OutsideProcess, below, folder_with_key, launch, run_confined, run_without_sandbox, text,
};
use runbook_launch::confinement::{Confinement, refused_calls, sharing_calls};
use runbook_launch::files::{ALWAYS_READABLE, FileAccess, Paths};
use runbook_launch::network::{Network, Signals};
use runbook_launch::protection::Protection;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A script that prints each family and kind of sockets that it can make.
const SOCKETS: &str = "for my $family (0..50) { for my $kind (1..6, 10) { print \"$family:$kind \" \
                       if socket(my $s, $family, $kind, 0) } }";

#[test]
fn of_every_family_of_sockets_only_those_of_the_grant_can_be_made() {
    let all = text(&run_without_sandbox(SOCKETS));
    for family in ["1:1", "2:1", "2:2", "10:1", "16:3"] {
        assert!(all.contains(family), "the test can fail: {all}");
    }
    for (network, expected) in [
        (Network::Closed, ""),
        (Network::Port(5432), "2:1 10:1 "),
        (Network::Files, "1:1 "),
        (Network::Open, all.as_str()),
    ] {
        let confinement = Confinement { network, ..CLOSED };
        assert_eq!(text(&run_confined(SOCKETS, &confinement)), expected, "{network:?}");
    }
}

#[test]
fn a_lent_connection_reaches_its_port_and_no_other_and_by_tcp_alone() {
    let (lent, other) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for listener in [&lent, &other] {
        listener.set_nonblocking(true).unwrap();
    }
    udp.set_nonblocking(true).unwrap();
    let port = lent.local_addr().unwrap().port();
    let confinement = Confinement { network: Network::Port(port), ..CLOSED };
    let address_of = |port: u16| format!("pack_sockaddr_in({port}, inet_aton('127.0.0.1'))");
    let connect = |protocol: u32, port: u16| {
        format!(
            "use Socket; socket(S, AF_INET, SOCK_STREAM, {protocol}) or exit 1; connect(S, {}) or \
             exit 1;",
            address_of(port)
        )
    };
    for protocol in [0, 6] {
        let script = connect(protocol, port);
        assert!(run_confined(&script, &confinement).status.success(), "{script}");
        assert!(lent.accept().is_ok(), "{script}");
    }
    let elsewhere = other.local_addr().unwrap().port();
    let refused = [
        connect(0, elsewhere),
        // Multipath TCP (protocol 262), which no version of Landlock limits.
        connect(262, elsewhere),
        // `MSG_FASTOPEN`: sending the first data makes the connection.
        format!(
            "use Socket; socket(S, AF_INET, SOCK_STREAM, 0) or exit 1; send(S, 'x', 0x20000000, {}) \
             or exit 1;",
            address_of(elsewhere)
        ),
        format!(
            "use Socket; socket(S, AF_INET, SOCK_DGRAM, 0) or exit 1; send(S, 'x', 0, {}) or exit 1;",
            address_of(udp.local_addr().unwrap().port())
        ),
        "use Socket; socket(S, AF_INET, SOCK_STREAM, 0) or exit 1; listen(S, 1) or exit 1;"
            .to_owned(),
        format!(
            "use Socket; socket(S, AF_INET, SOCK_STREAM, 0) or exit 1; bind(S, {}) or exit 1;",
            address_of(0)
        ),
    ];
    for script in refused {
        assert!(!run_confined(&script, &confinement).status.success(), "{script}");
        let arrived = other.accept().is_ok() || udp.recv(&mut [0; 8]).is_ok();
        assert!(!arrived, "{script}");
        if !script.contains("262") {
            assert!(run_without_sandbox(&script).status.success(), "the test can fail: {script}");
            let _ = (other.accept(), udp.recv(&mut [0; 8]));
        }
    }
}

#[test]
fn a_program_without_a_network_asks_no_daemon_of_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.sock");
    let daemon = UnixListener::bind(&path).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let script = format!(
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or exit 1; connect(S, \
         sockaddr_un('{}')) or exit 1",
        path.display()
    );
    assert!(!run_confined(&script, &CLOSED).status.success());
    assert!(daemon.accept().is_err());
    for network in [Network::Files, Network::Open] {
        assert!(run_confined(&script, &Confinement { network, ..CLOSED }).status.success());
        assert!(daemon.accept().is_ok(), "{network:?}");
    }
    // Many programs communicate with their child processes by a pair of sockets.
    let pair = "use Socket; socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or exit 1";
    assert!(run_confined(pair, &CLOSED).status.success());
}

/// The arguments of the calls are meaningless: the filter answers before the kernel looks at them.
/// On `x86_64` each call has a second number, that of the x32 ABI.
#[test]
fn every_call_that_leads_out_of_the_sandbox_is_refused_under_each_of_its_numbers() {
    let mut numbers: Vec<i64> = refused_calls().collect();
    numbers.extend(sharing_calls());
    assert!(numbers.len() > 60, "the test can fail");
    numbers.push(libc::SYS_socket);
    if cfg!(target_arch = "x86_64") {
        let x32: Vec<_> = numbers.iter().map(|number| 0x4000_0000 | number).collect();
        numbers.extend(x32);
        numbers.extend([521, 528, 539, 540].map(|number| 0x4000_0000 | number));
    }
    let listed = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let script = format!(
        "for my $n ({listed}) {{ $! = 0; syscall($n, -1, -1, -1, -1, -1, -1); print $n, ' ', $!+0, \
         \"\\n\" }}"
    );
    let expected: Vec<_> = numbers.iter().map(|number| format!("{number} 1")).collect();
    assert_eq!(text(&run_confined(&script, &CLOSED)).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_program_kills_neither_its_host_nor_another_process() {
    for script in [
        "kill('KILL', PID) or exit 1",
        "kill(0, PID) or exit 1",
        "defined(my $p = fork()) or exit 1; if (!$p) { use POSIX; POSIX::setsid(); kill('KILL', \
         PID) or exit 1; exit 0 } wait(); exit($? >> 8)",
    ] {
        let mut outside_process = OutsideProcess::new();
        let script = script.replace("PID", &outside_process.0.id().to_string());
        assert!(!run_confined(&script, &CLOSED).status.success(), "{script}");
        assert!(outside_process.0.try_wait().unwrap().is_none(), "{script}");
        let any = Confinement { signals: Signals::Any, ..CLOSED };
        assert!(run_confined(&script, &any).status.success(), "{script}");
    }
    assert!(!run_confined("kill('KILL', getppid()) or exit 1", &CLOSED).status.success());
    // A child process of the program is in its sandbox.
    let own = "defined(my $p = fork()) or exit 1; if (!$p) { sleep 600 } kill('KILL', $p) or exit 1; \
               wait(); exit(($? & 127) == 9 ? 0 : 1)";
    assert!(run_confined(own, &CLOSED).status.success());
}

#[test]
fn a_program_reads_the_memory_of_no_other_process() {
    for signals in [Signals::Own, Signals::Any] {
        let confinement = Confinement { network: Network::Open, signals, ..CLOSED };
        for file in ["mem", "fd/0", "root/etc/passwd", "environ"] {
            let outside_process = OutsideProcess::new();
            let script =
                format!("open(F, '<', '/proc/{}/{file}') or exit 1", outside_process.0.id());
            assert!(!run_confined(&script, &confinement).status.success(), "{script}");
            assert!(run_without_sandbox(&script).status.success(), "the test can fail: {script}");
        }
    }
}

#[test]
fn a_program_gets_no_new_privilege_and_still_moves_and_links_its_files() {
    let facts = "open(F, '<', '/proc/self/status'); print grep { /^(NoNewPrivs|Seccomp):/ } <F>";
    let confinement = Confinement { network: Network::Open, signals: Signals::Any, ..CLOSED };
    assert_eq!(text(&run_confined(facts, &confinement)), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let script = format!(
        "chdir('{}') or exit 1; open(F, '>', 'a') or exit 2; rename('a', 'sub/b') or exit 3; \
         link('sub/b', 'c') or exit 4; symlink('c', 'd') or exit 5; chmod(0600, 'c') or exit 6; \
         unlink('d') or exit 7",
        folder.path().display()
    );
    assert_eq!(run_confined(&script, &CLOSED).status.code(), Some(0));
    let device = format!("syscall(133, '{}/device', 0060600, 0x0100)", folder.path().display());
    assert!(!run_confined(&format!("exit({device} == 0 ? 0 : 1)"), &confinement).status.success());
}

#[test]
fn a_program_cannot_outlive_its_host_by_forgetting_it() {
    let forget = format!("exit(syscall({}, 1, 0, 0, 0, 0) == 0 ? 0 : 1)", libc::SYS_prctl);
    assert!(!run_confined(&forget, &CLOSED).status.success());
    assert!(run_without_sandbox(&forget).status.success(), "the test can fail");
}

#[test]
fn a_program_reads_no_key_that_its_target_does_not_name() {
    for place in ["/tmp", "/var/tmp", "/root", "/dev/shm"] {
        let folder = tempfile::Builder::new().prefix("launch-").tempdir_in(place).unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "secret").unwrap();
        let read = format!("open(F, '<', '{}') or exit 1; print <F>", key.display());
        let list = format!("opendir(D, '{}') or exit 1; print 'listed'", folder.path().display());
        for (granted, reads) in [
            (Paths::Any, true),
            (below(&[]), false),
            (below(&["/etc/hostname".as_ref()]), false),
            (below(&[folder.path()]), true),
            (below(&[&key]), true),
        ] {
            let files = FileAccess { reads: granted.clone(), ..FileAccess::ANY };
            let confinement = Confinement { files, ..CLOSED };
            let read = run_confined(&read, &confinement);
            assert_eq!(text(&read) == "secret", reads, "{place} {granted:?}: {read:?}");
            let lists = granted == Paths::Any || granted == below(&[folder.path()]);
            assert_eq!(
                text(&run_confined(&list, &confinement)) == "listed",
                lists,
                "{place} {granted:?}"
            );
        }
    }
}

/// The files that programs need in order to begin are granted to every program.
#[test]
fn programs_of_every_kind_begin_that_may_read_nothing_else() {
    let files = FileAccess { reads: below(&[]), writes: below(&[]), own: Vec::new() };
    let confinement = Confinement { files, ..CLOSED };
    for (script, expected) in [
        ("use POSIX; use Socket; print 'perl'", "perl"),
        ("print scalar(getpwuid(0))", "root"),
        ("print `/bin/sh -c 'echo shell | /usr/bin/sort'`", "shell\n"),
        ("print `/usr/bin/pg_dump --version` =~ /PostgreSQL/ ? 'dump' : 'none'", "dump"),
        ("print `/usr/bin/openssl version` =~ /SSL/ ? 'tls' : 'none'", "tls"),
        ("open(F, '>', '/dev/null') or exit 1; print F 'x'; print 'null'", "null"),
    ] {
        let output = run_confined(script, &confinement);
        assert_eq!(text(&output), expected, "{script}: {output:?}");
    }
    for path in ALWAYS_READABLE {
        assert!(!path.starts_with("/home") && !path.starts_with("/root"), "{path}");
        assert!(!["/", "/etc", "/etc/ssl", "/var", "/proc", "/dev"].contains(path), "{path}");
    }
}

#[test]
fn a_program_writes_below_what_its_target_names_and_nowhere_else() {
    let (granted, other) = (folder_with_key(), folder_with_key());
    let files = FileAccess { writes: below(&[granted.path()]), ..FileAccess::ANY };
    let confinement = Confinement { files, ..CLOSED };
    for script in [
        "open(F, '>>', 'key') or exit 1; print F 'more'",
        "open(F, '>', 'new') or exit 1",
        "truncate('key', 1) or exit 1",
        "rename('key', 'moved') or exit 1",
        "unlink('key') or exit 1",
        "mkdir('made') or exit 1",
        "symlink('key', 'link') or exit 1",
        "link('key', 'hard') or exit 1",
        "use POSIX; mkfifo('fifo', 0600) or exit 1",
    ] {
        let script_in = |folder: &tempfile::TempDir| {
            std::fs::write(folder.path().join("key"), "secret").unwrap();
            format!("chdir('{}') or exit 1; {script}", folder.path().display())
        };
        assert!(!run_confined(&script_in(&other), &confinement).status.success(), "{script}");
        let left: Vec<_> = std::fs::read_dir(other.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{script}");
        assert_eq!(std::fs::read(other.path().join("key")).unwrap(), b"secret", "{script}");
        let output = run_confined(&script_in(&granted), &confinement);
        assert!(output.status.success(), "the test can fail: {script}: {output:?}");
        std::fs::read_dir(granted.path()).unwrap().for_each(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
                .unwrap();
        });
    }
    // Moving a file out of the folder counts as writing elsewhere.
    std::fs::write(granted.path().join("key"), "secret").unwrap();
    let out = format!(
        "rename('{}/key', '{}/taken') or exit 1",
        granted.path().display(),
        other.path().display()
    );
    assert!(!run_confined(&out, &confinement).status.success());
}

#[test]
fn a_program_that_may_write_nothing_changes_no_mode_owner_time_or_label() {
    let folder = folder_with_key();
    let key = folder.path().join("key");
    let facts = || {
        use std::os::unix::fs::MetadataExt as _;
        let facts = std::fs::metadata(&key).unwrap();
        (facts.mode(), facts.uid(), facts.mtime())
    };
    let before = facts();
    let no_writes = FileAccess { writes: below(&[]), ..FileAccess::ANY };
    let confinement = Confinement { files: no_writes, ..CLOSED };
    for script in [
        "chmod(0777, 'key') or exit 1",
        "open(F, '<', 'key'); chmod(0777, \\*F) or exit 1",
        "utime(1, 1, 'key') or exit 1",
        "chown(12345, 12345, 'key') or exit 1",
        "my $k = 'key'; syscall(452, -100, $k, 0777, 0) == 0 or exit 1",
    ] {
        let script = format!("chdir('{}') or exit 1; {script}", folder.path().display());
        assert!(!run_confined(&script, &confinement).status.success(), "{script}");
        assert_eq!(facts(), before, "{script}");
        assert!(run_without_sandbox(&script).status.success(), "the test can fail: {script}");
        std::fs::remove_file(&key).unwrap();
        std::fs::write(&key, "secret").unwrap();
        rustix::fs::utimensat(
            rustix::fs::CWD,
            &key,
            &rustix::fs::Timestamps {
                last_access: rustix::fs::Timespec { tv_sec: before.2, tv_nsec: 0 },
                last_modification: rustix::fs::Timespec { tv_sec: before.2, tv_nsec: 0 },
            },
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
    }
}

#[test]
fn the_tmp_of_a_program_is_its_own_and_cannot_fill_the_disk() {
    let shared = tempfile::Builder::new().prefix("launch-").tempdir_in("/tmp").unwrap();
    let kept = tempfile::Builder::new().prefix("launch-").tempdir_in("/tmp").unwrap();
    std::fs::write(shared.path().join("key"), "secret").unwrap();
    std::fs::write(kept.path().join("key"), "secret").unwrap();
    let files = FileAccess { writes: below(&[kept.path()]), ..FileAccess::ANY };
    let confinement = Confinement { files, ..CLOSED };
    let mine = format!("/tmp/launch-mine-{}", std::process::id());
    let script = format!(
        "print 'shared ' if -e '{}/key'; print 'kept ' if -e '{2}/key'; open(F, '>', '{2}/new') or \
         exit 1; open(G, '>', '{1}') or exit 2; print 'mine ' if -e '{1}'; chmod(0600, '{1}') or exit 3",
        shared.path().display(),
        mine,
        kept.path().display()
    );
    let output = run_confined(&script, &confinement);
    assert_eq!(
        (text(&output).as_str(), output.status.code()),
        ("kept mine ", Some(0)),
        "{output:?}"
    );
    assert!(kept.path().join("new").exists(), "what is granted is what it was");
    assert!(!Path::new(&mine).exists());
    let fill = "open(F, '>', '/tmp/fill') or exit 1; my $x = 'x' x (1 << 20); my $n = 0; while ($n < \
                1000) { syswrite(F, $x) == length($x) or last; $n++ } print $n";
    let written: u32 = text(&run_confined(fill, &confinement)).parse().unwrap();
    assert!((200..300).contains(&written), "{written} MiB");
    let many =
        "my $n = 0; while ($n < 100000) { open(F, '>', \"/tmp/$n\") or last; $n++ } print $n";
    let made: u32 = text(&run_confined(many, &confinement)).parse().unwrap();
    assert!(made < 70_000, "{made} files");
}

#[test]
fn a_path_that_is_a_link_or_is_not_there_is_no_grant() {
    let folder = folder_with_key();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    // A link on the way, where a program has a `/tmp` of its own, and elsewhere.
    let shared = tempfile::Builder::new().prefix("launch-").tempdir_in("/tmp").unwrap();
    let private = folder_with_key();
    let (below_tmp, elsewhere) = (shared.path().join("moved"), folder.path().join("moved"));
    for moved in [&below_tmp, &elsewhere] {
        std::os::unix::fs::symlink(private.path(), moved).unwrap();
    }
    let through_links = [below_tmp.join("key"), elsewhere.join("key")];
    for path in [link, folder.path().join("none")].into_iter().chain(through_links) {
        for files in [
            FileAccess { reads: below(&[&path]), ..FileAccess::ANY },
            FileAccess { writes: below(&[&path]), ..FileAccess::ANY },
        ] {
            let (_, refusal) = launch("print 1", &Confinement { files, ..CLOSED });
            let refusal = refusal.unwrap().to_string();
            assert!(refusal.contains(&path.display().to_string()), "{refusal}");
        }
    }
}

#[test]
fn the_memory_and_the_time_of_a_program_are_limited() {
    let large = "my $x = 'x' x (600 << 20); print 'had'";
    let long = "1 while 1";
    assert_eq!(text(&run_confined(large, &CLOSED)), "had", "the test can fail");
    let confinement = Confinement { memory: Some(300 << 20), cpu_s: Some(1), ..CLOSED };
    assert_eq!(text(&run_confined(large, &confinement)), "");
    let ended = run_confined(long, &confinement);
    assert!(!ended.status.success(), "{ended:?}");
}

/// Calls `run` on a thread in which one system call fails with `errno`, as on an older kernel.
fn on_an_older_kernel<T: Send>(number: i64, errno: i32, run: impl FnOnce() -> T + Send) -> T {
    let with_filter = move || {
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let rules = BTreeMap::from([(number, Vec::new())]);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(with_filter).join().unwrap())
}

#[test]
fn what_a_kernel_lacks_is_named_and_the_other_protections_hold() {
    let files = FileAccess { writes: below(&[]), ..FileAccess::ANY };
    let confinement = Confinement { network: Network::Port(1), files, ..CLOSED };
    assert_eq!(confinement.missing_protections(), []);
    let number = libc::SYS_landlock_create_ruleset;
    let (missing, output) = on_an_older_kernel(number, libc::ENOSYS, || {
        (
            confinement.missing_protections(),
            run_confined("kill(0, getppid()) or exit 1; print 'signals'", &CLOSED),
        )
    });
    assert_eq!(
        missing,
        [Protection::Processes, Protection::Signals, Protection::Ports, Protection::Files]
    );
    let (_, refusal) = on_an_older_kernel(number, libc::ENOSYS, || launch("print 1", &confinement));
    assert!(refusal.unwrap().to_string().contains("Landlock of Linux 6.2"));
    let unshare = libc::SYS_unshare;
    let (missing, started) = on_an_older_kernel(unshare, libc::EPERM, || {
        let script = "open(F, '>', '/tmp/launch-none') and exit 1; print 'no tmp'";
        (confinement.missing_protections(), run_confined(script, &confinement))
    });
    assert_eq!(missing, [Protection::Temporary]);
    assert_eq!(text(&started), "no tmp", "what others keep there is not written");
    let (_, refusal) =
        on_an_older_kernel(unshare, libc::ENOSPC, || launch("print 1", &confinement));
    assert!(refusal.unwrap().to_string().contains("a /tmp of its own"));
    assert_eq!(text(&output), "signals", "what is named is what is missing");
    let sockets = on_an_older_kernel(number, libc::ENOSYS, || run_confined(SOCKETS, &CLOSED));
    assert_eq!(text(&sockets), "");
    for protection in Protection::ALL {
        assert!(!protection.effect_of_absence().is_empty());
        assert!(!protection.requirement().is_empty());
        assert_eq!(serde_json::to_value(protection).unwrap(), protection.name());
    }
}
