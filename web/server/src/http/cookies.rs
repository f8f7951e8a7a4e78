//! The two cookies: their names, their flags, and how they are read.
//!
//! Over TLS both are `Secure` and named `__Host-`, which browsers take from this very host over TLS alone: no other port,
//! subdomain or plain connection can plant one.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Id of the session.
    Session,
    /// Tokens of the accounts that this browser has signed in to, see `auth::device`.
    Device,
}

/// Accounts of one browser whose tokens are kept.
const MOST_DEVICE_TOKENS: usize = 4;
/// Between tokens; in none of them.
const BETWEEN_TOKENS: char = '~';
/// No token is longer; longer ones are somebody's attempt.
const LONGEST_TOKEN: usize = 200;

impl Cookie {
    fn name(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Cookie::Session, false) => "cloister_session",
            (Cookie::Session, true) => "__Host-cloister_session",
            (Cookie::Device, false) => "cloister_device",
            (Cookie::Device, true) => "__Host-cloister_device",
        }
    }

    /// The value that the browser sent first.
    pub fn read(self, headers: &HeaderMap, is_secure: bool) -> Option<&str> {
        let name = self.name(is_secure);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// Adds the cookie to a response; an age of 0 removes it from the browser.
    pub fn set(self, response: &mut Response, value: &str, max_age_s: i64, is_secure: bool) {
        let name = self.name(is_secure);
        let (site, secure) = (
            match self {
                // A link from elsewhere opens the page signed in; nothing that changes something is a GET.
                Cookie::Session => "Lax",
                Cookie::Device => "Strict",
            },
            if is_secure { "; Secure" } else { "" },
        );
        let cookie = format!(
            "{name}={value}; Path=/; HttpOnly; SameSite={site}; Max-Age={max_age_s}{secure}"
        );
        let cookie = HeaderValue::from_str(&cookie).expect("base64 and constants are a header");
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The device tokens that a browser sent.
pub(super) fn device_tokens(headers: &HeaderMap, is_secure: bool) -> Vec<String> {
    let value = Cookie::Device.read(headers, is_secure).unwrap_or_default();
    value
        .split(BETWEEN_TOKENS)
        .filter(|token| {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !token.is_empty() && token.len() <= LONGEST_TOKEN && token.bytes().all(is_token)
        })
        .take(MOST_DEVICE_TOKENS)
        .map(str::to_owned)
        .collect()
}

/// The value of the device cookie for these tokens.
pub(super) fn device_value(tokens: &[String]) -> String {
    let kept: Vec<&str> = tokens
        .iter()
        .map(String::as_str)
        .take(MOST_DEVICE_TOKENS)
        .collect();
    kept.join(&BETWEEN_TOKENS.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_and_foreign_cookies_are_not_read() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            "cloister_session=planted; x=1".parse().unwrap(),
        );
        assert_eq!(Cookie::Session.read(&headers, false), Some("planted"));
        assert_eq!(Cookie::Session.read(&headers, true), None);
        headers.append(
            header::COOKIE,
            "__Host-cloister_session=ours".parse().unwrap(),
        );
        assert_eq!(Cookie::Session.read(&headers, true), Some("ours"));
    }

    #[test]
    fn a_browser_keeps_the_tokens_of_its_last_accounts() {
        let mut value = String::new();
        for n in 0..6 {
            let mut headers = HeaderMap::new();
            let cookie = format!("cloister_device={value}");
            headers.append(header::COOKIE, cookie.parse().unwrap());
            let mut tokens = device_tokens(&headers, false);
            tokens.insert(0, format!("t{n}"));
            value = device_value(&tokens);
        }
        assert_eq!(value, "t5~t4~t3~t2");
        let mut headers = HeaderMap::new();
        let odd = format!("cloister_device=a b~{}~ok", "x".repeat(300));
        headers.append(header::COOKIE, odd.parse().unwrap());
        assert_eq!(device_tokens(&headers, false), ["ok"]);
    }
}
