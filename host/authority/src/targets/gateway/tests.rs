use super::*;
use crate::targets::{HostKeys, Targets};
use runbook_document::{Diagnostics, Value};
use std::collections::BTreeSet;
use std::path::Path;

const FINGERPRINT: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A key that was made for this test, and its fingerprint as `ssh-keygen -lf` prints it.
const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFM5OqOh2/mQpKTgKhMBQjwM5tXO1U8hPAqXGWhtb3Tt";

fn read(targets: &str) -> (Targets, Diagnostics) {
    let source = Source::new("r.toml", targets);
    let mut diagnostics = Diagnostics::default();
    let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
    let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
        panic!("targets")
    };
    let folder = Folder::without_links(Path::new("/base")).expect("absolute");
    let mut read = Targets::default();
    read.read(&source, table, folder, &mut diagnostics);
    (read, diagnostics)
}

/// The errors of targets, as `code message`.
fn errors(targets: &str) -> Vec<String> {
    let (read, mut diagnostics) = read(targets);
    if !diagnostics.has_errors() {
        read.check_references(&["k", "p"], &BTreeSet::new(), &mut diagnostics);
    }
    diagnostics.iter().map(|found| format!("{} {}", found.code, found.message)).collect()
}

fn bastion(lines: &str) -> String {
    let mut table = String::from("[targets.b]\n");
    for (key, line) in [
        ("ssh", "ssh = \"bastion.internal\""),
        ("user", "user = \"ops\""),
        ("host_key", &format!("host_key = \"{FINGERPRINT}\"")),
        ("key", "key = \"secret:k\""),
    ] {
        let replaces = |replacing: &str| lines.lines().any(|line| line.starts_with(replacing));
        let is_replaced = replaces(&format!("{key} ="))
            || replaces(&format!("no {key}"))
            || (key == "host_key" && replaces("known_hosts ="))
            || (key == "key" && replaces("agent ="));
        if !is_replaced {
            table += line;
            table += "\n";
        }
    }
    for line in lines.lines().filter(|line| !line.starts_with("no ")) {
        table += line;
        table += "\n";
    }
    table
}

fn ssh(lines: &str) -> SshGateway {
    let (targets, diagnostics) = read(&bastion(lines));
    assert!(!diagnostics.has_errors(), "{lines}: {diagnostics:?}");
    let GatewayKind::Ssh(ssh) = targets.gateway("b").expect("a gateway").kind.clone() else {
        panic!("an ssh target: {lines}")
    };
    ssh
}

#[test]
fn each_mistake_in_an_ssh_target_is_an_error() {
    assert_eq!(errors(&bastion("")), Vec::<String>::new());
    for (lines, expected) in [
        ("no user", "E0202 target `b` has no `user`"),
        ("no host_key", "E0108 an ssh target must have one of `host_key` and `known_hosts`"),
        ("no key", "E0108 an ssh target must have one of `key` and `agent`"),
        ("ssh = \"ssh://b\"", "E0103 `ssh://b` is not the address"),
        ("ssh = \"ops@b\"", "E0103 `ops@b` is not the address"),
        ("ssh = \"b:0\"", "E0103"),
        ("ssh = \"b:22x\"", "E0103"),
        ("ssh = \"fd00::5\"", "E0103"),
        ("ssh = \"\"", "E0103"),
        ("user = \"\"", "E0103"),
        ("user = \"a b\"", "E0103"),
        ("host_key = \"SHA256:AAAA\"", "E0103 `host_key` must be a public key"),
        ("host_key = \"MD5:00:11\"", "E0103"),
        ("host_key = \"ssh-dss AAAA\"", "E0103"),
        ("host_key = \"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIFM5\"", "E0103"),
        ("host_key = []", "E0103"),
        ("host_key = 1", "E0103"),
        ("key = \"/home/me/.ssh/id_ed25519\"", "E0103 `key` must be `secret:NAME`"),
        ("key = \"secret:unknown\"", "E0104 target `b` uses secret `unknown`"),
        ("passphrase = \"hunter2\"", "E0103 `passphrase` must be `secret:NAME`"),
        ("agent = \"agent.sock\"", "E0103 `agent` must be the absolute path"),
        ("agent = \"/a\"\nkey = \"secret:k\"", "E0108 an ssh target has one of `key` and `agent`"),
        ("agent = \"/a\"\npassphrase = \"secret:p\"", "E0108 `passphrase` needs `key`"),
        ("addresses = [\"public\", \"nearby\"]", "E0103"),
        ("via = \"b\"", "E0204"),
        ("verbs = [\"get\"]", "E0204"),
        ("forward_agent = true", "E0204"),
    ] {
        let found = errors(&bastion(lines));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:?}");
    }
    let both = format!("known_hosts = \"k\"\nhost_key = \"{FINGERPRINT}\"");
    assert!(errors(&bastion(&both))[0].contains("one of `host_key` and `known_hosts`"));
}

