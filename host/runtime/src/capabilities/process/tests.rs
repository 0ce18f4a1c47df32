use super::child::{CapturedStream, CompletedProgram};
use super::output;
use crate::bindings::runbook::files::reader::Host as _;
use crate::bindings::runbook::process::runner::Host as _;
use crate::bindings::runbook::process::types::{File, Input, Output, Sink};
use crate::capabilities::truncation_tests::{CAP, Channel};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::{Slot, effective_grants, host, host_with, host_with_names};
use runbook_authority::Digest;
use runbook_contract::Mode;
use runbook_launch::protection::Protection;
use runbook_secrets::Scrubber;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SLOTS: &[Slot] =
    &[("program", &["process.run"], "program"), ("files", &["files.read", "files.write"], "files")];

/// The addresses of the names. The name with several addresses has some that are not allowed.
const NAMES: &[(&str, &[&str])] = &[
    ("db.internal", &["10.0.0.5", "169.254.169.254", "8.8.8.8", "10.0.0.6"]),
    ("meta.internal", &["169.254.169.254"]),
];

/// A folder with a script and the targets to run it.
struct ProgramFixture {
    folder: tempfile::TempDir,
    targets: String,
}

impl ProgramFixture {
    fn new(script: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        let targets = format!(
            "[targets.program]\nprocess = {program:?}\n{more}\n[targets.files]\n\
                     files = \"out\"\naccess = \"write\"\n[targets.db]\n\
                     sql = \"postgres://me@db.internal:5433/shop?sslmode=require\"\n\
                     password = \"secret:password\"\naddresses = [\"private\"]\n"
        );
        Self { folder, targets }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    async fn run(&self, arguments: &[&str], stdin: Input, stdout: Sink) -> Result<Output, Fault> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let effective_grants = effective_grants(SLOTS, &self.targets, self.folder.path());
        let mut host = host_with_names(effective_grants, NAMES);
        HostCall::new(&mut host).run("program".to_owned(), arguments, stdin, stdout).await
    }
}

