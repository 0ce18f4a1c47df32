//! Secrets where texts are cut: each channel by which a text of a plugin, a server or a program
//! comes to a guest or leaves a call is given secrets in every form that the scrubber promises, at
//! every place around its cut.
//!
//! A place in the sources that cuts or changes a text is listed in [`PLACES`] with the channels
//! that pass through it, or with the reason why no secret can lie across it: a new one without a
//! case fails.

use super::{docker, files, http, net, process, sql};
use crate::fault::FaultClass;
use crate::host::shown_fault;
use crate::limits::CallLimits;
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::outgoing::tests::answers;
use crate::testing::host_auditing;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use runbook_authority::gate::{Creation, Denial, HeaderValue, Rule};
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{ContainerFacts, SecretPlace};
use runbook_authority::{Operation, Verb};
use runbook_contract::{ErrorClass, LogLevel};
use runbook_secrets::{Scrubber, Secret};
use std::sync::{Arc, Mutex};

/// How much of a secret may be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Less than four bytes of it.
    Nothing,
    /// Three bytes of its beginning, because nobody looked behind the cut.
    Beginning,
}

/// The texts that a channel accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// The channel takes any bytes, UTF-8 or not.
    Bytes,
    /// Text of several lines.
    Text,
    /// What HTTP has in the value of a header.
    Visible,
    /// What it has in a name.
    Name,
}

/// The visible text at the end of a channel.
pub(super) type Show = Box<dyn Fn(&Scrubber, &[u8]) -> Vec<u8>>;

/// One way of a text.
pub(super) struct Channel {
    pub(super) name: &'static str,
    /// Where it is cut, counted from the beginning of the text or from its end.
    pub(super) cut: usize,
    pub(super) from: From,
    pub(super) takes: Takes,
    pub(super) left: Left,
    pub(super) show: Show,
}

/// From where a cut is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Beginning,
    End,
}

impl Channel {
    /// A channel for text of which nothing is left, cut after `cut` bytes.
    pub(super) fn text(
        name: &'static str,
        cut: usize,
        show: impl Fn(&Scrubber, &str) -> String + 'static,
    ) -> Self {
        let show: Show = Box::new(move |scrubber, text| {
            show(scrubber, std::str::from_utf8(text).unwrap()).into_bytes()
        });
        Self { name, cut, from: From::Beginning, takes: Takes::Text, left: Left::Nothing, show }
    }

    /// A channel for bytes, like [`Self::text`].
    pub(super) fn bytes(
        name: &'static str,
        cut: usize,
        show: impl Fn(&Scrubber, &[u8]) -> Vec<u8> + 'static,
    ) -> Self {
        Self {
            name,
            cut,
            from: From::Beginning,
            takes: Takes::Bytes,
            left: Left::Nothing,
            show: Box::new(show),
        }
    }
}

/// The cap of the channels whose cap can be chosen.
pub(super) const CAP: usize = 64;

