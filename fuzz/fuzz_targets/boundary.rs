//! Compares a boundary with one grant: a witness is never a call that the boundary permits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_authority::boundary::Boundary;
use runbook_authority::scope::{AccessScope, CallValue, ConcreteCall, Dimension, Text, Values};
use runbook_authority::{Capability, lockfile};
use runbook_document::{Diagnostics, Source};
use std::collections::{BTreeMap, BTreeSet};

fuzz_target!(|text: &str| {
    let mut diagnostics = Diagnostics::default();
    let _ = lockfile::parse(&Source::new("runbook.lock", text), "/base", &mut diagnostics);
    let Some(boundary) = Boundary::parse(&Source::new("boundary.toml", text), &mut diagnostics) else {
        assert!(diagnostics.has_errors(), "what is refused is refused with a reason");
        return;
    };
    let texts = |texts: &[&str]| Values::exact(texts.iter().copied());
    let scope = AccessScope {
        capability: Capability::Http,
        values: BTreeMap::from([
            (Dimension::Plugins, texts(&["http"])),
            (Dimension::Verbs, texts(&["get", "post"])),
            (Dimension::Schemes, texts(&["https"])),
            (Dimension::Hosts, Values::Texts(BTreeSet::from([Text::Glob("*.internal".to_owned())]))),
            (Dimension::Ports, texts(&["443"])),
            (Dimension::Paths, Values::Texts(BTreeSet::from([Text::Path { prefix: "/v1".to_owned(), pattern: "/a/*".to_owned() }]))),
        ]),
    };
    match boundary.check(&scope) {
        Ok(()) => {
            for host in ["a.internal", "x.y.internal"] {
                let value = |text: &str| CallValue::Text(text.to_owned());
                let call = ConcreteCall {
                    capability: Capability::Http,
                    values: BTreeMap::from([
                        (Dimension::Plugins, value("http")),
                        (Dimension::Verbs, value("post")),
                        (Dimension::Schemes, value("https")),
                        (Dimension::Hosts, value(host)),
                        (Dimension::Ports, value("443")),
                        (Dimension::Paths, value("/v1/a/b")),
                    ]),
                };
                assert!(boundary.permits(&call), "the grant is inside, and {} is not", call.sentence());
            }
        }
        Err(exceeded) => {
            if let Some(witness) = exceeded.witness {
                assert!(!boundary.permits(&witness), "{} is permitted", witness.sentence());
            }
        }
    }
});