fn file(path: &str) -> File {
    File { slot: "files".to_owned(), path: path.to_owned() }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn output_exit_code_and_errors_come_back() {
    let fixture = ProgramFixture::new(
        "echo out \"$1\"; echo err >&2; exit 3",
        "arguments = [{ regex = \"[a-z]+\" }]",
    );
    let output = fixture.run(&["abc"], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!(
        (output.exit_code, text(&output.stdout), text(&output.stderr)),
        (3, "out abc\n", "err\n")
    );
    assert_eq!((output.produced_bytes, output.truncated, output.digest.as_str()), (8, false, ""));
}

#[tokio::test]
async fn arguments_outside_of_the_grant_are_denied_and_nothing_runs() {
    let fixture = ProgramFixture::new(
        "touch out/ran",
        "arguments = [{ regex = \"[a-z]+\" }]\ndirectory = \".\"",
    );
    for arguments in [&["A"] as &[&str], &[], &["a", "b"], &["a;touch x"], &["a\n"], &["--x"]] {
        let fault = fixture.run(arguments, Input::Nothing, Sink::Capture).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (FaultClass::Denied, "not granted"),
            "{arguments:?}"
        );
    }
    assert!(!fixture.out("ran").exists());
    let output = fixture.run(&["a"], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!(output.exit_code, 0, "{}", text(&output.stderr));
    assert!(fixture.out("ran").exists(), "an allowed call runs the program");
}

#[tokio::test]
async fn the_environment_is_what_the_target_says_and_nothing_else() {
    let fixture = ProgramFixture::new(
        "/usr/bin/env | /usr/bin/sort",
        "environment = { MODE = \"test\", TOKEN = \"secret:token\" }\nconnection = \"db\"",
    );
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    let names: Vec<_> = text(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
        .collect();
    assert_eq!(
        names,
        [
            "MODE=test",
            "PGDATABASE=shop",
            "PGHOST=db.internal,db.internal",
            "PGHOSTADDR=10.0.0.5,10.0.0.6",
            "PGPASSWORD=[secret password]",
            "PGPORT=5433",
            "PGSSLMODE=require",
            "PGUSER=me",
            "TOKEN=[secret token]",
        ],
        "and a secret that the program prints is scrubbed"
    );
}

#[tokio::test]
async fn a_program_gets_only_allowed_addresses_of_its_connection_or_is_not_started() {
    for (server, class) in [
        ("db.internal", None),
        ("10.0.0.9", None),
        ("meta.internal", Some(FaultClass::Denied)),
        ("unknown.internal", Some(FaultClass::Transient)),
    ] {
        let mut fixture =
            ProgramFixture::new("touch out/ran", "connection = \"db\"\ndirectory = \".\"");
        fixture.targets = fixture.targets.replace("db.internal", server);
        let ended = fixture.run(&[], Input::Nothing, Sink::Capture).await;
        assert_eq!(ended.err().map(|fault| fault.class), class, "{server}");
        assert_eq!(fixture.out("ran").exists(), class.is_none(), "{server}");
    }
}

#[tokio::test]
async fn wherever_output_is_cut_nothing_of_a_secret_is_left() {
    for before in (1024 - 20..1024).step_by(3) {
        let script = format!(
            "for n in 1 2; do head -c {before} /dev/zero | tr '\\0' x; echo \"$TOKEN\"; \
                     exec >&2; done"
        );
        let more = "environment = { TOKEN = \"secret:token\", PATH = \"/usr/bin:/bin\" }\n\
                    max_output = \"1KiB\"";
        let output = ProgramFixture::new(&script, more)
            .run(&[], Input::Nothing, Sink::Capture)
            .await
            .unwrap();
        for stream in [&output.stdout, &output.stderr] {
            assert!(
                text(stream).starts_with("xxx") && !text(stream).contains("s3"),
                "{before}: {}",
                text(stream)
            );
        }
    }
}

#[tokio::test]
async fn what_a_program_printed_into_a_file_is_not_read_back_with_a_secret_in_it() {
    let fixture = ProgramFixture::new(
        "echo \"user=me token=$TOKEN\"",
        "environment = { TOKEN = \"secret:token\" }",
    );
    for name in ["plain.txt", "packed.zst"] {
        let mut host = host(SLOTS, &fixture.targets, fixture.folder.path());
        let run = HostCall::new(&mut host)
            .run("program".to_owned(), Vec::new(), Input::Nothing, Sink::File(file(name)))
            .await;
        assert_eq!(run.unwrap().exit_code, 0);
        let fault =
            HostCall::new(&mut host).read("files".to_owned(), name.to_owned()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Denied, "files.secret"),
            "{}",
            fault.message
        );
        assert!(
            fault.message.contains("`token`") && !fault.message.contains("s3"),
            "{}",
            fault.message
        );
        // The file itself is what the program printed.
        assert!(std::fs::metadata(fixture.out(name)).unwrap().len() > 20);
        std::fs::write(fixture.out(name), "nothing secret").unwrap();
        assert_eq!(
            HostCall::new(&mut host).read("files".to_owned(), name.to_owned()).await.unwrap(),
            b"nothing secret"
        );
    }
}

#[tokio::test]
async fn the_program_gets_the_secret_itself() {
    let fixture = ProgramFixture::new(
        "test \"$TOKEN\" = s3cr3t-t0ken",
        "environment = { TOKEN = \"secret:token\" }",
    );
    assert_eq!(fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap().exit_code, 0);
}

#[tokio::test]
async fn a_pinned_program_runs_only_as_it_was_pinned() {
    let fixture = ProgramFixture::new("echo real", "");
    let content = std::fs::read(fixture.folder.path().join("program.sh")).unwrap();
    let pinned = |digest: &Digest| {
        fixture
            .targets
            .replace("\n[targets.files]", &format!("\nsha256 = \"{digest}\"\n[targets.files]"))
    };
    let matching_fixture = ProgramFixture {
        targets: pinned(&Digest::of(&content)),
        folder: tempfile::tempdir().unwrap(),
    };
    std::fs::create_dir(matching_fixture.out("")).unwrap();
    let output = matching_fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!((output.exit_code, text(&output.stdout)), (0, "real\n"));
    let mismatched_fixture = ProgramFixture {
        targets: pinned(&Digest::of(b"other")),
        folder: tempfile::tempdir().unwrap(),
    };
    let fault = mismatched_fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Denied, "process.digest"));
    assert!(fault.message.contains(Digest::of(&content).as_str()), "{}", fault.message);
}

