//! The verifier that PostgreSQL keeps of a password (RFC 5802 and RFC 7677). A statement that sets
//! a password has the verifier in place of the password, so that no log of the server has it.

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SecureRandom as _;
use ring::{hmac, pbkdf2, rand};
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;

/// How often the password is hashed: what PostgreSQL does.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not zero");

/// The random bytes of a new password; 256 bits cannot be guessed from the verifier.
const PASSWORD_BYTES: usize = 32;

/// A new password of random letters, digits, `-` and `_`.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_password() -> std::io::Result<Secret> {
    let mut bytes = zeroize::Zeroizing::new([0; PASSWORD_BYTES]);
    fill_random(&mut *bytes)?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// The verifier of a password, with a new salt: `SCRAM-SHA-256$4096:SALT$STORED:SERVER`.
///
/// # Errors
/// The system gives no random numbers.
pub fn scram_verifier(password: &Secret) -> std::io::Result<String> {
    let mut salt = [0; 16];
    fill_random(&mut salt)?;
    Ok(verifier(password.expose(), &salt, ITERATIONS))
}

fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    let failed = |_| std::io::Error::other("the system gives no random numbers");
    rand::SystemRandom::new().fill(bytes).map_err(failed)
}

/// The password is taken as it is: `SASLprep` changes no ASCII text.
fn verifier(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> String {
    let mut salted = zeroize::Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut *salted);
    let client_key = sign(&*salted, b"Client Key");
    let stored_key = Sha256::digest(client_key);
    let server_key = sign(&*salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key)
    )
}

fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3: the proof and the signature that follow from its salt
    /// prove the two keys of the verifier.
    #[test]
    fn the_keys_of_the_example_of_rfc_7677_prove_its_exchange() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = verifier(b"pencil", &salt, ITERATIONS);
        let (head, keys) = verifier.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let (stored, server) = keys.split_once(':').unwrap();
        let (stored, server) = (STANDARD.decode(stored).unwrap(), STANDARD.decode(server).unwrap());
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
             r={nonce}"
        );
        assert_eq!(
            STANDARD.encode(sign(&server, message.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = sign(&stored, message.as_bytes());
        let client_key: Vec<u8> =
            proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(client_key).as_slice(), stored);
    }

    #[test]
    fn each_password_and_each_verifier_is_another() {
        let (one, two) = (new_password().unwrap(), new_password().unwrap());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.len(), 43);
        assert!(one.expose().iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)));
        assert_ne!(scram_verifier(&one).unwrap(), scram_verifier(&one).unwrap());
    }
}
