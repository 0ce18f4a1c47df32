//! Whole-process measurements: start, plan, and a dump of a big database. Run by `scripts/bench`.
//!
//! `RUNBOOK_BENCH_DUMP_MB` sets the size of the database (default 1000).

use runbook_tests::env::TestEnv;
use runbook_tests::postgres::{PASSWORD, Postgres, programs};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_runbook"));
    start(&env);
    plan(&env);
    audit(&env);
    branches(&env);
    kept(&env);
    dump(&env);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn measure(env: &TestEnv, arguments: &[&str], n: usize) -> Duration {
    let once = || {
        let mut command = env.command(arguments);
        let start = Instant::now();
        let status = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the program starts");
        assert!(status.success());
        start.elapsed()
    };
    for _ in 0..5 {
        once();
    }
    median((0..n).map(|_| once()).collect())
}

fn report(what: &str, found: &str, budget: &str) {
    println!("{what:<55} {found:>12}   budget {budget}");
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

fn start(env: &TestEnv) {
    report(
        "runbook --version, median of 200",
        &milliseconds(measure(env, &["--version"], 200)),
        "5 ms",
    );
}

/// 25 steps that use 6 plugins.
fn plan(env: &TestEnv) {
    let mut text = String::from(
        "format = 1\n[runbook]\nname = \"bench\"\n[targets.db]\n\
         sql = \"postgres://a@127.0.0.1:1/b\"\n[targets.file]\nsql = \"sqlite:x.db\"\n\
         [targets.app]\ndocker = { name = \"x\" }\n[targets.api]\nhttp = \"http://127.0.0.1:1\"\n",
    );
    let uses = [
        "postgres:ping\"\nbind.db = \"db",
        "sqlite:integrity-check\"\nbind.db = \"file",
        "docker:status\"\nbind.container = \"app",
        "http:get\"\nbind.target = \"api",
    ];
    for index in 0..23 {
        let _ =
            write!(text, "[[step]]\nid = \"s{index}\"\nuses = \"{}\"\n", uses[index % uses.len()]);
    }
    text.push_str(
        "[[step]]\nid = \"tell\"\nuses = \"webhook:post\"\nbind.webhook = \"api\"\n\
                   with = { text = \"x\" }\nirreversible = \"a message\"\n",
    );
    text.push_str(
        "[[step]]\nid = \"rows\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                   with = { statement = \"select 1\" }\n",
    );
    env.file("plan.toml", &text);
    let found = measure(env, &["plan", "--offline", "plan.toml"], 100);
    report(
        "runbook plan --offline, 25 steps, 6 plugins, median of 100",
        &milliseconds(found),
        "20 ms",
    );
}

/// The access report of 40 runbooks and 15 plugins, within a boundary.
fn audit(env: &TestEnv) {
    let text = std::fs::read_to_string(env.path().join("plan.toml")).expect("`plan` wrote it");
    for index in 0..40 {
        env.file(
            &format!("all/r{index}.toml"),
            &text.replace("name = \"bench\"", &format!("name = \"bench-{index}\"")),
        );
    }
    for index in 0..15 {
        let bundled = &BUNDLED[index % BUNDLED.len()];
        // A custom section more: another digest, another plugin.
        let name = format!("{index:03}");
        let section = [&[0, 4, 3][..], name.as_bytes()].concat();
        std::fs::write(
            env.path().join(format!("all/p{index}.wasm")),
            [bundled.component, &section].concat(),
        )
        .expect("written");
    }
    let rules = ["http", "sql", "docker", "files", "process", "secrets"].map(|capability| {
        let verbs = match capability {
            "http" => "\"get\", \"post\"",
            "sql" => "\"query\"",
            "docker" => "\"inspect\"",
            "files" => "\"read\"",
            "process" => "\"run\"",
            _ => "\"use\"",
        };
        format!("[[allow]]\ncapability = \"{capability}\"\nverbs = [{verbs}]\n")
    });
    env.file("boundary.toml", &format!("format = 1\n{}", rules.concat()));
    let found = measure(env, &["review", "--boundary", "boundary.toml", "all"], 20);
    report("runbook review, 40 runbooks, 15 plugins, median of 20", &milliseconds(found), "1 s");
}

/// A plugin inside the program.
#[derive(Debug)]
pub struct BundledPlugin {
    /// Its name.
    pub name: &'static str,
    /// Its component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// Peak memory of a running child, in KiB.
fn peak(child: &mut Child) -> u64 {
    let mut peak = 0;
    loop {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line
            .and_then(|text| text.trim().trim_end_matches(" kB").trim().parse().ok())
            .unwrap_or(peak)
            .max(peak);
        if child.try_wait().expect("the program runs").is_some() {
            return peak;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// 200 branches at once, each waiting for a server that answers after a second.
fn branches(env: &TestEnv) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_late(stream));
        }
    });
    let mut text = format!(
        "format = 1\n[runbook]\nname = \"branches\"\n[targets.api]\n\
                 http = \"http://127.0.0.1:{port}\"\n"
    );
    for index in 0..200 {
        let _ = write!(
            text,
            "[[step]]\nid = \"s{index}\"\nuses = \"http:get\"\nbind.target = \"api\"\nneeds = []\n"
        );
    }
    env.file("branches.toml", &text);
    let mut times = Vec::new();
    let mut most = 0;
    for _ in 0..3 {
        let start = Instant::now();
        let mut command = env.command(&["exec", "branches.toml"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        most = peak(&mut child).max(most);
        assert!(child.wait().expect("the program ends").success());
        times.push(start.elapsed());
    }
    report("200 branches that wait 1 s each, median of 3", &milliseconds(median(times)), "");
    report("peak memory of runbook in it", &format!("{} MiB", most >> 10), "200 MiB");
}

/// A journal with 100,000 runs, each with all its records, in SQLite and in PostgreSQL.
fn kept(env: &TestEnv) {
    env.file(
        "kept.toml",
        "format = 1\n[runbook]\nname = \"kept\"\n[targets.db]\nsql = \"sqlite:kept.db\"\n\
         create = true\n[[step]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
         with.statement = \"select 1 as n\"\n",
    );
    drop(rusqlite::Connection::open(env.path().join("kept.db")).expect("a database can be made"));
    let copies = |id: &str, like: &str| {
        let numbers = "WITH RECURSIVE numbers(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM \
             numbers WHERE n < 100000)";
        format!(
            "INSERT INTO runs {numbers} SELECT {id}, name, title, operator, environment, \
                 phase, started_ns - n, ended_ns - n, digest, sources, params FROM runs, numbers; \
                 INSERT INTO events {numbers} SELECT {id}, seq, at_ns, event FROM events, numbers \
                 WHERE events.run NOT LIKE '{like}';"
        )
    };
    let measure_both = |name: &str, journal: &str| {
        let runs = measure(env, &["--journal", journal, "runs"], 50);
        report(
            &format!("runbook runs, 100,000 runs in {name}, median of 50"),
            &milliseconds(runs),
            "50 ms",
        );
        let show = measure(env, &["--journal", journal, "show", "0000c350-0000"], 50);
        report(
            &format!("runbook show, 100,000 runs in {name}, median of 50"),
            &milliseconds(show),
            "50 ms",
        );
    };
    let file = env.path().join("kept-runs.db").display().to_string();
    env.run(&["--journal", &file, "exec", "kept.toml"]).status(0);
    let sqlite = rusqlite::Connection::open(&file).expect("the journal is there");
    let made = copies("printf('%08x-0000-7000-8000-%012x', n, n)", "0000%");
    sqlite
        .execute_batch(&format!("BEGIN; {made} COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"))
        .expect("good SQL");
    drop(sqlite);
    measure_both("SQLite", &file);
    let postgres = Postgres::start(1);
    let url = postgres.database("kept");
    env.run(&["--journal", &url, "exec", "kept.toml"]).status(0);
    postgres.psql(
        "kept",
        &copies(
            "lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0')",
            "0000%",
        ),
    );
    postgres.psql("kept", "ANALYZE");
    measure_both("PostgreSQL", &url);
}

fn answer_late(mut stream: std::net::TcpStream) {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request);
    std::thread::sleep(Duration::from_secs(1));
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}

fn dump(env: &TestEnv) {
    let megabytes: u32 = std::env::var("RUNBOOK_BENCH_DUMP_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000);
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        &format!(
            "create table big as select i, md5(i::text) || md5((i * 7)::text) as a, \
                  repeat(md5((i % 1000)::text), 28) as b from generate_series(1, {megabytes} * \
                  1000) i; alter table big owner to orders_admin"
        ),
    );
    let size = postgres.psql("orders", "select pg_size_pretty(pg_database_size('orders'))");
    let pg_dump = programs().join("pg_dump");
    let shell = format!(
        "'{}' --format=plain --no-password -d orders | zstd -q -3 -o reference.sql.zst -f",
        pg_dump.display()
    );
    let reference = || {
        let mut command = Command::new("sh");
        command.args(["-c", &shell]).current_dir(env.path());
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", postgres.port.to_string())
            .env("PGUSER", "orders_admin")
            .env("PGPASSWORD", PASSWORD);
        let start = Instant::now();
        assert!(command.status().expect("sh runs").success());
        start.elapsed()
    };
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#db"], PASSWORD).status(0);
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    env.file(
        "dump.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"dump\"\n[secrets.db]\nsource = \"age:s.age#db\"\n\
             [targets.db]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\n\
             password = \"secret:db\"\n[targets.program]\nprocess = \"{}\"\n\
             arguments = [\"--format=plain\", \"--no-password\"]\nconnection = \"db\"\n\
             [targets.out]\nfiles = \"out\"\naccess = \"write\"\n[[step]]\nid = \"dump\"\n\
             uses = \"postgres:dump\"\n\
             bind = {{ db = \"db\", program = \"program\", directory = \"out\" }}\n\
             with = {{ file = \"{{{{ run.id }}}}.sql.zst\" }}\nirreversible = \"adds a file\"\n\
             timeout = \"20m\"\n",
            postgres.port,
            pg_dump.display()
        ),
    );
    let ours = || {
        let mut command = env.command(&["exec", "dump.toml"]);
        let start = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let peak = peak(&mut child);
        assert!(child.wait().expect("the program ends").success());
        (start.elapsed(), peak)
    };
    // In turns, so that both see the same caches.
    let (mut references, mut times, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        references.push(reference());
        let (time, peak) = ours();
        times.push(time);
        peaks.push(peak);
    }
    let (reference, time) = (median(references), median(times));
    report(
        &format!("dump of {size}: pg_dump | zstd -3, median of 3"),
        &milliseconds(reference),
        "",
    );
    report(
        "dump of the same: runbook exec, median of 3",
        &milliseconds(time),
        &milliseconds(reference.mul_f64(1.15)),
    );
    let peak = peaks.into_iter().max().unwrap_or(0);
    report("peak memory of runbook in it", &format!("{} MiB", peak >> 10), "80 MiB");
}
