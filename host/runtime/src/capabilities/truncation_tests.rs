//! Tests that no part of a secret remains where a text is cut. Each channel by which a text of a
//! plugin, a server or a program reaches a guest or leaves a call gets secrets in every encoding
//! that the scrubber recognises, at every position around its cut.
//!
//! [`CUT_PLACES`] lists each place in the sources that cuts or changes a text, with the channels
//! that test it or the reason why it needs no test. The test fails for a place that is not listed.

use super::{docker, files, http, net, process, sql};
use crate::fault::FaultClass;
use crate::host::scrubbed_fault;
use crate::limits::CallLimits;
use crate::log::Log;
use crate::sanitizer::OutputSanitizer;
use crate::sanitizer::tests::responses_with_text;
use crate::testing::host_with_audit;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use runbook_authority::gate::{Creation, Denial, HeaderValue, MailMessage, ObjectName, Rule};
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{ContainerFacts, SecretPlace};
use runbook_authority::{GateRequest, Verb};
use runbook_contract::{ErrorClass, LogLevel};
use runbook_secrets::{Scrubber, Secret};
use std::sync::{Arc, Mutex};

/// The part of a secret that may remain after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedRemainder {
    /// Less than four bytes.
    Nothing,
    /// Up to three bytes of its beginning, because the text after the cut is not known.
    Beginning,
}

/// The texts that a channel accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AcceptedText {
    /// Any bytes, UTF-8 or not.
    Bytes,
    /// Text of several lines.
    Text,
    /// The characters of the value of an HTTP header.
    HeaderValue,
    /// The characters of the name of an HTTP header.
    Name,
}

/// Returns the text that comes out of a channel.
pub(super) type Render = Box<dyn Fn(&Scrubber, &[u8]) -> Vec<u8>>;

/// One way by which a text reaches a guest or leaves a call.
pub(super) struct Channel {
    pub(super) name: &'static str,
    /// How many bytes are kept, counted from `cut_origin`.
    pub(super) cut: usize,
    pub(super) cut_origin: CutOrigin,
    pub(super) accepted: AcceptedText,
    pub(super) allowed_remainder: AllowedRemainder,
    pub(super) render: Render,
}

/// The end of the text from which a cut is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOrigin {
    Beginning,
    End,
}

impl Channel {
    /// A channel for text that is cut after `cut` bytes and may leave nothing of a secret.
    pub(super) fn text(
        name: &'static str,
        cut: usize,
        render: impl Fn(&Scrubber, &str) -> String + 'static,
    ) -> Self {
        let render: Render = Box::new(move |scrubber, text| {
            render(scrubber, std::str::from_utf8(text).unwrap()).into_bytes()
        });
        Self {
            name,
            cut,
            cut_origin: CutOrigin::Beginning,
            accepted: AcceptedText::Text,
            allowed_remainder: AllowedRemainder::Nothing,
            render,
        }
    }

    /// A channel for bytes, like [`Self::text`].
    pub(super) fn bytes(
        name: &'static str,
        cut: usize,
        render: impl Fn(&Scrubber, &[u8]) -> Vec<u8> + 'static,
    ) -> Self {
        Self {
            name,
            cut,
            cut_origin: CutOrigin::Beginning,
            accepted: AcceptedText::Bytes,
            allowed_remainder: AllowedRemainder::Nothing,
            render: Box::new(render),
        }
    }
}

/// The cap of the channels whose cap can be chosen.
pub(super) const CAP: usize = 64;

