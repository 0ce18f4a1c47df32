//! Whose signatures are accepted for which plugins.
//!
//! A signature is over the digest of a component, which covers the manifest inside. A trust file
//! names keys and, for each, the plugins that it may sign. With a trust file in force, a plugin
//! file that no accepted key has signed is refused.

use crate::digest::Digest;
use crate::pattern_matches;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use runbook_document::{Diagnostics, Reader, Source};
use std::sync::Arc;

/// The version of trust files and signature files.
pub const FORMAT: u32 = 1;

/// The beginning of each signed message, so that a signature made for another purpose cannot be
/// used for a plugin.
const CONTEXT: &str = "runbook plugin signature v1\n";

/// An Ed25519 public key (RFC 8032), written `ed25519:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// An Ed25519 private key. It has no `Debug` and no `Display`.
pub struct SigningKey(Ed25519KeyPair);

/// A signature over the digest of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The digest that was signed.
    pub digest: Digest,
    /// The key that signed it.
    pub key: PublicKey,
    bytes: [u8; 64],
}

/// One key that a trust file accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The name of the key's owner, which messages show.
    pub name: String,
    /// The public half of the key.
    pub public: PublicKey,
    /// The plugins that it may sign, `*` being any run of characters.
    pub plugins: Vec<String>,
    /// The last day on which it is accepted, as `2027-01-31`.
    pub expires: Option<String>,
}

/// A trust file: the keys that it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustFile {
    /// The keys, in file order.
    pub keys: Vec<TrustedKey>,
}

/// Why a plugin is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// There is no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The signature is over other bytes.
    #[error("it was changed after it was signed: from {signed} to {found}")]
    OtherDigest {
        /// The first 12 hex digits of the digest that was signed.
        signed: String,
        /// The first 12 hex digits of the digest that the component has.
        found: String,
    },
    /// The signature does not fit its key.
    #[error("its signature is not one of key {key}")]
    Forged {
        /// The key that it names.
        key: String,
    },
    /// The trust file has no such key.
    #[error("its signature is good, but key {key} is not in the trust file")]
    UnknownKey {
        /// The public key that the signature names.
        key: String,
    },
    /// The key is accepted for other plugins.
    #[error("key `{name}` is accepted for {accepted}, not for plugin `{plugin}`")]
    OtherPlugins {
        /// The name of the key in the trust file.
        name: String,
        /// The names of plugins that the key may sign, for people.
        accepted: String,
        /// The name of this plugin.
        plugin: String,
    },
    /// The key has expired.
    #[error("key `{name}` was accepted until {expires}")]
    Expired {
        /// The name of the key in the trust file.
        name: String,
        /// The last day on which it was accepted, as `2027-01-31`.
        expires: String,
    },
}

impl PublicKey {
    /// Parses a key from its text form; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text.strip_prefix("ed25519:")?).map(Self)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ed25519:{}", to_hex(&self.0))
    }
}

impl SigningKey {
    /// A new key, as the text of its file.
    pub fn generate() -> Option<String> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).ok()?;
        Some(format!("runbook-signing-key-v1 {}\n", to_hex(document.as_ref())))
    }

    /// The key in the text of a file.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.trim().strip_prefix("runbook-signing-key-v1 ")?;
        let bytes: Option<Vec<u8>> =
            (0..hex.len()).step_by(2).map(|at| hex.get(at..at + 2).and_then(hex_byte)).collect();
        Ed25519KeyPair::from_pkcs8(&bytes?).ok().map(Self)
    }

    /// The public half of the key.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs the component with this digest.
    pub fn sign(&self, digest: &Digest) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(&message(digest)).as_ref());
        Signature { digest: digest.clone(), key: self.public(), bytes }
    }
}

fn message(digest: &Digest) -> Vec<u8> {
    [CONTEXT.as_bytes(), digest.as_str().as_bytes()].concat()
}

impl Signature {
    /// The text of a signature file.
    pub fn render(&self) -> String {
        format!(
            "# The signature of a plugin: over the digest of its bytes, manifest included. Check \
             it with `runbook plugin verify`.\nformat = {FORMAT}\nalgorithm = \"ed25519\"\n\
             digest = \"{}\"\nkey = \"{}\"\nsignature = \"{}\"\n",
            self.digest,
            self.key,
            to_hex(&self.bytes)
        )
    }

