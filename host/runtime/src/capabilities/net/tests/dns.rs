//! Lookups at real resolvers on loopback: good ones, and hostile ones.

use crate::bindings::runbook::net::dns::Host as _;
use crate::bindings::runbook::net::types::{RecordKind, Resolution};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::{Slot, host, host_with_audited_names};
use simple_dns::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, RData, SOA, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const NAMES: &[Slot] = &[("s", &["net.lookup"], "t")];

/// The transport by which a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The messages that a resolver sends back: any number of them.
type Reply = fn(&Packet<'_>, Transport) -> Vec<Vec<u8>>;

/// A resolver, and how many questions came to it.
struct Resolver {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Resolver {
    async fn start(reply: Reply) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port for both transports.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let (by_udp, by_tcp) = (Arc::clone(&questions), Arc::clone(&questions));
        tokio::spawn(async move {
            let mut datagram = vec![0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
                by_udp.fetch_add(1, Ordering::SeqCst);
                let query = Packet::parse(&datagram[..length]).unwrap();
                assert!(query.has_flags(PacketFlag::RECURSION_DESIRED));
                for message in reply(&query, Transport::Udp) {
                    udp.send_to(&message, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                by_tcp.fetch_add(1, Ordering::SeqCst);
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                for message in reply(&Packet::parse(&query).unwrap(), Transport::Tcp) {
                    stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
                    stream.write_all(&message).await.unwrap();
                }
            }
        });
        Self { address, questions }
    }

    fn target(&self, more: &str) -> String {
        format!(
            "[targets.t]\nnet = []\nnames = [\"example.com\", \"*.example.com\"]\n\
             resolver = \"{}\"\n{more}\n",
            self.address
        )
    }

    async fn lookup(&self, more: &str, kind: RecordKind) -> Result<Resolution, Fault> {
        lookup(&self.target(more), Some("example.com"), kind).await
    }
}

async fn lookup(targets: &str, name: Option<&str>, kind: RecordKind) -> Result<Resolution, Fault> {
    let mut host = host(NAMES, targets, Path::new("/"));
    HostCall::new(&mut host).lookup("s".to_owned(), name.map(str::to_owned), kind).await
}

fn answer_to<'a>(query: &Packet<'a>) -> Packet<'a> {
    let mut answer = Packet::new_reply(query.id());
    answer.questions = query.questions.clone();
    answer
}

fn record<'a>(name: &'a str, data: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 300, data)
}

fn address(text: &str) -> RData<'static> {
    RData::A(A { address: text.parse::<Ipv4Addr>().unwrap().into() })
}

fn with<'a>(
    query: &Packet<'a>,
    records: impl IntoIterator<Item = ResourceRecord<'a>>,
) -> Vec<Vec<u8>> {
    let mut answer = answer_to(query);
    answer.answers = records.into_iter().collect();
    vec![answer.build_bytes_vec().unwrap()]
}

fn code(query: &Packet<'_>, code: RCODE) -> Vec<Vec<u8>> {
    let mut answer = answer_to(query);
    *answer.rcode_mut() = code;
    vec![answer.build_bytes_vec().unwrap()]
}

fn data(resolution: &Resolution) -> Vec<String> {
    resolution.records.iter().map(|record| record.data.clone()).collect()
}

