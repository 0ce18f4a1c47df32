//! The names of slots. [`slot!`](macro@crate::slot) records each name and its source line in the
//! module, so that `runbook plugin build` finds a name that `plugin.toml` does not have.

/// The custom section of a plugin's module in which [`slot!`](macro@crate::slot) records names.
#[doc(hidden)]
pub const SECTION: &str = "runbook:slots";

/// A slot of `plugin.toml`; made by [`slot!`](macro@crate::slot).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(&'static str);

impl Slot {
    /// For [`slot!`](macro@crate::slot) only: `runbook plugin build` checks only the names that
    /// this macro records.
    #[doc(hidden)]
    pub const fn from_macro(name: &'static str) -> Self {
        Self(name)
    }

    /// The name of the slot in `plugin.toml`.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A slot of `plugin.toml`, by its name: `http::Endpoint::slot(slot!("target"))`.
/// `runbook plugin build` refuses a name that is not there, and shows the line that uses it.
#[macro_export]
macro_rules! slot {
    ($name:literal) => {{
        #[cfg(target_family = "wasm")]
        const _: () = {
            const REFERENCE: &str = concat!($name, "\u{1f}", file!(), ":", line!(), "\n");
            #[used]
            #[unsafe(link_section = "runbook:slots")]
            static SECTION_ENTRY: [u8; REFERENCE.len()] = $crate::slot::bytes(REFERENCE);
        };
        $crate::slot::Slot::from_macro($name)
    }};
}

/// The bytes of a text as an array, at compile time.
#[doc(hidden)]
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slot_has_the_name_that_was_written() {
        assert_eq!(slot!("target").name(), "target");
        assert_eq!(super::bytes::<2>("ab"), *b"ab");
    }
}
