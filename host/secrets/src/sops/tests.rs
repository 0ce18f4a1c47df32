use super::*;
use crate::recipient::Recipients;
use std::fmt::Write as _;

/// A file with these values, made by the documented format of `sops`: each value is a path of
/// keys, its text and its type. A value of type `plain` is not encrypted.
struct Example {
    identities: Identities,
    recipient: String,
    key: DataKey,
    key_bytes: [u8; 32],
    nonce: u8,
}

const MODIFIED: &str = "2026-11-20T22:00:00Z";

impl Example {
    fn new() -> Self {
        let key = crate::keygen(Timestamp::UNIX_EPOCH);
        let mut identities = Identities::default();
        identities.add(key.text().as_bytes(), "key.txt").unwrap();
        let key_bytes = [7; 32];
        Self {
            identities,
            recipient: key.recipient().to_owned(),
            key: DataKey::new(&key_bytes).unwrap(),
            key_bytes,
            nonce: 0,
        }
    }

    /// A value as it stands in the file.
    fn value(&mut self, plain: &str, kind: &str, context: &str) -> String {
        self.nonce += 1;
        self.key.encrypt(plain, kind, [self.nonce; 32], context)
    }

    /// The authentication code over these plain values.
    fn mac(&mut self, first: &[u8], plain: &[&str]) -> String {
        let mut hash = Sha512::new();
        hash.update(first);
        plain.iter().for_each(|text| hash.update(text.as_bytes()));
        let code: String = hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        self.value(&code, "str", MODIFIED)
    }

