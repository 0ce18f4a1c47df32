//! Bytes that claim to be a component: read or refused, never compiled, never run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_runtime::{inspect, verify};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(inspected) = inspect(bytes) {
        let _ = verify(inspected);
    }
});
