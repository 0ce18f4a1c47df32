//! What is left of a grant when a boundary is taken away, compared with what each of them allows.

use super::dimension::Dimension;
use super::values::{CallValue, Remainder, Values};
use crate::pattern::{AddressBlock, AddressClass, TooComplex};
use proptest::prelude::*;
use std::net::IpAddr;

const BLOCKS: &[&str] = &[
    "10.0.0.0/8",
    "10.20.0.0/16",
    "10.20.0.0/17",
    "10.20.128.0/17",
    "10.20.0.1",
    "172.16.0.0/12",
    "169.254.0.0/16",
    "169.254.169.254",
    "169.254.169.252/30",
    "168.63.129.16/28",
    "8.8.8.8",
    "fd00::/8",
    "fd00:ec2::/32",
    "fd00:ec2::254",
];

fn addresses() -> impl Strategy<Value = Values> {
    let classes: Vec<_> = AddressClass::all().collect();
    let class_number = classes.len();
    (
        proptest::sample::subsequence(classes, 0..class_number),
        proptest::sample::subsequence(BLOCKS.to_vec(), 0..BLOCKS.len()),
    )
        .prop_map(|(classes, blocks)| Values::Addresses {
            classes: classes.into_iter().collect(),
            blocks: blocks
                .into_iter()
                .map(|text| AddressBlock::parse(text).expect("the test's block is good"))
                .collect(),
        })
}

/// The ends of each block, and what is beside them, and an address of each class.
fn samples() -> Vec<String> {
    let of_block = |text: &&str| {
        let block = AddressBlock::parse(text).expect("the test's block is good");
        let last_and_next = block.next().map(|next| match next {
            IpAddr::V4(next) => [IpAddr::from((u32::from(next) - 1).to_be_bytes()), next.into()],
            IpAddr::V6(next) => [IpAddr::from((u128::from(next) - 1).to_be_bytes()), next.into()],
        });
        block.first().into_iter().chain(last_and_next.into_iter().flatten())
    };
    BLOCKS
        .iter()
        .flat_map(of_block)
        .chain(AddressClass::all().map(AddressClass::example))
        .map(|address| address.to_string())
        .collect()
}

proptest! {
    #[test]
    fn an_address_is_left_exactly_if_the_grant_allows_one_that_no_boundary_allows(
        grant in addresses(), first in addresses(), second in addresses(),
    ) {
        let remainder = Remainder::new(Dimension::Addresses, &grant).exclude(&first).exclude(&second);
        let by_samples = samples().into_iter().find(|sample| remainder.contains_text(sample));
        match remainder.witness() {
            Ok(Some(CallValue::Text(witness))) => prop_assert!(remainder.contains_text(&witness), "{witness}"),
            Ok(Some(other)) => prop_assert!(false, "{other:?} is no address"),
            Ok(None) => prop_assert_eq!(by_samples, None),
            Err(TooComplex) => {}
        }
    }
}
