//! A secret that the runbook bound to a slot. Most plugins need none of this: see [`http::Endpoint::secret_header`](crate::http::Endpoint::secret_header).

use crate::bindings::runbook::secrets::{metadata, reveal};
use crate::fault::Result;

pub use metadata::SecretInfo;

/// The slot of one secret.
#[derive(Debug, Clone)]
pub struct SecretSlot {
    slot: String,
}

impl SecretSlot {
    /// The slot called `name` in `plugin.toml`.
    pub fn slot(name: &str) -> Self {
        Self { slot: name.to_owned() }
    }

    /// What can be known without seeing it.
    pub fn describe(&self) -> Result<SecretInfo> {
        metadata::describe(&self.slot)
    }

    /// The plain text: a red line in every review.
    pub fn reveal(&self) -> Result<Vec<u8>> {
        reveal::reveal(&self.slot)
    }
}
