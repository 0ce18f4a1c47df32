//! Stores against the real `age`, `age-keygen` and `ssh-keygen` programs, both ways. They are
//! required: a machine without them fails these tests and says which package to install.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use runbook_secrets::{
    ExposeSecret, Identities, Prompt, Question, Recipients, Secret, SecretString, Store,
    StoreError, WorkFactor, files, keygen,
};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const CONTENT: &str = "format = 1\n[secrets.orders-db]\nvalue = \"corr\\\"ect\"\n\
     changed = \"2026-11-20T22:00:00Z\"\n";

fn now() -> jiff::Timestamp {
    "2026-11-20T22:00:00Z".parse().unwrap()
}

fn run_program(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "`{program}` is needed ({error}); install the packages `age` and `openssh-client`"
            )
        });
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn store() -> Store {
    let mut store = Store::default();
    store
        .set("orders-db", Secret::from("corr\"ect"), now(), Some("owner: platform".to_owned()))
        .unwrap();
    store.set("tls", Secret::new(vec![0, 159, 146, 150]), now(), None).unwrap();
    store
}

fn identities(path: &Path) -> Identities {
    let mut identities = Identities::default();
    identities.add(&files::read_private(path).unwrap(), &path.display().to_string()).unwrap();
    identities
}

#[track_caller]
fn open(file: &[u8], identities: &Identities) -> Store {
    Store::open(file, "prod.age", identities, &Prompt::none())
        .map_err(|error| error.to_string())
        .unwrap()
}

fn open_error(file: &[u8], identities: &Identities, prompt: &Prompt) -> StoreError {
    Store::open(file, "prod.age", identities, prompt).err().expect("refused")
}

/// A prompt that always gives `answer`, and how often it was asked.
fn prompt(answer: &'static str) -> (Prompt, Arc<AtomicUsize>) {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_asked);
    let prompt = Prompt::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Some(SecretString::from(answer.to_owned()))
    });
    (prompt, n_asked)
}

/// Both ways for one key pair that lies at `key`, with the public key in `public`.
fn check_both_directions(key: &Path, public: &str) {
    let recipients = Recipients::parse(public, "r").unwrap();
    let our_file = store().encrypt(&recipients).unwrap();
    assert!(
        our_file.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"),
        "armored, so that a diff shows it as text"
    );
    let decrypted =
        String::from_utf8(run_program("age", &["-d", "-i", key.to_str().unwrap()], &our_file))
            .unwrap();
    assert!(
        decrypted.contains(
            "[secrets.\"orders-db\"]\nvalue = \"corr\\\"ect\"\nchanged = \"2026-11-20T22:00:00Z\""
        ),
        "{decrypted}"
    );

    let public = public.trim();
    for arguments in [&["-r", public][..], &["-a", "-r", public]] {
        let their_file = run_program("age", arguments, CONTENT.as_bytes());
        let store = open(&their_file, &identities(key));
        assert_eq!(store.get("orders-db").unwrap().expose_text(), Some("corr\"ect"));
        assert_eq!(store.changed("orders-db"), Some(now()));
    }
}

fn ssh_key(folder: &Path, kind: &[&str], passphrase: &str) -> std::path::PathBuf {
    let key = folder.join(format!("id_{}_{}", kind[0], passphrase.len()));
    let arguments =
        [&["-q", "-N", passphrase, "-C", "ops", "-f", key.to_str().unwrap(), "-t"], kind].concat();
    run_program("ssh-keygen", &arguments, b"");
    key
}

fn read_public_key(key: &Path) -> String {
    std::fs::read_to_string(key.with_extension("pub")).unwrap()
}

#[test]
fn age_works_with_keys_and_stores_of_this_crate_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let (key, path) = (keygen(now()), folder.path().join("key.txt"));
    files::write_private(&path, key.text().as_bytes()).unwrap();
    check_both_directions(&path, key.recipient());
    assert_eq!(
        run_program("age-keygen", &["-y", path.to_str().unwrap()], b"").trim_ascii(),
        key.recipient().as_bytes()
    );
}

#[test]
fn a_key_of_age_keygen_works_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.txt");
    run_program("age-keygen", &["-o", path.to_str().unwrap()], b"");
    let public =
        String::from_utf8(run_program("age-keygen", &["-y", path.to_str().unwrap()], b"")).unwrap();
    check_both_directions(&path, &public);
}

#[test]
fn ssh_keys_work_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [&["ed25519"][..], &["rsa", "-b", "2048"]] {
        let key = ssh_key(folder.path(), kind, "");
        check_both_directions(&key, &read_public_key(&key));
    }
}