fn channels() -> Vec<Channel> {
    let limits = || CallLimits { log_line_bytes: CAP, log_bytes: 4 * CAP, ..CallLimits::default() };
    let lines = |log: Log, scrubber: &Scrubber| {
        let lines = log.into_lines(&OutputSanitizer::new(scrubber));
        lines.into_iter().map(|line| line.message).collect::<Vec<_>>().join("\n")
    };
    let mut all = vec![
        Channel {
            allowed_remainder: AllowedRemainder::Beginning,
            ..Channel::text("log line", CAP, move |scrubber, text| {
                let mut log = Log::new(&limits());
                log.add(LogLevel::Info, text.to_owned());
                lines(log, scrubber)
            })
        },
        Channel {
            allowed_remainder: AllowedRemainder::Beginning,
            ..Channel::text("printed text", 4 * CAP, move |scrubber, text| {
                let mut log = Log::new(&limits());
                log.add_printed(
                    LogLevel::Info,
                    text.to_owned(),
                    crate::sanitizer::Truncation::Whole,
                );
                lines(log, scrubber)
            })
        },
        Channel::text("printed line", CAP, move |scrubber, text| {
            let mut log = Log::new(&CallLimits { log_bytes: 1 << 20, ..limits() });
            log.add_printed(LogLevel::Info, text.to_owned(), crate::sanitizer::Truncation::Whole);
            lines(log, scrubber)
        }),
        Channel::text("fault", 4 << 10, |scrubber, text| {
            let fault = runbook_contract::Fault::new(ErrorClass::Invalid, text, text);
            format!("{:?}", OutputSanitizer::new(scrubber).fault(&fault))
        }),
        Channel::text("code of a fault", 256, |scrubber, text| {
            OutputSanitizer::new(scrubber)
                .fault(&runbook_contract::Fault::new(ErrorClass::Invalid, text, ""))
                .code
        }),
        Channel::text("fault as a guest sees it", 4 << 10, |scrubber, text| {
            scrubbed_fault(
                crate::fault::Fault::new(FaultClass::Invalid, "sql.error", text),
                scrubber,
            )
            .message
        }),
    ];
    all.push(Channel::text("audit: statement", 4 << 10, |scrubber, text| {
        let text = format!("select * from \"{text}\"");
        let statement =
            GateRequest::Sql { slot: "s", verb: Verb::SqlQuery, statement: Some(&text) };
        let canonical = statement.canonical(Some(Dialect::Sqlite), &|text| scrubber.text(text));
        OutputSanitizer::new(scrubber).line(&canonical)
    }));
    all.push(Channel::text("denial", 4 << 10, |scrubber, text| {
        let denial = Denial {
            rule: Rule::Path,
            slot: text.to_owned(),
            verb: Verb::HttpGet,
            reason: text.to_owned(),
            target: String::new(),
            location: String::new(),
        };
        OutputSanitizer::new(scrubber).denial(denial).to_string()
    }));
    for (name, cut) in [("answer, names", 256), ("answer, lines", 4 << 10)] {
        all.push(Channel::text(name, cut, |scrubber, text| {
            let sanitizer = OutputSanitizer::new(scrubber);
            let clean =
                |answer| format!("{:?}", sanitizer.response(answer, &mut Vec::new()).unwrap());
            responses_with_text(text).into_iter().map(clean).collect::<Vec<_>>().join("\n")
        }));
    }
    all.extend(audit_channels());
    all.extend(http::tests::channels());
    all.extend(process::tests::channels());
    all.extend(docker::tests::channels());
    all.extend(files::tests::channels());
    all.extend(net::tests::channels());
    all.extend(sql::channels());
    all
}

/// A call that is denied, with the given text in one of its fields.
type DeniedCall = fn(&mut crate::host::Host, &str);

