//! Questions to DNS resolvers: by UDP, and by TCP when the answer does not fit.
//!
//! Only an [`AllowedResolver`] is asked. A message counts as the answer only if it carries the
//! number and the question that were sent.

use super::allowed_addresses::AllowedResolver;
use super::connect::connect;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// How long the host waits for one resolver before it asks the next, or the same one again.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The size of a UDP answer, in bytes, that this host advertises (EDNS,
/// <https://www.dnsflagday.net/2020>).
const UDP_PAYLOAD_SIZE: u16 = 1232;

/// Bytes that are read of one datagram: more than advertised, for resolvers that ignore the size.
const DATAGRAM_CAPACITY: usize = 4096;

/// The file in which the system keeps the addresses of its resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most bytes that are read of [`RESOLV_CONF`].
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// A response, and the resolver that gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) resolver: SocketAddr,
}

/// The answer of a resolver.
#[derive(Debug)]
pub(crate) struct Response {
    /// The response code, by its name in RFC 6895, such as `NXDOMAIN`.
    pub(crate) code: &'static str,
    pub(crate) records: Vec<DnsRecord>,
    is_truncated: bool,
}

/// One record in the notation of zone files, with names without the final dot.
#[derive(Debug)]
pub(crate) struct DnsRecord {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) ttl_s: u32,
}

/// Why there is no answer from any resolver.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No resolver answered the question in this time.
    TimedOut(Duration),
    /// No resolver can be reached; this is the last one that was asked.
    Unreachable(SocketAddr, io::Error),
    /// The answer of this resolver cannot be parsed.
    Unreadable(SocketAddr),
    /// The name cannot be asked for.
    InvalidQuestion(String),
}

/// The resolvers that the system is configured with, in their order.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn system_resolvers() -> io::Result<Vec<SocketAddr>> {
    let text = runbook_regular_file::read(Path::new(RESOLV_CONF), MAX_RESOLV_CONF)?;
    Ok(nameservers(&String::from_utf8_lossy(&text)))
}

/// The `nameserver` entries of a `resolv.conf`. Addresses with a zone (`fe80::1%eth0`) are left
/// out: their meaning depends on the machine.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next());
        word.and_then(|word| word.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53))
    };
    text.split('\n').filter_map(address).collect()
}

