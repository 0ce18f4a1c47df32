//! The pages about targets: what their examples do to real servers.

use crate::{home, repository};
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::env::TestEnv;
use runbook_tests::http::{ReceivedRequest, Receiver};
use runbook_tests::postgres::{PASSWORD, Postgres};
use runbook_tests::proxy::{self, Tinyproxy};
use runbook_tests::ssh::{Agent, KeyFile, Sshd};
use std::net::TcpListener;

/// The examples of a page, as files.
fn examples(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("docs/targets").join(page))
        .unwrap_or_else(|error| panic!("{page}: {error}"));
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// A folder whose store has these secrets.
fn with_secrets(names: &[&str]) -> TestEnv {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    for name in names {
        let value = format!("value-of-{name}");
        env.run_with_input(&["secret", "set", &format!("prod.age#{name}")], &value).status(0);
    }
    env
}

fn header<'a>(request: &'a ReceivedRequest, name: &str) -> Option<&'a str> {
    let parted = request.headers.iter().filter_map(|line| line.split_once(": "));
    parted.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

#[test]
fn the_examples_of_http_targets_reach_servers_as_the_page_says_and_show_no_secret() {
    let examples = examples("http.md");
    assert_eq!(examples.len(), 5);
    let names = ["orders-token", "aws-key", "aws-session", "announcer"];
    let env = with_secrets(&names);
    let issued = r#"{"access_token":"issued-token","token_type":"Bearer","expires_in":600}"#;
    let (server, tokens) = (Receiver::start(), Receiver::start_with_response("200 OK", issued));
    let here = |receiver: &Receiver| format!("http://127.0.0.1:{}", receiver.port);
    for example in &examples[..3] {
        let local = [
            "https://orders.example",
            "https://a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "https://status.example",
        ]
        .iter()
        .fold(example.clone(), |text, base| text.replace(base, &here(&server)))
        .replace("https://login.example", &here(&tokens));
        assert!(!local.contains("https://"), "{local}");
        env.file("r.toml", &local);
        let shown = env.run(&["exec", "r.toml", "--yes"]).status(0);
        for name in names {
            assert!(!shown.stdout.contains(&format!("value-of-{name}")), "{}", shown.stdout);
        }
        assert!(!shown.stdout.contains("issued-token"), "{}", shown.stdout);
        let review = env.run(&["review", "r.toml"]).stdout;
        assert!(review.contains("authorization: "), "{review}");
    }
    let requests = server.received();
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(lines, ["GET /health", "POST /prod/drain", "POST /api/incidents"]);
    let bodies: Vec<_> = requests.iter().map(|request| request.body.as_str()).collect();
    assert_eq!(bodies, ["", "{}", r#"{"text":"we look into it"}"#]);
    let authorizations: Vec<_> =
        requests.iter().map(|request| header(request, "authorization").unwrap_or("none")).collect();
    assert_eq!(authorizations[0], "Bearer value-of-orders-token");
    let signed = "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/";
    assert!(authorizations[1].starts_with(signed), "{}", authorizations[1]);
    assert_eq!(header(&requests[1], "x-amz-security-token"), Some("value-of-aws-session"));
    assert!(!format!("{:?}", requests[1]).contains("value-of-aws-key"), "{:?}", requests[1]);
    assert_eq!(authorizations[2], "Bearer issued-token");
    let asked = tokens.received();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "grant_type=client_credentials&scope=incidents%3Awrite");
}

/// A server that gives this answer to every connection of a listener, and what it was asked.
fn answering<S: std::io::Read + std::io::Write>(
    connections: impl Iterator<Item = S> + Send + 'static,
    answer: String,
) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in connections {
            let mut request = vec![0; 10_000];
            let length = stream.read(&mut request).unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            kept.lock().expect("no panic").push(text);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    asked
}

fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 2\r\nConnection: close\r\n\r\nok")
}

