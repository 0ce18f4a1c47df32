//! A program that may change nothing tries to, with and without the sandbox. Without the sandbox
//! each attempt succeeds, which shows that each test can fail.
#![allow(clippy::unwrap_used, reason = "tests")]

use runbook_launch::confinement::Confinement;
use runbook_launch::files::{FileAccess, Paths};
use runbook_launch::network::{Network, Signals};
use runbook_launch::sandbox::{ReadOnlyLimits, available};
use runbook_launch::{LaunchRefusal, LaunchSpec, ProgramSandbox, Status, VARIABLE_PREFIX};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const SH: &str = "/bin/sh";
const PERL: &str = "/usr/bin/perl";

#[derive(Clone, Copy, PartialEq, Debug)]
enum SandboxMode {
    /// All that a target can grant.
    Open,
    ReadOnly,
}

const MODES: [SandboxMode; 2] = [SandboxMode::Open, SandboxMode::ReadOnly];

/// Runs a program through the launcher. Returns its output, and why it was not started.
fn launch(program: &str, arguments: &[&str], mode: SandboxMode) -> (Output, Option<LaunchRefusal>) {
    let (status, launcher_end) = Status::new(fs::File::open("/dev/null").unwrap()).unwrap();
    let spec = LaunchSpec {
        parent: i32::try_from(std::process::id()).unwrap(),
        program: program.into(),
        content: None,
        interpreter: None,
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        sandbox: match mode {
            SandboxMode::ReadOnly => ProgramSandbox::ReadOnly(ReadOnlyLimits {
                cpu_s: 20,
                memory: 4 << 30,
                reads: Paths::Any,
                own: Vec::new(),
            }),
            SandboxMode::Open => ProgramSandbox::Confined(Confinement {
                network: Network::Open,
                signals: Signals::Any,
                files: FileAccess::ANY,
                memory: None,
                cpu_s: None,
            }),
        },
        cgroup: None,
    };
    let output = Command::new(env!("CARGO_BIN_EXE_runbook-launch"))
        .arg(serde_json::to_string(&spec).unwrap())
        .env_clear()
        .env(format!("{VARIABLE_PREFIX}LC_ALL"), "C")
        .current_dir("/tmp")
        .stdin(launcher_end)
        .output()
        .unwrap();
    (output, status.read().unwrap())
}

/// Whether a script ends with exit code 0.
fn succeeds(program: &str, script: &str, mode: SandboxMode) -> bool {
    let option = if program == PERL { "-e" } else { "-c" };
    let (output, refusal) = launch(program, &[option, script], mode);
    assert_eq!(refusal, None, "{script}");
    output.status.success()
}

