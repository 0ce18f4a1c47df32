//! Classes of network addresses. An IPv4 address inside an IPv6 address has the class of the IPv4
//! address.

use super::AddressBlock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of network that an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// An address that can be reached from anywhere.
    Public,
    /// RFC 1918, unique local (RFC 4193), shared space of carriers (RFC 6598).
    Private,
    /// This host: `127.0.0.0/8` and `::1`.
    Loopback,
    /// RFC 3927 and `fe80::/10`, without the metadata addresses.
    LinkLocal,
    /// Where cloud providers hand out credentials.
    Metadata,
    /// Never a service: unspecified, multicast, broadcast, documentation, reserved.
    Reserved,
}

const CLASSES: &[(AddressClass, &str)] = &[
    (AddressClass::Public, "public"),
    (AddressClass::Private, "private"),
    (AddressClass::Loopback, "loopback"),
    (AddressClass::LinkLocal, "link-local"),
    (AddressClass::Metadata, "metadata"),
    (AddressClass::Reserved, "reserved"),
];

/// Where cloud providers hand out credentials. `169.254.169.254` and `fd00:ec2::254` were compared
/// with the page of AWS on 2026-11-21; no page of a provider was seen for the others.
const METADATA_V4: &[Ipv4Addr] = &[
    // AWS, and as far as known Google, Azure, `OpenStack`, `DigitalOcean` and Oracle; the page of
    // AWS: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.
    Ipv4Addr::new(169, 254, 169, 254),
    // AWS, resolver of a VPC.
    Ipv4Addr::new(169, 254, 169, 253),
    // AWS, credentials of ECS tasks and of EKS pods, as the AWS SDKs list them among the hosts that
    // they trust.
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud classic.
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure `WireServer`.
    Ipv4Addr::new(168, 63, 129, 16),
    // Scaleway.
    Ipv4Addr::new(169, 254, 42, 42),
    // Tencent Cloud.
    Ipv4Addr::new(169, 254, 0, 23),
];
const METADATA_V6: &[Ipv6Addr] = &[
    // AWS: metadata (the page named above), pods of EKS, resolver.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    // Google.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    // Oracle Cloud (the signer of instance principals in oracle/oci-python-sdk).
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    // Scaleway.
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    // Akamai (Linode).
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
    // Alibaba Cloud.
    Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200),
    // `OpenStack` (its Neutron documentation).
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

impl AddressClass {
    /// The class of an address. An IPv4 address inside an IPv6 one (mapped, compatible, NAT64,
    /// 6to4) has the class of the IPv4 address, because that is where the packet goes.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| Self::of_v6(v6), Self::of_v4),
        }
    }

    /// Its name in grants.
    pub fn name(self) -> &'static str {
        CLASSES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| *name)
    }

    /// An address of the class.
    pub fn example(self) -> IpAddr {
        let octets = match self {
            Self::Public => [1, 1, 1, 1],
            Self::Private => [10, 0, 0, 1],
            Self::Loopback => [127, 0, 0, 1],
            Self::LinkLocal => [169, 254, 0, 1],
            Self::Metadata => [169, 254, 169, 254],
            Self::Reserved => [0, 0, 0, 0],
        };
        IpAddr::from(octets)
    }

    /// Every class, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        CLASSES.iter().map(|(class, _)| *class)
    }

    /// The class called `name`.
    pub fn find(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    /// The names that a grant may use.
    pub fn names() -> Vec<&'static str> {
        CLASSES.iter().map(|(_, name)| *name).collect()
    }

    /// The class of an IPv4 address, by the IANA registry of special-purpose addresses (RFC 6890
    /// and its updates). What the registry calls globally reachable is public.
    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        if METADATA_V4.contains(&address) {
            return Self::Metadata;
        }
        match (a, b, c) {
            (127, ..) => Self::Loopback,
            (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Self::Private,
            (169, 254, _) => Self::LinkLocal,
            (0 | 224..=255, ..)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113) => Self::Reserved,
            _ => Self::Public,
        }
    }

    /// The class of an IPv6 address, by the IANA registry for IPv6.
    fn of_v6(address: Ipv6Addr) -> Self {
        let first = address.segments()[0];
        if METADATA_V6.contains(&address) {
            return Self::Metadata;
        }
        match first {
            _ if address.is_loopback() => Self::Loopback,
            _ if address.is_unspecified() || address.is_multicast() => Self::Reserved,
            // Unique local (RFC 4193) and the old site-local range.
            0xfc00..=0xfdff | 0xfec0..=0xfeff => Self::Private,
            0xfe80..=0xfebf => Self::LinkLocal,
            // Global unicast is 2000::/3 (RFC 4291). Protocol assignments inside it (2001::/23:
            // Teredo, which hides an IPv4 address, benchmarking, identifiers) and documentation are
            // nobody's service.
            0x2001 if matches!(address.segments()[1], 0..=0x01ff | 0x0db8) => Self::Reserved,
            0x3fff if address.segments()[1] < 0x1000 => Self::Reserved,
            0x2000..=0x3fff => Self::Public,
            _ => Self::Reserved,
        }
    }
}