#[test]
fn an_ssh_key_of_a_kind_that_age_cannot_use_is_refused_with_the_kinds_that_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let key = ssh_key(folder.path(), &["ecdsa"], "");
    let error = Recipients::parse(&read_public_key(&key), "r").err().unwrap().to_string();
    assert!(error.contains("use `ssh-ed25519` or `ssh-rsa`"), "{error}");
    let error =
        Identities::default().add(&std::fs::read(&key).unwrap(), "key").unwrap_err().to_string();
    assert!(error.contains("use an `ssh-ed25519` or `ssh-rsa` key"), "{error}");
}

#[test]
fn an_ssh_key_with_a_passphrase_asks_for_it_once_and_only_if_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let key = ssh_key(folder.path(), &["ed25519"], "open sesame");
    let (other, plain) = (keygen(now()), ssh_key(folder.path(), &["ed25519"], ""));
    let recipients =
        format!("{}\n{}\n{}", other.recipient(), read_public_key(&plain), read_public_key(&key));
    let file = store().encrypt(&Recipients::parse(&recipients, "r").unwrap()).unwrap();

    let (right_prompt, n_asked) = prompt("open sesame");
    assert!(Store::open(&file, "prod.age", &identities(&key), &right_prompt).is_ok());
    assert_eq!(n_asked.load(Ordering::Relaxed), 1, "three stanzas, one question");

    let (wrong_prompt, _) = prompt("open barley");
    let error = open_error(&file, &identities(&key), &wrong_prompt);
    assert!(
        matches!(&error, StoreError::WrongPassphrase { question: Question::Key { key: asked } } if *asked == key.display().to_string()),
        "{error}"
    );
    assert!(matches!(
        open_error(&file, &identities(&key), &Prompt::none()),
        StoreError::PassphraseNotGiven { .. }
    ));

    let not_for_us = store().encrypt(&Recipients::parse(other.recipient(), "r").unwrap()).unwrap();
    let (right_prompt, n_asked) = prompt("open sesame");
    assert!(matches!(
        open_error(&not_for_us, &identities(&key), &right_prompt),
        StoreError::NoMatchingKey { n: 1, .. }
    ));
    assert_eq!(n_asked.load(Ordering::Relaxed), 0, "no question for a key that cannot fit");
}

#[test]
fn an_identity_file_with_a_passphrase_opens_a_store() {
    let key = keygen(now());
    let passphrase = SecretString::from("open sesame".to_owned());
    let mut recipient = age_recipient(&passphrase);
    recipient.set_work_factor(4);
    let encrypted = age::encrypt_and_armor(&recipient, key.text().as_bytes()).unwrap();
    let mut identities = Identities::default();
    identities.add(encrypted.as_bytes(), "key.age").unwrap();
    let file = store().encrypt(&Recipients::parse(key.recipient(), "r").unwrap()).unwrap();
    let (right_prompt, n_asked) = prompt("open sesame");
    assert!(Store::open(&file, "prod.age", &identities, &right_prompt).is_ok());
    assert_eq!(n_asked.load(Ordering::Relaxed), 1);
    let (wrong_prompt, _) = prompt("nonsense");
    let error = open_error(&file, &identities, &wrong_prompt);
    assert!(
        matches!(error, StoreError::WrongPassphrase { question: Question::Key { .. } }),
        "{error}"
    );
}

fn age_recipient(passphrase: &SecretString) -> age::scrypt::Recipient {
    age::scrypt::Recipient::new(SecretString::from(passphrase.expose_secret().to_owned()))
}

#[test]
fn a_store_with_a_passphrase_opens_with_it_alone_and_is_written_with_it_again() {
    let work_factor = WorkFactor::try_new(4).unwrap();
    let recipients =
        Recipients::passphrase(SecretString::from("open sesame".to_owned()), work_factor);
    let file = store().encrypt(&recipients).unwrap();
    let (right_prompt, _) = prompt("open sesame");
    let opened = Store::open(&file, "prod.age", &Identities::default(), &right_prompt)
        .map_err(|error| error.to_string())
        .unwrap();
    let rewritten = opened.encrypt(&opened.passphrase(work_factor).unwrap()).unwrap();
    assert!(Store::open(&rewritten, "prod.age", &Identities::default(), &right_prompt).is_ok());

    let (wrong_prompt, _) = prompt("open barley");
    let error = open_error(&file, &Identities::default(), &wrong_prompt);
    assert_eq!(
        error.to_string(),
        "the passphrase of the secret store `prod.age` is wrong; try again"
    );
    let error = open_error(&file, &Identities::default(), &Prompt::none());
    assert!(
        matches!(error, StoreError::PassphraseNotGiven { question: Question::Store { .. } }),
        "{error}"
    );
}

