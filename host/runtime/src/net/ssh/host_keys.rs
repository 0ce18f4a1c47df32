//! The keys that a gateway may show.

use runbook_authority::targets::HostKey;
use russh::keys::ssh_key::known_hosts::{HostPatterns, KnownHosts, Marker};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

/// The keys that are trusted for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustedKeys(Vec<HostKey>);

/// Every algorithm by which a server may prove that it holds its key, the preferred first. SHA-1 is
/// not among them.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// The type of a key, as `known_hosts` names it.
fn key_type(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ssh-ed25519",
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => "ecdsa-sha2-nistp256",
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 } => "ecdsa-sha2-nistp384",
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 } => "ecdsa-sha2-nistp521",
        Algorithm::Rsa { .. } => "ssh-rsa",
        _ => "another type",
    }
}

/// The type and the fingerprint of a key.
pub(super) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key_type(&key.algorithm()), fingerprint(key))
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl TrustedKeys {
    /// The keys that a target lists.
    pub(super) fn listed(keys: &[HostKey]) -> Self {
        Self(keys.to_vec())
    }

    /// The keys that a file in the format of `known_hosts` has for a server.
    ///
    /// # Errors
    /// It has none, or it has revoked one of them.
    pub(super) fn in_known_hosts(text: &str, host: &str, port: u16) -> Result<Self, String> {
        let name = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
        let mut keys = Vec::new();
        let mut revoked = Vec::new();
        // A line that cannot be read may be of a type of key that is not accepted here.
        for entry in KnownHosts::new(text).flatten() {
            match entry.marker() {
                Some(Marker::Revoked) => revoked.push(fingerprint(entry.public_key())),
                None if matches_name(entry.host_patterns(), &name) => keys.push(HostKey {
                    fingerprint: fingerprint(entry.public_key()),
                    key_type: Some(key_type(&entry.public_key().algorithm()).to_owned()),
                }),
                Some(Marker::CertAuthority) | None => {}
            }
        }
        keys.retain(|key| !revoked.contains(&key.fingerprint));
        if keys.is_empty() { Err(format!("it has no key for `{name}`")) } else { Ok(Self(keys)) }
    }

    pub(super) fn trusts(&self, key: &PublicKey) -> bool {
        let fingerprint = fingerprint(key);
        self.0.iter().any(|trusted| trusted.fingerprint == fingerprint)
    }

    /// The algorithms that are offered to the server: only those of the trusted keys, so that it
    /// shows one of them. Of a fingerprint, the type is not known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let is_offered = |algorithm: &&Algorithm| {
            self.0.iter().any(|key| {
                key.key_type.as_deref().is_none_or(|trusted| trusted == key_type(algorithm))
            })
        };
        ALGORITHMS.iter().filter(is_offered).cloned().collect()
    }

    pub(super) fn describe(&self) -> String {
        let fingerprints: Vec<_> = self.0.iter().map(|key| key.fingerprint.as_str()).collect();
        fingerprints.join(" or ")
    }
}

/// Whether the patterns of an entry match a name: one of them, and none that begins with `!`.
fn matches_name(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::Patterns(patterns) => {
            let is_negated = |pattern: &String| {
                pattern.strip_prefix('!').is_some_and(|pattern| matches_pattern(pattern, name))
            };
            !patterns.iter().any(is_negated)
                && patterns.iter().any(|pattern| matches_pattern(pattern, name))
        }
        HostPatterns::HashedName { salt, hash } => {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            ring::hmac::verify(&key, name.as_bytes(), hash).is_ok()
        }
    }
}

/// Compares in lower case, with `*` for any run of characters and `?` for one.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    // The places of the name that the pattern so far can end at.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for c in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            let continues = at > 0 && ends[at - 1] && (c == '?' || c == name[at - 1]);
            next[at] = match c {
                '*' => ends[..=at].contains(&true),
                _ => continues,
            };
        }
        ends = next;
    }
    ends[name.len()]
}