/// A pinned program and another one are written to the same path in turn, in every way in which a
/// file can be replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_the_file_of_a_pinned_program_no_other_bytes_run() {
    use std::os::unix::fs::FileExt as _;
    let fixture = ProgramFixture::new("echo pinned", "");
    let path = fixture.folder.path().join("program.sh");
    let pinned = std::fs::read(&path).unwrap();
    // Of the same length, so that a file that is overwritten in place is one of the two, or a
    // mixture.
    let other = String::from_utf8(pinned.clone()).unwrap().replace("pinned", "foreig").into_bytes();
    let targets = fixture.targets.replace(
        "\n[targets.files]",
        &format!("\nsha256 = \"{}\"\n[targets.files]", Digest::of(&pinned)),
    );
    let pinned_fixture = ProgramFixture { targets, folder: tempfile::tempdir().unwrap() };
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let replace = {
        let (path, is_over) = (path.clone(), std::sync::Arc::clone(&is_over));
        move || {
            let temporary_path = path.with_extension("new");
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for bytes in [&other, &pinned] {
                    // In place, by renaming, and cut to nothing first.
                    if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
                        let _ = file.write_all_at(bytes, 0);
                    }
                    std::thread::yield_now();
                    std::fs::copy(&path, &temporary_path).unwrap();
                    std::fs::write(&temporary_path, bytes).unwrap();
                    std::fs::rename(&temporary_path, &path).unwrap();
                    if let Ok(file) =
                        std::fs::OpenOptions::new().write(true).truncate(true).open(&path)
                    {
                        let _ = file.write_all_at(bytes, 0);
                    }
                }
            }
        }
    };
    let replacer = std::thread::spawn(replace);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..200 {
        match pinned_fixture.run(&[], Input::Nothing, Sink::Capture).await {
            Ok(output) => {
                assert_eq!(text(&output.stdout), "pinned\n", "other bytes ran");
                ran += 1;
            }
            Err(fault) => {
                assert!(
                    matches!(fault.code.as_str(), "process.digest" | "process.start"),
                    "{}",
                    fault.code
                );
                refused += 1;
            }
        }
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    replacer.join().unwrap();
    assert_eq!(ran + refused, 200);
    // The pinned program was written last, so it runs now.
    assert_eq!(
        text(&pinned_fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap().stdout),
        "pinned\n"
    );
}

/// The script changes its own file while it runs; a shell reads its script as it runs.
#[tokio::test]
async fn a_pinned_script_that_is_rewritten_while_it_runs_goes_on_as_it_was() {
    let fixture = ProgramFixture::new(
        "/bin/sleep 0; printf 'echo changed\\n' >> program.sh; echo done",
        "directory = \".\"",
    );
    let content = std::fs::read(fixture.folder.path().join("program.sh")).unwrap();
    let line = format!("\nsha256 = \"{}\"\n[targets.files]", Digest::of(&content));
    let pinned = ProgramFixture {
        targets: fixture.targets.replace("\n[targets.files]", &line),
        folder: fixture.folder,
    };
    let output = pinned.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout), "done\n", "{}", text(&output.stderr));
    assert!(
        std::fs::read(pinned.folder.path().join("program.sh"))
            .unwrap()
            .ends_with(b"echo changed\n"),
        "the script has changed its file"
    );
}

