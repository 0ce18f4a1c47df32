use super::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

fn scrubber(secrets: &[(&str, &[u8])]) -> Scrubber {
    let secrets: Vec<(&str, Secret)> =
        secrets.iter().map(|(name, value)| (*name, Secret::new(value.to_vec()))).collect();
    Scrubber::new(secrets.iter().map(|(name, secret)| (*name, secret)))
}

#[track_caller]
fn assert_scrubbed(secret: &str, text: &str, expect: &str) {
    assert_eq!(scrubber(&[("db", secret.as_bytes())]).text(text), expect);
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn percent(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    bytes
        .iter()
        .map(
            |byte| if keep(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

#[test]
fn each_encoded_form_of_a_secret_is_replaced_and_other_text_is_kept() {
    assert_scrubbed("p@ss word/1", "password=p@ss word/1;", "password=[secret db];");
    assert_scrubbed("p@ss word/1", "?p=p%40ss%20word%2F1&x=1", "?p=[secret db]&x=1");
    assert_scrubbed("p@ss word/1", "p=p%40ss+word%2f1&x=1", "p=[secret db]&x=1");
    assert_scrubbed("p@ss word/1", "url p%40ss%20word/1 here", "url [secret db] here");
    assert_scrubbed("p@ss word/1", r#"{"p":"p@ss word\/1"}"#, r#"{"p":"[secret db]"}"#);
    assert_scrubbed("a\"b\\c\n", r#"{"p":"a\"b\\c\n"}"#, r#"{"p":"[secret db]"}"#);
    assert_scrubbed("pässwörd", r"p\u00e4ssw\u00F6rd!", "[secret db]!");
    assert_scrubbed("key😀key", r"key\ud83d\ude00key!", "[secret db]!");
    assert_scrubbed(
        "hunter2",
        "68756e74657232 and 68756E74657232.",
        "[secret db] and [secret db].",
    );
    assert_scrubbed("hunter2\nnext", "first hunter2\nnext\nlast", "first [secret db]\nlast");
}

/// Each escaper of HTML has its own list: each character of a secret is written in each way that
/// there is, alone and in two layers.
#[test]
fn a_secret_is_found_in_every_html_escaping() {
    let secret = "pa\"ss<w>&o'rd%7é\u{a0}x";
    let escapers: [fn(char) -> String; 6] = [
        |c| match c {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '&' => "&amp;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&apos;".to_owned(),
            '\u{a0}' => "&nbsp;".to_owned(),
            c => c.to_string(),
        },
        |c| format!("&#{};", u32::from(c)),
        |c| format!("&#x{:x};", u32::from(c)),
        |c| format!("&#X{:04X};", u32::from(c)),
        |c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("&#0{};", u32::from(c)) },
        |c| if "<>&".contains(c) { format!("&#{};", u32::from(c)) } else { c.to_string() },
    ];
    for escaper in escapers {
        let escaped: String = secret.chars().map(escaper).collect();
        assert_scrubbed(secret, &format!("<p>{escaped}</p>"), "<p>[secret db]</p>");
        let twice: String = escaped.replace('&', "&amp;");
        assert_scrubbed(secret, &twice, "[secret db]");
        let json = serde_json::to_string(&escaped).expect("a text is JSON");
        assert_scrubbed(secret, &json, "\"[secret db]\"");
    }
    // What is no entity stays, and a page without the secret is untouched.
    for plain in [
        "a & b",
        "&unknown;",
        "&#;",
        "&#x;",
        "&#xd800;",
        "&#99999999999999;",
        "&amp",
        "x &lt; y &#38; z",
    ] {
        assert_scrubbed("hunter2", plain, plain);
    }
}

#[test]
fn an_authorization_header_with_user_and_password_in_base64_keeps_only_the_user() {
    let header = format!("Basic {}", STANDARD.encode("admin:hunter2secret"));
    let scrubbed = scrubber(&[("db", b"hunter2secret")]).text(&header).into_owned();
    assert_eq!(scrubbed, format!("Basic {}[secret db]", STANDARD.encode("admin:")));
}

#[test]
fn a_secret_in_two_layers_of_encoding_is_found() {
    let json = serde_json::to_string(r#"{"p":"quo\"te\\d"}"#).unwrap();
    assert_eq!(scrubber(&[("db", br#"quo"te\d"#)]).text(&json), r#""{\"p\":\"[secret db]\"}""#);
    let encoded =
        percent(STANDARD.encode("????>>>>long").as_bytes(), |byte| byte.is_ascii_alphanumeric());
    assert_eq!(scrubber(&[("db", b"????>>>>long")]).text(&encoded), "[secret db]");
}

#[test]
fn wrapped_base64_and_single_lines_of_a_key_are_found() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nqwertyuiopasdfghjklz\n\
               -----END KEY-----\n";
    let scrubber = scrubber(&[("tls", key.as_bytes())]);
    assert_eq!(scrubber.text("line qwertyuiopasdfghjklz."), "line [secret tls].");
    assert_eq!(scrubber.text("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
    let encoded = STANDARD.encode(key);
    let (head, tail) = encoded.split_at(40);
    assert_eq!(scrubber.text(&format!("{head}\r\n  {tail}\nrest")), "[secret tls]\nrest");
}

#[test]
fn a_secret_across_the_end_of_a_window_is_found() {
    let scrubber = scrubber(&[("db", b"hunter2!secret")]);
    for form in
        ["hunter2!secret", "hunter2%21secret", "\\u0068unter2!secret", "aHVudGVyMiFzZWNyZXQ"]
    {
        for before in WINDOW - form.len() - 1..=WINDOW + 1 {
            let text = format!("{}{form}.{}", ".".repeat(before), "-".repeat(1000));
            let expect = format!("{}[secret db].{}", ".".repeat(before), "-".repeat(1000));
            assert!(scrubber.text(&text) == expect, "{form} at {before}");
        }
    }
}

#[test]
fn overlapping_secrets_are_replaced_by_the_marker_of_the_longest() {
    let scrubber = scrubber(&[("short", b"abcdef"), ("long", b"defghijkl")]);
    assert_eq!(scrubber.text("-abcdefghijkl-"), "-[secret long]-");
    assert_eq!(scrubber.text("abcdefabcdef"), "[secret short][secret short]");
}

#[test]
fn scrubbing_twice_changes_nothing_even_if_the_marker_shows_the_secret() {
    let scrubber = scrubber(&[("password", b"secret"), ("x", b"word")]);
    let once = scrubber.text("my secret word").into_owned();
    assert_eq!(once, "my [secret password] [secret x]");
    assert_eq!(scrubber.text(&once), once);
}

#[test]
fn short_secrets_are_not_scrubbed_but_listed() {
    let scrubber = scrubber(&[("pin", b"123")]);
    assert_eq!((scrubber.text("123"), scrubber.is_empty()), (Cow::Borrowed("123"), true));
    assert_eq!(scrubber.too_short(), ["pin"]);
}

#[test]
fn text_without_secrets_is_borrowed() {
    assert!(matches!(scrubber(&[]).text("anything %20 \\n"), Cow::Borrowed(_)));
    assert!(matches!(
        scrubber(&[("db", b"hunter2")]).text("anything %20 \\n + \n"),
        Cow::Borrowed(_)
    ));
}

#[test]
fn a_binary_secret_never_splits_a_character() {
    // The bytes of the secret are the end of one character and the beginning of the next but one.
    let text = "xäöüx";
    let scrubbed = scrubber(&[("bin", &text.as_bytes()[2..6])]).text(text).into_owned();
    assert_eq!(scrubbed, "x[secret bin]x");
}

#[test]
fn strings_keys_and_numbers_of_json_are_scrubbed() {
    let scrubber = scrubber(&[("pin", b"12345678"), ("db", b"hunter2")]);
    let value = serde_json::json!({"a": ["hunter2", 12_345_678, 1.5, null], "key hunter2": true});
    let expect = serde_json::json!({"a": ["[secret db]", "[secret pin]", 1.5, null], "key [secret db]": true});
    assert_eq!(scrubber.json(value), expect);
}

/// Text around a secret, with everything in it that the decoders look at.
fn surroundings() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9%\\\\+/= \"\n€{}_-]{0,24}"
}

/// A secret as it may be written, and how many bytes of it one byte of the secret takes at most.
struct Form {
    text: Vec<u8>,
    unit: usize,
}

fn forms(secret: &[u8]) -> Vec<Form> {
    let form = |text: String, unit| Form { text: text.into_bytes(), unit };
    let mut forms = vec![
        Form { text: secret.to_vec(), unit: 1 },
        form(STANDARD.encode(secret), 1),
        form(URL_SAFE_NO_PAD.encode(secret), 1),
        form(hex(secret), 1),
        form(hex(secret).to_uppercase(), 1),
        form(percent(secret, |byte| byte.is_ascii_alphanumeric()), 3),
        form(
            percent(percent(secret, |_| false).as_bytes(), |byte| byte.is_ascii_alphanumeric()),
            5,
        ),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        let escaped: Vec<String> =
            text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = escaped.concat();
        forms.push(form(escaped.replace('\\', "\\\\"), 7));
        forms.push(form(percent(escaped.as_bytes(), |byte| byte.is_ascii_alphanumeric()), 8));
        forms.push(form(escaped, 6));
    }
    forms
}

fn without_markers(mut bytes: &[u8]) -> Vec<u8> {
    const MARKER: &[u8] = b"[secret s]";
    let mut remaining = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        if let Some(rest) = bytes.strip_prefix(MARKER) {
            // What stands on both sides of it does not stand together.
            remaining.push(0);
            bytes = rest;
        } else {
            remaining.push(*first);
            bytes = rest;
        }
    }
    remaining
}

#[test]
fn a_secret_in_large_or_small_letters_is_found() {
    assert_scrubbed(
        "S3cr3t-T0ken",
        "x-s3cr3t-t0ken: 1, X-S3CR3T-T0KEN",
        "x-[secret db]: 1, X-[secret db]",
    );
}

#[test]
fn the_beginning_of_a_secret_is_removed_only_at_the_end_of_truncated_text() {
    let scrubber = scrubber(&[("db", b"hunter2secret")]);
    assert_eq!(
        scrubber.truncated_text("the password is hunter2sec"),
        "the password is [secret db]"
    );
    assert_eq!(scrubber.truncated_text("a hunter2secret and hun"), "a [secret db] and hun");
    assert_eq!(scrubber.truncated_text("hunter went home"), "hunter went home");
    assert_eq!(scrubber.text("the password is hunter2sec"), "the password is hunter2sec");
    let header = STANDARD.encode("admin:hunter2secret");
    let cut = scrubber.truncated_text(&header[..header.len() - 6]).into_owned();
    assert_eq!(cut, format!("{}[secret db]", STANDARD.encode("admin:")));
    assert!(matches!(scrubber.truncated_text("nothing"), Cow::Borrowed(_)));
}

proptest! {
    #[test]
    fn no_form_of_a_secret_survives(
        secret in prop_oneof!["[ -~]{6,40}".prop_map(String::into_bytes), ".{6,20}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 6..40)],
        before in surroundings(), after in surroundings(), prefix in proptest::collection::vec(any::<u8>(), 0..7), suffix in proptest::collection::vec(any::<u8>(), 0..7),
    ) {
        let scrubber = scrubber(&[("s", &secret)]);
        let embedded = [prefix.as_slice(), &secret, &suffix].concat();
        // Of the bytes beside it in the same Base64 as many letters may be left as they take, and
        // the padding.
        let n_beside = (prefix.len() * 8).div_ceil(6) + (suffix.len() * 8).div_ceil(6) + 2;
        let encoded = [STANDARD.encode(&embedded), STANDARD_NO_PAD.encode(&embedded), URL_SAFE.encode(&embedded), URL_SAFE_NO_PAD.encode(&embedded)];
        let mut forms: Vec<(String, usize)> = encoded.into_iter().map(|form| (form, n_beside)).collect();
        forms.extend([STANDARD.encode(&secret), URL_SAFE.encode(&secret)].map(|form| (form, 2)));
        let mut exact_forms = vec![
            STANDARD_NO_PAD.encode(&secret), hex(&secret), hex(&secret).to_uppercase(),
            percent(&secret, |byte| byte.is_ascii_alphanumeric()), percent(&secret, |_| false),
            percent(&secret, |byte| byte.is_ascii_graphic() && byte != b'%' && byte != b'+').replace("%20", "+"),
        ];
        if let Ok(text) = std::str::from_utf8(&secret) {
            let json = serde_json::to_string(text).unwrap();
            exact_forms.push(text.to_owned());
            let twice = serde_json::to_string(&json[1..json.len() - 1]).unwrap();
            exact_forms.push(twice[1..twice.len() - 1].replace('/', "\\/"));
            exact_forms.push(json[1..json.len() - 1].to_owned());
        }
        forms.extend(exact_forms.into_iter().map(|form| (form, 0)));
        for (form, max_left) in forms {
            // A letter of the encoding directly beside it would be another text, so the form is set
            // off.
            let text = format!("{before}|{form}|{after}");
            let scrubbed = scrubber.text(&text);
            let between = scrubbed.strip_prefix(&format!("{before}|")).and_then(|rest| rest.strip_suffix(&format!("|{after}")));
            let left = between.map(|between| (between.contains("[secret s]"), between.replace("[secret s]", "").len()));
            prop_assert!(left.is_some_and(|(found, left)| found && left <= max_left), "{:?} became {:?}", text, scrubbed);
        }
    }

    #[test]
    fn raw_bytes_are_scrubbed_wherever_they_stand(
        secret in proptest::collection::vec(any::<u8>(), 4..30), before in proptest::collection::vec(any::<u8>(), 0..40), after in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let scrubber = scrubber(&[("s", &secret)]);
        let text = [before.as_slice(), &secret, &after].concat();
        let scrubbed = scrubber.bytes(&text);
        let shows = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        prop_assert!(shows(&scrubbed, b"[secret s]"));
        prop_assert!(!shows(&without_markers(&scrubbed), &secret), "{:?} is left in {:?}", secret, scrubbed);
    }

    #[test]
    fn scrubbing_scrubbed_text_changes_nothing(secrets in proptest::collection::vec("[a-d]{4,6}", 1..4), text in "[a-d%+\\\\n]{0,60}") {
        let named: Vec<(String, Secret)> = secrets.iter().enumerate().map(|(n, s)| (format!("n{n}"), Secret::from(s.as_str()))).collect();
        let scrubber = Scrubber::new(named.iter().map(|(name, secret)| (name.as_str(), secret)));
        let once = scrubber.text(&text).into_owned();
        prop_assert_eq!(scrubber.text(&once).into_owned(), once);
    }

    #[test]
    fn text_without_the_secret_is_not_touched(text in "[a-y+ \\\\\n0-46-9]{0,80}") {
        // No form of a value of `Z` alone can be made of these characters: not plain, not hex
        // (5a5a), not base64 (WlpaWlpa…).
        let scrubber = scrubber(&[("s", b"ZZZZZZZZ")]);
        prop_assert!(matches!(scrubber.text(&text), Cow::Borrowed(_)));
    }
}

proptest! {
    // Each case is cut at every place of every form.
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn wherever_a_text_is_cut_no_beginning_of_a_secret_is_left(
        secret in prop_oneof!["[ -~]{8,40}".prop_map(String::into_bytes), "[äöü€😀a-z]{6,12}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 8..40)],
        before in "[a-z ]{0,12}",
    ) {
        let scrubber = scrubber(&[("s", &secret)]);
        for Form { text, unit } in forms(&secret) {
            // Of each form that many bytes may be left: three bytes of the secret, and in Base64
            // the bits of a fourth.
            let max_left = (MIN_SECRET_LENGTH - 1) * unit + unit;
            for cut in 1..=text.len() {
                let cut_text = [before.as_bytes(), b"|", &text[..cut]].concat();
                let longer_text = [before.as_bytes(), b"|", &text, b"|"].concat();
                let first = scrubber.first_bytes(&longer_text, cut_text.len());
                prop_assert!(first.ends_with(b"|[secret s]"), "cut at {}: {:?}", cut, String::from_utf8_lossy(&first));
                let Ok(cut_text) = std::str::from_utf8(&cut_text) else { continue };
                let scrubbed = scrubber.truncated_text(cut_text).into_owned().into_bytes();
                let shown = without_markers(&scrubbed);
                prop_assert!(
                    cut <= max_left || !shown.windows(max_left + 1).any(|window| window == &text[..=max_left]),
                    "cut at {}: {:?} is left in {:?}", cut, String::from_utf8_lossy(&text[..cut]), String::from_utf8_lossy(&scrubbed)
                );
            }
        }
    }
}
