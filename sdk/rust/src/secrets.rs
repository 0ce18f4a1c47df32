//! A secret that the runbook bound to a slot. Most plugins need none of this: see
//! [`http::Endpoint::secret_header`](crate::http::Endpoint::secret_header).

use crate::bindings::runbook::secrets::{metadata, reveal, rotation};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use metadata::SecretInfo;
pub use rotation::{PasswordState, PasswordStatus, RotatedRole};

/// A slot that is bound to one secret.
#[derive(Debug, Clone)]
pub struct SecretSlot {
    slot: Slot,
}

impl SecretSlot {
    /// The secret of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// The metadata of the secret, without its value: its name, and when it was set and expires.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `describe`, `not-found` if its store cannot be opened or
    /// does not hold it.
    #[track_caller]
    pub fn describe(&self) -> Result<SecretInfo> {
        host!("secrets/metadata.describe", metadata::describe(self.slot.name()))
    }

    /// The secret in plain text. Every review shows that a plugin may do this.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `reveal`, `not-found` if its store cannot be opened or
    /// does not hold it.
    #[track_caller]
    pub fn reveal(&self) -> Result<Vec<u8>> {
        host!("secrets/reveal.reveal", reveal::reveal(self.slot.name()))
    }

    /// Which of the values that the store keeps the role of the sql slot `login` has. The plugin
    /// does not see the values.
    ///
    /// # Errors
    /// `denied` if a slot is not granted, `invalid` if the secret is not the password of `login` or
    /// the server lets the role in with any password, `conflict` if the server takes none of the
    /// values.
    #[track_caller]
    pub fn observe(&self, admin: Slot, login: Slot) -> Result<PasswordStatus> {
        host!(
            "secrets/rotation.observe",
            rotation::observe(self.slot.name(), admin.name(), login.name())
        )
    }

    /// Gives the role that the sql slot `login` connects as a new password, which is kept in the
    /// secret. `admin` is a sql slot whose role may change it. The plugin does not see the value.
    ///
    /// # Errors
    /// `denied` if a slot is not granted, `invalid` if the secret is not the password of `login`,
    /// `conflict` if the server does not take the new password; both values are then kept.
    #[track_caller]
    pub fn rotate(&self, admin: Slot, login: Slot) -> Result<RotatedRole> {
        host!(
            "secrets/rotation.rotate",
            rotation::rotate(self.slot.name(), admin.name(), login.name())
        )
    }

    /// Puts back the value before [`rotate`](Self::rotate) by this step.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), and `conflict` if the secret was changed since.
    #[track_caller]
    pub fn restore(&self, admin: Slot, login: Slot) -> Result<RotatedRole> {
        host!(
            "secrets/rotation.restore",
            rotation::restore(self.slot.name(), admin.name(), login.name())
        )
    }
}