#[test]
fn a_server_has_a_port_and_an_ipv6_address_brackets() {
    for (written, host, port, described) in [
        ("Bastion.internal", "bastion.internal", 22, "ssh ops@bastion.internal:22"),
        ("10.0.0.5:2222", "10.0.0.5", 2222, "ssh ops@10.0.0.5:2222"),
        ("[fd00::5]", "fd00::5", 22, "ssh ops@[fd00::5]:22"),
        ("[fd00::5]:2222", "fd00::5", 2222, "ssh ops@[fd00::5]:2222"),
    ] {
        let read = ssh(&format!("ssh = \"{written}\""));
        assert_eq!((read.host.as_str(), read.port), (host, port));
        assert_eq!(read.describe(), described);
    }
}

#[test]
fn a_public_key_and_its_fingerprint_are_the_same_host_key() {
    let HostKeys::Listed(keys) = ssh(&format!("host_key = \"{PUBLIC_KEY} a comment\"")).host_keys
    else {
        panic!("listed")
    };
    assert_eq!(keys[0].key_type.as_deref(), Some("ssh-ed25519"));
    let HostKeys::Listed(by_fingerprint) =
        ssh(&format!("host_key = [\"{}\", \"{FINGERPRINT}\"]", keys[0].fingerprint)).host_keys
    else {
        panic!("listed")
    };
    assert_eq!(by_fingerprint[0].fingerprint, keys[0].fingerprint);
    assert_eq!((by_fingerprint.len(), by_fingerprint[0].key_type.as_deref()), (2, None));
}

/// What is not compared in a lockfile could be changed without a review.
#[test]
fn the_identity_has_the_trusted_keys_the_file_of_them_and_the_agent() {
    let identity = |lines: &str| {
        let (targets, _) = read(&bastion(lines));
        targets.gateway("b").expect("a gateway").identity(PathView::OnThisHost)
    };
    let server = "ssh ops@bastion.internal:22 with";
    assert_eq!(identity(""), format!("{server} host key {FINGERPRINT}"));
    assert_eq!(identity("known_hosts = \"known\""), format!("{server} known_hosts /base/known"));
    assert_eq!(
        identity("agent = \"/run/agent\""),
        format!("{server} host key {FINGERPRINT} and agent /run/agent")
    );
    let secrets = |lines: &str| {
        let (targets, _) = read(&bastion(lines));
        targets.gateway("b").expect("a gateway").secrets().join(" ")
    };
    assert_eq!(secrets("passphrase = \"secret:p\""), "k p");
    assert_eq!(secrets("agent = \"/run/agent\""), "");
}

