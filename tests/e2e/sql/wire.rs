//! The database drivers connect as the target says, whatever the environment contains, and no more
//! rows arrive than the limits allow.

use super::with_secret;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Variables that drivers and libraries of PostgreSQL and MySQL read, each with a value that must
/// not be used.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PGPASSWORD", "ambient-word-1"),
    ("PGPASSFILE", "passfile"),
    ("PGOPTIONS", "-c application_name=ambient-word-2"),
    ("PGAPPNAME", "ambient-word-3"),
    ("PGUSER", "ambient-word-4"),
    ("PGDATABASE", "ambient-word-5"),
    ("PGHOST", "ambient-host.invalid"),
    ("PGHOSTADDR", "192.0.2.1"),
    ("PGPORT", "1"),
    ("PGSERVICE", "ambient-word-6"),
    ("PGSSLMODE", "verify-full"),
    ("PGSSLROOTCERT", "/nonexistent/ambient-root.pem"),
    ("PGSSLCERT", "/nonexistent/ambient-cert.pem"),
    ("PGSSLKEY", "/nonexistent/ambient-key.pem"),
    ("PGSERVICEFILE", "/nonexistent/ambient-service"),
    ("PGREQUIRESSL", "1"),
    ("PGCHANNELBINDING", "require"),
    ("PGGSSENCMODE", "require"),
    ("PGKRBSRVNAME", "ambient-word-9"),
    ("PGTARGETSESSIONATTRS", "read-write"),
    ("MYSQL_PWD", "ambient-word-7"),
    ("MYSQL_HOST", "ambient-host.invalid"),
    ("MYSQL_TCP_PORT", "1"),
    ("MYSQL_UNIX_PORT", "/nonexistent/ambient.sock"),
    ("MYSQL_TEST_LOGIN_FILE", "/nonexistent/ambient-login"),
    ("LIBMYSQL_PLUGIN_DIR", "/nonexistent/ambient-plugins"),
    ("LIBMYSQL_ENABLE_CLEARTEXT_PLUGIN", "1"),
    ("DATABASE_URL", "postgres://ambient-word-10@192.0.2.1/x"),
    ("HTTP_PROXY", "http://127.0.0.1:1"),
    ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ("ALL_PROXY", "http://127.0.0.1:1"),
];

fn write_runbook(env: &TestEnv, target: &str, statement: &str) {
    let quoted = serde_json::to_string(statement).expect("text is JSON, and a TOML string");
    env.file(
        "w.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"w\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n[targets.db]\n{target}\n[[preflight]]\nid = \"q\"\n\
                  uses = \"sql:query\"\nbind.db = \"db\"\nwith = {{ statement = {quoted} }}\n"
        ),
    );
}

fn exec(env: &TestEnv, arguments: &[&str]) -> ProgramOutput {
    finish(
        env.command(arguments)
            .envs(ENVIRONMENT.iter().copied())
            .output()
            .expect("the program runs"),
    )
}

/// A server that sends one of `questions` after each message that it gets, and returns all bytes
/// that it was sent.
fn fake_server(questions: Vec<Vec<u8>>) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut told = Vec::new();
        let mut chunk = [0; 4096];
        let mut questions = questions.into_iter();
        loop {
            let length = stream.read(&mut chunk).unwrap_or(0);
            if length == 0 {
                return told;
            }
            told.extend_from_slice(&chunk[..length]);
            if let Some(question) = questions.next() {
                let _ = stream.write_all(&question);
            }
        }
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn no_environment_variable_reaches_a_database_server() {
    let clear_text = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 3];
    let md5 = vec![b'R', 0, 0, 0, 12, 0, 0, 0, 5, 1, 2, 3, 4];
    let sasl = [vec![b'R', 0, 0, 0, 23, 0, 0, 0, 10], b"SCRAM-SHA-256\0\0".to_vec()].concat();
    for question in [clear_text, md5, sasl] {
        let (port, server) = fake_server(vec![question]);
        let env = with_secret("unused");
        write_runbook(
            &env,
            &format!("sql = \"postgres://asker@127.0.0.1:{port}/orders?sslmode=disable\""),
            "select 1",
        );
        env.file("passfile", "*:*:*:*:ambient-word-8\n");
        exec(&env, &["exec", "w.toml"]).status(4).err("the target names none");
        let told = server.join().expect("the server ends");
        let text = String::from_utf8_lossy(&told);
        assert!(text.contains("asker") && text.contains("orders"), "{text:?}");
        assert!(!text.contains("ambient"), "the server was told {text:?}");
        // Who asks for what, and nothing more.
        let length = told.first_chunk().map(|length| u32::from_be_bytes(*length));
        assert_eq!(
            length.map(u64::from),
            Some(told.len() as u64),
            "more was sent than the first message: {text:?}"
        );
    }
}