/// The IPv4 address inside an IPv6 address; `None` if there is none.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let last = || Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7]));
    match segments {
        // Mapped (`::ffff:a.b.c.d`), translated (`::ffff:0:a.b.c.d`), NAT64 (RFC 6052,
        // `64:ff9b::/96`). In `64:ff9b:1::/48` (RFC 8215) each network has its own place for the
        // IPv4 address, so the destination is unknown: it is reserved.
        [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last()),
        // Compatible (`::a.b.c.d`, deprecated), but not `::` and `::1`.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(last()),
        // 2002:a.b.c.d::/48 (6to4).
        [0x2002, high, low, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    }
}

/// The addresses that a grant allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Classes that are allowed.
    pub classes: Vec<AddressClass>,
    /// Blocks that are allowed, whatever their class, and single addresses.
    pub blocks: Vec<AddressBlock>,
}

impl AddressPolicy {
    /// Whether a connection to `address` is allowed.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.allows(address))
            || self.classes.contains(&AddressClass::of(address))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        AddressClass::of(text.parse().expect("the test's address is good"))
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_keeps_its_class() {
        for loopback in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert_eq!(class(loopback), AddressClass::Loopback, "{loopback}");
        }
        for metadata in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "169.254.170.2",
            "169.254.170.23",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fd00:100::100:200",
            "fe80::a9fe:a9fe",
        ] {
            assert_eq!(class(metadata), AddressClass::Metadata, "{metadata}");
        }
    }

    #[test]
    fn classes_follow_the_registries() {
        for (text, expected) in [
            ("10.1.2.3", AddressClass::Private),
            ("172.31.0.1", AddressClass::Private),
            ("172.32.0.1", AddressClass::Public),
            ("100.64.0.1", AddressClass::Private),
            ("169.254.1.1", AddressClass::LinkLocal),
            ("0.0.0.0", AddressClass::Reserved),
            ("224.0.0.1", AddressClass::Reserved),
            ("203.0.113.9", AddressClass::Reserved),
            ("1.1.1.1", AddressClass::Public),
            ("fd12::1", AddressClass::Private),
            ("fe80::1", AddressClass::LinkLocal),
            ("::", AddressClass::Reserved),
            ("2606:4700::1", AddressClass::Public),
            ("2001:db8::1", AddressClass::Reserved),
            ("4000::1", AddressClass::Reserved),
            // The rest of both registries.
            ("0.1.2.3", AddressClass::Reserved),
            ("192.0.0.8", AddressClass::Reserved),
            ("192.0.2.1", AddressClass::Reserved),
            ("192.31.196.1", AddressClass::Public),
            ("192.52.193.1", AddressClass::Public),
            ("192.88.99.1", AddressClass::Reserved),
            ("192.175.48.1", AddressClass::Public),
            ("198.19.255.255", AddressClass::Reserved),
            ("198.51.100.1", AddressClass::Reserved),
            ("240.0.0.1", AddressClass::Reserved),
            ("255.255.255.255", AddressClass::Reserved),
            ("100::1", AddressClass::Reserved),
            ("100:0:0:1::1", AddressClass::Reserved),
            ("2001::1", AddressClass::Reserved),
            ("2001:2::1", AddressClass::Reserved),
            ("2001:20::1", AddressClass::Reserved),
            ("2001:200::1", AddressClass::Public),
            ("2620:4f:8000::1", AddressClass::Public),
            ("3fff:fff::1", AddressClass::Reserved),
            ("5f00::1", AddressClass::Reserved),
            ("64:ff9b:1::7f00:1", AddressClass::Reserved),
            ("64:ff9b:1:a9fe:a9:fe00::", AddressClass::Reserved),
            ("64:ff9b:0:1::808:808", AddressClass::Reserved),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    /// The special-purpose registries of IANA, and multicast. A part of a larger block that is not
    /// globally reachable counts as not reachable, even where the registry makes an exception for
    /// an anycast address of a protocol.
    const REGISTRIES: &[(&str, u32, AddressClass)] = &[
        ("0.0.0.0", 8, AddressClass::Reserved),
        ("10.0.0.0", 8, AddressClass::Private),
        ("100.64.0.0", 10, AddressClass::Private),
        ("127.0.0.0", 8, AddressClass::Loopback),
        ("169.254.0.0", 16, AddressClass::LinkLocal),
        ("172.16.0.0", 12, AddressClass::Private),
        ("192.0.0.0", 24, AddressClass::Reserved),
        ("192.0.2.0", 24, AddressClass::Reserved),
        ("192.31.196.0", 24, AddressClass::Public),
        ("192.52.193.0", 24, AddressClass::Public),
        ("192.88.99.0", 24, AddressClass::Reserved),
        ("192.168.0.0", 16, AddressClass::Private),
        ("192.175.48.0", 24, AddressClass::Public),
        ("198.18.0.0", 15, AddressClass::Reserved),
        ("198.51.100.0", 24, AddressClass::Reserved),
        ("203.0.113.0", 24, AddressClass::Reserved),
        ("224.0.0.0", 4, AddressClass::Reserved),
        ("240.0.0.0", 4, AddressClass::Reserved),
        ("255.255.255.255", 32, AddressClass::Reserved),
        ("::1", 128, AddressClass::Loopback),
        ("::", 128, AddressClass::Reserved),
        ("64:ff9b:1::", 48, AddressClass::Reserved),
        ("100::", 64, AddressClass::Reserved),
        ("100:0:0:1::", 64, AddressClass::Reserved),
        ("2000::", 3, AddressClass::Public),
        ("2001::", 23, AddressClass::Reserved),
        ("2001::", 32, AddressClass::Reserved),
        ("2001:2::", 48, AddressClass::Reserved),
        ("2001:10::", 28, AddressClass::Reserved),
        ("2001:20::", 28, AddressClass::Reserved),
        ("2001:30::", 28, AddressClass::Reserved),
        ("2001:db8::", 32, AddressClass::Reserved),
        ("2620:4f:8000::", 48, AddressClass::Public),
        ("3fff::", 20, AddressClass::Reserved),
        ("5f00::", 16, AddressClass::Reserved),
        ("fc00::", 7, AddressClass::Private),
        ("fe80::", 10, AddressClass::LinkLocal),
        ("fec0::", 10, AddressClass::Private),
        ("ff00::", 8, AddressClass::Reserved),
    ];

    /// Where clouds hand out credentials or settings of a machine, as their manuals say.
    const CLOUDS: &[(&str, &str)] = &[
        (
            "AWS, Google, Azure, Oracle, IBM, DigitalOcean, Hetzner, Vultr, OpenStack",
            "169.254.169.254",
        ),
        ("AWS: the resolver", "169.254.169.253"),
        ("AWS: the resolver over IPv6", "fd00:ec2::253"),
        ("AWS over IPv6", "fd00:ec2::254"),
        ("AWS ECS", "169.254.170.2"),
        ("AWS EKS", "169.254.170.23"),
        ("AWS EKS over IPv6", "fd00:ec2::23"),
        ("Google over IPv6", "fd20:ce::254"),
        ("Azure WireServer", "168.63.129.16"),
        ("Alibaba", "100.100.100.200"),
        ("Oracle, the old one", "192.0.0.192"),
        ("OpenStack over IPv6", "fe80::a9fe:a9fe"),
        ("Scaleway", "169.254.42.42"),
        ("Scaleway over IPv6", "fd00:42::42"),
        ("Tencent", "169.254.0.23"),
    ];

    fn number(address: IpAddr) -> (u128, u32) {
        match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        }
    }

    fn address_of_number(number: u128, bits: u32) -> IpAddr {
        u32::try_from(number)
            .ok()
            .filter(|_| bits == 32)
            .map_or_else(|| Ipv6Addr::from(number).into(), |v4| Ipv4Addr::from(v4).into())
    }

    fn parse_address(text: &str) -> IpAddr {
        text.parse().expect("the table's address is good")
    }

    /// First and last address of a row.
    fn range((first, length, _): &(&str, u32, AddressClass)) -> (u128, u128, u32) {
        let (first, bits) = number(parse_address(first));
        let rest = bits - length;
        let size = if rest == 128 { u128::MAX } else { (1_u128 << rest) - 1 };
        (first, first + size, bits)
    }

    /// The class by the tables of this test: metadata for an address of a cloud, else the class of
    /// the longest prefix, else public for IPv4 and reserved for IPv6.
    fn expected_class(address: IpAddr) -> AddressClass {
        if CLOUDS.iter().any(|(_, cloud)| parse_address(cloud) == address) {
            return AddressClass::Metadata;
        }
        let (address_number, address_bits) = number(address);
        let holds = |row: &&(&str, u32, AddressClass)| {
            let (first, last, bits) = range(row);
            bits == address_bits && (first..=last).contains(&address_number)
        };
        let default_class =
            if address_bits == 32 { AddressClass::Public } else { AddressClass::Reserved };
        REGISTRIES
            .iter()
            .filter(holds)
            .max_by_key(|(_, length, _)| *length)
            .map_or(default_class, |(.., class)| *class)
    }

    /// Both ends of each row, its middle, and its neighbours; each cloud and its neighbours.
    pub(in crate::pattern) fn samples() -> impl Iterator<Item = IpAddr> {
        let rows = REGISTRIES.iter().map(range);
        let clouds = CLOUDS
            .iter()
            .map(|(_, cloud)| number(parse_address(cloud)))
            .map(|(number, bits)| (number, number, bits));
        rows.chain(clouds).flat_map(|(first, last, bits)| {
            let most = if bits == 32 { u128::from(u32::MAX) } else { u128::MAX };
            let middle = first + (last - first) / 2;
            [first, last, middle, first.saturating_sub(1), last.saturating_add(1).min(most)]
                .map(|number| address_of_number(number, bits))
        })
    }

    #[test]
    fn every_block_of_the_registries_and_every_metadata_address_has_its_class_and_so_have_its_neighbours()
     {
        for address in samples()
            .filter(|address| !matches!(address, IpAddr::V6(v6) if embedded_v4(*v6).is_some()))
        {
            assert_eq!(AddressClass::of(address), expected_class(address), "{address}");
        }
    }

    #[test]
    fn every_ipv4_address_of_the_registries_has_its_class_in_every_spelling_over_ipv6() {
        for address in samples() {
            let IpAddr::V4(v4) = address else { continue };
            let [high, low] = [u32::from(v4) >> 16, u32::from(v4) & 0xffff];
            for spelling in [
                format!("::ffff:{v4}"),
                format!("::ffff:0:{v4}"),
                format!("64:ff9b::{v4}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("2002:{high:x}:{low:x}:1:2:3:4:5"),
            ] {
                assert_eq!(class(&spelling), expected_class(address), "{spelling}");
            }
        }
    }

    #[test]
    fn metadata_stays_denied_where_private_and_link_local_are_allowed() {
        let policy = AddressPolicy {
            classes: vec![AddressClass::Private, AddressClass::LinkLocal],
            blocks: Vec::new(),
        };
        assert!(policy.allows("10.0.0.1".parse().expect("good")));
        assert!(!policy.allows("169.254.169.254".parse().expect("good")));
        let named_policy = AddressPolicy {
            classes: Vec::new(),
            blocks: vec![AddressBlock::parse("169.254.169.254").expect("good")],
        };
        assert!(named_policy.allows("169.254.169.254".parse().expect("good")));
    }
}