fn channels() -> Vec<Channel> {
    let limits = || CallLimits { log_line: CAP, log_bytes: 4 * CAP, ..CallLimits::default() };
    let lines = |log: Log, scrubber: &Scrubber| {
        let lines = log.into_lines(&Outgoing::new(scrubber));
        lines.into_iter().map(|line| line.message).collect::<Vec<_>>().join("\n")
    };
    let mut all = vec![
        Channel {
            left: Left::Beginning,
            ..Channel::text("log line", CAP, move |scrubber, text| {
                let mut log = Log::new(&limits());
                log.add(LogLevel::Info, text.to_owned());
                lines(log, scrubber)
            })
        },
        Channel {
            left: Left::Beginning,
            ..Channel::text("printed text", 4 * CAP, move |scrubber, text| {
                let mut log = Log::new(&limits());
                log.add_printed(
                    LogLevel::Info,
                    text.to_owned(),
                    crate::outgoing::Truncation::Whole,
                );
                lines(log, scrubber)
            })
        },
        Channel::text("printed line", CAP, move |scrubber, text| {
            let mut log = Log::new(&CallLimits { log_bytes: 1 << 20, ..limits() });
            log.add_printed(LogLevel::Info, text.to_owned(), crate::outgoing::Truncation::Whole);
            lines(log, scrubber)
        }),
        Channel::text("fault", 4 << 10, |scrubber, text| {
            let fault = runbook_contract::Fault::new(ErrorClass::Invalid, text, text);
            format!("{:?}", Outgoing::new(scrubber).fault(&fault))
        }),
        Channel::text("code of a fault", 256, |scrubber, text| {
            Outgoing::new(scrubber)
                .fault(&runbook_contract::Fault::new(ErrorClass::Invalid, text, ""))
                .code
        }),
        Channel::text("fault as a guest sees it", 4 << 10, |scrubber, text| {
            shown_fault(crate::fault::Fault::new(FaultClass::Invalid, "sql.error", text), scrubber)
                .message
        }),
    ];
    all.push(Channel::text("audit: statement", 4 << 10, |scrubber, text| {
        let text = format!("select * from \"{text}\"");
        let statement = Operation::Sql { slot: "s", verb: Verb::SqlQuery, statement: Some(&text) };
        let canonical = statement.canonical(Some(Dialect::Sqlite), &|text| scrubber.text(text));
        Outgoing::new(scrubber).line(&canonical)
    }));
    all.push(Channel::text("denial", 4 << 10, |scrubber, text| {
        let denial = Denial {
            rule: Rule::Path,
            slot: text.to_owned(),
            verb: Verb::HttpGet,
            reason: text.to_owned(),
            target: String::new(),
            place: String::new(),
        };
        Outgoing::new(scrubber).denial(denial).to_string()
    }));
    for (name, cut) in [("answer, names", 256), ("answer, lines", 4 << 10)] {
        all.push(Channel::text(name, cut, |scrubber, text| {
            let outgoing = Outgoing::new(scrubber);
            let clean =
                |answer| format!("{:?}", outgoing.response(answer, &mut Vec::new()).unwrap());
            answers(text).into_iter().map(clean).collect::<Vec<_>>().join("\n")
        }));
    }
    all.extend(audited());
    all.extend(http::tests::channels());
    all.extend(process::tests::channels());
    all.extend(docker::tests::channels());
    all.extend(files::tests::channels());
    all.extend(net::tests::channels());
    all.extend(sql::channels());
    all
}

/// A question to the gate with a text in one of its fields. Nothing is granted.
type Ask = fn(&mut crate::host::Host, &str);

/// Kinds of calls, how much of the text the audit log keeps of each, and how each is asked about.
const ASKED: [(&str, usize, Ask); 12] = [
    ("audit: slot", 4 << 10, |host, text| {
        deny(host, &Operation::Docker { slot: text, verb: Verb::DockerList });
    }),
    ("audit: path of a request", 300, |host, text| deny_request(host, text, &[], &[])),
    ("audit: header", 300, |host, text| {
        let headers = [(text, HeaderValue::Plain("x")), ("x", HeaderValue::Secret(text))];
        deny_request(host, "/", &headers, &[]);
    }),
    ("audit: place of a secret", 300, |host, text| {
        deny_request(host, "/", &[], &[(SecretPlace::Json(text.to_owned()), text)]);
    }),
    ("audit: container", 300, |host, text| {
        let container = ContainerFacts { name: text, labels: &[] };
        deny(host, &Operation::Container { slot: "s", verb: Verb::DockerStop, container });
    }),
    ("audit: container that is made", 300, |host, text| {
        let container = ContainerFacts { name: text, labels: &[] };
        let (command, environment) = ([text.to_owned()], [(text.to_owned(), text.to_owned())]);
        let creation =
            Creation { container, image: text, command: &command, environment: &environment };
        deny(host, &Operation::Create { slot: "s", verb: Verb::DockerCreate, creation });
    }),
    ("audit: image", 300, |host, text| {
        deny(host, &Operation::Image { slot: "s", verb: Verb::DockerPull, image: text });
    }),
    ("audit: file", 300, |host, text| {
        deny(host, &Operation::Files { slot: "s", verb: Verb::FilesRead, path: text });
    }),
    ("audit: arguments", 4 << 10, |host, text| {
        let arguments = [text.to_owned()];
        deny(
            host,
            &Operation::Process { slot: "s", verb: Verb::ProcessRun, arguments: &arguments },
        );
    }),
    ("audit: server", 300, |host, text| {
        let (host_, says) = (Some(text), &[text][..]);
        let (slot, verb) = ("s", Verb::NetConnect);
        deny(host, &Operation::Endpoint { slot, verb, host: host_, port: None, says });
    }),
    ("audit: name that is looked up", 300, |host, text| {
        let (slot, verb) = ("s", Verb::NetLookup);
        deny(host, &Operation::Lookup { slot, verb, name: Some(text), kind: "A" });
    }),
    ("audit: command", 4 << 10, |host, text| {
        let command = [text.to_owned()];
        deny(host, &Operation::Exec { slot: "s", verb: Verb::DockerExec, command: &command });
    }),
];