/// The greeting of a MySQL server without TLS and with this authentication method.
fn greeting(method: &str) -> Vec<u8> {
    // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH and CONNECT_WITH_DB.
    let flags: u32 = 0x0008_8208;
    let [low, high] = [flags & 0xffff, flags >> 16]
        .map(|half| u16::try_from(half).expect("it is a half").to_le_bytes());
    let mut body = vec![10];
    body.extend(b"8.0.30-fake\0");
    body.extend([1, 0, 0, 0]);
    body.extend(b"12345678\0");
    body.extend(low);
    body.push(45);
    body.extend([2, 0]);
    body.extend(high);
    body.push(21);
    body.extend([0; 10]);
    body.extend(b"901234567890\0");
    body.extend(method.as_bytes());
    body.push(0);
    packet(0, &body)
}

/// A packet of MySQL.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("it is short");
    [&[length, 0, 0, number], body].concat()
}

/// A MySQL server that sends a greeting, and answers the first message with `question`.
fn fake_mysql(method: &str, question: Vec<u8>) -> (u16, JoinHandle<Vec<u8>>) {
    let greeting = greeting(method);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let (mut told, mut chunk, mut question) = (Vec::new(), [0; 4096], Some(question));
        let _ = stream.write_all(&greeting);
        loop {
            let length = stream.read(&mut chunk).unwrap_or(0);
            if length == 0 {
                return told;
            }
            told.extend_from_slice(&chunk[..length]);
            if let Some(question) = question.take() {
                let _ = stream.write_all(&question);
            }
        }
    };
    (port, std::thread::spawn(serve))
}

/// The server asks in the greeting or afterwards, and the target has a password or none.
#[test]
fn a_mysql_server_that_asks_for_a_clear_text_password_gets_none() {
    let switch = packet(2, b"\xfemysql_clear_password\0\0");
    for (method, question) in
        [("mysql_clear_password", switch.clone()), ("mysql_native_password", switch)]
    {
        for password in ["", "password = \"secret:word\""] {
            for mode in ["prefer", "disable"] {
                let (port, server) = fake_mysql(method, question.clone());
                let env = with_secret("hunter2hunter2");
                let target = format!(
                    "sql = \"mysql://asker@127.0.0.1:{port}/orders?sslmode={mode}\"\n{password}"
                );
                write_runbook(&env, &target, "select 1");
                exec(&env, &["exec", "w.toml"]).status(4);
                let told = server.join().expect("the server ends");
                let text = String::from_utf8_lossy(&told);
                let case = format!("{method}, `{password}`, {mode}: {text:?}");
                assert!(!text.contains("ambient") && !text.contains("hunter2"), "{case}");
            }
        }
    }
}

#[test]
fn a_postgresql_server_that_asks_for_a_clear_text_password_without_tls_gets_none() {
    for (mode, questions) in [("disable", Vec::new()), ("prefer", vec![b"N".to_vec()])] {
        let clear_text = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 3];
        let (port, server) = fake_server([questions, vec![clear_text]].concat());
        let env = with_secret("hunter2hunter2");
        let target = format!(
            "sql = \"postgres://asker@127.0.0.1:{port}/orders?sslmode={mode}\"\n\
             password = \"secret:word\""
        );
        write_runbook(&env, &target, "select 1");
        exec(&env, &["exec", "w.toml"]).status(4).err("in clear text");
        let told = server.join().expect("the server ends");
        let text = String::from_utf8_lossy(&told);
        assert!(text.contains("asker") && !text.contains("hunter2"), "{mode}: {text:?}");
    }
}

