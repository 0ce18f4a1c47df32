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
    assert_eq!(examples.len(), 3);
    let names = ["orders-token", "aws-key", "aws-session", "announcer"];
    let env = with_secrets(&names);
    let issued = r#"{"access_token":"issued-token","token_type":"Bearer","expires_in":600}"#;
    let (server, tokens) = (Receiver::start(), Receiver::start_with_response("200 OK", issued));
    let here = |receiver: &Receiver| format!("http://127.0.0.1:{}", receiver.port);
    for example in &examples {
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