fn every_kind(query: &Packet<'_>, _: Transport) -> Vec<Vec<u8>> {
    let name = Name::new_unchecked;
    let soa = SOA {
        mname: name("ns.example.com"),
        rname: name("hostmaster.example.com"),
        serial: 7,
        refresh: 1,
        retry: 2,
        expire: 3,
        minimum: 4,
    };
    let srv = SRV { priority: 1, weight: 2, port: 5060, target: name("sip.example.com") };
    let caa = CAA {
        flag: 0,
        tag: CharacterString::new(b"issue").unwrap(),
        value: b"ca.example.net".as_slice().into(),
    };
    let text = TXT::new().with_string("v=spf1 ").unwrap().with_string("-all").unwrap();
    let all = [
        address("192.0.2.1"),
        RData::AAAA(AAAA { address: "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into() }),
        RData::CNAME(CNAME(name("www.example.com"))),
        RData::MX(MX { preference: 10, exchange: name("mail.example.com") }),
        RData::NS(NS(name("ns.example.com"))),
        RData::PTR(PTR(name("host.example.com"))),
        RData::SOA(soa),
        RData::SRV(srv),
        RData::TXT(text),
        RData::CAA(caa),
    ];
    with(query, all.into_iter().map(|data| record("example.com", data)))
}

#[tokio::test]
async fn records_of_every_kind_are_written_as_in_a_zone_file() {
    let resolver = Resolver::start(every_kind).await;
    let answer = resolver.lookup("", RecordKind::A).await.unwrap();
    assert_eq!((answer.code.as_str(), answer.cut), ("NOERROR", false));
    assert_eq!(
        (answer.name.as_str(), answer.resolver),
        ("example.com", resolver.address.to_string())
    );
    let found: Vec<String> = answer
        .records
        .iter()
        .map(|record| format!("{} {} {} {}", record.name, record.ttl_s, record.kind, record.data))
        .collect();
    let expected = [
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "CNAME www.example.com",
        "MX 10 mail.example.com",
        "NS ns.example.com",
        "PTR host.example.com",
        "SOA ns.example.com hostmaster.example.com 7 1 2 3 4",
        "SRV 1 2 5060 sip.example.com",
        "TXT v=spf1 -all",
        "CAA 0 issue \"ca.example.net\"",
    ]
    .map(|line| format!("example.com 300 {line}"));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_code_of_a_resolver_is_an_answer() {
    for (reply, word) in [
        ((|query, _| code(query, RCODE::NameError)) as Reply, "NXDOMAIN"),
        (|query, _| code(query, RCODE::ServerFailure), "SERVFAIL"),
        (|query, _| code(query, RCODE::Refused), "REFUSED"),
        (|query, _| code(query, RCODE::NotImplemented), "NOTIMP"),
        (|query, _| code(query, RCODE::NoError), "NOERROR"),
    ] {
        let answer = Resolver::start(reply).await.lookup("", RecordKind::Mx).await.unwrap();
        assert_eq!((answer.code.as_str(), answer.records.len()), (word, 0));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_by_tcp() {
    let resolver = Resolver::start(|query, by| match by {
        Transport::Udp => {
            let mut answer = answer_to(query);
            answer.set_flags(PacketFlag::TRUNCATION);
            vec![answer.build_bytes_vec().unwrap()]
        }
        Transport::Tcp => with(
            query,
            (0..200_u8).map(|last| record("example.com", address(&format!("192.0.2.{last}")))),
        ),
    })
    .await;
    let answer = resolver.lookup("max_records = 1000", RecordKind::A).await.unwrap();
    assert_eq!((answer.records.len(), answer.cut), (200, false));
    assert_eq!(resolver.questions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn records_beyond_the_limit_of_the_target_are_cut_and_that_is_told() {
    let resolver = Resolver::start(|query, _| {
        with(
            query,
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| record("example.com", address(ip))),
        )
    })
    .await;
    let of = async |more: &str| {
        let answer = resolver.lookup(more, RecordKind::A).await.unwrap();
        (data(&answer).len(), answer.cut)
    };
    assert_eq!(of("").await, (3, false));
    assert_eq!(of("max_records = 3").await, (3, false));
    assert_eq!(of("max_records = 2").await, (2, true));
    assert_eq!(of("max_bytes = \"27B\"").await, (3, false));
    assert_eq!(of("max_bytes = \"26B\"").await, (2, true));
}

#[tokio::test]
async fn a_huge_text_is_whole_or_not_there() {
    let resolver = Resolver::start(|query, by| match by {
        Transport::Udp => {
            let mut answer = answer_to(query);
            answer.set_flags(PacketFlag::TRUNCATION);
            vec![answer.build_bytes_vec().unwrap()]
        }
        Transport::Tcp => {
            let part = CharacterString::new(&[b'x'; 255]).unwrap().into_owned();
            let text = (0..200).fold(TXT::new(), |text, _| text.with_char_string(part.clone()));
            with(
                query,
                [
                    record("example.com", address("192.0.2.1")),
                    record("example.com", RData::TXT(text)),
                ],
            )
        }
    })
    .await;
    let whole = resolver.lookup("", RecordKind::Txt).await.unwrap();
    assert_eq!((whole.records[1].data.len(), whole.cut), (200 * 255, false));
    let cut = resolver.lookup("max_bytes = \"50000B\"", RecordKind::Txt).await.unwrap();
    assert_eq!((data(&cut), cut.cut), (vec!["192.0.2.1".to_owned()], true));
}

/// Answers that were sent for another question, or by somebody who does not know this one.
fn forged(query: &Packet<'_>) -> Vec<Vec<u8>> {
    let evil = |packet: Packet<'_>| {
        let mut packet = packet;
        packet.answers = vec![record("example.com", address("203.0.113.66"))];
        packet.build_bytes_vec().unwrap()
    };
    let mut other_number = answer_to(query);
    other_number.set_id(query.id() ^ 1);
    let mut name_mismatch_reason = answer_to(query);
    name_mismatch_reason.questions[0].qname = Name::new_unchecked("other.example.com");
    let mut no_name = answer_to(query);
    no_name.questions.clear();
    let mut question = Packet::new_query(query.id());
    question.questions = query.questions.clone();
    vec![
        evil(other_number),
        evil(name_mismatch_reason),
        evil(no_name),
        evil(question),
        vec![],
        vec![7],
    ]
}

#[tokio::test]
async fn what_was_not_sent_for_the_question_is_no_answer() {
    let resolver = Resolver::start(|query, _| {
        let mut messages = forged(query);
        messages.extend(with(query, [record("example.com", address("192.0.2.1"))]));
        messages
    })
    .await;
    let answer = resolver.lookup("", RecordKind::A).await.unwrap();
    assert_eq!(data(&answer), ["192.0.2.1"]);
    let alone = Resolver::start(|query, _| forged(query)).await;
    let fault = alone.lookup("timeout = \"400ms\"", RecordKind::A).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "net.dns-timeout"));
}

#[tokio::test]
async fn records_of_other_names_are_no_answer_and_aliases_are_followed_in_any_order() {
    let resolver = Resolver::start(|query, _| {
        let alias = |of| RData::CNAME(CNAME(Name::new_unchecked(of)));
        let records = [
            record("b.example.net", address("192.0.2.2")),
            record("evil.test", address("203.0.113.66")),
            record("A.example.com", alias("b.example.net")),
            record("Example.com", alias("a.example.com")),
            record("www.example.com", address("203.0.113.67")),
        ];
        with(query, records)
    })
    .await;
    let answer = resolver.lookup("", RecordKind::A).await.unwrap();
    let names: Vec<_> = answer.records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["b.example.net", "A.example.com", "Example.com"]);
}

#[tokio::test]
async fn what_says_nothing_about_the_name_is_never_an_answer() {
    let empty = |query: &Packet<'_>, _| {
        with(query, [record("example.com", RData::Empty(simple_dns::TYPE::A))])
    };
    let truncated = |query: &Packet<'_>, _| {
        let mut answer = answer_to(query);
        answer.set_flags(PacketFlag::TRUNCATION);
        answer.answers = vec![record("example.com", address("192.0.2.1"))];
        vec![answer.build_bytes_vec().unwrap()]
    };
    for (reply, code) in [
        (empty as Reply, "net.dns-protocol"),
        (truncated, "net.dns-protocol"),
        (
            |query, _| Packet::new_reply(query.id()).build_bytes_vec().into_iter().collect(),
            "net.dns-timeout",
        ),
    ] {
        let resolver = Resolver::start(reply).await;
        let fault = resolver.lookup("timeout = \"400ms\"", RecordKind::A).await.unwrap_err();
        assert_eq!(fault.code, code);
    }
    // A resolver that cannot parse the question leaves it out and says so.
    let refuses = Resolver::start(|query, _| {
        let mut answer = Packet::new_reply(query.id());
        *answer.rcode_mut() = RCODE::FormatError;
        vec![answer.build_bytes_vec().unwrap()]
    })
    .await;
    assert_eq!(refuses.lookup("", RecordKind::A).await.unwrap().code, "FORMERR");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_a_failed_check() {
    let resolver = Resolver::start(|query, _| {
        let mut rubbish = query.id().to_be_bytes().to_vec();
        rubbish.extend([0xff; 40]);
        vec![rubbish]
    })
    .await;
    let fault = resolver.lookup("", RecordKind::A).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "net.dns-protocol"));
}