#[tokio::test]
async fn the_interpreter_of_a_pinned_script_is_pinned_too_if_the_target_says_so() {
    let fixture = ProgramFixture::new("echo \"$1\"", "arguments = [\"a\"]");
    let content = std::fs::read(fixture.folder.path().join("program.sh")).unwrap();
    let shell = Digest::of(&std::fs::read("/bin/sh").unwrap());
    let with = |interpreter: &Digest| {
        let lines = format!(
            "\nsha256 = \"{}\"\ninterpreter_sha256 = \"{interpreter}\"\n[targets.files]",
            Digest::of(&content)
        );
        ProgramFixture {
            targets: fixture.targets.replace("\n[targets.files]", &lines),
            folder: tempfile::tempdir().unwrap(),
        }
    };
    let output = with(&shell).run(&["a"], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!((output.exit_code, text(&output.stdout)), (0, "a\n"));
    let fault = with(&Digest::of(b"another shell"))
        .run(&["a"], Input::Nothing, Sink::Capture)
        .await
        .unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Denied, "process.digest"));
    assert!(
        fault.message.contains("/bin/sh") && fault.message.contains(shell.as_str()),
        "{}",
        fault.message
    );
    // The interpreter cannot be pinned if the file is no script, or if it is found by PATH.
    for head in ["#!/usr/bin/env sh\necho a\n", "echo a\n", "#!sh\necho a\n", "#!/bin/sh"] {
        std::fs::write(fixture.folder.path().join("program.sh"), head).unwrap();
        let lines = format!(
            "\nsha256 = \"{}\"\ninterpreter_sha256 = \"{shell}\"\n[targets.files]",
            Digest::of(head.as_bytes())
        );
        let fixture = ProgramFixture {
            targets: fixture.targets.replace("\n[targets.files]", &lines),
            folder: tempfile::tempdir().unwrap(),
        };
        let fault = fixture.run(&["a"], Input::Nothing, Sink::Capture).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Denied, "process.interpreter"),
            "{head}"
        );
    }
}

const READ_ONLY_SLOTS: &[Slot] = &[("program", &["process.inspect"], "program")];

/// Runs a program of a read-only target.
async fn inspect(fixture: &ProgramFixture, mode: Mode) -> Result<Output, Fault> {
    use crate::bindings::runbook::process::inspector;
    let mut host = host_with(
        effective_grants(READ_ONLY_SLOTS, &fixture.targets, fixture.folder.path()),
        mode,
        Duration::from_secs(20),
    );
    inspector::Host::run(&mut HostCall::new(&mut host), "program".to_owned(), Vec::new()).await
}

#[tokio::test]
async fn a_program_that_only_reads_is_run_in_a_dry_run_too_and_can_change_nothing() {
    let fixture = ProgramFixture::new(
        "echo read; test -r program.sh && ! touch out/ran 2>/dev/null && echo nothing",
        "read_only = true\ndirectory = \".\"",
    );
    for mode in [Mode::Effects, Mode::ReadOnly] {
        let output = inspect(&fixture, mode).await.unwrap();
        assert_eq!(
            (output.exit_code, text(&output.stdout)),
            (0, "read\nnothing\n"),
            "{}",
            text(&output.stderr)
        );
        assert!(!fixture.out("ran").exists());
    }
    // Pinned, too.
    let content = std::fs::read(fixture.folder.path().join("program.sh")).unwrap();
    let line = format!("\nsha256 = \"{}\"\n[targets.files]", Digest::of(&content));
    let pinned = ProgramFixture {
        targets: fixture.targets.replace("\n[targets.files]", &line),
        folder: fixture.folder,
    };
    assert_eq!(text(&inspect(&pinned, Mode::ReadOnly).await.unwrap().stdout), "read\nnothing\n");
}

/// A server of this host, and a script that tells whether it can be reached.
fn server() -> (std::net::TcpListener, String) {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let script = format!(
        "/usr/bin/perl -e 'use Socket; socket(S, AF_INET, SOCK_STREAM, 0) && connect(S, \
         pack_sockaddr_in({port}, inet_aton(\"127.0.0.1\"))) && print \"reached\"'; exit 0"
    );
    (server, script)
}