    /// Reads a signature file.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let mut reader = Reader::new(source, &table, "the signature", diagnostics);
        check_format(&mut reader);
        let algorithm = reader.required::<String>("algorithm");
        if let Some(unknown_algorithm) = algorithm.filter(|algorithm| algorithm.value != "ed25519")
        {
            reader.error(
                "E0123",
                unknown_algorithm.span,
                format!("algorithm `{}` is not known", unknown_algorithm.value),
                "only `ed25519` is",
            );
        }
        let digest =
            read_parsed(&mut reader, "digest", "`sha256:` and 64 hex digits", Digest::parse);
        let key = read_parsed(&mut reader, "key", "`ed25519:` and 64 hex digits", PublicKey::parse);
        let bytes = read_parsed(&mut reader, "signature", "128 hex digits", from_hex);
        reader.finish();
        Some(Self { digest: digest?, key: key?, bytes: bytes? })
            .filter(|_| !diagnostics.has_errors())
    }

    /// Checks that the signature is over this digest and by the key that it names.
    ///
    /// # Errors
    /// [`TrustError::OtherDigest`] if another digest was signed, [`TrustError::Forged`] if the
    /// signature does not fit its key.
    pub fn verify(&self, digest: &Digest) -> Result<(), TrustError> {
        if self.digest != *digest {
            return Err(TrustError::OtherDigest {
                signed: self.digest.short().to_owned(),
                found: digest.short().to_owned(),
            });
        }
        UnparsedPublicKey::new(&ED25519, &self.key.0)
            .verify(&message(digest), &self.bytes)
            .map_err(|_| TrustError::Forged { key: self.key.to_string() })
    }
}

impl TrustFile {
    /// Reads a trust file. Returns `None` after it has reported every mistake, because a partly
    /// read trust file would not be safe.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let mut found = Diagnostics::default();
        let mut reader = Reader::new(source, &table, "the trust file", &mut found);
        check_format(&mut reader);
        let keys = reader.read_each("key", "key", |reader| {
            let name = reader.required::<String>("name");
            let public =
                read_parsed(reader, "public", "`ed25519:` and 64 hex digits", PublicKey::parse);
            let plugins = reader.required::<Vec<String>>("plugins");
            let expires = read_date(reader);
            Some(TrustedKey {
                name: name?.value,
                public: public?,
                plugins: plugins?.value,
                expires,
            })
        });
        reader.finish();
        let is_good = !found.has_errors();
        diagnostics.append(found);
        is_good.then_some(Self { keys })
    }

    /// The key that makes a plugin trusted on a day (`2026-11-21`).
    ///
    /// # Errors
    /// [`TrustError`] if there is no signature, if the signature does not match the digest or its
    /// key, or if the key is unknown, accepted for other plugins only, or expired.
    pub fn judge(
        &self,
        plugin: &str,
        digest: &Digest,
        signature: Option<&Signature>,
        today: &str,
    ) -> Result<&TrustedKey, TrustError> {
        let signature = signature.ok_or(TrustError::Unsigned)?;
        signature.verify(digest)?;
        let key = self.keys.iter().find(|key| key.public == signature.key);
        let key = key.ok_or_else(|| TrustError::UnknownKey { key: signature.key.to_string() })?;
        if !key.plugins.iter().any(|pattern| pattern_matches(pattern, plugin)) {
            let accepted = key
                .plugins
                .iter()
                .map(|pattern| format!("`{pattern}`"))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(TrustError::OtherPlugins {
                name: key.name.clone(),
                accepted,
                plugin: plugin.to_owned(),
            });
        }
        // Dates in this form can be compared as texts.
        match &key.expires {
            Some(expires) if expires.as_str() < today => {
                Err(TrustError::Expired { name: key.name.clone(), expires: expires.clone() })
            }
            Some(_) | None => Ok(key),
        }
    }
}

fn check_format(reader: &mut Reader<'_>) {
    if let Some(format) = reader.required::<u32>("format").filter(|format| format.value != FORMAT) {
        let message =
            format!("format {} is not known; this host reads format {FORMAT}", format.value);
        reader.error("E0123", format.span, message, "unknown format");
    }
}

fn read_parsed<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = reader.required::<String>(key)?;
    let value = parse(&text.value);
    if value.is_none() {
        let help = "copy it as a whole, as `runbook plugin keygen` or `runbook plugin sign` has \
                    written it";
        reader.error_with_help(
            "E0123",
            text.span,
            format!("`{key}` must be {expected}"),
            "not this",
            help,
        );
    }
    value
}

/// A TOML date, without time.
fn read_date(reader: &mut Reader<'_>) -> Option<String> {
    let node = reader.optional::<runbook_document::Node>("expires")?;
    let date = node.value.date();
    if date.is_none() {
        reader.error(
            "E0123",
            node.span,
            "`expires` must be a date",
            "such as 2027-01-31, without quotes",
        );
    }
    date.map(str::to_owned)
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if hex.len() != 2 * N {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = hex_byte(hex.get(2 * index..2 * index + 2)?)?;
    }
    Some(bytes)
}

