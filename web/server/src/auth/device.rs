//! Device tokens: a browser that has signed in to an account is known to it afterwards.
//!
//! A token opens nothing. It lets a sign-in wait before strangers and keeps the guesses of strangers from lengthening its wait,
//! so that nobody can lock the owner of an account out (OWASP, "Slow Down Online Guessing Attacks with Device Cookies").
//!
//! It is `ISSUED.NONCE.MAC`: seconds since 1970 in hexadecimal, 128 random bits, and a MAC over both and the address, keyed by
//! what is stored of the account's password. So nothing is stored for it, it belongs to one account, and a new password ends it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use web_api::UnixMs;

use super::secret::random;

/// How long a browser stays known without signing in.
pub(crate) const LIFETIME_S: i64 = 180 * 24 * 3600;

/// The nonce of a token that was recognised: counts the failures of one browser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeviceId(String);

/// A new token of a browser that has just signed in.
///
/// # Panics
/// When the operating system has no randomness.
pub(crate) fn issue(email: &str, password_hash: &str, now: UnixMs) -> String {
    let nonce: [u8; 16] = random();
    let signed = format!("{:x}.{}", now / 1000, URL_SAFE_NO_PAD.encode(nonce));
    let mac = mac(email, password_hash, &signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.as_bytes()))
}

/// The tokens of a browser after a sign-in: a new one, then those of other accounts.
pub(crate) fn renew(
    tokens: &[String],
    email: &str,
    password_hash: &str,
    now: UnixMs,
) -> Vec<String> {
    exchange(tokens, email, (password_hash, password_hash), now)
}

/// The same after another password was set: of the earlier hash and the new one, the second counts from now on.
pub(crate) fn exchange(
    tokens: &[String],
    email: &str,
    (earlier, new): (&str, &str),
    now: UnixMs,
) -> Vec<String> {
    let is_of_another =
        |token: &&String| recognise([token.as_str()], email, earlier, now).is_none();
    let others = tokens.iter().filter(is_of_another).cloned();
    [issue(email, new, now)].into_iter().chain(others).collect()
}

/// The first of the tokens that this account gave to a browser and that is not too old.
pub(crate) fn recognise<'a>(
    tokens: impl IntoIterator<Item = &'a str>,
    email: &str,
    password_hash: &str,
    now: UnixMs,
) -> Option<DeviceId> {
    tokens.into_iter().find_map(|token| {
        let (signed, sent) = token.rsplit_once('.')?;
        let (issued, nonce) = signed.split_once('.')?;
        let sent: [u8; 32] = URL_SAFE_NO_PAD.decode(sent).ok()?.try_into().ok()?;
        // Comparing hashes of type `blake3::Hash` takes constant time.
        if mac(email, password_hash, signed) != blake3::Hash::from_bytes(sent) {
            return None;
        }
        let age = now / 1000 - i64::from_str_radix(issued, 16).ok()?;
        (age <= LIFETIME_S).then(|| DeviceId(nonce.to_owned()))
    })
}

fn mac(email: &str, password_hash: &str, signed: &str) -> blake3::Hash {
    let key = blake3::derive_key(
        "cloister 2026-12 device token of an account",
        password_hash.as_bytes(),
    );
    blake3::keyed_hash(&key, format!("{email}\0{signed}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = 1_800_000_000_000;
    const ADA: (&str, &str) = ("ada@example.org", "$argon2id$of ada");

    #[test]
    fn a_token_is_known_to_its_account_its_password_and_for_its_time() {
        let token = issue(ADA.0, ADA.1, NOW);
        let known =
            |email, hash, now| recognise(["", "x.y.z", token.as_str()], email, hash, now).is_some();
        assert!(known(ADA.0, ADA.1, NOW + 1000));
        assert!(!known("bob@example.org", ADA.1, NOW));
        assert!(!known(ADA.0, "$argon2id$a new password", NOW));
        assert!(!known(ADA.0, ADA.1, NOW + (LIFETIME_S + 1) * 1000));
        assert_ne!(token, issue(ADA.0, ADA.1, NOW));
    }

    #[test]
    fn a_browser_has_one_token_of_an_account_and_keeps_those_of_others() {
        let bob = issue("bob@example.org", "$argon2id$of bob", NOW);
        let first = renew(std::slice::from_ref(&bob), ADA.0, ADA.1, NOW);
        let second = renew(&first, ADA.0, ADA.1, NOW);
        assert_eq!(second.len(), 2);
        assert_ne!(second[0], first[0]);
        assert_eq!(second[1], bob);
    }

    #[test]
    fn no_part_of_a_token_can_be_changed() {
        let token = issue(ADA.0, ADA.1, NOW);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of base64 carries two bits that mean nothing.
            let is_padding = place == token.len() - 1;
            assert!(
                is_padding || recognise([changed.as_str()], ADA.0, ADA.1, NOW).is_none(),
                "{place}"
            );
        }
    }
}