#[test]
fn the_examples_of_a_socket_and_of_another_origin_do_what_the_page_says() {
    use std::os::unix::net::UnixListener;
    let examples = examples("http.md");
    let env = home();
    let socket = env.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let asked = answering(
        std::iter::from_fn(move || listener.accept().ok().map(|(stream, _)| stream)),
        response("200 OK", "Set-Cookie: session=of-the-admin\r\n"),
    );
    let here = socket.display().to_string();
    env.file("socket.toml", &examples[3].replace("/run/orders/admin.sock", &here));
    let shown = env.run(&["exec", "socket.toml", "--yes"]).status(0);
    let journal = env.run(&["show", &env.newest_run(), "--format", "jsonl"]).status(0).stdout;
    assert!(!(shown.stdout + &journal).contains("of-the-admin"), "{journal}");
    let asked = asked.lock().expect("no panic").clone();
    assert!(asked[0].starts_with("GET /status HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].to_lowercase().contains("host: orders\r\n"), "{asked:?}");
    let review = env.run(&["review", "socket.toml"]).stdout;
    assert!(review.contains(&format!("through the socket {here}")), "{review}");

    let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (releases, files) = (tcp(), tcp());
    let url = |listener: &TcpListener| {
        format!("http://{}", listener.local_addr().expect("a bound listener"))
    };
    let (releases_url, files_url) = (url(&releases), url(&files));
    let moved = response("302 Found", &format!("Location: {files_url}/v2.tar\r\n"));
    let connections = |listener: TcpListener| {
        std::iter::from_fn(move || listener.accept().ok().map(|(stream, _)| stream))
    };
    answering(connections(releases), moved);
    let fetched = answering(connections(files), response("200 OK", ""));
    let local = examples[4]
        .replace("https://releases.example", &releases_url)
        .replace("https://files.example", &files_url);
    env.file("origins.toml", &local);
    env.run(&["exec", "origins.toml", "--yes"]).status(0);
    let fetched = fetched.lock().expect("no panic").clone();
    assert!(fetched.len() == 1 && fetched[0].starts_with("GET /v2.tar HTTP/1.1"), "{fetched:?}");
    let id = env.newest_run();
    env.run(&["audit", "show", &id]).status(0).out("redirect 1 to http://127.0.0.1/v2.tar");
}

#[test]
fn the_examples_of_sources_read_their_secrets_as_the_page_says() {
    use runbook_tests::vault::{Behavior, SECRET_ID, VaultServer};
    use std::os::unix::fs::PermissionsExt as _;
    let examples = examples("secrets.md");
    let env = home();
    let private = |name: &str, text: &str| {
        let path = env.file(name, text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .expect("a file of our own");
    };
    for name in ["key.txt", "prod.yaml"] {
        let text = std::fs::read_to_string(repository().join("tests/sops").join(name));
        private(name, &text.expect("it is in the repository"));
    }
    private("creds/orders-token", "of-systemd\n");
    private("creds/vault-secret-id", SECRET_ID);
    let pass = env.script("pass", "test \"$*\" = 'show orders/token' && echo of-the-program");
    let vault = VaultServer::start("of-vault", Behavior::Unsealed);
    let values = [
        "of-systemd",
        "token-of-the-yaml-file",
        "of-the-program",
        "of-vault",
        "of-the-environment",
    ];
    assert_eq!(examples.len(), values.len());
    for (example, value) in examples.iter().zip(values) {
        let server = Receiver::start();
        let local = example
            .replace("https://orders.example", &format!("http://127.0.0.1:{}", server.port))
            .replace("https://vault.example", &format!("http://127.0.0.1:{}", vault.port))
            .replace("/usr/bin/pass", &pass.display().to_string());
        assert!(!local.contains("https://"), "{local}");
        env.file("r.toml", &local);
        let mut command = env.command(&["--identity", "key.txt", "exec", "r.toml"]);
        command
            .env("CREDENTIALS_DIRECTORY", env.path().join("creds"))
            .env("ORDERS_TOKEN", "of-the-environment");
        let done = runbook_tests::env::finish(command.output().expect("the program starts"));
        assert_eq!(done.status, 0, "{value}: {}{}", done.stdout, done.stderr);
        let received = server.received();
        let sent = header(&received[0], "authorization");
        assert_eq!(sent, Some(format!("Bearer {value}").as_str()), "{value}");
    }
}

#[test]
fn the_examples_of_ssh_targets_reach_servers_through_a_real_sshd() {
    let examples = examples("ssh.md");
    assert_eq!(examples.len(), 3);
    let (sshd, postgres, server) = (Sshd::start(""), Postgres::start(3), Receiver::start());
    let mail = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let mail_port = mail.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in mail.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"220 ready\r\n");
        }
    });
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#bastion-key"], &sshd.client_key).status(0);
    env.run_with_input(&["secret", "set", "prod.age#orders-db"], PASSWORD).status(0);
    let known = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key());
    env.file("known_hosts", &known);
    let key = KeyFile::create(sshd.folder(), "agent-key", "ed25519", "");
    sshd.accept(&key);
    let agent = Agent::start(&key);
    for (example, shown) in examples.iter().zip(["200", "greets", "orders = 3"]) {
        let local = [
            ("bastion.example:22", format!("127.0.0.1:{}", sshd.port)),
            ("\"ops\"", format!("\"{}\"", sshd.user)),
            ("SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDCqJrNqDSBXC4DGAc", sshd.fingerprint()),
            ("/run/user/1000/agent", agent.socket().display().to_string()),
            ("10.20.0.7:8080", format!("127.0.0.1:{}", server.port)),
            ("10.20.0.25", "127.0.0.1".to_owned()),
            ("[25]", format!("[{mail_port}]")),
            ("10.20.0.9:5432", format!("127.0.0.1:{}", postgres.port)),
        ]
        .iter()
        .fold(example.clone(), |text, (from, to)| text.replace(from, to));
        assert!(!local.contains("10.20."), "{local}");
        env.file("r.toml", &local);
        let before = sshd.logins();
        let command = if local.contains("[[check]]") {
            ["check", "r.toml"].as_slice()
        } else {
            &["exec", "r.toml", "--yes"]
        };
        let run = env.run(command).status(0);
        assert!(run.stdout.contains(shown), "{}", run.stdout);
        assert!(sshd.logins() > before, "{}", sshd.log());
        let review = env.run(&["review", "r.toml"]).stdout;
        // A sentence is wrapped to the width of the terminal.
        let words: Vec<_> = review.split_whitespace().collect();
        let through = format!("through ssh {}@127.0.0.1:{}", sshd.user, sshd.port);
        assert!(words.join(" ").contains(&through), "{review}");
    }
}

