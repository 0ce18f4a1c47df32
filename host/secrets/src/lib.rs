//! The age-encrypted secret store, values that are wiped from memory, and the scrubber.
//!
//! A store is one age file for each environment, such as `secrets/prod.age`, which is safe to
//! commit. Its recipients are listed in the file `secrets/prod.age.recipients` beside it, so that
//! whoever can read the store can also change it, without the private keys of the others. Both
//! files work with the `age` program: `age -d -i key.txt secrets/prod.age` shows TOML.
//!
//! The crate uses only paths that it is given. It never prints, prompts, or reads HOME or the
//! environment: it asks for a passphrase through a [`Prompt`] of the caller.
//!
//! ```
//! use runbook_secrets::{Identities, Prompt, Recipients, Scrubber, Secret, Store, keygen};
//!
//! let now = jiff::Timestamp::UNIX_EPOCH;
//! let key = keygen(now);
//! let mut store = Store::default();
//! store.set("orders-db", Secret::from("correct horse"), now, None)?;
//! let file = store.encrypt(&Recipients::parse(key.recipient(), "prod.age.recipients")?)?;
//!
//! let mut identities = Identities::default();
//! identities.add(key.text().as_bytes(), "key.txt")?;
//! let store = Store::open(&file, "prod.age", &identities, &Prompt::none())?;
//! let scrubber = Scrubber::new(store.iter());
//! assert_eq!(scrubber.text("login with correct%20horse"), "login with [secret orders-db]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops where it fails"))]

mod content;
pub mod files;
mod identity;
mod prompt;
mod recipient;
mod rotation;
mod rotation_lock;
mod scram;
mod scrub;
mod secret;
mod sops;
mod source;
mod store;
mod store_lock;

pub use identity::{Identities, IdentityError, NewIdentity, keygen};
pub use prompt::{Prompt, Question};
pub use recipient::{RecipientError, Recipients, WorkFactor, listed_keys};
pub use rotation::{
    KeptValues, PendingRotation, RotationDirection, RotationEnd, RotationError, RotationResult,
    RotationStart, TargetAge, ValueMaker,
};
pub use rotation_lock::{LockAttempt, RotationLock, is_rotation_locked, try_lock_rotation};
pub use scram::{new_password, scram_verifier};
pub use scrub::Scrubber;
pub use secret::Secret;
pub use sops::{SopsError, SopsFile, SopsFormat};
pub use source::{SecretReference, SourceError};
pub use store::{Store, StoreError};
pub use store_lock::{StoreLock, lock_store, try_lock_store};

/// The type of a passphrase: wiped from memory when dropped, and never shown by `Debug`.
pub use age::secrecy::{ExposeSecret, SecretString};