fn deny(host: &mut crate::host::Host, operation: &Operation<'_>) {
    assert!(host.enter(operation).is_err(), "nothing is granted");
}

fn deny_request(
    host: &mut crate::host::Host,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
    secrets: &[(SecretPlace, &str)],
) {
    deny(host, &Operation::Http { slot: "s", verb: Verb::HttpPost, path, headers, secrets });
}

/// What the audit log is told of each kind of call, and what the operator is told of its denial.
fn audited() -> Vec<Channel> {
    let channel = |(name, cut, ask): (&'static str, usize, Ask)| {
        Channel::text(name, cut, move |scrubber, text| {
            let told = Arc::new(Mutex::new(String::new()));
            let mut host = host_auditing(scrubber.clone(), Arc::clone(&told));
            ask(&mut host, text);
            let outgoing = Outgoing::new(scrubber);
            let denials: Vec<_> = host
                .into_trace()
                .denials
                .into_iter()
                .map(|denial| outgoing.denial(denial).to_string())
                .collect();
            let told = told.lock().unwrap().clone();
            assert!(!told.is_empty());
            format!("{told}\n{}", denials.join("\n"))
        })
    };
    ASKED.into_iter().map(channel).collect()
}

/// A secret as it is written somewhere.
struct Form {
    /// With what may stand beside it in the same encoding.
    written: Vec<u8>,
    /// What of that depends on the secret alone.
    core: Vec<u8>,
    /// Bytes that one byte of the secret takes at most.
    unit: usize,
}

fn form(text: String, unit: usize) -> Form {
    Form { core: text.clone().into_bytes(), written: text.into_bytes(), unit }
}

fn forms(secret: &[u8]) -> Vec<Form> {
    let hex = secret.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let percent =
        |keep: fn(u8) -> bool| -> String {
            secret
                .iter()
                .map(|byte| {
                    if keep(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
                })
                .collect()
        };
    let mut all = vec![
        Form { written: secret.to_vec(), core: secret.to_vec(), unit: 1 },
        form(hex.to_uppercase(), 2),
        form(hex, 2),
        form(percent(|byte| byte.is_ascii_alphanumeric()), 3),
        form(percent(|byte| byte != b' ' && byte.is_ascii()).replace('%', "%25"), 5),
        form(
            percent(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b'+')
                .replace("%20", "+"),
            3,
        ),
    ];
    for phase in 0..3 {
        let within = [&b"u:"[..phase.min(2)], secret].concat();
        for encoded in [STANDARD.encode(&within), URL_SAFE_NO_PAD.encode(&within)] {
            let core = encoded.as_bytes()[(phase * 8).div_ceil(6)..within.len() * 8 / 6].to_vec();
            all.push(Form { written: encoded.into_bytes(), core, unit: 2 });
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
        let json = inner(serde_json::to_string(text).unwrap());
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        all.push(form(inner(serde_json::to_string(&json).unwrap()), 4));
        all.push(form(json, 2));
        all.push(form(units, 12));
        all.push(form(text.escape_debug().to_string(), 8));
        all.push(form(text.escape_unicode().to_string(), 10));
        all.push(form(text.chars().map(|c| format!("&#{};", u32::from(c))).collect(), 8));
        all.push(form(
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;"),
            6,
        ));
    }
    all
}

/// Parts of a form that must not be seen.
fn parts(form: &Form, left: Left) -> Vec<Vec<u8>> {
    let least = match left {
        Left::Nothing => 4,
        Left::Beginning => 4 * form.unit + 1,
    };
    let mut parts: Vec<Vec<u8>> = vec![form.core.get(..least).unwrap_or(&form.core).to_vec()];
    if left == Left::Nothing && form.core.len() > least {
        parts.push(form.core[form.core.len() - least..].to_vec());
    }
    // What stands between the marks of an escape, wherever a channel has changed those.
    let words = form
        .core
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|word| word.len() > 5.max(least));
    parts.extend(words.map(<[u8]>::to_vec));
    parts
}

fn shows(seen: &[u8], part: &[u8]) -> bool {
    seen.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn is_taken(takes: Takes, form: &Form) -> bool {
    match takes {
        Takes::Bytes => true,
        Takes::Text => std::str::from_utf8(&form.written).is_ok(),
        Takes::Name => form
            .written
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)),
        Takes::Visible => form.written.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic()),
    }
}