/// `age` reads passphrases from a terminal only; `script` (of util-linux) gives it one.
#[test]
fn age_opens_our_passphrase_store_and_we_open_the_one_of_age() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let terminal =
        |command: &str, input: &[u8]| run_program("script", &["-qec", command, "/dev/null"], input);
    let recipients = Recipients::passphrase(
        SecretString::from("open sesame".to_owned()),
        WorkFactor::try_new(4).unwrap(),
    );
    std::fs::write(path("ours.age"), store().encrypt(&recipients).unwrap()).unwrap();
    terminal(&format!("age -d -o {} {}", path("ours.toml"), path("ours.age")), b"open sesame\n");
    assert!(std::fs::read_to_string(path("ours.toml")).unwrap().contains("corr\\\"ect"));

    std::fs::write(path("theirs.toml"), CONTENT).unwrap();
    terminal(
        &format!("age -p -o {} {}", path("theirs.age"), path("theirs.toml")),
        b"open sesame\nopen sesame\n",
    );
    let (right_prompt, _) = prompt("open sesame");
    let their_file = std::fs::read(path("theirs.age")).unwrap();
    let store = Store::open(&their_file, "theirs.age", &Identities::default(), &right_prompt)
        .map_err(|error| error.to_string())
        .unwrap();
    assert_eq!(store.get("orders-db").unwrap().expose_text(), Some("corr\"ect"));
}

#[test]
fn each_of_several_recipients_opens_and_a_stranger_does_not() {
    let (one, two, stranger) = (keygen(now()), keygen(now()), keygen(now()));
    let recipients =
        Recipients::parse(&format!("{}\n{}", one.recipient(), two.recipient()), "r").unwrap();
    let file = store().encrypt(&recipients).unwrap();
    let identity = |key: &runbook_secrets::NewIdentity| {
        let mut identities = Identities::default();
        identities.add(key.text().as_bytes(), "k").unwrap();
        identities
    };
    for key in [&one, &two] {
        let opened = open(&file, &identity(key));
        assert_eq!(opened.names().collect::<Vec<_>>(), ["orders-db", "tls"]);
        assert_eq!(opened.get("tls").unwrap().expose(), [0, 159, 146, 150]);
        assert_eq!((opened.note("orders-db"), opened.note("tls")), (Some("owner: platform"), None));
        assert!(opened.get("none").is_none() && opened.passphrase(WorkFactor::DEFAULT).is_none());
    }
    let error = open_error(&file, &identity(&stranger), &Prompt::none()).to_string();
    assert!(
        error.contains("not encrypted to any of your keys (1 tried)")
            && error.contains("prod.age.recipients"),
        "{error}"
    );
}

#[test]
fn a_store_that_is_cut_off_or_changed_anywhere_is_refused() {
    let key = keygen(now());
    let mut identities = Identities::default();
    identities.add(key.text().as_bytes(), "k").unwrap();
    let armored = store().encrypt(&Recipients::parse(key.recipient(), "r").unwrap()).unwrap();
    for len in 0..armored.len() - 1 {
        Store::open(&armored[..len], "prod.age", &identities, &Prompt::none())
            .err()
            .unwrap_or_else(|| panic!("opened at {len}"));
    }
    let binary = run_program("age", &["-r", key.recipient()], CONTENT.as_bytes());
    for at in 0..binary.len() {
        let mut changed = binary.clone();
        changed[at] ^= 1;
        Store::open(&changed, "prod.age", &identities, &Prompt::none())
            .err()
            .unwrap_or_else(|| panic!("opened with byte {at} changed"));
    }
    let error = open_error(&binary[..binary.len() - 1], &identities, &Prompt::none());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(matches!(
        open_error(b"password = 1\n", &identities, &Prompt::none()),
        StoreError::NotAge { .. }
    ));
    assert!(matches!(
        open_error(&armored, &Identities::default(), &Prompt::none()),
        StoreError::NoIdentity { .. }
    ));
    assert!(matches!(open_error(b"", &identities, &Prompt::none()), StoreError::NotAge { .. }));
}

#[test]
fn content_with_a_mistake_is_reported_with_its_line_and_never_quoted() {
    let key = keygen(now());
    let mut identities = Identities::default();
    identities.add(key.text().as_bytes(), "k").unwrap();
    let error = |content: &str| {
        open_error(
            &run_program("age", &["-r", key.recipient()], content.as_bytes()),
            &identities,
            &Prompt::none(),
        )
        .to_string()
    };
    let message = error("format = 1\n[secrets.a]\nvalue = hunter2\n");
    assert!(message.contains("at line 3") && !message.contains("hunter2"), "{message}");
    assert!(error("format = 9\n").contains("has format 9, this program reads format 1"));
}

#[test]
fn a_removed_secret_is_gone_and_a_new_value_keeps_the_note() {
    let mut store = store();
    store.set("orders-db", Secret::from("new"), now(), None).unwrap();
    assert_eq!(store.note("orders-db"), Some("owner: platform"));
    assert!(store.remove("orders-db") && !store.remove("orders-db"));
    assert!(store.set("no name", Secret::from("x"), now(), None).is_err());
}