#[tokio::test]
async fn aliases_that_go_round_and_private_addresses_are_what_the_answer_says() {
    let resolver = Resolver::start(|query, _| {
        let alias = |of| RData::CNAME(CNAME(Name::new_unchecked(of)));
        with(
            query,
            [
                record("example.com", alias("a.example.com")),
                record("a.example.com", alias("example.com")),
                record("example.com", address("169.254.169.254")),
                record("example.com", address("127.0.0.1")),
            ],
        )
    })
    .await;
    let answer = resolver.lookup("", RecordKind::A).await.unwrap();
    // Nothing is followed, and nothing is connected to.
    assert_eq!(data(&answer), ["a.example.com", "example.com", "169.254.169.254", "127.0.0.1"]);
    assert_eq!(resolver.questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_resolver_that_is_silent_is_a_timeout_and_one_that_is_not_there_is_transient() {
    let silent = Resolver::start(|_, _| Vec::new()).await;
    let fault = silent.lookup("timeout = \"300ms\"", RecordKind::A).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Timeout, "{}", fault.message);
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let targets =
        format!("[targets.t]\nnet = \"example.com\"\nresolver = \"{closed}\"\ntimeout = \"5s\"\n");
    let fault = lookup(&targets, None, RecordKind::A).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "net.dns-connect"));
}