/// The form with so many bytes before it, and enough behind it to be cut.
fn text_around(channel: &Channel, form: &Form, straddles: usize) -> Vec<u8> {
    let filler: &[u8] = if channel.takes == Takes::Name { b"." } else { b". " };
    let fill = |len: usize| filler.repeat(len)[..len].to_vec();
    // Of the form, `straddles` bytes stand on this side of the cut.
    let near = fill(channel.cut.saturating_sub(straddles + 1));
    let far = fill(2 * channel.cut + 2_000);
    match channel.from {
        From::Beginning => [&near[..], b"|", &form.written, b"|", &far].concat(),
        From::End => [&far[..], b"|", &form.written, b"|", &near].concat(),
    }
}

/// The secret begins and ends with plain letters, so that the test finds it however a channel
/// changes the rest.
fn secrets() -> impl Strategy<Value = Vec<u8>> {
    let middle = prop_oneof![
        Just(String::new()),
        "[a-z0-9]{1,30}",
        "[ -~]{1,20}",
        "[\"'\\\\%+&<>/=? ]{1,10}",
        "[\n\t\r\u{1b}\u{9b}\u{0}\u{7f}]{1,4}[a-z]{1,3}\n[a-z]{1,3}",
        "[äÖéß€漢😀\u{301}\u{202e}]{1,6}",
    ];
    let text = ("[g-m][n-t][3-9][u-y]", middle, "[3-9][g-m][n-t][z]")
        .prop_map(|(a, b, c)| format!("{a}{b}{c}").into_bytes());
    let short = "[g-m][n-t][3-9][u-y]".prop_map(String::into_bytes);
    let bytes = (
        "[g-m][n-t][3-9][u-y]",
        proptest::collection::vec(any::<u8>(), 1..20),
        "[3-9][g-m][n-t][z]",
    )
        .prop_map(|(a, b, c)| [a.as_bytes(), &b, c.as_bytes()].concat());
    prop_oneof![8 => text, 1 => short, 2 => bytes]
}

