//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:str]`.

use crate::secret::Secret;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes of a nonce of `sops`.
const NONCE_BYTES: usize = 32;

/// The bytes of an authentication tag of AES-GCM.
const TAG_BYTES: usize = 16;

/// A value as it stands in a file.
pub(super) struct EncryptedValue {
    data: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
}

impl EncryptedValue {
    /// `None` for a text that is no encrypted value.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let members = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut members = members.split(',');
        let mut bytes = |name: &str| -> Option<Vec<u8>> {
            STANDARD.decode(members.next()?.strip_prefix(name)?).ok()
        };
        let value = Self { data: bytes("data:")?, nonce: bytes("iv:")?, tag: bytes("tag:")? };
        let is_complete = members.next()?.starts_with("type:") && members.next().is_none();
        let has_sizes = value.nonce.len() == NONCE_BYTES && value.tag.len() == TAG_BYTES;
        (is_complete && has_sizes).then_some(value)
    }
}

/// The key of all values of a file.
pub(super) struct DataKey(AesGcm<Aes256, U32>);

impl DataKey {
    /// `None` if there are not 32 bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        AesGcm::new_from_slice(bytes).ok().map(Self)
    }

    /// The plain value; `None` if it, its tag or its context is not what was encrypted.
    pub(super) fn decrypt(&self, value: &EncryptedValue, context: &str) -> Option<Secret> {
        let mut buffer = value.data.clone();
        let (nonce, tag) = (Nonce::from_slice(&value.nonce), Tag::from_slice(&value.tag));
        self.0.decrypt_in_place_detached(nonce, context.as_bytes(), &mut buffer, tag).ok()?;
        Some(Secret::new(buffer))
    }

    /// A value as `sops` writes it, for tests.
    #[cfg(test)]
    pub(super) fn encrypt(
        &self,
        plain: &str,
        kind: &str,
        nonce: [u8; 32],
        context: &str,
    ) -> String {
        let mut buffer = plain.as_bytes().to_vec();
        let tag = self
            .0
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), context.as_bytes(), &mut buffer)
            .unwrap();
        let [data, iv, tag] = [&buffer[..], &nonce, &tag].map(|bytes| STANDARD.encode(bytes));
        format!("ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{kind}]")
    }
}
