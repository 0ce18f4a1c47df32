//! The pages about targets: what their examples do to real servers.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use runbook_tests::http::{ReceivedRequest, Receiver};

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
    use std::net::TcpListener;
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