/// Asks the resolvers one after the other, and then from the first again, until one answers or the
/// time `within` has passed.
pub(crate) async fn ask(
    resolvers: &[AllowedResolver],
    name: &str,
    kind: TYPE,
    within: Duration,
) -> Result<Answer, NoAnswer> {
    let deadline = Instant::now() + within;
    let mut unreachable = 0;
    for resolver in resolvers.iter().cycle() {
        let query = Query::new(name, kind).map_err(NoAnswer::InvalidQuestion)?;
        let address = resolver.address();
        let attempt_deadline = deadline.min(Instant::now() + RESOLVER_TIMEOUT);
        match tokio::time::timeout_at(attempt_deadline, query.exchange(address)).await {
            Ok(Ok(response)) => return Ok(Answer { response, resolver: address }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(NoAnswer::Unreadable(address));
            }
            Ok(Err(error)) => {
                unreachable += 1;
                if unreachable >= resolvers.len() {
                    return Err(NoAnswer::Unreachable(address, error));
                }
            }
            Err(_) => unreachable = 0,
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(NoAnswer::TimedOut(within))
}

/// A question, and the message that carries it.
struct Query<'a> {
    id: u16,
    question: Question<'a>,
    bytes: Vec<u8>,
}

/// A message that came from the address of a resolver.
enum ParsedMessage {
    Response(Response),
    /// It does not answer this question: it is forged, or late.
    Unrelated,
    /// It answers this question, and cannot be parsed.
    Unreadable,
}

impl<'a> Query<'a> {
    /// A question with a random number, which an answer must repeat.
    fn new(name: &'a str, kind: TYPE) -> Result<Self, String> {
        let name = Name::new(name).map_err(|error| error.to_string())?;
        let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        let mut id = [0; 2];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut id).map_err(|_| "this host has no random numbers".to_owned())?;
        let id = u16::from_be_bytes(id);
        let mut query = Packet::new_query(id);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        query.questions.push(question.clone());
        let edns = OPT { opt_codes: Vec::new(), udp_packet_size: UDP_PAYLOAD_SIZE, version: 0 };
        *query.opt_mut() = Some(edns);
        let bytes = query.build_bytes_vec().map_err(|error| error.to_string())?;
        Ok(Self { id, question, bytes })
    }

    async fn exchange(&self, resolver: SocketAddr) -> io::Result<Response> {
        let response = self.by_udp(resolver).await?;
        if response.is_truncated { self.by_tcp(resolver).await } else { Ok(response) }
    }

    async fn by_udp(&self, resolver: SocketAddr) -> io::Result<Response> {
        let unspecified = match resolver {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((unspecified, 0)).await?;
        // From now on the kernel drops datagrams from other addresses and ports.
        socket.connect(resolver).await?;
        socket.send(&self.bytes).await?;
        let mut datagram = Vec::with_capacity(DATAGRAM_CAPACITY);
        loop {
            datagram.clear();
            socket.recv_buf(&mut datagram).await?;
            match self.read(&datagram) {
                ParsedMessage::Response(response) => return Ok(response),
                ParsedMessage::Unrelated => {}
                ParsedMessage::Unreadable => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    async fn by_tcp(&self, resolver: SocketAddr) -> io::Result<Response> {
        let mut stream = connect(&[resolver]).await?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&self.bytes).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        match self.read(&answer) {
            ParsedMessage::Response(response) if !response.is_truncated => Ok(response),
            ParsedMessage::Response(_) | ParsedMessage::Unrelated | ParsedMessage::Unreadable => {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> ParsedMessage {
        if !bytes.starts_with(&self.id.to_be_bytes()) {
            return ParsedMessage::Unrelated;
        }
        let Ok(packet) = Packet::parse(bytes) else { return ParsedMessage::Unreadable };
        // A resolver that cannot parse the question may leave it out of its answer; such an answer
        // says nothing about the name.
        let is_about_the_name = matches!(packet.rcode(), RCODE::NoError | RCODE::NameError);
        let is_same_question = match packet.questions.as_slice() {
            [] => packet.answers.is_empty() && !is_about_the_name,
            [question] => {
                question.qname == self.question.qname
                    && question.qtype == self.question.qtype
                    && question.qclass == self.question.qclass
            }
            _ => false,
        };
        if !packet.has_flags(PacketFlag::RESPONSE) || !is_same_question {
            return ParsedMessage::Unrelated;
        }
        let answers = self.answers_to_the_question(&packet);
        let is_empty = |record: &&ResourceRecord<'_>| matches!(record.rdata, RData::Empty(_));
        if answers.iter().any(is_empty) {
            return ParsedMessage::Unreadable;
        }
        let record = |record: &ResourceRecord<'_>| DnsRecord {
            name: record.name.to_string(),
            kind: format!("{:?}", record.rdata.type_code()),
            data: zone_file_text(&record.rdata),
            ttl_s: record.ttl,
        };
        ParsedMessage::Response(Response {
            code: code_name(packet.rcode()),
            records: answers.into_iter().map(record).collect(),
            is_truncated: packet.has_flags(PacketFlag::TRUNCATION),
        })
    }

    /// The records of the name that was asked for, and of the names to which its aliases lead. A
    /// record of another name is no answer.
    fn answers_to_the_question<'p, 'm>(
        &self,
        packet: &'p Packet<'m>,
    ) -> Vec<&'p ResourceRecord<'m>> {
        // Names are compared without regard to case (RFC 4343); the records are given as they are.
        let lower = |name: &Name<'_>| name.to_string().to_ascii_lowercase();
        let mut names = vec![lower(&self.question.qname)];
        let records = || packet.answers.iter().filter(|record| record.class == CLASS::IN);
        // The aliases may stand in any order, and each adds one name at most.
        for _ in 0..packet.answers.len() {
            let next = records().find_map(|record| match &record.rdata {
                RData::CNAME(alias) if names.contains(&lower(&record.name)) => {
                    Some(lower(&alias.0)).filter(|name| !names.contains(name))
                }
                _ => None,
            });
            match next {
                Some(name) => names.push(name),
                None => break,
            }
        }
        records().filter(|record| names.contains(&lower(&record.name))).collect()
    }
}

/// The data of a record in the notation of zone files. Bytes that are no UTF-8 are replaced. The
/// data of a type that cannot be asked for is left empty.
fn zone_file_text(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).to_string(),
        RData::CNAME(name) => name.0.to_string(),
        RData::NS(name) => name.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            soa.mname, soa.rname, soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum
        ),
        RData::CAA(caa) => {
            format!("{} {} \"{}\"", caa.flag, caa.tag, String::from_utf8_lossy(&caa.value))
        }
        RData::TXT(txt) => String::try_from(txt.clone())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        _ => String::new(),
    }
}

fn code_name(code: RCODE) -> &'static str {
    match code {
        RCODE::NoError => "NOERROR",
        RCODE::FormatError => "FORMERR",
        RCODE::ServerFailure => "SERVFAIL",
        RCODE::NameError => "NXDOMAIN",
        RCODE::NotImplemented => "NOTIMP",
        RCODE::Refused => "REFUSED",
        RCODE::YXDOMAIN => "YXDOMAIN",
        RCODE::YXRRSET => "YXRRSET",
        RCODE::NXRRSET => "NXRRSET",
        RCODE::NOTAUTH => "NOTAUTH",
        RCODE::NOTZONE => "NOTZONE",
        RCODE::BADVERS => "BADVERS",
        RCODE::Reserved => "RESERVED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_of_the_system_are_the_addresses_that_its_file_names() {
        let text = "# nameserver 10.0.0.1\nnameserver 10.0.0.53\n  nameserver\tfd00::53 # second\n\
                    search internal\nnameserver fe80::1%eth0\nnameserver\nnameservers 10.0.0.2\n";
        let named = nameservers(text);
        assert_eq!(named, ["10.0.0.53:53", "[fd00::53]:53"].map(|text| text.parse().unwrap()));
    }
}