#[tokio::test]
async fn a_program_makes_no_connection_unless_its_target_says_so() {
    let (server, script) = server();
    let port = server.local_addr().unwrap().port();
    let lent = format!("connection = \"db\"\nenvironment = {{ PORT = \"{port}\" }}");
    for (more, reached) in [
        ("", false),
        ("network = false", false),
        ("signals = true", false),
        ("network = true", true),
        // That of another port.
        (lent.as_str(), false),
    ] {
        let fixture = ProgramFixture::new(&script, more);
        let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
        assert_eq!(text(&output.stdout) == "reached", reached, "{more}: {}", text(&output.stderr));
        assert_eq!(server.accept().is_ok(), reached, "{more}");
    }
    let mut fixture = ProgramFixture::new(&script, "connection = \"db\"");
    fixture.targets = fixture.targets.replace(":5433/", &format!(":{port}/"));
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout), "reached", "{}", text(&output.stderr));
    assert!(server.accept().is_ok());
}

#[tokio::test]
async fn a_program_opens_only_the_files_that_its_target_names() {
    let folder = tempfile::Builder::new().prefix("key-").tempdir_in("/var/tmp").unwrap();
    let key = folder.path().canonicalize().unwrap();
    std::fs::write(key.join("key"), "secret").unwrap();
    let script = format!(
        "cat {0}/key 2>/dev/null; (echo x > {0}/made) 2>/dev/null && echo wrote; exit 0",
        key.display()
    );
    let named = format!("[{:?}]", key.display().to_string());
    for (more, expected) in [
        (String::new(), "secretwrote\n"),
        ("reads = []".to_owned(), "wrote\n"),
        ("reads = []\nwrites = []".to_owned(), ""),
        ("writes = []".to_owned(), "secret"),
        (format!("reads = {named}\nwrites = []"), "secret"),
        (format!("reads = []\nwrites = {named}"), "secretwrote\n"),
    ] {
        let fixture = ProgramFixture::new(&script, &more);
        let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
        assert_eq!(text(&output.stdout), expected, "{more}: {}", text(&output.stderr));
        let _ = std::fs::remove_file(key.join("made"));
    }
    // A probe reads no more than its target names.
    for (more, expected) in [("", "secret"), ("reads = []", "")] {
        let fixture = ProgramFixture::new(&script, &format!("read_only = true\n{more}"));
        let output = inspect(&fixture, Mode::ReadOnly).await.unwrap();
        assert_eq!(text(&output.stdout), expected, "{more}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_program_uses_no_more_memory_and_time_than_its_target_says() {
    let large = "/usr/bin/perl -e 'my $x = \"x\" x (400 << 20); print \"had\"'; exit 0";
    for (more, expected) in [("", "had"), ("memory = \"200MiB\"", "")] {
        let fixture = ProgramFixture::new(large, more);
        let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
        assert_eq!(text(&output.stdout), expected, "{more}");
    }
    let fixture = ProgramFixture::new("exec /usr/bin/perl -e '1 while 1'", "cpu = \"1s\"");
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert!(output.exit_code > 128, "{}", output.exit_code);
}

/// Where there are control groups, nothing outlives the call; where there are none, the log says
/// so.
#[tokio::test]
async fn what_begins_a_session_of_its_own_ends_with_the_call_or_the_log_says_that_it_does_not() {
    let fixture = ProgramFixture::new(
        "/usr/bin/setsid /bin/sh -c 'echo $$ > out/self; exec /bin/sleep 600' >/dev/null 2>&1 & \
         while ! test -s out/self; do :; done",
        "directory = \".\"",
    );
    let effective_grants = effective_grants(SLOTS, &fixture.targets, fixture.folder.path());
    let mut host = host_with_names(effective_grants, NAMES);
    let ended = HostCall::new(&mut host)
        .run("program".to_owned(), Vec::new(), Input::Nothing, Sink::Capture)
        .await;
    assert_eq!(ended.unwrap().exit_code, 0);
    let pid = std::fs::read_to_string(fixture.out("self")).unwrap();
    if Protection::Descendants.is_available() {
        wait_until("it is killed", || !is_running(&pid)).await;
    } else {
        let log = format!("{:?}", host.log);
        assert!(log.contains("descendants") && log.contains("cgroups of version 2"), "{log}");
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn a_program_that_forks_without_end_ends_with_its_call() {
    let fixture = ProgramFixture::new(
        "exec /usr/bin/perl -e 'use POSIX; open(F, \">\", \"out/begun\"); for (1..200) { my $p = \
         fork(); next unless defined $p; if (!$p) { POSIX::setsid(); exec(\"/bin/sleep\", \
         \"6007\") } } sleep 600'",
        "timeout = \"1500ms\"\ndirectory = \".\"",
    );
    let fault = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap_err();
    assert_eq!(fault.code, "process.timeout");
    assert!(fixture.out("begun").exists());
    let left = || -> Vec<rustix::process::Pid> {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|words| words == b"/bin/sleep\x006007\x00")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
        .collect()
    };
    if Protection::Descendants.is_available() {
        wait_until("all are killed", || left().is_empty()).await;
    } else {
        for pid in left() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_program_signals_no_other_process_unless_its_target_says_so() {
    for (more, killed) in [("", false), ("network = true", false), ("signals = true", true)] {
        let mut other = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let fixture = ProgramFixture::new(&format!("kill -KILL {}; exit 0", other.id()), more);
        fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
        if killed {
            wait_until("it is killed", || other.try_wait().unwrap().is_some()).await;
        } else {
            assert!(other.try_wait().unwrap().is_none(), "{more}");
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}

/// A program that could would have its effect called none.
#[tokio::test]
async fn a_program_cannot_make_its_start_look_refused() {
    let fixture = ProgramFixture::new(
        "touch out/ran; for n in /proc/$$/fd/*; do case $(readlink $n) in socket:*|*memfd:*) echo \
         '\"Orphan\"' > $n;; esac; done; exit 125",
        "directory = \".\"",
    );
    for input in [Input::Nothing, Input::Bytes(b"text".to_vec())] {
        let output = fixture.run(&[], input, Sink::Capture).await.unwrap();
        assert_eq!(output.exit_code, 125);
        assert!(fixture.out("ran").exists());
    }
}

#[tokio::test]
async fn a_missing_or_not_executable_program_is_reported() {
    let fixture = ProgramFixture::new("true", "");
    std::fs::set_permissions(
        fixture.folder.path().join("program.sh"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(
        fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap_err().code,
        "process.start"
    );
    std::fs::remove_file(fixture.folder.path().join("program.sh")).unwrap();
    assert_eq!(
        fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap_err().code,
        "process.not-found"
    );
}

#[tokio::test]
async fn input_comes_from_bytes_or_from_a_file() {
    let fixture = ProgramFixture::new("/usr/bin/wc -c", "");
    let output =
        fixture.run(&[], Input::Bytes(vec![b'x'; 3_000_000]), Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout).trim(), "3000000");
    std::fs::write(fixture.out("in"), "12345").unwrap();
    let output = fixture.run(&[], Input::File(file("in")), Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout).trim(), "5");
    let fault = fixture.run(&[], Input::File(file("none")), Sink::Capture).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::NotFound, "files.not-found"));
    // A program that does not read is not waited for.
    let non_reading_program = ProgramFixture::new("exit 0", "");
    assert_eq!(
        non_reading_program
            .run(&[], Input::Bytes(vec![0; 3_000_000]), Sink::Capture)
            .await
            .unwrap()
            .exit_code,
        0
    );
}

#[tokio::test]
async fn output_streams_into_a_compressed_file_and_back() {
    let fixture = ProgramFixture::new("/usr/bin/seq 1 200000", "");
    let output = fixture.run(&[], Input::Nothing, Sink::File(file("dump.sql.zst"))).await.unwrap();
    let bytes = std::fs::read(fixture.out("dump.sql.zst")).unwrap();
    assert_eq!((output.exit_code, output.stdout.len()), (0, 0));
    assert_eq!(output.size_bytes, bytes.len() as u64);
    assert_eq!(output.digest, Digest::of(&bytes).to_string());
    assert_eq!(output.produced_bytes, 1_288_895);
    let count = ProgramFixture { targets: fixture.targets.clone(), folder: fixture.folder };
    std::fs::write(count.folder.path().join("program.sh"), "#!/bin/sh\n/usr/bin/wc -l\n").unwrap();
    let output = count.run(&[], Input::File(file("dump.sql.zst")), Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout).trim(), "200000");
}

#[tokio::test]
async fn a_file_is_kept_only_when_the_program_succeeds() {
    let fixture = ProgramFixture::new("echo half; exit 1", "");
    let output = fixture.run(&[], Input::Nothing, Sink::File(file("dump"))).await.unwrap();
    assert_eq!((output.exit_code, output.digest.as_str()), (1, ""));
    assert_eq!(std::fs::read_dir(fixture.out("")).unwrap().count(), 0);
    std::fs::write(fixture.out("dump"), "old").unwrap();
    let fault = fixture.run(&[], Input::Nothing, Sink::File(file("dump"))).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Conflict, "files.exists"));
    assert_eq!(std::fs::read(fixture.out("dump")).unwrap(), b"old");
}

#[tokio::test]
async fn captured_output_is_cut_at_the_limit_of_the_target() {
    let fixture = ProgramFixture::new(
        "/usr/bin/seq 1 100000; /usr/bin/seq 1 100000 >&2",
        "max_output = \"1KiB\"",
    );
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len(), output.truncated), (1024, 1024, true));
    assert_eq!((output.exit_code, output.produced_bytes), (0, 588_895));
}