/// The metadata and the content of everything in a folder.
fn folder_state(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            let content = if facts.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.push(format!(
                "{} {:o} {} {} {} {} {content:?}",
                path.display(),
                facts.mode(),
                facts.uid(),
                facts.nlink(),
                facts.mtime(),
                facts.mtime_nsec()
            ));
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Scripts that change something in a folder, one for each way to do so.
const CHANGES: &[(&str, &str)] = &[
    (SH, "echo x > new"),
    (SH, "echo x >> old"),
    (SH, ": > old"),
    (PERL, "rename('old', 'moved') or exit 1"),
    (PERL, "rename('old', 'sub/moved') or exit 1"),
    (PERL, "unlink('old') or exit 1"),
    (PERL, "mkdir('made') or exit 1"),
    (PERL, "rmdir('empty') or exit 1"),
    (PERL, "symlink('old', 'link') or exit 1"),
    (PERL, "link('old', 'hard') or exit 1"),
    (PERL, "chmod(0600, 'old') or exit 1"),
    (PERL, "open(my $f, '<', 'old'); chmod(0600, $f) or exit 1"),
    (PERL, "utime(1, 1, 'old') or exit 1"),
    (PERL, "truncate('old', 1) or exit 1"),
    (PERL, "use Fcntl; sysopen(F, 'old', O_RDONLY | O_TRUNC) or exit 1"),
    (PERL, "use Fcntl; sysopen(F, 'new', O_RDONLY | O_CREAT) or exit 1"),
    (PERL, "use Fcntl; sysopen(F, 'old', O_RDWR) or exit 1; syswrite(F, 'x') or exit 1"),
    (PERL, "use POSIX; mkfifo('fifo', 0600) or exit 1"),
    (
        PERL,
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or exit 1; bind(S, sockaddr_un('sock')) \
            or exit 1",
    ),
];

#[test]
fn no_way_to_change_a_file_is_left() {
    for parent in [
        std::env::temp_dir(),
        "/dev/shm".into(),
        std::env::current_dir().unwrap(),
        std::env::var_os("HOME").unwrap().into(),
    ] {
        for (program, script) in CHANGES {
            let folder = tempfile::Builder::new().prefix("launch-").tempdir_in(&parent).unwrap();
            fs::write(folder.path().join("old"), "content").unwrap();
            fs::create_dir(folder.path().join("sub")).unwrap();
            fs::create_dir(folder.path().join("empty")).unwrap();
            let folder_path = folder.path().display();
            let script = if *program == SH {
                format!("cd {folder_path} && {script}")
            } else {
                format!("chdir('{folder_path}') or exit 1; {script}")
            };
            let before = folder_state(folder.path());
            assert!(!succeeds(program, &script, SandboxMode::ReadOnly), "{script}");
            assert_eq!(folder_state(folder.path()), before, "{script}");
            assert!(succeeds(program, &script, SandboxMode::Open), "without the sandbox: {script}");
            assert_ne!(folder_state(folder.path()), before, "without the sandbox: {script}");
        }
    }
}

#[test]
fn no_connection_and_no_packet_leaves() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let unix = UnixListener::bind(&path).unwrap();
    let name = format!("runbook-launch-{}", std::process::id());
    let abstract_unix =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    abstract_unix.set_nonblocking(true).unwrap();
    let inet = |port| format!("pack_sockaddr_in({port}, inet_aton('127.0.0.1'))");
    let connect = |family: &str, kind: &str, to: &str| {
        format!(
            "use Socket; socket(S, {family}, {kind}, 0) or exit 1; connect(S, {to}) or exit 1; \
                 send(S, 'x', 0) or exit 1"
        )
    };
    let scripts = [
        connect("AF_INET", "SOCK_STREAM", &inet(tcp.local_addr().unwrap().port())),
        connect("AF_INET", "SOCK_DGRAM", &inet(udp.local_addr().unwrap().port())),
        connect("AF_UNIX", "SOCK_STREAM", &format!("sockaddr_un('{}')", path.display())),
        connect("AF_UNIX", "SOCK_STREAM", &format!("pack('S a*', AF_UNIX, \"\\0{name}\")")),
        // Netlink.
        "use Socket; socket(S, 16, SOCK_RAW, 0) or exit 1".to_owned(),
    ];
    let arrived = || {
        let received = [
            tcp.accept().is_ok(),
            udp.recv(&mut [0; 8]).is_ok(),
            unix.accept().is_ok(),
            abstract_unix.accept().is_ok(),
        ];
        received.iter().any(|arrived| *arrived)
    };
    for (index, script) in scripts.iter().enumerate() {
        assert!(!succeeds(PERL, script, SandboxMode::ReadOnly), "{script}");
        assert!(!arrived(), "{script}");
        assert!(succeeds(PERL, script, SandboxMode::Open), "without the sandbox: {script}");
        assert!(index == 4 || arrived(), "without the sandbox it arrives: {script}");
    }
    assert_eq!(udp.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A process of this user outside of the sandbox.
struct OutsideProcess(Child);

impl OutsideProcess {
    fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("600").stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for OutsideProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_process_outside_of_the_sandbox_is_affected() {
    for script in [
        "kill('TERM', PID) or exit 1",
        "kill('USR1', getppid()) or exit 1",
        "kill(0, PID) or exit 1",
        "setpriority(0, PID, 5) or exit 1",
        "open(F, '<', '/proc/PID/mem') or exit 1",
        "use Fcntl; open(F, '<', '/dev/null'); fcntl(F, F_SETOWN, PID) or exit 1",
        "use POSIX; POSIX::setsid() > 0 or exit 1",
        "use POSIX; POSIX::setpgid(0, 0) or exit 1",
        "use Fcntl ':flock'; open(F, '<', '/etc/passwd'); flock(F, LOCK_EX) or exit 1",
    ] {
        for mode in MODES {
            let mut outside_process = OutsideProcess::new();
            let script = script.replace("PID", &outside_process.0.id().to_string());
            // A group leader cannot leave its group, so a child process tries it.
            let script = if script.contains("POSIX::set") {
                format!("fork() and exit(wait() && $? >> 8); {script}")
            } else {
                script
            };
            if script.contains("getppid") && mode == SandboxMode::Open {
                continue;
            }
            // No program may read the memory of other processes.
            let is_granted = mode == SandboxMode::Open && !script.contains("/mem");
            // Nor may a program of root, which lacks most capabilities, act on one that has them.
            let is_root = rustix::process::geteuid().is_root();
            let is_granted = is_granted && !(is_root && script.contains("setpriority"));
            assert_eq!(succeeds(PERL, &script, mode), is_granted, "{mode:?} {script}");
            assert!(
                mode == SandboxMode::Open || outside_process.0.try_wait().unwrap().is_none(),
                "{script}"
            );
        }
    }
}

#[test]
fn reading_counting_and_piping_work() {
    let script = "cat /etc/passwd | wc -l >/dev/null && ls -l / 2>/dev/null | head -n 1 && test \
                  -n \"$(cat /proc/self/status)\" && df / >/dev/null";
    let (output, refusal) = launch(SH, &["-c", script], SandboxMode::ReadOnly);
    assert_eq!(refusal, None);
    assert!(output.status.success(), "{output:?}");
    let (output, _) = launch(
        PERL,
        &["-e", "print $0, ' ', $ENV{LC_ALL}, ' ', scalar(keys %ENV)"],
        SandboxMode::ReadOnly,
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "-e C 1");
}

/// A program that reads a terminal takes what the operator types there, such as the answer to a
/// question or a passphrase.
#[test]
fn a_read_only_program_reads_no_terminal() {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&keyboard).unwrap();
    let terminal = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
    fs::set_permissions(&terminal, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let held = rustix::fs::open(&terminal, flags, rustix::fs::Mode::empty()).unwrap();
    let script = format!(
        "use Fcntl; sysopen(F, '{terminal}', O_RDONLY | O_NOCTTY | O_NONBLOCK) or exit 1; \
         sysread(F, my $line, 100); $line eq \"yes\\n\" or exit 2"
    );
    rustix::io::write(&keyboard, b"yes\n").unwrap();
    assert!(!succeeds(PERL, &script, SandboxMode::ReadOnly));
    for device in ["/dev/ptmx", "/dev/console", "/dev/kmsg", "/dev/mem"] {
        let script = format!("use Fcntl; sysopen(F, '{device}', O_RDONLY | O_NOCTTY) or exit 1");
        assert!(!succeeds(PERL, &script, SandboxMode::ReadOnly), "{device}");
    }
    for device in ["/dev/null", "/dev/zero", "/dev/urandom"] {
        let script = format!("open(F, '<', '{device}') or exit 1");
        assert!(succeeds(PERL, &script, SandboxMode::ReadOnly), "{device}");
    }
    assert!(succeeds(PERL, &script, SandboxMode::Open), "the line is there for its reader");
    drop(held);
}

#[test]
fn memory_and_output_files_are_limited() {
    let large = "my $x = 'x' x (5 * 1024 * 1024 * 1024); exit 0";
    assert!(!succeeds(PERL, large, SandboxMode::ReadOnly));
    assert!(succeeds(PERL, "my $x = 'x' x (50 * 1024 * 1024); exit 0", SandboxMode::ReadOnly));
}

/// The test makes at most 150 processes, which end by themselves.
#[test]
fn a_program_that_goes_on_forking_is_refused_by_the_kernel() {
    let forks = |max: u32| {
        format!(
            "my $n = 0; for (1..{max}) {{ my $p = fork(); last unless defined $p; if (!$p) {{ \
                 sleep 5; exit }} $n++ }} print $n"
        )
    };
    let n_forks = |mode| {
        String::from_utf8(launch(PERL, &["-e", &forks(150)], mode).0.stdout)
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let limited = n_forks(SandboxMode::ReadOnly);
    assert!((1..150).contains(&limited), "{limited}");
    assert_eq!(n_forks(SandboxMode::Open), 150, "it succeeds without the sandbox");
}

#[test]
fn root_keeps_only_the_right_of_reading() {
    let facts = "$/ = undef; open(F, '<', '/proc/self/status'); <F> =~ /CapEff:\\t(\\w+)/; print \
                 $1, ' ', $<, ' ', (open(S, '<', '/etc/shadow') ? 1 : 0)";
    let (output, refusal) = launch(PERL, &["-e", facts], SandboxMode::ReadOnly);
    assert_eq!(refusal, None);
    let text = String::from_utf8(output.stdout).unwrap();
    let [rights, user, reads] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    if rustix::process::geteuid().is_root() {
        // CAP_DAC_READ_SEARCH is number 2.
        assert_eq!((u64::from_str_radix(rights, 16).unwrap(), reads), (4, "1"), "{text}");
        assert_ne!(user, "0");
    } else {
        assert_eq!(u64::from_str_radix(rights, 16).unwrap(), 0, "{text}");
    }
}

/// The arguments of the calls are meaningless: for a call that is not listed, the filter answers
/// before the kernel looks at them.
#[test]
fn every_system_call_that_is_not_listed_is_refused() {
    let listed: Vec<_> = runbook_launch::sandbox::system_calls().collect();
    assert!(listed.len() > 100, "the list is not empty");
    // On x86_64 the kernel itself makes these two calls, for its probes, and asks no filter about
    // them. It kills a program that makes one.
    let probes = [335, 336];
    let unlisted: Vec<_> =
        (0..600).filter(|number| !listed.contains(number) && !probes.contains(number)).collect();
    let script = format!(
        "for my $n ({}) {{ $! = 0; syscall($n, -1, -1, -1, -1, -1, -1); print $n, ' ', \
         $!+0, \"\\n\" }}",
        unlisted.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    );
    let (output, _) = launch(PERL, &["-e", &script], SandboxMode::ReadOnly);
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused: Vec<_> = unlisted.iter().map(|number| format!("{number} 1")).collect();
    assert_eq!(answers.lines().collect::<Vec<_>>(), refused);
}

/// Calls `run` on a thread in which one system call fails with `errno`, as on an older kernel.
fn on_an_older_kernel<T: Send>(number: i64, errno: i32, run: impl FnOnce() -> T + Send) -> T {
    let with_filter = move || {
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(
            BTreeMap::from([(number, Vec::new())]),
            SeccompAction::Allow,
            action,
            arch,
        )
        .unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(with_filter).join().unwrap())
}

#[test]
fn without_a_part_of_the_sandbox_nothing_is_run_and_the_error_names_the_part() {
    available().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("ran");
    for (number, errno, part) in [
        (libc::SYS_landlock_create_ruleset, libc::ENOSYS, "Landlock"),
        (libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP, "Landlock"),
        (libc::SYS_landlock_restrict_self, libc::EPERM, "Landlock"),
        (libc::SYS_seccomp, libc::EINVAL, "seccomp"),
        (libc::SYS_prlimit64, libc::EPERM, "limit"),
    ] {
        // If the script ran without the sandbox, it would leave a file.
        let script = format!("echo x > {}; echo ran", trace.display());
        let (output, refusal) = on_an_older_kernel(number, errno, || {
            launch(SH, &["-c", &script], SandboxMode::ReadOnly)
        });
        let Some(LaunchRefusal::Sandbox(missing)) = refusal else { panic!("{part}: {refusal:?}") };
        assert!(missing.part.contains(part), "{missing}");
        assert!(
            output.stdout.is_empty() && !output.status.success() && !trace.exists(),
            "{output:?}"
        );
        // A program that may change something starts without Landlock, if no file is limited.
        let (output, refusal) = on_an_older_kernel(number, errno, || {
            launch(SH, &["-c", "echo ran"], SandboxMode::Open)
        });
        let runs = number == libc::SYS_landlock_create_ruleset;
        assert_eq!((output.stdout == b"ran\n", refusal.is_none()), (runs, runs), "{part}");
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_reported() {
    for mode in MODES {
        let (_, refusal) = launch("/no/such/program", &[], mode);
        let refusal = refusal.unwrap_or_else(|| panic!("{mode:?}"));
        assert!(refusal.to_string().contains("it cannot be executed: No such file"), "{refusal}");
    }
}

#[test]
fn no_program_is_started_if_the_host_has_ended() {
    let (status, launcher_end) = Status::new(fs::File::open("/dev/null").unwrap()).unwrap();
    let spec = serde_json::json!({ "parent": 1, "program": "/bin/echo", "content": null, "interpreter": null, "arguments": ["ran"], "cgroup": null, "sandbox": { "confined": { "network": "open", "signals": "any", "files": { "reads": "any", "writes": "any", "own": [] }, "memory": null, "cpu_s": null } } });
    let output = Command::new(env!("CARGO_BIN_EXE_runbook-launch"))
        .arg(spec.to_string())
        .stdin(launcher_end)
        .output()
        .unwrap();
    assert!(output.stdout.is_empty());
    assert_eq!(status.read().unwrap(), Some(LaunchRefusal::Orphan));
}
