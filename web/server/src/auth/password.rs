//! argon2id with OWASP's minimum: 19 MiB, 2 passes, 1 lane. Blocking; callers hold a permit.

use std::sync::OnceLock;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::TryRngCore;
use rand::rngs::OsRng;

fn argon2id() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("constants within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The PHC string of a password, with a new salt.
///
/// # Panics
/// When the operating system has no randomness.
pub fn hash(password: &str) -> String {
    let mut salt = [0_u8; 16];
    OsRng
        .try_fill_bytes(&mut salt)
        .expect("the operating system provides random bytes");
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a valid salt");
    argon2id()
        .hash_password(password.as_bytes(), &salt)
        .expect("valid parameters and salt")
        .to_string()
}

/// Whether the password is the one of the hash. Without a hash (unknown account) it works as long and says no.
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let nobody = || {
        NOBODY
            .get_or_init(|| hash("an account that does not exist"))
            .as_str()
    };
    let Ok(parsed) = PasswordHash::new(stored.unwrap_or_else(nobody)) else {
        return false;
    };
    let matches = argon2id()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok();
    matches && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_verifies() {
        let stored = hash("correct horse battery");
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(verify("correct horse battery", Some(&stored)));
        assert!(!verify("correct horse batterz", Some(&stored)));
        assert!(!verify("an account that does not exist", None));
    }
}
