//! Addresses as people type them.

/// Longest address (RFC 5321).
pub(crate) const EMAIL_MAX_BYTES: usize = 254;

/// What somebody typed as an address, in the form in which addresses are compared, and not longer than one.
pub(crate) fn claimed_email(text: &str) -> String {
    text.trim()
        .to_lowercase()
        .chars()
        .take(EMAIL_MAX_BYTES)
        .collect()
}