#[test]
fn each_mistake_with_via_is_an_error_and_each_kind_over_a_network_may_have_it() {
    let http = "http = \"https://api.internal\"";
    let net = "net = \"h\"\nports = [25]";
    let redis = "redis = \"h\"";
    for target in [http, "sql = \"postgres://a@h/d\"", net, redis, "http = \"secret:k\""] {
        for more in ["", "remote_dns = true", "remote_dns = false\naddresses = [\"private\"]"] {
            let text = format!("{}[targets.t]\n{target}\nvia = \"b\"\n{more}\n", bastion(""));
            assert_eq!(errors(&text), Vec::<String>::new(), "{text}");
        }
    }
    for (target, expected) in [
        (format!("{http}\nvia = \"c\""), "E0105 target `t` is reached through `c`"),
        (format!("{http}\nvia = \"t\""), "E0105 target `t` is reached through `t`"),
        (format!("{http}\nremote_dns = true"), "E0108 `remote_dns` needs `via`"),
        (
            format!("{http}\nvia = \"b\"\nremote_dns = true\naddresses = [\"private\"]"),
            "E0108 `addresses` has no effect with `remote_dns`",
        ),
        (
            "http = \"http://10.0.0.1\"\nvia = \"b\"\nremote_dns = true".to_owned(),
            "E0108 `remote_dns` has no effect here: `10.0.0.1` is an address",
        ),
        ("sql = \"sqlite:x.db\"\nvia = \"b\"".to_owned(), "E0108 `via` has no effect here"),
        ("sql = \"postgres://a@x/d?host=/run\"\nvia = \"b\"".to_owned(), "E0108 `via` has no"),
        ("net = \"h\"\nvia = \"b\"".to_owned(), "E0108 `via` has no effect here: without `ports`"),
        (format!("{net}\nvia = \"b\"\nnames = [\"a.b\"]"), "E0108 `names` is about lookups"),
        (format!("{net}\nvia = \"b\"\nresolver = \"10.0.0.53\""), "E0108 `resolver` is about"),
        (format!("{net}\nvia = \"b\"\nverbs = [\"lookup\"]"), "E0108 `lookup` has no effect"),
        ("files = \"x\"\nvia = \"b\"".to_owned(), "E0204"),
        ("process = \"/bin/x\"\nvia = \"b\"".to_owned(), "E0204"),
        ("secret = \"k\"\nvia = \"b\"".to_owned(), "E0204"),
        (format!("{http}\nssh = \"b\""), "E0101 target `t` must have exactly one of"),
    ] {
        let found = errors(&format!("{}[targets.t]\n{target}\n", bastion("")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{target}: {found:?}");
    }
}

#[test]
fn a_program_is_not_given_a_connection_that_goes_through_a_gateway() {
    let text = format!(
        "{}[targets.db]\nsql = \"postgres://a@h/d\"\nvia = \"b\"\n\
         [targets.t]\nprocess = \"/bin/x\"\nconnection = \"db\"\n",
        bastion("")
    );
    let found = errors(&text);
    assert!(found.len() == 1 && found[0].contains("a program connects by itself"), "{found:?}");
}

/// The file of an environment replaces targets by name.
#[test]
fn a_name_is_a_target_or_a_gateway_whichever_was_read_last() {
    let (mut targets, _) = read(&bastion(""));
    assert!(targets.gateway("b").is_some() && targets.get("b").is_none());
    for (text, is_gateway) in
        [("[targets.b]\nhttp = \"https://h\"\n".to_owned(), false), (bastion(""), true)]
    {
        let source = Source::new("targets.prod.toml", text);
        let mut diagnostics = Diagnostics::default();
        let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
        let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
            panic!("targets")
        };
        let folder = Folder::without_links(Path::new("/base")).expect("absolute");
        targets.read(&source, table, folder, &mut diagnostics);
        assert_eq!(targets.gateway("b").is_some(), is_gateway);
        assert_eq!(targets.get("b").is_some(), !is_gateway);
    }
}

fn proxy(lines: &str) -> String {
    let url =
        if lines.starts_with("proxy =") { "" } else { "proxy = \"https://proxy.internal:3129\"\n" };
    format!("[targets.b]\n{url}{lines}\n")
}

#[test]
fn each_mistake_in_a_proxy_target_is_an_error() {
    let login = "user = \"u\"\npassword = \"secret:p\"";
    let client = "ca = \"ca.pem\"\nclient_cert = \"c.pem\"\nclient_key = \"secret:k\"";
    for lines in ["", login, client, "proxy = \"http://10.0.0.6:3128\"\ntimeout = \"1s\""] {
        assert_eq!(errors(&proxy(lines)), Vec::<String>::new(), "{lines}");
    }
    let plain = "proxy = \"http://h:1\"";
    for (lines, expected) in [
        ("proxy = \"proxy.internal:3128\"".to_owned(), "E0103 this is not the address"),
        ("proxy = \"http://proxy.internal\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://proxy.internal:0\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://proxy.internal:x\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://u:word@proxy.internal:3128\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://@proxy.internal:3128\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://proxy.internal:3128/path\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://proxy.internal:3128/?q\"".to_owned(), "E0103 this is not"),
        ("proxy = \"http://proxy.internal:3128/#f\"".to_owned(), "E0103 this is not"),
        ("proxy = \"socks5://proxy.internal:1080\"".to_owned(), "E0103 this is not"),
        ("proxy = \"\"".to_owned(), "E0103 this is not"),
        ("user = \"u\"".to_owned(), "E0108 `user` needs `password`"),
        ("password = \"secret:p\"".to_owned(), "E0108 `password` needs `user`"),
        ("user = \"u\"\npassword = \"word\"".to_owned(), "E0103 a password must be"),
        ("user = \"a:b\"\npassword = \"secret:p\"".to_owned(), "E0103 `a:b` is not the name"),
        ("user = \"\"\npassword = \"secret:p\"".to_owned(), "E0103"),
        ("user = \"u\"\npassword = \"secret:unknown\"".to_owned(), "E0104"),
        (format!("{plain}\nca = \"ca.pem\""), "E0108 `ca` has no effect"),
        ("client_cert = \"c.pem\"".to_owned(), "E0108"),
        ("addresses = [\"nearby\"]".to_owned(), "E0103"),
        ("via = \"b\"".to_owned(), "E0204"),
        ("verbs = [\"get\"]".to_owned(), "E0204"),
        ("no_proxy = \"localhost\"".to_owned(), "E0204"),
    ] {
        let found = errors(&proxy(&lines));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:?}");
        assert!(!found[0].contains("word@"), "a password is not repeated: {found:?}");
    }
    let both = errors(&proxy("ssh = \"bastion.internal\""));
    assert!(both[0].starts_with("E0101 target `b` must have one of ssh and proxy"), "{both:?}");
}