/// Takes TLS for the proxy at this port: what is decrypted goes there.
fn with_tls(authority: &CertificateAuthority, to: u16) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let issued = authority.server("127.0.0.1");
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound listener").port();
    listener.set_nonblocking(true).expect("a socket");
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await;
                if let Ok(mut far) = far {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(serve);
    });
    port
}

#[test]
fn the_examples_of_proxy_targets_reach_servers_through_a_real_proxy() {
    let examples = examples("proxy.md");
    assert_eq!(examples.len(), 3);
    let (plain, asking) = (Tinyproxy::start(""), Tinyproxy::start_with_login());
    let (postgres, server) = (Postgres::start(3), Receiver::start());
    let mail = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let mail_port = mail.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in mail.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"220 ready\r\n");
        }
    });
    let authority = CertificateAuthority::new("proxies");
    let tls_port = with_tls(&authority, asking.port);
    let env = home();
    env.file("proxy-ca.pem", &authority.certificate());
    env.run(&["secret", "keygen"]).status(0);
    let word = |name: &str, value: &str| {
        env.run_with_input(&["secret", "set", &format!("prod.age#{name}")], value).status(0);
    };
    word("proxy-word", proxy::PASSWORD);
    word("orders-db", PASSWORD);
    // Nobody listens to what the environment says.
    let ignored = Receiver::start();
    let variable = format!("http://127.0.0.1:{}", ignored.port);
    for (example, (shown, used)) in
        examples.iter().zip([("200", &plain), ("greets", &asking), ("orders = 3", &plain)])
    {
        let local = [
            ("http://proxy.example:3128", format!("http://127.0.0.1:{}", plain.port)),
            ("https://proxy.example:3129", format!("https://127.0.0.1:{tls_port}")),
            ("10.20.0.7:8080", format!("127.0.0.1:{}", server.port)),
            ("10.20.0.25", "127.0.0.1".to_owned()),
            ("[25]", format!("[{mail_port}]")),
            ("10.20.0.9:5432", format!("127.0.0.1:{}", postgres.port)),
        ]
        .iter()
        .fold(example.clone(), |text, (from, to)| text.replace(from, to));
        assert!(!local.contains("10.20.") && !local.contains("proxy.example"), "{local}");
        env.file("r.toml", &local);
        let before = used.requests().len();
        let command = if local.contains("[[check]]") {
            ["check", "r.toml"].as_slice()
        } else {
            &["exec", "r.toml", "--yes"]
        };
        let mut command = env.command(command);
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"] {
            command.env(name, &variable);
        }
        command.env("NO_PROXY", "127.0.0.1,localhost,*").env("no_proxy", "*");
        let run = runbook_tests::env::finish(command.output().expect("the program starts"));
        assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(shown), "{}", run.stdout);
        assert!(used.requests().len() > before, "{}", used.log());
        let review = env.run(&["review", "r.toml"]).stdout;
        let words: Vec<_> = review.split_whitespace().collect();
        assert!(words.join(" ").contains("through proxy http"), "{review}");
    }
    assert!(ignored.received().is_empty(), "a variable has led somewhere");
    let asked = [plain.requests(), asking.requests()].concat();
    assert!(asked.iter().all(|line| line.starts_with("CONNECT 127.0.0.1:")), "{asked:?}");
}

