//! Whose signatures are accepted for which plugins.
//!
//! A signature is over the digest of a component, which covers the manifest inside. A trust file
//! names keys and, for each, the plugins that it may sign. Where one is in force, a plugin of a
//! file that no accepted key has signed is refused.

use crate::digest::Digest;
use crate::pattern_matches;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use runbook_document::{Diagnostics, Reader, Source};
use std::sync::Arc;

/// The version of trust files and signature files.
pub const FORMAT: u32 = 1;

/// What is signed begins with this, so that a signature for something else is none for a plugin.
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

/// The keys that a trust file accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// The keys, in file order.
    pub keys: Vec<TrustedKey>,
}

/// Why a plugin is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
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
    /// The key is accepted no more.
    #[error("key `{name}` was accepted until {expires}")]
    Expired {
        /// The name of the key in the trust file.
        name: String,
        /// The last day on which it was accepted, as `2027-01-31`.
        expires: String,
    },
}

impl PublicKey {
    /// The key that `text` writes, if it writes one.
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
        if let Some(other) = algorithm.filter(|algorithm| algorithm.value != "ed25519") {
            reader.error(
                "E0123",
                other.span,
                format!("algorithm `{}` is not known", other.value),
                "only `ed25519` is",
            );
        }
        let digest = read(&mut reader, "digest", "`sha256:` and 64 hex digits", Digest::parse);
        let key = read(&mut reader, "key", "`ed25519:` and 64 hex digits", PublicKey::parse);
        let bytes = read(&mut reader, "signature", "128 hex digits", from_hex);
        reader.finish();
        Some(Self { digest: digest?, key: key?, bytes: bytes? })
            .filter(|_| !diagnostics.has_errors())
    }

    /// Whether it is over this digest and of the key that it names.
    ///
    /// # Errors
    /// [`Untrusted::OtherDigest`] if another digest was signed, [`Untrusted::Forged`] if the
    /// signature does not fit its key.
    pub fn check(&self, digest: &Digest) -> Result<(), Untrusted> {
        if self.digest != *digest {
            return Err(Untrusted::OtherDigest {
                signed: self.digest.short().to_owned(),
                found: digest.short().to_owned(),
            });
        }
        UnparsedPublicKey::new(&ED25519, &self.key.0)
            .verify(&message(digest), &self.bytes)
            .map_err(|_| Untrusted::Forged { key: self.key.to_string() })
    }
}

impl Trust {
    /// Reads a trust file. Returns `None` after it has reported every mistake: half a trust file
    /// counts as none.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let mut found = Diagnostics::default();
        let mut reader = Reader::new(source, &table, "the trust file", &mut found);
        check_format(&mut reader);
        let keys = reader.each("key", "key", |reader| {
            let name = reader.required::<String>("name");
            let public = read(reader, "public", "`ed25519:` and 64 hex digits", PublicKey::parse);
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

    /// The key by which a plugin is trusted on a day (`2026-11-21`).
    ///
    /// # Errors
    /// [`Untrusted`] if there is no signature, it is not of this digest or of its key, or its key
    /// is unknown, accepted for other plugins, or expired.
    pub fn judge(
        &self,
        plugin: &str,
        digest: &Digest,
        signature: Option<&Signature>,
        today: &str,
    ) -> Result<&TrustedKey, Untrusted> {
        let signature = signature.ok_or(Untrusted::Unsigned)?;
        signature.check(digest)?;
        let key = self.keys.iter().find(|key| key.public == signature.key);
        let key = key.ok_or_else(|| Untrusted::UnknownKey { key: signature.key.to_string() })?;
        if !key.plugins.iter().any(|pattern| pattern_matches(pattern, plugin)) {
            let accepted = key
                .plugins
                .iter()
                .map(|pattern| format!("`{pattern}`"))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Untrusted::OtherPlugins {
                name: key.name.clone(),
                accepted,
                plugin: plugin.to_owned(),
            });
        }
        // Dates of this form are in order as texts.
        match &key.expires {
            Some(expires) if expires.as_str() < today => {
                Err(Untrusted::Expired { name: key.name.clone(), expires: expires.clone() })
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

fn read<T>(
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

    fn trust(text: &str) -> Trust {
        let mut diagnostics = Diagnostics::default();
        Trust::parse(&Source::new("trust.toml", format!("format = 1\n{text}")), &mut diagnostics)
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
        assert!(matches!(judge("acme-disk", "2027-02-01"), Err(Untrusted::Expired { .. })));
        assert!(matches!(judge("other", "2026-11-21"), Err(Untrusted::OtherPlugins { .. })));
    }

    #[test]
    fn everything_else_is_not() {
        let (own, stranger, digest) = (key(), key(), Digest::of(b"component"));
        let trust = trust(&format!(
            "[[key]]\nname = \"team\"\npublic = \"{}\"\nplugins = [\"*\"]\n",
            own.public()
        ));
        let judge = |digest: &Digest, signature: Option<&Signature>| {
            trust.judge("p", digest, signature, "2026-11-21").map(|_| ())
        };
        assert_eq!(judge(&digest, None), Err(Untrusted::Unsigned));
        assert!(matches!(
            judge(&Digest::of(b"changed"), Some(&own.sign(&digest))),
            Err(Untrusted::OtherDigest { .. })
        ));
        assert!(matches!(
            judge(&digest, Some(&stranger.sign(&digest))),
            Err(Untrusted::UnknownKey { .. })
        ));
        // A stranger who writes the team's key beside his own signature.
        let forged = Signature { key: own.public(), ..stranger.sign(&digest) };
        assert!(matches!(judge(&digest, Some(&forged)), Err(Untrusted::Forged { .. })));
        let mut flipped = own.sign(&digest);
        flipped.bytes[7] ^= 1;
        assert!(matches!(judge(&digest, Some(&flipped)), Err(Untrusted::Forged { .. })));
        assert_eq!(judge(&digest, Some(&own.sign(&digest))), Ok(()));
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
                Trust::parse(&Source::new("trust.toml", text), &mut diagnostics),
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