/// Kinds of calls: the name, how many bytes of the text the audit log keeps, and the call.
const DENIED_CALLS: [(&str, usize, DeniedCall); 18] = [
    ("audit: slot", 4 << 10, |host, text| {
        deny(host, &GateRequest::Docker { slot: text, verb: Verb::DockerList });
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
        deny(host, &GateRequest::Container { slot: "s", verb: Verb::DockerStop, container });
    }),
    ("audit: container that is made", 300, |host, text| {
        let container = ContainerFacts { name: text, labels: &[] };
        let (command, environment) = ([text.to_owned()], [(text.to_owned(), text.to_owned())]);
        let creation =
            Creation { container, image: text, command: &command, environment: &environment };
        deny(host, &GateRequest::Create { slot: "s", verb: Verb::DockerCreate, creation });
    }),
    ("audit: image", 300, |host, text| {
        deny(host, &GateRequest::Image { slot: "s", verb: Verb::DockerPull, image: text });
    }),
    ("audit: file", 300, |host, text| {
        deny(host, &GateRequest::Files { slot: "s", verb: Verb::FilesRead, path: text });
    }),
    ("audit: folder", 300, |host, text| {
        deny(host, &GateRequest::FileList { slot: "s", verb: Verb::FilesRead, path: text });
    }),
    ("audit: names of a file", 300, |host, text| {
        let (slot, verb) = ("s", Verb::FilesRename);
        deny(host, &GateRequest::FileRename { slot, verb, from: text, to: text });
    }),
    ("audit: file that is removed", 300, |host, text| {
        let (slot, verb, age) = ("s", Verb::FilesRemove, std::time::Duration::ZERO);
        deny(host, &GateRequest::FileRemoval { slot, verb, path: text, age });
    }),
    ("audit: arguments", 1498, |host, text| {
        let arguments = [text.to_owned()];
        deny(
            host,
            &GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments: &arguments },
        );
    }),
    ("audit: server", 300, |host, text| {
        let (host_, says) = (Some(text), &[text][..]);
        let (slot, verb) = ("s", Verb::NetConnect);
        deny(host, &GateRequest::Endpoint { slot, verb, host: host_, port: None, says });
    }),
    ("audit: name that is looked up", 300, |host, text| {
        let (slot, verb) = ("s", Verb::NetLookup);
        deny(host, &GateRequest::Lookup { slot, verb, name: Some(text), kind: "A" });
    }),
    ("audit: object", 300, |host, text| {
        let (slot, verb) = ("s", Verb::ObjectsGet);
        deny(host, &GateRequest::Objects { slot, verb, name: ObjectName::Key(text) });
    }),
    ("audit: command of redis", 300, |host, text| {
        let command = [b"get".to_vec(), text.as_bytes().to_vec()];
        deny(host, &GateRequest::Redis { slot: "s", verb: Verb::RedisRead, command: &command });
    }),
    ("audit: subject of a message", 300, |host, text| {
        let message = MailMessage { subject: text, text: "", number: 1 };
        deny(host, &GateRequest::Mail { slot: "s", verb: Verb::MailSend, message });
    }),
    ("audit: command", 1498, |host, text| {
        let command = [text.to_owned()];
        deny(host, &GateRequest::Exec { slot: "s", verb: Verb::DockerExec, command: &command });
    }),
];

fn deny(host: &mut crate::host::Host, operation: &GateRequest<'_>) {
    assert!(host.enter(operation).is_err(), "nothing is granted");
}

fn deny_request(
    host: &mut crate::host::Host,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
    secrets: &[(SecretPlace, &str)],
) {
    deny(host, &GateRequest::Http { slot: "s", verb: Verb::HttpPost, path, headers, secrets });
}

/// Channels for the audit record of each kind of call, and for its denial.
fn audit_channels() -> Vec<Channel> {
    let channel = |(name, cut, make_call): (&'static str, usize, DeniedCall)| {
        Channel::text(name, cut, move |scrubber, text| {
            let audit_log = Arc::new(Mutex::new(String::new()));
            let mut host = host_with_audit(scrubber.clone(), Arc::clone(&audit_log));
            make_call(&mut host, text);
            let sanitizer = OutputSanitizer::new(scrubber);
            let denials: Vec<_> = host
                .into_trace()
                .denials
                .into_iter()
                .map(|denial| sanitizer.denial(denial).to_string())
                .collect();
            let audit_log = audit_log.lock().unwrap().clone();
            assert!(!audit_log.is_empty());
            format!("{audit_log}\n{}", denials.join("\n"))
        })
    };
    DENIED_CALLS.into_iter().map(channel).collect()
}

/// A secret in one encoding.
struct EncodedSecret {
    /// The encoded text, perhaps with other bytes that share its encoding.
    written: Vec<u8>,
    /// The part of `written` that depends on the secret alone.
    core: Vec<u8>,
    /// How many encoded bytes one byte of the secret takes at most.
    max_bytes_per_byte: usize,
}

fn encoded_secret(text: String, max_bytes_per_byte: usize) -> EncodedSecret {
    EncodedSecret {
        core: text.clone().into_bytes(),
        written: text.into_bytes(),
        max_bytes_per_byte,
    }
}

