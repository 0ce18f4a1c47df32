//! A manifest, as an author writes it and as a component brings it. What is accepted survives the
//! way into the section and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_authority::Manifest;
use runbook_document::{Diagnostics, Source};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::from_section(bytes) {
        assert_eq!(Manifest::from_section(&manifest.to_section()).expect("it was read from a section"), manifest);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut diagnostics = Diagnostics::default();
    if let Some(manifest) = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics) {
        assert_eq!(Manifest::from_section(&manifest.to_section()).expect("what `parse` takes, a section may hold"), manifest);
    } else {
        assert!(diagnostics.has_errors(), "what is refused is refused with a reason");
    }
    for diagnostic in diagnostics.iter() {
        let _ = diagnostic.position();
    }
});
