//! Random secrets and the form in which they are stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// What a secret opens. A secret of one purpose never matches another's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Id of a session, in the cookie.
    Session,
    /// One-time token of the setup link.
    Setup,
    /// API key.
    ApiKey,
}

impl Purpose {
    fn prefix(self) -> &'static str {
        match self {
            // Keys are recognisable, so that a scanner finds one that was committed by mistake.
            Purpose::ApiKey => "clk_",
            Purpose::Session | Purpose::Setup => "",
        }
    }

    fn domain(self) -> &'static str {
        match self {
            Purpose::Session => "cloister session v1\0",
            Purpose::Setup => "cloister setup v1\0",
            Purpose::ApiKey => "cloister api key v1\0",
        }
    }
}

/// A new secret of 256 random bits, as text.
///
/// # Panics
/// When the operating system has no randomness, because no safe answer exists then.
pub fn new_secret(purpose: Purpose) -> String {
    let bytes: [u8; 32] = random();
    format!("{}{}", purpose.prefix(), URL_SAFE_NO_PAD.encode(bytes))
}

/// Random bytes of the operating system.
///
/// # Panics
/// When it has none.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system provides random bytes");
    bytes
}

/// The form in which a secret is stored and looked up.
pub fn hash_secret(purpose: Purpose, secret: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(purpose.domain())
        .chain_update(secret)
        .finalize()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_one_purpose_is_useless_for_another() {
        let secret = new_secret(Purpose::Session);
        assert!(secret.len() >= 43);
        assert_ne!(secret, new_secret(Purpose::Session));
        assert_eq!(
            hash_secret(Purpose::Session, &secret),
            hash_secret(Purpose::Session, &secret)
        );
        assert_ne!(
            hash_secret(Purpose::Session, &secret),
            hash_secret(Purpose::ApiKey, &secret)
        );
    }
}
