#[cfg(feature = "system")]
mod units;

use super::sessions;
use crate::bindings::runbook::system::reader::Host as _;
use crate::bindings::runbook::system::types::{ListenerList, ProcessList, ProcessState, Protocol};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host, host_with_audited_names};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The output of a tool of the system.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?}"))
}

/// The host side of a call that is granted one part.
fn part(verbs: &'static [&'static str], toml: &str) -> Host {
    let slots: &'static [Slot] = Box::leak(Box::new([("s", verbs, "t")]));
    host(slots, &format!("[targets.t]\n{toml}\n"), Path::new("/"))
}

/// Copies of `sleep` with a name of their own, which end with the test.
struct Sleepers {
    _folder: TempDir,
    program: PathBuf,
    name: String,
    children: Vec<Child>,
}

impl Sleepers {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The kernel keeps 15 bytes of a name, and tests of other processes have other numbers.
        let name = format!("{name}-{}", std::process::id());
        assert!(name.len() <= 15, "{name}");
        let program = folder.path().join(&name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        Self { _folder: folder, program, name, children: Vec::new() }
    }

    fn start(&mut self, arguments: &[&str]) -> u32 {
        let child =
            Command::new(&self.program).args(arguments).stderr(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        self.children.push(child);
        // Until `exec`, it has the name of the test.
        runbook_tests::wait_for("it has its name", || {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.trim_end() == self.name)
        });
        pid
    }