fn hex_byte(digits: &str) -> Option<u8> {
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().expect("randomness")).expect("its own text")
    }

    fn trust(text: &str) -> TrustFile {
        let mut diagnostics = Diagnostics::default();
        TrustFile::parse(
            &Source::new("trust.toml", format!("format = 1\n{text}")),
            &mut diagnostics,
        )
        .unwrap_or_else(|| panic!("{diagnostics:?}"))
    }

    fn reread(signature: &Signature) -> Signature {
        let mut diagnostics = Diagnostics::default();
        Signature::parse(&Source::new("p.wasm.sig", signature.render()), &mut diagnostics)
            .unwrap_or_else(|| panic!("{diagnostics:?}"))
    }

    #[test]
    fn a_signature_of_an_accepted_key_for_the_plugin_is_trusted() {
        let (key, digest) = (key(), Digest::of(b"component"));
        let trust = trust(&format!(
            "[[key]]\nname = \"team\"\npublic = \"{}\"\nplugins = [\"lag\", \"acme-*\"]\n\
             expires = 2027-01-31\n",
            key.public()
        ));
        let signature = reread(&key.sign(&digest));
        let judge = |plugin: &str, today: &str| {
            trust.judge(plugin, &digest, Some(&signature), today).map(|key| key.name.clone())
        };
        assert_eq!(judge("lag", "2026-11-21").as_deref(), Ok("team"));
        assert_eq!(judge("acme-disk", "2027-01-31").as_deref(), Ok("team"));
        assert!(matches!(judge("acme-disk", "2027-02-01"), Err(TrustError::Expired { .. })));
        assert!(matches!(judge("other", "2026-11-21"), Err(TrustError::OtherPlugins { .. })));
    }

    #[test]
    fn a_plugin_without_a_valid_signature_by_an_accepted_key_is_not_trusted() {
        let (accepted_key, unknown_key, digest) = (key(), key(), Digest::of(b"component"));
        let trust = trust(&format!(
            "[[key]]\nname = \"team\"\npublic = \"{}\"\nplugins = [\"*\"]\n",
            accepted_key.public()
        ));
        let judge = |digest: &Digest, signature: Option<&Signature>| {
            trust.judge("p", digest, signature, "2026-11-21").map(|_| ())
        };
        assert_eq!(judge(&digest, None), Err(TrustError::Unsigned));
        assert!(matches!(
            judge(&Digest::of(b"changed"), Some(&accepted_key.sign(&digest))),
            Err(TrustError::OtherDigest { .. })
        ));
        assert!(matches!(
            judge(&digest, Some(&unknown_key.sign(&digest))),
            Err(TrustError::UnknownKey { .. })
        ));
        // A stranger who writes the team's key beside his own signature.
        let forged = Signature { key: accepted_key.public(), ..unknown_key.sign(&digest) };
        assert!(matches!(judge(&digest, Some(&forged)), Err(TrustError::Forged { .. })));
        let mut damaged = accepted_key.sign(&digest);
        damaged.bytes[7] ^= 1;
        assert!(matches!(judge(&digest, Some(&damaged)), Err(TrustError::Forged { .. })));
        assert_eq!(judge(&digest, Some(&accepted_key.sign(&digest))), Ok(()));
    }

    #[test]
    fn mistakes_in_the_files_are_errors() {
        for text in [
            "format = 2\n",
            "format = 1\n[[key]]\nname = \"a\"\n",
            "format = 1\n[[key]]\nname = \"a\"\npublic = \"ed25519:00\"\nplugins = []\n",
            "format = 1\n[[keys]]\n",
            "format = 1\n[[key]]\nname = \"a\"\n\
             public \
             = \"ed25519:0000000000000000000000000000000000000000000000000000000000000000\"\n\
             plugins = []\nexpires = \"soon\"\n",
        ] {
            let mut diagnostics = Diagnostics::default();
            assert_eq!(
                TrustFile::parse(&Source::new("trust.toml", text), &mut diagnostics),
                None,
                "{text}"
            );
            assert!(diagnostics.has_errors());
        }
        let mut diagnostics = Diagnostics::default();
        assert_eq!(
            Signature::parse(
                &Source::new("x.sig", "format = 1\nalgorithm = \"rsa\"\n"),
                &mut diagnostics
            ),
            None
        );
        assert!(SigningKey::parse("runbook-signing-key-v1 00").is_none());
    }
}