#[tokio::test]
async fn a_name_that_the_target_does_not_let_through_is_not_asked_for() {
    let resolver = Resolver::start(every_kind).await;
    let evil = "x.example.com.evil.example";
    for name in [Some(evil), Some("example.org"), Some("a b.example.com"), None] {
        let mut host = host(NAMES, &resolver.target(""), Path::new("/"));
        let denied = HostCall::new(&mut host)
            .lookup("s".to_owned(), name.map(str::to_owned), RecordKind::A)
            .await;
        assert_eq!(denied.unwrap_err().class, FaultClass::Denied, "{name:?}");
        assert_eq!(host.into_trace().denials[0].rule.name(), "name");
    }
    assert_eq!(resolver.questions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_resolver_is_judged_and_told_to_the_audit() {
    let resolver = Resolver::start(every_kind).await;
    let told = Arc::<Mutex<Vec<String>>>::default();
    let mut host = host_with_audited_names(NAMES, &resolver.target(""), &[], &told);
    let name = Some("a.example.com".to_owned());
    HostCall::new(&mut host).lookup("s".to_owned(), name, RecordKind::A).await.unwrap();
    let expected = [
        "allowed lookup A a.example.com".to_owned(),
        format!("allowed resolver {}", resolver.address),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    // A resolver that the target does not name is never asked.
    let other = "192.0.2.53:53".parse().unwrap();
    let denied = host.allowed_resolver("s", runbook_authority::Verb::NetLookup, other);
    assert_eq!(denied.unwrap_err().class, FaultClass::Denied);
}

#[tokio::test]
async fn a_system_without_resolvers_says_what_to_do() {
    let told = Arc::default();
    let mut host =
        host_with_audited_names(NAMES, "[targets.t]\nnet = \"example.com\"\n", &[], &told);
    let fault = HostCall::new(&mut host).lookup("s".to_owned(), None, RecordKind::A).await;
    let fault = fault.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "net.no-resolver"));
    assert!(fault.message.contains("name one as `resolver`"), "{}", fault.message);
}