/// [`ENVIRONMENT`] has every variable that the sources of the linked drivers read.
#[test]
fn every_variable_that_a_database_driver_reads_is_tested() {
    // Without the platform, cargo needs the sources of crates for other systems too.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &platform])
        .current_dir(crate::repository())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("cargo prints JSON");
    let mut found = std::collections::BTreeSet::new();
    for package in metadata["packages"].as_array().expect("there are packages") {
        let name = package["name"].as_str().unwrap_or_default();
        if !["sqlx-core", "sqlx-postgres", "sqlx-mysql"].contains(&name) {
            continue;
        }
        let manifest = std::path::Path::new(package["manifest_path"].as_str().expect("a path"));
        let mut folders = vec![manifest.parent().expect("a folder").join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is there") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    found.extend(variables_of(&text));
                }
            }
        }
    }
    // Read while a program is built.
    found.remove("CARGO_MANIFEST_DIR");
    assert!(found.contains("PGPASSWORD"), "the variables are found: {found:?}");
    let tried: Vec<_> = ENVIRONMENT.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = found.iter().filter(|name| !tried.contains(&name.as_str())).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// `var("NAME")` and `var_os("NAME")` in a source.
fn variables_of(text: &str) -> Vec<String> {
    ["var(\"", "var_os(\""]
        .iter()
        .flat_map(|call| text.split(call).skip(1))
        .filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned()))
        .collect()
}

#[test]
fn a_database_is_reached_as_its_target_says_whatever_the_environment_holds() {
    let postgres = Postgres::start(1);
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    write_runbook(
        &env,
        &target,
        "select current_setting('application_name') || current_user || current_database() as who",
    );
    exec(&env, &["exec", "w.toml", "--report", "json=w.json"]).status(0);
    assert!(env.read("w.json").contains("runbookorders_adminorders"), "{}", env.read("w.json"));
}

/// Runs the program, and returns its exit status and its peak memory, in KiB.
fn peak_of(env: &TestEnv, arguments: &[&str]) -> (i32, u64) {
    let mut child = env.spawn(arguments);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let found = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = found.unwrap_or(0).max(peak);
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return (status.code().unwrap_or(-1), peak);
        }
        std::thread::yield_now();
    }
}

/// The size in bytes of a value that must not be held in memory.
const LARGE: usize = 400_000_000;

/// Queries a value of [`LARGE`] bytes, alone and between others, and compares the peak memory with
/// that of a small value. Then the same with a change that returns rows.
fn check_memory_of_large_value(env: &TestEnv, target: &str, value: &str) {
    let target = format!("{target}\nmax_bytes = \"1MiB\"\ntimeout = \"2m\"");
    write_runbook(env, &target, "select 'small'");
    let (code, small) = peak_of(env, &["exec", "w.toml"]);
    assert_eq!(code, 0);
    let between = format!(
        "select 1 as i, 'before' as v union all select 2, {value} union all select 3, \
                 'after' order by i"
    );
    for (statement, before) in [(format!("select {value} as v"), false), (between, true)] {
        write_runbook(env, &target, &statement);
        let (code, large) = peak_of(env, &["exec", "w.toml", "--report", "json=w.json"]);
        let report: serde_json::Value =
            serde_json::from_str(&env.read("w.json")).expect("the report is JSON");
        let output = &report["steps"][0]["output"];
        assert_eq!(
            (code, &output["truncated"]),
            (0, &serde_json::Value::Bool(true)),
            "{statement}: {report}"
        );
        let rows = output["rows"].to_string();
        assert_eq!(
            (rows.contains("before"), rows.contains("after")),
            (before, false),
            "what follows the hole is not told: {rows}"
        );
        assert!(
            large < small + (64 << 10),
            "{statement}: {large} KiB, and {small} KiB for a small value"
        );
    }
    // The rows that a change returns are counted and not kept.
    env.file(
        "e.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"e\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n[targets.db]\n{target}\n[[step]]\nid = \"s\"\n\
                  uses = \"sql:execute\"\nbind.db = \"db\"\n\
                  with = {{ statement = \"select {value}\" }}\nirreversible = \"a test\"\n"
        ),
    );
    let (code, large) = peak_of(env, &["exec", "e.toml", "-y"]);
    assert!(
        code == 0 && large < small + (64 << 10),
        "exit {code}, {large} KiB, and {small} KiB for a small value"
    );
}