/// What is not compared in a lockfile could be changed without a review.
#[test]
fn the_identity_of_a_proxy_has_its_user_the_authorities_and_the_certificate() {
    let identity = |lines: &str| {
        let (targets, diagnostics) = read(&proxy(lines));
        assert!(!diagnostics.has_errors(), "{lines}: {diagnostics:?}");
        targets.gateway("b").expect("a gateway").identity(PathView::OnThisHost)
    };
    let server = "proxy https://proxy.internal:3129";
    assert_eq!(identity(""), server);
    assert_eq!(identity("proxy = \"http://[FD00::6]:3128\""), "proxy http://[fd00::6]:3128");
    assert_eq!(
        identity("user = \"u\"\npassword = \"secret:p\""),
        "proxy https://u@proxy.internal:3129"
    );
    assert_eq!(
        identity("ca = \"ca.pem\"\nclient_cert = \"c.pem\"\nclient_key = \"secret:k\""),
        format!(
            "{server} trusting only the authorities of /base/ca.pem and showing the certificate \
             /base/c.pem with the key secret:k"
        )
    );
}

/// How each key of a proxy target is enforced: the test of this name shows it.
const PROXY_KEY_TESTS: &[(&str, &str)] = &[
    ("proxy", "the_addresses_of_a_proxy_are_judged_by_its_own_key"),
    ("user", "http_sql_and_net_work_through_a_real_proxy"),
    ("password", "http_sql_and_net_work_through_a_real_proxy"),
    ("addresses", "the_addresses_of_a_proxy_are_judged_by_its_own_key"),
    ("ca", "a_proxy_with_tls_is_verified_by_the_authority_of_its_target_alone"),
    ("client_cert", "a_proxy_that_asks_for_a_certificate_gets_that_of_the_target"),
    ("client_key", "a_proxy_that_asks_for_a_certificate_gets_that_of_the_target"),
    ("timeout", "a_proxy_that_never_answers_is_left_at_its_timeout"),
];

#[test]
fn every_key_of_a_proxy_target_has_a_test() {
    let known = crate::targets::fields::known_keys("proxy = \"https://h:1\"");
    let listed: BTreeSet<String> =
        PROXY_KEY_TESTS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, listed);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = std::fs::read_to_string(root.join("host/runtime/src/net/proxy/tests.rs"));
    let text = file.expect("readable");
    for (key, name) in PROXY_KEY_TESTS {
        assert!(text.contains(&format!("fn {name}(")), "{key}: there is no test `{name}`");
    }
}

/// How each key of an ssh target is enforced: the test of this name shows it.
const KEY_TESTS: &[(&str, &str)] = &[
    (
        "ssh",
        "a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none",
    ),
    ("user", "http_sql_and_net_work_through_a_real_sshd"),
    ("host_key", "a_changed_host_key_is_refused_with_both_fingerprints"),
    ("known_hosts", "a_known_hosts_file_is_pinned_and_matches_as_openssh_reads_it"),
    ("key", "a_wrong_user_key_is_invalid_and_one_with_a_passphrase_works"),
    ("passphrase", "a_wrong_user_key_is_invalid_and_one_with_a_passphrase_works"),
    ("agent", "an_agent_signs_and_the_variable_of_the_environment_is_not_read"),
    ("addresses", "the_addresses_of_the_gateway_are_judged_by_its_own_key"),
    ("timeout", "an_sshd_that_never_answers_is_left_at_the_timeout_of_the_gateway"),
];

#[test]
fn every_key_of_an_ssh_target_has_a_test() {
    let minimal = bastion("").replacen("[targets.b]\n", "", 1);
    let known = crate::targets::fields::known_keys(&minimal);
    let listed: BTreeSet<String> = KEY_TESTS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, listed);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = ["host/authority/src/gate/tests.rs", "host/runtime/src/net/ssh/tests.rs"]
        .map(|file| std::fs::read_to_string(root.join(file)).expect("readable"));
    for (key, name) in KEY_TESTS {
        let is_there = files.iter().any(|text| text.contains(&format!("fn {name}(")));
        assert!(is_there, "{key}: there is no test `{name}`");
    }
}