/// Whether a process of this number still runs.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const SCRIPT_WITH_CHILD: &str = "/bin/sleep 600 & echo $! > out/child; echo $$ > out/self; wait";

#[tokio::test]
async fn at_its_timeout_the_whole_group_is_killed() {
    let fixture = ProgramFixture::new(SCRIPT_WITH_CHILD, "timeout = \"300ms\"\ndirectory = \".\"");
    let started = Instant::now();
    let fault = fixture.run(&[], Input::Nothing, Sink::File(file("dump"))).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "process.timeout"));
    assert!(started.elapsed() < Duration::from_secs(5));
    for name in ["self", "child"] {
        let pid = std::fs::read_to_string(fixture.out(name)).unwrap();
        wait_until("it is killed", || !is_running(&pid)).await;
    }
    assert!(!fixture.out("dump").exists());
}

#[tokio::test]
async fn a_call_that_is_cut_off_takes_its_program_with_it() {
    let fixture = ProgramFixture::new(SCRIPT_WITH_CHILD, "directory = \".\"");
    let child = fixture.out("child");
    let cancelled_run = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! {
            ended = fixture.run(&[], Input::Nothing, Sink::File(file("dump"))) => panic!("{:?}", ended.map(|output| output.exit_code)),
            () = wait_until("it runs", || std::fs::read_to_string(&child).is_ok_and(|pid| !pid.is_empty())) => {}
        }
    });
    cancelled_run.await.unwrap();
    let pid = std::fs::read_to_string(&child).unwrap();
    wait_until("it is killed", || !is_running(&pid)).await;
    wait_until("nothing is left", || std::fs::read_dir(fixture.out("")).unwrap().count() == 2)
        .await;
}