#[test]
fn the_examples_of_files_look_replace_and_remove_as_the_page_says() {
    use std::time::{Duration, SystemTime};
    let examples = examples("files.md");
    assert_eq!(examples.len(), 3);
    let env = home();
    let write = |path: &str, content: &str, days: u64| {
        let path = env.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(&path, content).expect("a file");
        let time = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        let file = std::fs::File::options().write(true).open(path).expect("the file");
        file.set_modified(time).expect("its time");
    };
    for days in [0, 1, 5, 40, 41] {
        write(&format!("dumps/orders-{days}.sql.zst"), "a small dump", days);
    }
    write("logs/orders.log", "2020-01-01T00:00:00Z ERROR long ago\n", 0);
    write("config/limits.toml", "connections = 100\n", 0);
    env.file("look.toml", &examples[0]);
    env.run(&["check", "look.toml"]).status(0);
    env.file("change.toml", &examples[1]);
    let plan = env.run(&["plan", "change.toml"]).status(0).stdout;
    assert!(plan.contains("+connections = 200"), "{plan}");
    env.run(&["exec", "change.toml", "--yes"]).status(0);
    env.run(&["undo", &env.newest_run(), "--yes"]).status(0);
    let text = std::fs::read_to_string(env.path().join("config/limits.toml")).expect("the file");
    assert_eq!(text, "connections = 100\n");
    env.file("remove.toml", &examples[2]);
    env.run(&["exec", "remove.toml", "--yes"]).status(0);
    let is_there = |days: u64| env.path().join(format!("dumps/orders-{days}.sql.zst")).exists();
    assert_eq!([0, 1, 5, 40, 41].map(is_there), [true, true, true, false, false]);
}