    fn target(&self, more: &str) -> String {
        format!("system = [\"processes\"]\nprocesses = [\"{}\"]\n{more}", self.name)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const PROCESSES: &[&str] = &["system.processes"];

async fn processes(target: &str) -> Result<ProcessList, Fault> {
    let mut host = part(PROCESSES, target);
    HostCall::new(&mut host).processes("s".to_owned(), None).await
}

#[tokio::test]
async fn processors_and_load_are_those_that_the_tools_of_the_system_count() {
    let mut host = part(&["system.cpu"], "system = [\"cpu\"]");
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = Arc::clone(&busy);
    let spinning = std::thread::spawn(move || {
        while flag.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let usage = HostCall::new(&mut host).cpu("s".to_owned(), 1000).await.unwrap();
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    spinning.join().unwrap();
    assert_eq!(u64::from(usage.processors), number(&tool("getconf", &["_NPROCESSORS_ONLN"])));
    let one_of_all = 100.0 / f64::from(usage.processors);
    assert!((one_of_all / 2.0..=100.0).contains(&usage.used_percent), "{usage:?}");
    assert!(usage.wait_percent + usage.used_percent <= 100.1, "{usage:?}");
    let load = HostCall::new(&mut host).load("s".to_owned()).await.unwrap();
    assert_eq!(load.processors, usage.processors);
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    let fifteen: f64 = text.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((load.fifteen - fifteen).abs() < 0.5, "{load:?} {text}");
    for sample in [0, 99, 10_001, u32::MAX] {
        let fault = HostCall::new(&mut host).cpu("s".to_owned(), sample).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Invalid, "{sample}");
    }
}

#[tokio::test]
async fn a_sample_longer_than_the_timeout_of_the_target_is_a_timeout() {
    let mut host = part(&["system.cpu"], "system = [\"cpu\"]\ntimeout = \"200ms\"");
    let fault = HostCall::new(&mut host).cpu("s".to_owned(), 10_000).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "system.timeout"));
}

#[tokio::test]
async fn memory_uptime_and_identity_are_what_the_tools_of_the_system_say() {
    let verbs = &["system.memory", "system.uptime", "system.identity"];
    let mut host = part(verbs, "system = [\"memory\", \"uptime\", \"identity\"]");
    let memory = HostCall::new(&mut host).memory("s".to_owned()).await.unwrap();
    let free = tool("free", &["-b"]);
    let row = |name: &str| -> Vec<u64> {
        let line = free.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(number).collect()
    };
    let (rows, swap) = (row("Mem:"), row("Swap:"));
    assert_eq!((memory.total_bytes, memory.swap_total_bytes), (rows[0], swap[0]));
    // What is available changes all the time.
    assert!(memory.available_bytes.abs_diff(rows[5]) < memory.total_bytes / 4, "{memory:?} {free}");
    let uptime = HostCall::new(&mut host).uptime("s".to_owned()).await.unwrap();
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds = number(text.split('.').next().unwrap());
    assert!(seconds - uptime.seconds < 30, "{uptime:?} {text}");
    let now = jiff::Timestamp::now().as_millisecond();
    let booted_at_ms = i64::try_from(uptime.booted_at_ms).unwrap();
    let since_boot = (now - booted_at_ms) / 1000;
    assert!(since_boot.abs_diff(i64::try_from(seconds).unwrap()) < 60, "{uptime:?}");
    let identity = HostCall::new(&mut host).identity("s".to_owned()).await.unwrap();
    assert_eq!(identity.hostname, tool("uname", &["-n"]).trim());
    assert_eq!(identity.kernel, tool("uname", &["-r"]).trim());
    let release = tool("sh", &["-c", ". /etc/os-release; echo \"$ID|$VERSION_ID|$PRETTY_NAME\""]);
    let told = format!("{}|{}|{}", identity.distribution, identity.version, identity.title);
    assert_eq!(told, release.trim());
    // The kernel numbers the name space that it begins with; every other one is of a container.
    let first = tool("readlink", &["/proc/self/ns/pid"]).trim() == "pid:[4026531836]";
    assert_eq!(identity.in_container, !first);
}

#[tokio::test]
async fn file_systems_are_as_large_as_df_says_and_only_those_of_the_target_are_seen() {
    let mut host = part(&["system.disks"], "system = [\"disks\"]\nmounts = [\"/\", \"/proc\"]");
    let mut disks = async |mount: Option<&str>| {
        HostCall::new(&mut host).disks("s".to_owned(), mount.map(str::to_owned)).await
    };
    let all = disks(None).await.unwrap();
    // `/proc` has no size, and nothing else is let through.
    let mounts: Vec<_> = all.found.iter().map(|one| one.mount.as_str()).collect();
    assert_eq!((mounts, all.count, all.cut), (vec!["/"], 1, false));
    let root = disks(Some("/")).await.unwrap().found.remove(0);
    let df = tool("df", &["-B1", "--output=size,itotal,fstype,source", "/"]);
    let words: Vec<_> = df.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((root.total_bytes, root.inodes), (number(words[0]), number(words[1])));
    assert_eq!((root.kind.as_str(), root.device.as_str()), (words[2], words[3]));
    assert!(root.available_bytes <= root.free_bytes && root.free_bytes < root.total_bytes);
    assert!(!root.read_only);
    assert_eq!(disks(Some("/proc")).await.unwrap().count, 0);
    for elsewhere in ["/dev", "/dev/shm", "", "/../"] {
        assert_eq!(disks(Some(elsewhere)).await.unwrap_err().class, FaultClass::Denied);
    }
}

#[tokio::test]
async fn a_process_is_seen_by_its_name_with_state_age_and_memory() {
    let mut sleepers = Sleepers::new("rb-a");
    let target = sleepers.target("");
    assert_eq!(processes(&target).await.unwrap().count, 0);
    let pid = sleepers.start(&["600"]);
    let stopped = sleepers.start(&["601"]);
    tool("kill", &["-STOP", &stopped.to_string()]);
    let ended = sleepers.start(&["no number"]);
    runbook_tests::wait_for("it has ended", || {
        std::fs::read_to_string(format!("/proc/{ended}/stat")).unwrap().contains(") Z ")
    });
    let found = processes(&target).await.unwrap();
    assert_eq!((found.count, found.cut), (3, false));
    let of = |pid: u32| found.found.iter().find(|one| one.pid == pid).unwrap();
    assert_eq!(of(pid).name, sleepers.name);
    assert_eq!(of(pid).state, ProcessState::Sleeping);
    assert_eq!(of(stopped).state, ProcessState::Stopped);
    assert_eq!((of(ended).state, of(ended).resident_bytes), (ProcessState::Zombie, 0));
    assert!(of(pid).age_s < 60, "{found:?}");
    let resident = number(&tool("ps", &["-o", "rss=", "-p", &pid.to_string()])) * 1024;
    assert!(of(pid).resident_bytes.abs_diff(resident) < 1 << 20, "{found:?} {resident}");
    tool("kill", &["-CONT", &stopped.to_string()]);
    // Threads of the kernel are no processes that somebody started.
    let all = processes("system = [\"processes\"]\nprocesses = [\"*\"]\nmax_rows = 100000").await;
    let all = all.unwrap();
    assert!(all.found.iter().all(|one| one.pid != 2), "pid 2 is `kthreadd`");
    assert!(all.found.iter().any(|one| one.pid == std::process::id()));
}

#[tokio::test]
async fn arguments_are_seen_only_if_the_target_says_so_and_never_with_a_secret() {
    let mut sleepers = Sleepers::new("rb-b");
    // `sleep` adds up its arguments: only the first is a number, so it would end at once.
    sleepers.start(&["600", "0.000000001"]);
    let hidden = processes(&sleepers.target("")).await.unwrap();
    assert_eq!(hidden.found[0].arguments, None);
    let hidden = processes(&sleepers.target("process_arguments = false")).await.unwrap();
    assert_eq!(hidden.found[0].arguments, None);
    let target = sleepers.target("process_arguments = true");
    let shown = processes(&target).await.unwrap();
    let expected = ["600".to_owned(), "0.000000001".to_owned()];
    assert_eq!(shown.found[0].arguments.as_deref(), Some(&expected[..]));
    // `env` keeps its name until it starts the program, so the secret is the argument of a shell.
    let script = sleepers.program.with_file_name("env-of-shell");
    std::fs::copy("/bin/sh", &script).unwrap();
    let mut shell = Command::new(&script)
        .args(["-c", "read line", "s3cr3t-t0ken", "--password=s3cr3t-t0ken"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let toml = "system = [\"processes\"]\nprocesses = [\"env-of-shell\"]\nprocess_arguments = true";
    let mut host = part(PROCESSES, toml);
    host.secret("token").await.unwrap();
    let seen = HostCall::new(&mut host).processes("s".to_owned(), None).await.unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    let text = format!("{seen:?}");
    assert!(text.contains("read line") && !text.contains("s3cr3t"), "{text}");
}

#[tokio::test]
async fn rows_beyond_the_limit_of_the_target_are_left_out_and_that_is_told() {
    let mut sleepers = Sleepers::new("rb-c");
    let pids: Vec<_> = (0..3).map(|_| sleepers.start(&["600"])).collect();
    for limit in [0, 1, 2, 3, 4_usize] {
        let found = processes(&sleepers.target(&format!("max_rows = {limit}"))).await.unwrap();
        let kept = limit.min(3);
        assert_eq!((found.found.len(), found.count, found.cut), (kept, 3, kept < 3), "{limit}");
        // The oldest come first.
        let seen: Vec<_> = found.found.iter().map(|one| one.pid).collect();
        assert_eq!(seen, pids[..kept]);
    }
}

#[tokio::test]
async fn texts_beyond_the_limit_of_the_target_are_left_out_and_that_is_told() {
    let mut sleepers = Sleepers::new("rb-d");
    let long = "1".repeat(300);
    sleepers.start(&["600"]);
    sleepers.start(&["600", &format!("0.{long}")]);
    let of = |more: &str| sleepers.target(&format!("process_arguments = true\n{more}"));
    let whole = processes(&of("")).await.unwrap();
    assert_eq!((whole.found.len(), whole.cut), (2, false));
    let cut = processes(&of("max_bytes = \"200B\"")).await.unwrap();
    assert_eq!((cut.found.len(), cut.count, cut.cut), (1, 2, true));
    let without = processes(&sleepers.target("max_bytes = \"200B\"")).await.unwrap();
    assert_eq!((without.found.len(), without.cut), (2, false));
}

fn listening(found: &ListenerList) -> Vec<(Protocol, &str, Option<&str>)> {
    found
        .found
        .iter()
        .map(|one| (one.protocol, one.address.as_str(), one.process.as_deref()))
        .collect()
}

#[tokio::test]
async fn ports_that_listen_are_seen_and_their_processes_only_if_the_target_names_them() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let tcp6 = TcpListener::bind(format!("[::1]:{port}")).unwrap();
    let udp = UdpSocket::bind(format!("127.0.0.1:{port}")).unwrap();
    // A connection is no listener, and neither is a UDP socket with a peer.
    let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let connected = UdpSocket::bind(format!("127.0.0.2:{port}")).unwrap();
    connected.connect(("127.0.0.1", 9)).unwrap();
    let ports = async |toml: &str, port: Option<u16>| {
        let mut host = part(&["system.ports"], toml);
        HostCall::new(&mut host).ports("s".to_owned(), port).await.unwrap()
    };
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let own = own.trim_end();
    let expected = |name: Option<&'static str>| {
        [
            (Protocol::Tcp, "127.0.0.1", name),
            (Protocol::Tcp, "::1", name),
            (Protocol::Udp, "127.0.0.1", name),
        ]
    };
    let found = ports("system = [\"ports\"]", Some(port)).await;
    assert_eq!(listening(&found), expected(None));
    let other = ports("system = [\"ports\"]\nprocesses = [\"nobody\"]", Some(port)).await;
    assert_eq!(listening(&other), expected(None));
    let toml = format!("system = [\"ports\"]\nprocesses = [\"{own}\"]");
    let named = ports(&toml, Some(port)).await;
    let name: &'static str = Box::leak(own.to_owned().into_boxed_str());
    assert_eq!(listening(&named), expected(Some(name)));
    let all = ports("system = [\"ports\"]\nmax_rows = 100000", None).await;
    assert!(all.found.iter().any(|one| one.port == port));
    let ss = tool("ss", &["-Hltun", &format!("sport = :{port}")]);
    assert_eq!(ss.lines().count(), 3, "{ss}");
    drop((tcp, tcp6, udp));
    assert_eq!(ports("system = [\"ports\"]", Some(port)).await.count, 0);
}

#[tokio::test]
async fn sessions_are_those_that_who_shows_and_an_ended_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (text, file) = (folder.path().join("utmp.txt"), folder.path().join("utmp"));
    let own = std::process::id();
    let entry = |kind: u8, pid: u32, user: &str, line: &str, host: &str| {
        format!(
            "[{kind}] [{pid:05}] [ts/0] [{user:<8}] [{line:<12}] [{host:<20}] [0.0.0.0        ] \
             [2026-03-01T10:20:30,000000+00:00]\n"
        )
    };
    let entries = [
        entry(2, 0, "reboot", "~", "6.1.0"),
        entry(7, own, "anna", "pts/0", "host.example"),
        entry(7, own, "bert", "tty1", ""),
        // No process has this number: it is beyond the largest of Linux.
        entry(7, 4_194_305, "gone", "pts/9", ""),
        entry(8, own, "ended", "pts/8", ""),
    ];
    std::fs::write(&text, entries.concat()).unwrap();
    tool("utmpdump", &["-r", text.to_str().unwrap(), "-o", file.to_str().unwrap()]);
    let found = sessions::read(&file).unwrap();
    let rows: Vec<_> = found
        .iter()
        .map(|one| (one.user.as_str(), one.terminal.as_str(), one.remote.as_deref()))
        .collect();
    assert_eq!(rows, [("anna", "pts/0", Some("host.example")), ("bert", "tty1", None)]);
    assert!(found.iter().all(|one| one.since_ms == 1_772_360_430_000), "{found:?}");
    let who = tool("who", &[file.to_str().unwrap()]);
    let names: Vec<_> = who.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // Of a file that it is given, `who` does not look whether the process runs.
    assert_eq!(names, ["anna", "bert", "gone"], "{who}");
    let missing = sessions::read(&folder.path().join("none")).unwrap_err().into_fault();
    assert_eq!(missing.class, FaultClass::Invalid);
    assert!(missing.message.contains("keeps no list of who is logged in"), "{}", missing.message);
}

#[tokio::test]
async fn what_a_plugin_asks_of_this_machine_is_told_to_the_audit_log() {
    let slots: &[Slot] = &[("s", &["system.disks", "system.processes"], "t")];
    let targets = "[targets.t]\nsystem = [\"disks\", \"processes\"]\nmounts = [\"/\"]\n\
                   processes = [\"nginx\"]\n";
    let told = Arc::<Mutex<Vec<String>>>::default();
    let mut host = host_with_audited_names(slots, targets, &[], &told);
    let slot = || "s".to_owned();
    HostCall::new(&mut host).disks(slot(), None).await.unwrap();
    HostCall::new(&mut host).disks(slot(), Some("/".to_owned())).await.unwrap();
    HostCall::new(&mut host).processes(slot(), Some("nginx".to_owned())).await.unwrap();
    let denied = HostCall::new(&mut host).processes(slot(), Some("sshd".to_owned())).await;
    assert_eq!(denied.unwrap_err().class, FaultClass::Denied);
    let expected = ["allowed ", "allowed mount /", "allowed process nginx", "denied process sshd"];
    assert_eq!(*told.lock().unwrap(), expected);
}