fn encodings(secret: &[u8]) -> Vec<EncodedSecret> {
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
        EncodedSecret { written: secret.to_vec(), core: secret.to_vec(), max_bytes_per_byte: 1 },
        encoded_secret(hex.to_uppercase(), 2),
        encoded_secret(hex, 2),
        encoded_secret(percent(|byte| byte.is_ascii_alphanumeric()), 3),
        encoded_secret(percent(|byte| byte != b' ' && byte.is_ascii()).replace('%', "%25"), 5),
        encoded_secret(
            percent(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b'+')
                .replace("%20", "+"),
            3,
        ),
    ];
    for phase in 0..3 {
        let secret_at_phase = [&b"u:"[..phase.min(2)], secret].concat();
        for encoded in [STANDARD.encode(&secret_at_phase), URL_SAFE_NO_PAD.encode(&secret_at_phase)]
        {
            let core =
                encoded.as_bytes()[(phase * 8).div_ceil(6)..secret_at_phase.len() * 8 / 6].to_vec();
            all.push(EncodedSecret { written: encoded.into_bytes(), core, max_bytes_per_byte: 2 });
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
        let json = inner(serde_json::to_string(text).unwrap());
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        all.push(encoded_secret(inner(serde_json::to_string(&json).unwrap()), 4));
        all.push(encoded_secret(json, 2));
        all.push(encoded_secret(units, 12));
        all.push(encoded_secret(text.escape_debug().to_string(), 8));
        all.push(encoded_secret(text.escape_unicode().to_string(), 10));
        all.push(encoded_secret(text.chars().map(|c| format!("&#{};", u32::from(c))).collect(), 8));
        all.push(encoded_secret(
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;"),
            6,
        ));
    }
    all
}

/// The parts of an encoded secret that must not be seen.
fn forbidden_parts(encoded: &EncodedSecret, remainder: AllowedRemainder) -> Vec<Vec<u8>> {
    let forbidden_len = match remainder {
        AllowedRemainder::Nothing => 4,
        AllowedRemainder::Beginning => 4 * encoded.max_bytes_per_byte + 1,
    };
    let mut parts: Vec<Vec<u8>> =
        vec![encoded.core.get(..forbidden_len).unwrap_or(&encoded.core).to_vec()];
    if remainder == AllowedRemainder::Nothing && encoded.core.len() > forbidden_len {
        parts.push(encoded.core[encoded.core.len() - forbidden_len..].to_vec());
    }
    // The words between escape characters, because a channel may change the escapes.
    let words = encoded
        .core
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|word| word.len() > 5.max(forbidden_len));
    parts.extend(words.map(<[u8]>::to_vec));
    parts
}

fn contains_part(seen: &[u8], part: &[u8]) -> bool {
    seen.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn is_accepted(accepted: AcceptedText, encoded: &EncodedSecret) -> bool {
    match accepted {
        AcceptedText::Bytes => true,
        AcceptedText::Text => std::str::from_utf8(&encoded.written).is_ok(),
        AcceptedText::Name => encoded
            .written
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)),
        AcceptedText::HeaderValue => {
            encoded.written.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic())
        }
    }
}