#[test]
fn a_value_of_hundreds_of_megabytes_takes_no_more_memory_than_the_target_allows() {
    let postgres = Postgres::start(1);
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    check_memory_of_large_value(&env, &target, &format!("repeat('x', {LARGE})"));
}

#[test]
fn a_value_of_hundreds_of_megabytes_takes_no_more_memory_than_the_target_allows_on_mariadb() {
    let mariadb = MariaDb::start();
    mariadb.sql("set global max_allowed_packet = 1073741824");
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"",
        mariadb.port
    );
    check_memory_of_large_value(&env, &target, &format!("repeat('x', {LARGE})"));
}

#[test]
fn a_value_of_hundreds_of_megabytes_takes_no_more_memory_than_the_target_allows_on_sqlite() {
    let env = with_secret("unused");
    let database =
        rusqlite::Connection::open(env.path().join("large.db")).expect("a database can be made");
    database
        .execute_batch(&format!(
            "create table t (i int, v blob); insert into t values (1, 'before'), (2, \
             zeroblob({LARGE})), (3, 'after')"
        ))
        .expect("it can be filled");
    drop(database);
    let target = "sql = \"sqlite:large.db\"\nmax_bytes = \"1MiB\"\ntimeout = \"2m\"";
    write_runbook(&env, target, "select 'small'");
    let (code, small) = peak_of(&env, &["exec", "w.toml"]);
    assert_eq!(code, 0);
    for statement in [format!("select zeroblob({LARGE})"), "select v from t order by i".to_owned()]
    {
        write_runbook(&env, target, &statement);
        let (code, large) = peak_of(&env, &["exec", "w.toml"]);
        // SQLite refuses such a value, because the host lowers its limit of the length.
        assert_eq!(code, 4, "{statement}");
        assert!(
            large < small + (64 << 10),
            "{statement}: {large} KiB, and {small} KiB for a small value"
        );
    }
}

#[test]
fn the_connection_to_mariadb_is_encrypted_exactly_if_its_target_says_so() {
    let mariadb = MariaDb::start_with_tls();
    let env = with_secret(mariadb::PASSWORD);
    let cipher = "select variable_value <> '' as encrypted from information_schema.session_status \
                  where variable_name = 'Ssl_cipher'";
    let ask = |port: u16, mode: &str| {
        let target = format!(
            "sql = \"mysql://shop@127.0.0.1:{port}/shop?sslmode={mode}\"\n\
                     password = \"secret:word\""
        );
        write_runbook(&env, &target, cipher);
        exec(&env, &["exec", "w.toml", "--report", "json=w.json"])
    };
    for (mode, encrypted) in [("disable", 0), ("prefer", 1), ("require", 1)] {
        ask(mariadb.port, mode).status(0);
        let report: serde_json::Value =
            serde_json::from_str(&env.read("w.json")).expect("the report is JSON");
        assert_eq!(
            report["steps"][0]["output"]["rows"][0]["encrypted"], encrypted,
            "{mode}: {report}"
        );
    }
    // The certificate is self-signed.
    ask(mariadb.port, "verify-full").status(4).err("certificate");
    // The server refuses unencrypted connections.
    mariadb.sql("alter user shop@'127.0.0.1' require ssl");
    ask(mariadb.port, "require").status(0);
    ask(mariadb.port, "disable").status(4);
    let plain = MariaDb::start();
    ask(plain.port, "prefer").status(0);
    ask(plain.port, "require").status(4).err("the server does not encrypt");
}

#[test]
fn a_server_that_is_not_postgresql_is_reported() {
    let (port, server) = fake_server(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]);
    let env = with_secret("unused");
    write_runbook(&env, &format!("sql = \"postgres://asker@127.0.0.1:{port}/orders\""), "select 1");
    env.run(&["exec", "w.toml"]).status(4).err("no PostgreSQL server");
    drop(TcpStream::connect(("127.0.0.1", port)));
    server.join().expect("the server ends");
}