    /// The data key, encrypted to the recipient.
    fn encrypted_key(&self) -> String {
        use age::armor::{ArmoredWriter, Format};
        use std::io::Write as _;
        let recipients = Recipients::parse(&self.recipient, "r").unwrap();
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
        let mut writer = recipients.encryptor().unwrap().wrap_output(armor).unwrap();
        writer.write_all(&self.key_bytes).unwrap();
        let bytes = writer.finish().and_then(ArmoredWriter::finish).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn yaml(&mut self) -> String {
        let values = [
            self.value("hunter2", "str", "db:password:"),
            self.value("5432", "int", "db:port:"),
            self.value("one", "str", "db:hosts:"),
            self.value("two\nlines", "str", "db:hosts:"),
            self.value("True", "bool", "on:"),
        ];
        let [password, port, one, two, on] = values;
        let mac = self.mac(b"", &["hunter2", "5432", "one", "two\nlines", "True", "3", "plain"]);
        let mut text = format!(
            "# a comment\ndb:\n    password: {password}\n    port: {port}\n    hosts:\n        \
             - {one}\n        - {two}\non: {on}\ncount_unencrypted: 3\nnote_unencrypted: plain\n\
             empty: \"\"\nnothing: null\nsops:\n    age:\n        - recipient: {}\n          \
             enc: |\n",
            self.recipient
        );
        for line in self.encrypted_key().lines() {
            writeln!(text, "            {line}").unwrap();
        }
        text + &format!(
            "    lastmodified: \"{MODIFIED}\"\n    mac: {mac}\n    unencrypted_suffix: \
             _unencrypted\n    version: 3.9.0\n"
        )
    }

    fn open(&self, text: &str, format: SopsFormat) -> Result<SopsFile, String> {
        let opened =
            SopsFile::open(text.as_bytes(), format, "prod", &self.identities, &Prompt::none());
        opened.map_err(|error| error.to_string())
    }
}

fn exposed(file: &SopsFile, path: &str) -> String {
    file.get(path).unwrap().expose_text().unwrap().to_owned()
}

#[test]
fn a_yaml_file_gives_its_encrypted_values_by_their_paths() {
    let mut example = Example::new();
    let text = example.yaml();
    let file = example.open(&text, SopsFormat::Yaml).unwrap();
    assert_eq!(exposed(&file, "db/password"), "hunter2");
    assert_eq!(exposed(&file, "db/port"), "5432");
    assert_eq!(exposed(&file, "db/hosts/1"), "two\nlines");
    assert_eq!(exposed(&file, "on"), "True");
    assert_eq!(file.modified(), Some(MODIFIED.parse().unwrap()));
    let message = |path: &str| file.get(path).err().unwrap().to_string();
    assert!(message("note_unencrypted").contains("is not encrypted, so it is no secret"));
    assert!(message("db").contains("is a table or a list"));
    assert!(message("db/pasword").contains("has no value at"));
    assert!(message("sops/mac").contains("has no value at"), "the metadata is no value");
}

#[test]
fn a_file_that_was_changed_without_sops_gives_no_value_at_all() {
    let mut example = Example::new();
    let text = example.yaml();
    let encrypted = |key: &str| {
        let rest = text.split(&format!("{key}: ENC[")).nth(1).unwrap();
        format!("ENC[{}]", rest.split(']').next().unwrap())
    };
    let (password, port) = (encrypted("password"), encrypted("port"));
    let swapped = text.replace(&password, "@").replace(&port, &password).replace('@', &port);
    let other = Example::new().value("other", "str", "db:password:");
    for (what, changed) in [
        ("two values in each other's place", swapped),
        ("a value in plain text", text.replace(&password, "chosen")),
        ("a plain value", text.replace("note_unencrypted: plain", "note_unencrypted: other")),
        ("a plain number", text.replace("count_unencrypted: 3", "count_unencrypted: 4")),
        ("another name", text.replace("password:", "passwort:")),
        ("a value taken away", text.replace(&format!("on: {}\n", encrypted("on")), "")),
        ("another time", text.replace(MODIFIED, "2026-11-20T22:00:01Z")),
        ("a value of another key", text.replace(&password, &other)),
        ("no code", text.replace("    mac: ENC", "    mac: EMC")),
    ] {
        assert_ne!(changed, text, "{what}");
        let refused = example.open(&changed, SopsFormat::Yaml).err();
        assert!(refused.is_some_and(|why| why.contains("was changed after")), "{what}");
    }
}

#[test]
fn json_and_dotenv_files_and_codes_over_encrypted_values_only_are_read() {
    let mut example = Example::new();
    let (token, rate) = (example.value("t-1", "str", "api:token:"), "1.50");
    let mac = example.mac(b"", &["t-1", "1.5", "2", "True"]);
    let json = serde_json::json!({
        "api": { "token": token, "rate_unencrypted": 1.5, "n_unencrypted": 2, "on_unencrypted": true },
        "sops": {
            "age": [{ "recipient": example.recipient, "enc": example.encrypted_key() }],
            "lastmodified": MODIFIED, "mac": mac, "kms": null
        }
    });
    assert!(!json.to_string().contains(rate));
    let file = example.open(&json.to_string(), SopsFormat::Json).unwrap();
    assert_eq!(exposed(&file, "api/token"), "t-1");

    let (password, key) = (example.value("p w", "str", "DB_PASSWORD:"), example.encrypted_key());
    let mac = example.mac(b"", &["p w", "x"]);
    let dotenv = format!(
        "#comment\nDB_PASSWORD={password}\nNAME_unencrypted=x\n\
         sops_age__list_0__map_enc={}\nsops_age__list_0__map_recipient={}\n\
         sops_lastmodified={MODIFIED}\nsops_mac={mac}\nsops_version=3.9.0\n",
        key.replace('\n', "\\n"),
        example.recipient
    );
    let file = example.open(&dotenv, SopsFormat::Dotenv).unwrap();
    assert_eq!(exposed(&file, "DB_PASSWORD"), "p w");

    let value = example.value("s", "str", "a:");
    let mac = example.mac(&MAC_ONLY_ENCRYPTED, &["s"]);
    let json = serde_json::json!({
        "a": value, "b_unencrypted": "anything",
        "sops": {
            "age": [{ "enc": example.encrypted_key() }],
            "lastmodified": MODIFIED, "mac": mac, "mac_only_encrypted": true
        }
    });
    let file = example.open(&json.to_string(), SopsFormat::Json).unwrap();
    assert_eq!(exposed(&file, "a"), "s");
}

#[test]
fn a_file_that_cannot_be_read_says_why_and_quotes_nothing_of_it() {
    let mut example = Example::new();
    let text = example.yaml();
    let stranger = Example::new();
    let deep = format!("a: {}1{}\n", "[".repeat(100), "]".repeat(100));
    for (format, text, why) in [
        (SopsFormat::Yaml, "hunter2: [".to_owned(), "it is not YAML"),
        (SopsFormat::Yaml, "a: hunter2".to_owned(), "no metadata of `sops`"),
        (SopsFormat::Yaml, "a: &x hunter2\nb: *x".to_owned(), "has an alias"),
        (SopsFormat::Yaml, "a: 1\n---\nb: 2".to_owned(), "several YAML documents"),
        (SopsFormat::Yaml, "a: 1\na: hunter2".to_owned(), "a key twice"),
        (SopsFormat::Yaml, deep, "nested too deeply"),
        (SopsFormat::Json, "[\"hunter2\"]".to_owned(), "not a JSON object"),
        (SopsFormat::Dotenv, "hunter2".to_owned(), "has no `=`"),
        (SopsFormat::Yaml, text.replace("    age:", "    pgp:"), "no age recipient"),
        (SopsFormat::Yaml, text.replace("sops:\n", "sops:\n    key_groups: []\n"), "key groups"),
    ] {
        let refused = example.open(&text, format).err().unwrap();
        assert!(refused.contains(why) && !refused.contains("hunter2"), "{why}: {refused}");
    }
    let refused = stranger.open(&text, SopsFormat::Yaml).err().unwrap();
    assert!(refused.contains("not encrypted to any of your keys"), "{refused}");
}

/// `sops` writes no such part, and each try of one would take the memory and time that it asks for.
#[test]
fn a_part_for_a_passphrase_is_refused_without_a_question_and_without_work() {
    use crate::recipient::WorkFactor;
    use age::armor::{ArmoredWriter, Format};
    use std::io::Write as _;
    let mut example = Example::new();
    let factor = WorkFactor::try_new(1).unwrap();
    let recipients = Recipients::passphrase("operator's own".to_owned().into(), factor);
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
    let mut writer = recipients.encryptor().unwrap().wrap_output(armor).unwrap();
    writer.write_all(&example.key_bytes).unwrap();
    let bytes = writer.finish().and_then(ArmoredWriter::finish).unwrap();
    let enc = String::from_utf8(bytes).unwrap();
    let value = example.value("s", "str", "a:");
    let mac = example.mac(b"", &["s"]);
    let file = |encrypted: &[&str]| {
        let age: Vec<_> = encrypted.iter().map(|enc| serde_json::json!({ "enc": enc })).collect();
        let sops = serde_json::json!({ "age": age, "lastmodified": MODIFIED, "mac": mac });
        serde_json::json!({ "a": value, "sops": sops }).to_string()
    };
    let prompt = Prompt::new(|question| panic!("{question} was asked for"));
    let open = |text: &str| {
        SopsFile::open(text.as_bytes(), SopsFormat::Json, "prod", &example.identities, &prompt)
    };
    let refused = open(&file(&[&enc])).err().unwrap().to_string();
    assert!(refused.contains("encrypted with a passphrase, which is not tried"), "{refused}");
    // Another part is for a key of the operator.
    let own = example.encrypted_key();
    assert_eq!(exposed(&open(&file(&[&enc, &own])).unwrap(), "a"), "s");
    let many: Vec<&str> = std::iter::repeat_n(own.as_str(), MAX_RECIPIENTS + 1).collect();
    let refused = open(&file(&many)).err().unwrap().to_string();
    assert!(refused.contains("more than 256 age recipients"), "{refused}");
    assert!(open(&file(&many[1..])).is_ok());
}

/// The files of `tests/sops` were written by another implementation of the format, and read by a
/// third: see the README there.
#[test]
fn files_of_another_implementation_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sops");
    let mut identities = Identities::default();
    identities.add(&std::fs::read(folder.join("key.txt")).unwrap(), "key.txt").unwrap();
    for (name, path, value) in [
        ("prod.yaml", "orders/token", "token-of-the-yaml-file"),
        ("prod.yaml", "orders/users/0", "orders-app"),
        ("prod.yaml", "orders/port", "5432"),
        ("prod.json", "orders/token", "token-of-the-json-file"),
        ("prod.json", "orders/rate", "1.5"),
        ("prod.env", "ORDERS_TOKEN", "token-of-the-dotenv-file"),
    ] {
        let file = std::fs::read(folder.join(name)).unwrap();
        let format = SopsFormat::of(Path::new(name)).unwrap();
        let file = SopsFile::open(&file, format, name, &identities, &Prompt::none());
        assert_eq!(exposed(&file.unwrap(), path), value, "{name}");
    }
}

