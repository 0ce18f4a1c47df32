//! The age-encrypted secret store, values that are wiped from memory, and the scrubber.
//!
//! A store is one age file an environment, such as `secrets/prod.age`, safe to commit. Whom it is
//! encrypted to stands beside it in `secrets/prod.age.recipients`, so that a secret can be set by
//! somebody who can read the store without anybody else's private key. Both files work with the
//! `age` program: `age -d -i key.txt secrets/prod.age` shows TOML.
//!
//! The crate touches only paths that it is given. It never prints, prompts, or reads HOME or the
//! environment: a passphrase is asked for through [`Prompt`], which the caller fills in.
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
mod scrub;
mod secret;
mod source;
mod store;

pub use identity::{Identities, IdentityError, NewIdentity, keygen};
pub use prompt::{Prompt, Question};
pub use recipient::{RecipientError, Recipients, WorkFactor};
pub use scrub::Scrubber;
pub use secret::Secret;
pub use source::{SecretReference, SourceError};
pub use store::{Store, StoreError};

/// The type of a passphrase: wiped from memory when dropped, and never shown by `Debug`.
pub use age::secrecy::{ExposeSecret, SecretString};
