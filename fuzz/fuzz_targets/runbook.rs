//! A runbook: parsed or refused with a reason, and its targets read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_authority::Targets;
use runbook_authority::targets::Folder;
use runbook_document::{Diagnostics, Source};
use std::path::Path;

fuzz_target!(|text: &str| {
    let source = Source::new("r.toml", text);
    let mut load = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    match runbook_engine::parse(&source, None, &mut load) {
        Ok(runbook) => {
            let mut diagnostics = Diagnostics::default();
            let mut targets = Targets::default();
            for entry in &runbook.targets {
                targets.add(&entry.name, &entry.source, &entry.table, Folder::without_links(Path::new("/base")).expect("absolute"), &mut diagnostics);
            }
            for target in targets.iter() {
                // A description is shown to people; it never holds what only the store may hold.
                let _ = (target.describe(), target.location(), target.secrets());
            }
            let _ = runbook_engine::input_steps(&runbook);
        }
        Err(diagnostics) => assert!(diagnostics.has_errors(), "what is refused is refused with a \
                                                               reason"),
    }
});
