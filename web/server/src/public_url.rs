//! Where people reach the server, when that is not the address it listens on.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::Uri;

/// `https://docs.example.org` or `http://intranet:8080`: scheme, host and port, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    is_https: bool,
    host: String,
    /// Host, and port where it is not the scheme's own.
    authority: String,
}

/// A text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the address of a site; write e.g. `https://docs.example.org`, without a path"
)]
pub struct InvalidPublicUrl {
    text: String,
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let invalid = || InvalidPublicUrl {
            text: text.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid()),
        };
        let authority = uri.authority().ok_or_else(invalid)?;
        let has_path = uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/");
        if has_path || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(invalid());
        }
        let host = authority.host().to_lowercase();
        let port = authority.port_u16();
        // `host:` and `host:99999` leave a colon without a port.
        if port.is_none() && authority.as_str().len() != host.len() {
            return Err(invalid());
        }
        let own_port = if is_https { 443 } else { 80 };
        let authority = match port.filter(|port| *port != own_port) {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        Ok(Self {
            is_https,
            host,
            authority,
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl PublicUrl {
    /// Whether browsers come over TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host, lower-cased.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_scheme_host_and_port() {
        let cases = [
            (
                "https://docs.example.org",
                "https://docs.example.org",
                false,
            ),
            (
                "https://Docs.Example.org/",
                "https://docs.example.org",
                false,
            ),
            (
                "https://docs.example.org:443",
                "https://docs.example.org",
                false,
            ),
            ("http://intranet:8080", "http://intranet:8080", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            ("http://localhost", "http://localhost", true),
        ];
        for (text, shown, is_loopback) in cases {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.is_loopback(), is_loopback, "{text}");
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
        for wrong in [
            "",
            "docs.example.org",
            "ftp://docs.example.org",
            "https://",
            "https://docs.example.org/chat",
            "https://docs.example.org?x",
            "https://user@docs.example.org",
            "https://docs.example.org:x",
            "https://docs.example.org:99999",
            "https://docs example.org",
            "/docs",
        ] {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }
}