proptest! {
    // Each case is every channel with every form at many places.
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn wherever_a_channel_cuts_a_text_no_part_of_a_secret_is_left(secret in secrets(), seed in 0_usize..1000) {
        let scrubber = Scrubber::new([("s", &Secret::new(secret.clone()))]);
        for channel in channels() {
            for (index, form) in forms(&secret).iter().enumerate().filter(|(_, form)| is_taken(channel.takes, form)) {
                // A long text takes long: of its places some are tried, others each time.
                let step = if channel.cut > CAP { form.written.len() / 2 + 1 } else { form.written.len() / 8 + 1 };
                for straddles in (seed % step..=form.written.len() + 1).step_by(step) {
                    let text = text_around(&channel, form, straddles);
                    let seen = (channel.show)(&scrubber, &text);
                    for part in parts(form, channel.left) {
                        prop_assert!(
                            !shows(&seen, &part),
                            "{}, form {index}, {straddles} bytes before the cut: {:?} of {:?} is \
                             seen in {:?}",
                            channel.name, String::from_utf8_lossy(&part), String::from_utf8_lossy(&form.written), String::from_utf8_lossy(&seen)
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_text_without_a_secret_is_seen_at_the_end_of_every_channel() {
    let scrubber = Scrubber::new([("s", &Secret::from("another"))]);
    let harmless = form("harmless".to_owned(), 1);
    for channel in channels() {
        let text = text_around(&channel, &harmless, channel.cut / 2);
        let seen = (channel.show)(&scrubber, &text);
        assert!(
            shows(&seen, &harmless.core),
            "{}: {:?}",
            channel.name,
            String::from_utf8_lossy(&seen)
        );
    }
}

/// What in a line of source may cut a text, or change it so that a secret in it is not recognised
/// any more.
const MARKS: [&str; 13] = [
    ".truncate(",
    "first_bytes(",
    "cut_bytes(",
    "cut_text(",
    "shortened(",
    ".split_off(",
    "[..",
    "floor_char_boundary(",
    ".lines()",
    ".take(",
    "ercase()",
    ".replace(",
    ".drain(..",
];

/// Why no part of a secret is left at a place that cuts.
enum Why {
    /// These channels pass through it.
    Seen(&'static [&'static str]),
    /// No text that may hold a secret does.
    NoText(&'static str),
}

use Why::{NoText, Seen};

/// Each file with lines that cut, how many those are, and why that is right.
const PLACES: &[(&str, usize, Why)] = &[
    ("runtime/src/cache.rs", 2, NoText("compiled code and its digest")),
    ("runtime/src/capabilities/docker/engine.rs", 1, Seen(&["error of the engine"])),
    (
        "runtime/src/capabilities/docker/inspected.rs",
        1,
        Seen(&["stdout of a command in a container"]),
    ),
    ("runtime/src/capabilities/docker/log_tail.rs", 5, Seen(&["log of a container"])),
    ("runtime/src/capabilities/docker/mod.rs", 2, Seen(&["stdout of a command in a container"])),
    (
        "runtime/src/capabilities/files/database.rs",
        1,
        NoText("the first bytes of a file are compared and not shown"),
    ),
    ("runtime/src/capabilities/files/mod.rs", 2, Seen(&["content of a file"])),
    ("runtime/src/capabilities/files/secret.rs", 1, Seen(&["content of a compressed file"])),
    (
        "runtime/src/capabilities/files/stream.rs",
        2,
        NoText("what goes into a file, and the name of a temporary one"),
    ),
    (
        "runtime/src/capabilities/http/auth.rs",
        1,
        NoText("the address that is signed, without its fragment"),
    ),
    (
        "runtime/src/capabilities/http/body.rs",
        1,
        Seen(&["body", "body of a server that falls silent"]),
    ),
    (
        "runtime/src/capabilities/http/decoding.rs",
        2,
        NoText("compressed bytes; what comes of them goes through the body"),
    ),
    (
        "runtime/src/capabilities/http/decoding/gzip.rs",
        3,
        NoText("compressed bytes; what comes of them goes through the body"),
    ),
    (
        "runtime/src/capabilities/http/exchange.rs",
        1,
        NoText("the address of a request, which goes to its server"),
    ),
    (
        "runtime/src/capabilities/http/mod.rs",
        3,
        Seen(&["body", "body of a server that falls silent", "audit: place of a secret"]),
    ),
    (
        "runtime/src/capabilities/http/placed.rs",
        1,
        NoText("the name of a member of the body that is sent"),
    ),
    (
        "runtime/src/capabilities/http/token.rs",
        1,
        NoText("the code of a refusal is shown whole or not at all"),
    ),
    ("runtime/src/capabilities/net/inspection.rs", 1, NoText("the name of a version of TLS")),
    ("runtime/src/capabilities/net/conversation.rs", 2, Seen(&["what a server says"])),
    ("runtime/src/log.rs", 5, Seen(&["log line", "printed text", "printed line"])),
    (
        "runtime/src/capabilities/process/child.rs",
        3,
        Seen(&["stdout of a program", "stderr of a program"]),
    ),
    (
        "runtime/src/capabilities/process/mod.rs",
        2,
        Seen(&["stdout of a program", "stderr of a program"]),
    ),
    (
        "runtime/src/capabilities/process/program.rs",
        4,
        NoText("the bytes of a program and its first line"),
    ),
    ("runtime/src/capabilities/sql/failure.rs", 1, NoText("the name of a type")),
    ("runtime/src/capabilities/sql/foreseen.rs", 1, NoText("words that are compared")),
    ("runtime/src/capabilities/sql/mod.rs", 1, NoText("a digest")),
    ("runtime/src/capabilities/sql/mysql/connect.rs", 2, NoText("privileges of the role")),
    ("runtime/src/capabilities/sql/mysql/mod.rs", 2, Seen(&["cells"])),
    ("runtime/src/capabilities/sql/mysql/refused.rs", 2, NoText("words that are compared")),
    (
        "runtime/src/capabilities/sql/mysql/stored.rs",
        1,
        NoText("a name that is looked for on the server"),
    ),
    (
        "runtime/src/capabilities/sql/mysql/wire.rs",
        3,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    (
        "runtime/src/capabilities/sql/mysql/wire/login.rs",
        1,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    ("runtime/src/capabilities/sql/postgres/mod.rs", 2, Seen(&["cells"])),
    ("runtime/src/capabilities/sql/postgres/value.rs", 1, Seen(&["names of columns"])),
    (
        "runtime/src/capabilities/sql/postgres/wire.rs",
        3,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    ("runtime/src/capabilities/sql/sqlite/authorizer.rs", 5, NoText("names that are compared")),
    ("runtime/src/capabilities/sql/sqlite/copy.rs", 1, NoText("the bytes of a database")),
    ("runtime/src/capabilities/sql/sqlite/mod.rs", 1, Seen(&["cells"])),
    (
        "runtime/src/capabilities/sql/stream.rs",
        1,
        NoText("what is left of a packet, which is dropped"),
    ),
    (
        "runtime/src/capabilities/sql/words.rs",
        1,
        NoText("the first word of a statement, for messages of ours"),
    ),
    ("runtime/src/inert_wasi.rs", 1, Seen(&["printed text", "printed line"])),
    ("runtime/src/compiler.rs", 3, NoText("compiled code, and what the compiler says of itself")),
    ("runtime/src/net/handshake.rs", 2, NoText("the name of an error of TLS")),
    (
        "runtime/src/outgoing.rs",
        4,
        Seen(&["fault", "answer, names", "answer, lines", "denial", "log line"]),
    ),
    ("runtime/src/verify.rs", 1, NoText("findings about a component")),
    (
        "authority/src/gate/canonical.rs",
        3,
        Seen(&["audit: path of a request", "audit: place of a secret", "audit: file"]),
    ),
    ("authority/src/gate/http.rs", 1, Seen(&["audit: header"])),
];

/// Every file of a folder that is no test, by its path below `host`.
fn sources(host: &std::path::Path, folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test =
            ["tests", "tests.rs", "testing.rs", "cuts.rs", "without_effect.rs"].contains(&name);
        if is_test {
            continue;
        }
        if path.is_dir() {
            sources(host, &path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.strip_prefix(host).unwrap().to_str().unwrap().to_owned(), text));
        }
    }
}

#[test]
fn every_place_that_cuts_a_text_is_in_the_table_with_the_channels_that_pass_through_it() {
    let host =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap();
    let mut all = Vec::new();
    sources(&host, &host.join("runtime/src"), &mut all);
    sources(&host, &host.join("authority/src/gate"), &mut all);
    all.push((
        "authority/src/gate.rs".to_owned(),
        std::fs::read_to_string(host.join("authority/src/gate.rs")).unwrap(),
    ));
    assert!(all.len() > 50, "the sources are not where they were");
    let mut wrong = Vec::new();
    for (path, text) in &all {
        let cuts: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"))
            .filter(|line| MARKS.iter().any(|mark| line.replace(".take()", "").contains(mark)))
            .collect();
        let listed =
            PLACES.iter().find(|(listed, ..)| listed == path).map_or(0, |(_, count, _)| *count);
        if cuts.len() != listed {
            wrong.push(format!(
                "{path} has {} lines that cut, and {listed} are listed:\n    {}",
                cuts.len(),
                cuts.join("\n    ")
            ));
        }
    }
    wrong.extend(
        PLACES
            .iter()
            .filter(|(listed, ..)| !all.iter().any(|(path, _)| path == listed))
            .map(|(listed, ..)| format!("{listed} is gone")),
    );
    assert!(
        wrong.is_empty(),
        "give a new cut a channel, or say why it needs none:\n{}",
        wrong.join("\n")
    );
    let known: Vec<_> = channels().iter().map(|channel| channel.name).collect();
    for (path, _, why) in PLACES {
        match why {
            Seen(names) => names.iter().for_each(|name| {
                assert!(known.contains(name), "{path}: there is no channel `{name}`");
            }),
            NoText(reason) => assert!(!reason.is_empty(), "{path}"),
        }
    }
}