/// A text with the encoded secret around the cut: `bytes_before_cut` of its bytes stand before the
/// cut.
fn text_around(channel: &Channel, encoded: &EncodedSecret, bytes_before_cut: usize) -> Vec<u8> {
    let filler: &[u8] = if channel.accepted == AcceptedText::Name { b"." } else { b". " };
    let fill = |len: usize| filler.repeat(len)[..len].to_vec();
    let near_filler = fill(channel.cut.saturating_sub(bytes_before_cut + 1));
    let far_filler = fill(2 * channel.cut + 2_000);
    match channel.cut_origin {
        CutOrigin::Beginning => {
            [&near_filler[..], b"|", &encoded.written, b"|", &far_filler].concat()
        }
        CutOrigin::End => [&far_filler[..], b"|", &encoded.written, b"|", &near_filler].concat(),
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
            for (index, encoded_secret) in encodings(&secret).iter().enumerate().filter(|(_, encoded_secret)| is_accepted(channel.accepted, encoded_secret)) {
                // A long text takes long, so each run tries other positions.
                let step = if channel.cut > CAP { encoded_secret.written.len() / 2 + 1 } else { encoded_secret.written.len() / 8 + 1 };
                for bytes_before_cut in (seed % step..=encoded_secret.written.len() + 1).step_by(step) {
                    let text = text_around(&channel, encoded_secret, bytes_before_cut);
                    let rendered = (channel.render)(&scrubber, &text);
                    for part in forbidden_parts(encoded_secret, channel.allowed_remainder) {
                        prop_assert!(
                            !contains_part(&rendered, &part),
                            "{}, form {index}, {bytes_before_cut} bytes before the cut: {:?} of {:?} is \
                             seen in {:?}",
                            channel.name, String::from_utf8_lossy(&part), String::from_utf8_lossy(&encoded_secret.written), String::from_utf8_lossy(&rendered)
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
    let harmless = encoded_secret("harmless".to_owned(), 1);
    for channel in channels() {
        let text = text_around(&channel, &harmless, channel.cut / 2);
        let rendered = (channel.render)(&scrubber, &text);
        assert!(
            contains_part(&rendered, &harmless.core),
            "{}: {:?}",
            channel.name,
            String::from_utf8_lossy(&rendered)
        );
    }
}

/// Calls in a line of source that may cut a text, or change it so that a secret in it is not
/// recognised.
const CUTTING_CALLS: [&str; 13] = [
    ".truncate(",
    "first_bytes(",
    "truncated_bytes(",
    "truncated_text(",
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

/// Why no part of a secret remains at a place that cuts.
enum CutReason {
    /// These channels test the place.
    Tested(&'static [&'static str]),
    /// The place cuts no text that may hold a secret.
    NoText(&'static str),
}

use CutReason::{NoText, Tested};

/// Each file with lines that cut, how many such lines it has, and why they are correct.
const CUT_PLACES: &[(&str, usize, CutReason)] = &[
    ("runtime/src/cache.rs", 2, NoText("compiled code and its digest")),
    ("runtime/src/capabilities/docker/failure.rs", 1, Tested(&["error of the engine"])),
    (
        "runtime/src/capabilities/docker/inspection.rs",
        1,
        Tested(&["stdout of a command in a container"]),
    ),
    ("runtime/src/capabilities/docker/log_tail.rs", 5, Tested(&["log of a container"])),
    ("runtime/src/capabilities/docker/mod.rs", 1, Tested(&["stdout of a command in a container"])),
    (
        "runtime/src/capabilities/files/database.rs",
        1,
        NoText("the first bytes of a file are compared and not shown"),
    ),
    ("runtime/src/capabilities/files/decode.rs", 5, Tested(&["content of a searched file"])),
    ("runtime/src/capabilities/files/mod.rs", 1, NoText("what is hashed")),
    ("runtime/src/capabilities/files/reader.rs", 1, Tested(&["content of a file"])),
    ("runtime/src/capabilities/files/search.rs", 6, Tested(&["content of a searched file"])),
    (
        "runtime/src/capabilities/files/search/line_time.rs",
        1,
        NoText("a time is read from it and nothing else"),
    ),
    ("runtime/src/capabilities/files/secret.rs", 1, Tested(&["content of a compressed file"])),
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
        Tested(&["body", "body of a server that falls silent"]),
    ),
    (
        "runtime/src/capabilities/http/cookies.rs",
        1,
        NoText("the prefix of the name of a cookie is compared"),
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
        "runtime/src/capabilities/http/grpc.rs",
        2,
        NoText("the address of a call, and an answer of which only a number is shown"),
    ),
    (
        "runtime/src/capabilities/http/mod.rs",
        3,
        Tested(&["body", "body of a server that falls silent", "audit: place of a secret"]),
    ),
    (
        "runtime/src/capabilities/http/request_secrets.rs",
        1,
        NoText("the name of a member of the body that is sent"),
    ),
    (
        "runtime/src/capabilities/http/token.rs",
        1,
        NoText("the code of a refusal is shown whole or not at all"),
    ),
    (
        "runtime/src/capabilities/mail/dialogue.rs",
        3,
        NoText("an answer is read in parts and put together; what a server can do is not shown"),
    ),
    (
        "runtime/src/capabilities/mail/message.rs",
        2,
        NoText("the message as it is sent, and the digest that is its id"),
    ),
    ("runtime/src/capabilities/net/inspection.rs", 1, NoText("the name of a version of TLS")),
    ("runtime/src/capabilities/net/conversation.rs", 2, Tested(&["what a server says"])),
    ("runtime/src/capabilities/system/container.rs", 1, NoText("the place of a control group")),
    (
        "runtime/src/capabilities/system/identity.rs",
        1,
        NoText("lines of os-release, each of which is used whole"),
    ),
    ("runtime/src/capabilities/system/sessions.rs", 1, NoText("zero bytes at the end of a text")),
    ("runtime/src/log.rs", 5, Tested(&["log line", "printed text", "printed line"])),
    (
        "runtime/src/capabilities/process/child.rs",
        3,
        Tested(&["stdout of a program", "stderr of a program"]),
    ),
    (
        "runtime/src/capabilities/process/mod.rs",
        2,
        Tested(&["stdout of a program", "stderr of a program"]),
    ),
    (
        "runtime/src/capabilities/process/program.rs",
        4,
        NoText("the bytes of a program and its first line"),
    ),
    ("runtime/src/capabilities/sql/failure.rs", 1, NoText("the name of a type")),
    ("runtime/src/capabilities/sql/static_check.rs", 1, NoText("words that are compared")),
    ("runtime/src/capabilities/sql/mod.rs", 1, NoText("a digest")),
    ("runtime/src/capabilities/sql/mysql/connect.rs", 2, NoText("privileges of the role")),
    ("runtime/src/capabilities/sql/mysql/mod.rs", 2, Tested(&["cells"])),
    (
        "runtime/src/capabilities/sql/mysql/autocommit_errors.rs",
        2,
        NoText("words that are compared"),
    ),
    (
        "runtime/src/capabilities/sql/mysql/stored_functions.rs",
        1,
        NoText("a name that is looked for on the server"),
    ),
    (
        "runtime/src/capabilities/sql/mysql/relay.rs",
        3,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    (
        "runtime/src/capabilities/sql/mysql/relay/login.rs",
        1,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    ("runtime/src/capabilities/sql/postgres/mod.rs", 2, Tested(&["cells"])),
    ("runtime/src/capabilities/sql/postgres/value.rs", 1, Tested(&["names of columns"])),
    (
        "runtime/src/capabilities/sql/postgres/relay.rs",
        3,
        NoText("packets between server and driver; a row is dropped whole"),
    ),
    ("runtime/src/capabilities/sql/sqlite/authorizer.rs", 5, NoText("names that are compared")),
    ("runtime/src/capabilities/sql/sqlite/copy.rs", 1, NoText("the bytes of a database")),
    ("runtime/src/capabilities/sql/sqlite/mod.rs", 1, Tested(&["cells"])),
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
    ("runtime/src/inert_wasi.rs", 1, Tested(&["printed text", "printed line"])),
    ("runtime/src/compiler.rs", 3, NoText("compiled code, and what the compiler says of itself")),
    (
        "runtime/src/capabilities/objects/upload.rs",
        2,
        NoText("bytes of a file on their way to a store"),
    ),
    ("runtime/src/capabilities/rotation.rs", 1, NoText("the quoted name of a role")),
    (
        "runtime/src/capabilities/redis/connection.rs",
        1,
        NoText("the first bytes, of which a whole line is shown or nothing"),
    ),
    (
        "runtime/src/net/ssh/host_keys.rs",
        3,
        NoText("names of hosts that are compared, and not shown"),
    ),
    ("runtime/src/net/ssh/mod.rs", 1, NoText("a fixed text of the library")),
    ("runtime/src/net/dns.rs", 1, NoText("names that are compared, and not shown")),
    ("runtime/src/net/handshake.rs", 2, NoText("the name of an error of TLS")),
    (
        "runtime/src/sanitizer.rs",
        4,
        Tested(&["fault", "answer, names", "answer, lines", "denial", "log line"]),
    ),
    ("runtime/src/verify.rs", 1, NoText("findings about a component")),
    (
        "authority/src/gate/canonical.rs",
        4,
        Tested(&[
            "audit: path of a request",
            "audit: place of a secret",
            "audit: file",
            "audit: arguments",
        ]),
    ),
    ("authority/src/gate/http.rs", 1, Tested(&["audit: header"])),
];

/// Every source file of a folder but tests, by its path below `host`.
fn sources(host: &std::path::Path, folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test =
            ["tests", "tests.rs", "testing.rs", "truncation_tests.rs", "without_effect.rs"]
                .contains(&name);
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
        let cutting_lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"))
            .filter(|line| {
                CUTTING_CALLS.iter().any(|mark| line.replace(".take()", "").contains(mark))
            })
            .collect();
        let listed =
            CUT_PLACES.iter().find(|(listed, ..)| listed == path).map_or(0, |(_, count, _)| *count);
        if cutting_lines.len() != listed {
            wrong.push(format!(
                "{path} has {} lines that cut, and {listed} are listed:\n    {}",
                cutting_lines.len(),
                cutting_lines.join("\n    ")
            ));
        }
    }
    wrong.extend(
        CUT_PLACES
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
    for (path, _, reason) in CUT_PLACES {
        match reason {
            Tested(names) => names.iter().for_each(|name| {
                assert!(known.contains(name), "{path}: there is no channel `{name}`");
            }),
            NoText(reason) => assert!(!reason.is_empty(), "{path}"),
        }
    }
}