/// Without the key of the file, one can put into a list what the code does not cover, take lists and
/// tables apart, split plain texts, and write keys with colons. None of that gives another value.
#[test]
fn no_edit_that_keeps_the_code_of_a_file_gives_another_value() {
    let mut example = Example::new();
    let [one, two, key] =
        [("one", "l:"), ("two", "l:"), ("three", "a:b:")].map(|(text, context)| {
            // Quoted, because brackets stand in it.
            format!("\"{}\"", example.value(text, "str", context))
        });
    let last = example.value("four", "str", "a:b:");
    let mac = example.mac(b"", &["ab", "one", "two", "three", "four"]);
    let mut tail =
        format!("sops:\n    age:\n        - recipient: {}\n          enc: |\n", example.recipient);
    for line in example.encrypted_key().lines() {
        writeln!(tail, "            {line}").unwrap();
    }
    write!(tail, "    lastmodified: \"{MODIFIED}\"\n    mac: {mac}\n    version: 3.9.0\n").unwrap();
    let rest = format!("a:\n    b: {key}\n\"a:b\": {last}\n");
    let honest = format!("n: ab\nl: [{one}, {two}]\n{rest}{tail}");
    let file = example.open(&honest, SopsFormat::Yaml).unwrap();
    assert_eq!(exposed(&file, "l/0"), "one");
    assert_eq!(exposed(&file, "l/1"), "two");
    let refused = |path: &str| file.get(path).err().unwrap().to_string();
    for path in ["a/b", "a:b"] {
        assert!(refused(path).contains("does not cover which value stands at"), "{path}");
    }
    for list in [
        format!("n: ab\nl: [null, {one}, {two}]\n"),
        format!("n: ab\nl: [\"\", {one}, {two}]\n"),
        format!("n: ab\nl: [[], {one}, {two}]\n"),
        format!("n: ab\nl: [{{}}, {one}, {two}]\n"),
        format!("n: ab\nl: [[{one}, {two}]]\n"),
        format!("n: ab\nl: [[{one}], {two}]\n"),
        format!("n: ab\nl: [{one}, [{two}]]\n"),
        format!("n: a\nl: [b, {one}, {two}]\n"),
    ] {
        let edited = format!("{list}{rest}{tail}");
        let file = example.open(&edited, SopsFormat::Yaml).expect(&list);
        for (path, written) in [("l/0", "one"), ("l/1", "two"), ("l/2", ""), ("l/0/1", "")] {
            let given = file.get(path).ok();
            let given = given.as_ref().and_then(|secret| secret.expose_text());
            assert!(given.is_none_or(|given| given == written), "{path} of {list}");
        }
    }
}
