//! Blocks of network addresses, as CIDR writes them (RFC 4632): `10.20.0.0/16`.

use super::AddressClass;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Adjacent addresses that are all of one class, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressBlock(IpNet);

/// Why a text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressBlockError {
    /// The text is neither an address nor a block.
    #[error("`{0}` is not a class, an address or a block of addresses")]
    Syntax(String),
    /// The address is not the first one of the block.
    #[error("`{text}` is not the first address of its block, which is `{block}`")]
    HostBits {
        /// The text.
        text: String,
        /// The block that the address is in.
        block: IpNet,
    },
    /// The block holds addresses of two classes, such as private and public ones.
    #[error("`{0}` holds addresses of more than one class; write one block for each class")]
    SeveralClasses(IpNet),
    /// Addresses of the block are other spellings of IPv4 addresses.
    #[error("`{0}` holds IPv4 addresses in the spelling of IPv6; write the block of IPv4")]
    EmbedsIpv4(IpNet),
}

/// Where one class of IPv4 addresses ends and another begins.
const CLASS_STARTS_V4: &[[u8; 4]] = &[
    [1, 0, 0, 0],
    [10, 0, 0, 0],
    [11, 0, 0, 0],
    [100, 64, 0, 0],
    [100, 128, 0, 0],
    [127, 0, 0, 0],
    [128, 0, 0, 0],
    [169, 254, 0, 0],
    [169, 255, 0, 0],
    [172, 16, 0, 0],
    [172, 32, 0, 0],
    [192, 0, 0, 0],
    [192, 0, 1, 0],
    [192, 0, 2, 0],
    [192, 0, 3, 0],
    [192, 88, 99, 0],
    [192, 88, 100, 0],
    [192, 168, 0, 0],
    [192, 169, 0, 0],
    [198, 18, 0, 0],
    [198, 20, 0, 0],
    [198, 51, 100, 0],
    [198, 51, 101, 0],
    [203, 0, 113, 0],
    [203, 0, 114, 0],
    [224, 0, 0, 0],
];

/// The same for IPv6, outside of the blocks that embed IPv4 addresses: the first two segments.
const CLASS_STARTS_V6: &[[u16; 2]] = &[
    [0x2000, 0],
    [0x2001, 0],
    [0x2001, 0x200],
    [0x2001, 0xdb8],
    [0x2001, 0xdb9],
    [0x3fff, 0],
    [0x3fff, 0x1000],
    [0x4000, 0],
    [0xfc00, 0],
    [0xfe00, 0],
    [0xfe80, 0],
    [0xfec0, 0],
    [0xff00, 0],
];

/// Blocks of IPv6 whose addresses lead to IPv4 addresses, `::` and `::1` among them.
const EMBEDDING_BLOCKS: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

impl AddressBlock {
    /// The block of one address. An IPv4 address in the mapped spelling of IPv6 is that address.
    pub fn single(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }

    /// Parses an address, or a block such as `10.20.0.0/16`.
    ///
    /// # Errors
    /// If it is neither, if its address is not its first, or if it holds addresses of several
    /// classes.
    pub fn parse(text: &str) -> Result<Self, AddressBlockError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::single(address));
        }
        let block: IpNet = text.parse().map_err(|_| AddressBlockError::Syntax(text.to_owned()))?;
        if block.trunc() != block {
            return Err(AddressBlockError::HostBits {
                text: text.to_owned(),
                block: block.trunc(),
            });
        }
        if block.prefix_len() == block.max_prefix_len() {
            return Ok(Self::single(block.network()));
        }
        if embeds_ipv4(block) {
            return Err(AddressBlockError::EmbedsIpv4(block));
        }
        let has_several_classes =
            class_starts().any(|start| block.contains(&start) && start != block.network());
        if has_several_classes {
            Err(AddressBlockError::SeveralClasses(block))
        } else {
            Ok(Self(block))
        }
    }

    /// Whether a connection to `address` is allowed where this block is. A metadata service is
    /// allowed only by its own address, not by a block around it.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
            && (self.is_single() || AddressClass::of(address) != AddressClass::Metadata)
    }

    /// The first address that it allows.
    pub(crate) fn first(&self) -> Option<IpAddr> {
        self.first_from(self.0.network())
    }

    /// The first address that it allows, from `start` on.
    pub(crate) fn first_from(&self, start: IpAddr) -> Option<IpAddr> {
        std::iter::successors(Some(start), |address| next_address(*address))
            .take_while(|address| self.0.contains(address))
            .find(|address| self.allows(*address))
    }

    /// The address after its last one, if there is one.
    pub(crate) fn next(&self) -> Option<IpAddr> {
        next_address(self.0.broadcast())
    }

    fn is_single(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }
}

