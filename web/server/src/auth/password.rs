//! argon2id with OWASP's minimum: 19 MiB, 2 passes, 1 lane. Blocking, in memory that the caller owns and uses again.

use argon2::password_hash::{Output, ParamsString, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::secret::random;

/// Bytes of the hash that is stored.
const OUTPUT_BYTES: usize = 32;

/// What argon2 works in. Grows to what a hash needs and keeps it: blocks that come and go would each lie elsewhere in the
/// allocator's arenas and stay there.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    fn of(&mut self, blocks: usize) -> &mut [Block] {
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        &mut self.0[..blocks]
    }
}

fn params() -> Params {
    Params::new(19 * 1024, 2, 1, None).expect("constants within argon2's bounds")
}

fn argon2id(password: &[u8], salt: &[u8], params: Params, memory: &mut Memory, output: &mut [u8]) {
    let blocks = params.block_count();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, output, memory.of(blocks))
        .expect("salt and output have lengths that argon2 takes");
}

/// The PHC string of a password, with a new salt.
///
/// # Panics
/// When the operating system has no randomness.
pub fn hash(password: &str, memory: &mut Memory) -> String {
    let salt: [u8; 16] = random();
    let mut output = [0_u8; OUTPUT_BYTES];
    argon2id(password.as_bytes(), &salt, params(), memory, &mut output);
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a valid salt");
    PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params()).expect("three numbers fit"),
        salt: Some(salt.as_salt()),
        hash: Some(Output::new(&output).expect("32 bytes are a valid output")),
    }
    .to_string()
}

/// Whether the password is the one of the hash. Without a hash (unknown account) it works as long and says no.
pub fn verify(password: &str, stored: Option<&str>, memory: &mut Memory) -> bool {
    let Some(stored) = stored.and_then(Stored::read) else {
        let mut output = [0_u8; OUTPUT_BYTES];
        argon2id(
            password.as_bytes(),
            &random::<16>(),
            params(),
            memory,
            &mut output,
        );
        return false;
    };
    let mut output = vec![0_u8; stored.hash.as_bytes().len()];
    argon2id(
        password.as_bytes(),
        &stored.salt,
        stored.params,
        memory,
        &mut output,
    );
    // `Output` compares in constant time.
    Output::new(&output).is_ok_and(|output| output == stored.hash)
}

/// A PHC string of argon2id, taken apart.
struct Stored {
    params: Params,
    salt: Vec<u8>,
    hash: Output,
}

impl Stored {
    fn read(text: &str) -> Option<Self> {
        let parsed = PasswordHash::new(text).ok()?;
        if parsed.algorithm != Algorithm::Argon2id.ident()
            || parsed.version != Some(Version::V0x13.into())
        {
            return None;
        }
        let mut salt = [0_u8; Salt::MAX_LENGTH];
        Some(Self {
            params: Params::try_from(&parsed).ok()?,
            salt: parsed.salt?.decode_b64(&mut salt).ok()?.to_vec(),
            hash: parsed.hash?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_verifies() {
        let mut memory = Memory::default();
        let stored = hash("correct horse battery", &mut memory);
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(verify("correct horse battery", Some(&stored), &mut memory));
        assert!(!verify("correct horse batterz", Some(&stored), &mut memory));
        assert!(!verify("an account that does not exist", None, &mut memory));
        assert!(!verify("anything", Some("not a hash"), &mut memory));
    }

    #[test]
    fn hashes_of_earlier_versions_and_other_costs_still_verify() {
        // Made by the `PasswordHasher` of the crate, which allocates for every hash, as versions before this one did.
        use argon2::password_hash::PasswordHasher;
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        for (memory_kib, passes) in [(19 * 1024, 2), (64, 3)] {
            let params = Params::new(memory_kib, passes, 1, None).unwrap();
            let stored = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password(b"correct horse battery", &salt)
                .unwrap()
                .to_string();
            let mut memory = Memory::default();
            assert!(
                verify("correct horse battery", Some(&stored), &mut memory),
                "{stored}"
            );
            assert!(
                !verify("correct horse", Some(&stored), &mut memory),
                "{stored}"
            );
        }
    }
}