/// With this variable, the test runs as the host that is killed.
const HOST_TO_KILL: &str = "RUNBOOK_TEST_HOST_TO_KILL";

#[tokio::test]
async fn a_program_dies_with_a_host_that_is_killed() {
    if let Some(targets) = std::env::var_os(HOST_TO_KILL) {
        let fixture = ProgramFixture {
            folder: tempfile::tempdir().unwrap(),
            targets: targets.into_string().unwrap(),
        };
        let ended =
            fixture.run(&[], Input::Nothing, Sink::Capture).await.map(|output| output.exit_code);
        panic!("the program runs until it is killed: {ended:?}");
    }
    let fixture = ProgramFixture::new("echo $$ > out/self; exec /bin/sleep 600", "");
    let folder = format!("\ndirectory = {:?}\n[targets.files]", fixture.folder.path());
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "capabilities::process::tests::a_program_dies_with_a_host_that_is_killed",
        ])
        .env(HOST_TO_KILL, fixture.targets.replace("\n[targets.files]", &folder))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = fixture.out("self");
    wait_until("it runs", || std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')))
        .await;
    let pid = std::fs::read_to_string(&pid).unwrap();
    assert!(is_running(&pid));
    host.kill().unwrap();
    host.wait().unwrap();
    wait_until("it is killed", || !is_running(&pid)).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed_when_it_ends() {
    let fixture = ProgramFixture::new("/bin/sleep 600 & echo $!", "");
    let started = Instant::now();
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let pid = text(&output.stdout).to_owned();
    wait_until("it is killed", || !is_running(&pid)).await;
}

#[tokio::test]
async fn a_program_that_leaves_its_group_with_the_pipe_is_not_waited_for() {
    let fixture = ProgramFixture::new("/usr/bin/setsid /bin/sleep 8 & echo out", "");
    let started = Instant::now();
    let output = fixture.run(&[], Input::Nothing, Sink::Capture).await.unwrap();
    assert_eq!(text(&output.stdout), "out\n");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_missing_output_folder_is_reported_before_the_program_runs() {
    let fixture = ProgramFixture::new("touch out/ran", "directory = \".\"");
    let fault =
        fixture.run(&[], Input::Nothing, Sink::File(file("no/such/folder"))).await.unwrap_err();
    assert_eq!(fault.code, "files.not-found");
    assert!(!fixture.out("ran").exists());
}

#[tokio::test]
async fn nothing_runs_in_a_dry_run() {
    let fixture = ProgramFixture::new("touch out/ran", "directory = \".\"");
    let granted = effective_grants(SLOTS, &fixture.targets, fixture.folder.path());
    let mut host = host_with(granted, Mode::ReadOnly, Duration::from_secs(5));
    let fault = HostCall::new(&mut host)
        .run("program".to_owned(), Vec::new(), Input::Nothing, Sink::Capture)
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    assert!(!fixture.out("ran").exists());
}

#[tokio::test]
async fn output_cannot_be_written_outside_of_the_slot() {
    let fixture = ProgramFixture::new("echo x", "");
    for path in ["../x", "/tmp/x", ""] {
        let fault = fixture.run(&[], Input::Nothing, Sink::File(file(path))).await.unwrap_err();
        assert!(
            matches!(fault.class, FaultClass::Denied | FaultClass::Invalid),
            "{path}: {}",
            fault.code
        );
    }
    assert!(!fixture.folder.path().join("x").exists() && Path::new("/etc").exists());
}

/// Channels for the output of a program.
pub(in crate::capabilities) fn channels() -> Vec<Channel> {
    let render_output = |scrubber: &Scrubber, text: &[u8]| {
        let keep = CAP + scrubber.lookahead();
        let captured = || CapturedStream {
            captured_bytes: text[..text.len().min(keep)].to_vec(),
            produced: text.len() as u64,
            truncated: text.len() > keep,
        };
        output(
            CompletedProgram { exit_code: 0, stdout: captured(), stderr: captured(), file: None },
            CAP,
            scrubber,
        )
    };
    vec![
        Channel::bytes("stdout of a program", CAP, move |scrubber, text| {
            render_output(scrubber, text).stdout
        }),
        Channel::bytes("stderr of a program", CAP, move |scrubber, text| {
            render_output(scrubber, text).stderr
        }),
    ]
}