/// The address after `address`, if it is not the last one.
fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

fn embeds_ipv4(block: IpNet) -> bool {
    EMBEDDING_BLOCKS.iter().any(|(first, length)| {
        IpNet::new((*first).into(), *length)
            .is_ok_and(|embedding| embedding.contains(&block) || block.contains(&embedding))
    })
}

fn class_starts() -> impl Iterator<Item = IpAddr> {
    let v6 = |[a, b]: &[u16; 2]| IpAddr::from([*a, *b, 0, 0, 0, 0, 0, 0]);
    CLASS_STARTS_V4.iter().map(|octets| IpAddr::from(*octets)).chain(CLASS_STARTS_V6.iter().map(v6))
}

impl std::fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_single() { write!(f, "{}", self.0.network()) } else { write!(f, "{}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::address::tests::samples;

    fn block(text: &str) -> AddressBlock {
        AddressBlock::parse(text).expect("the test's block is good")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("the test's address is good")
    }

    #[test]
    fn a_block_allows_its_addresses_and_their_mapped_spelling_and_no_neighbour() {
        let office = block("10.20.0.0/16");
        for inside in ["10.20.0.0", "10.20.255.255", "::ffff:10.20.1.1"] {
            assert!(office.allows(address(inside)), "{inside}");
        }
        for outside in ["10.19.255.255", "10.21.0.0", "64:ff9b::10.20.1.1", "::10.20.1.1", "::1"] {
            assert!(!office.allows(address(outside)), "{outside}");
        }
        assert_eq!(office.to_string(), "10.20.0.0/16");
    }

    #[test]
    fn a_single_address_is_written_and_allowed_in_each_of_its_forms() {
        for text in ["192.0.2.7", "192.0.2.7/32", "::ffff:192.0.2.7", "::ffff:192.0.2.7/128"] {
            assert_eq!(block(text).to_string(), "192.0.2.7", "{text}");
            assert!(block(text).allows(address("192.0.2.7")));
            assert!(!block(text).allows(address("192.0.2.8")));
        }
        assert_eq!(block("fd12::1/128").to_string(), "fd12::1");
    }

    #[test]
    fn a_metadata_service_is_allowed_by_its_own_address_alone() {
        for metadata in
            samples().filter(|address| AddressClass::of(*address) == AddressClass::Metadata)
        {
            assert!(AddressBlock::single(metadata).allows(metadata), "{metadata}");
            let bits = if metadata.is_ipv4() { 32 } else { 128 };
            for length in 0..bits {
                let Ok(block_around) = IpNet::new(metadata, length) else { continue };
                if let Ok(block_around) = AddressBlock::parse(&block_around.trunc().to_string()) {
                    assert!(!block_around.allows(metadata), "{block_around} and {metadata}");
                }
            }
        }
    }

    #[test]
    fn every_block_around_an_address_of_the_registries_has_one_class_or_is_refused() {
        let sample_addresses: Vec<IpAddr> = samples().collect();
        for length in 0..=128 {
            for text in
                sample_addresses.iter().filter_map(|sample| IpNet::new(*sample, length).ok())
            {
                let net = text.trunc();
                let classes: std::collections::BTreeSet<_> = sample_addresses
                    .iter()
                    .filter(|sample| net.contains(*sample))
                    .map(|sample| AddressClass::of(*sample))
                    .filter(|class| *class != AddressClass::Metadata)
                    .collect();
                match AddressBlock::parse(&net.to_string()) {
                    Ok(_) => assert!(classes.len() <= 1, "{net} has {classes:?}"),
                    Err(AddressBlockError::SeveralClasses(_)) => {
                        assert!(classes.len() > 1, "{net} has {classes:?} alone");
                    }
                    Err(AddressBlockError::EmbedsIpv4(_)) => assert!(net.addr().is_ipv6(), "{net}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_what_to_write() {
        for (text, message) in [
            ("intranet", "`intranet` is not a class, an address or a block of addresses"),
            ("10.0.0.0/33", "`10.0.0.0/33` is not a class, an address or a block of addresses"),
            ("10.1/16", "`10.1/16` is not a class, an address or a block of addresses"),
            (
                "10.20.0.5/16",
                "`10.20.0.5/16` is not the first address of its block, which is `10.20.0.0/16`",
            ),
            (
                "0.0.0.0/0",
                "`0.0.0.0/0` holds addresses of more than one class; write one block for each class",
            ),
            (
                "::ffff:10.0.0.0/104",
                "`::ffff:10.0.0.0/104` holds IPv4 addresses in the spelling of IPv6; write the \
                 block of IPv4",
            ),
        ] {
            let error = AddressBlock::parse(text).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
