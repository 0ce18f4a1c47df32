//! URLs, hosts, addresses and paths: what is judged is what is sent, in whatever spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_authority::pattern::{AddressClass, AddressPolicy, PathPattern, canonical_request_path, relative_file_path};
use runbook_authority::targets::parse_base;
use std::net::IpAddr;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<IpAddr>() {
        let policy = AddressPolicy { classes: vec![AddressClass::Public], blocks: Vec::new() };
        assert_eq!(policy.allows(address), AddressClass::of(address) == AddressClass::Public);
        if let IpAddr::V4(v4) = address {
            // Inside an IPv6 address it is the same place.
            assert_eq!(AddressClass::of(v4.to_ipv6_mapped().into()), AddressClass::of(address));
        }
    }
    if let Ok(base) = parse_base(text) {
        assert!(base.username().is_empty() && base.password().is_none() && base.query().is_none());
        assert!(matches!(base.scheme(), "http" | "https"));
    }
    if let Ok((path, query)) = canonical_request_path(text) {
        let mut url = url::Url::parse("http://host/").expect("a URL");
        url.set_path(path);
        url.set_query(query);
        assert_eq!(url.path(), path, "what was judged is not what is sent");
        assert_eq!(url.host_str(), Some("host"));
        assert!(!path.split('/').any(|segment| segment == ".."));
        assert!(PathPattern::parse("/**").expect("a pattern").matches(path));
    }
    if let Ok(path) = relative_file_path(text) {
        assert!(!path.starts_with('/') && !path.split('/').any(|segment| segment == ".."));
    }
    if let Some((pattern, path)) = text.split_once(' ')
        && let Some(pattern) = PathPattern::parse(pattern)
    {
        let _ = pattern.matches(path);
    }
});
