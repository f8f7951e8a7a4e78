//! Whose request it is: the address that every limit per client counts.
//!
//! It is the peer of the connection, unless that is a proxy that the owner named. Then it is what the proxies say, read from the
//! right: the first address that is not one of theirs. What stands further left is the client's own words.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::http::{HeaderMap, header};

/// Who counts as one client: an IPv4 address, or a /64 of IPv6, which is what one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(IpAddr);

impl ClientKey {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

/// The client of a request, as [`client_address`] found it; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub address: IpAddr,
    pub key: ClientKey,
    /// Whether the request came through a trusted proxy, whose connection is many clients'.
    pub is_proxied: bool,
}

/// Addresses with a common beginning, e.g. `10.0.0.0/8`; a single address is a network, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// A text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an address or a network; write e.g. `127.0.0.1`, `10.0.0.0/8` or `fd00::/8`, and not all addresses"
)]
pub struct InvalidNetwork {
    text: String,
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork {
            text: text.to_owned(),
        };
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let written: IpAddr = address.parse().map_err(|_| invalid())?;
        let address = written.to_canonical();
        let prefix = match prefix {
            None => bits(address),
            Some(prefix) => {
                let prefix: u32 = prefix.parse().map_err(|_| invalid())?;
                // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
                prefix
                    .checked_sub(bits(written) - bits(address))
                    .ok_or_else(invalid)?
            }
        };
        // Trusting everybody means that anybody may claim any address.
        if prefix == 0 || prefix > bits(address) {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Whether the address lies in it. IPv4 addresses written as IPv6 ones are IPv4 addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differs_from = |bits: u32, difference: u128| difference >> (bits - self.prefix) != 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                !differs_from(32, u128::from(own.to_bits() ^ other.to_bits()))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                !differs_from(128, own.to_bits() ^ other.to_bits())
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The client of a request from `peer` with these headers.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Client {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let is_proxied = is_trusted(peer);
    let address = match is_proxied {
        true => behind_proxies(peer, headers, is_trusted),
        false => peer,
    };
    Client {
        address,
        key: ClientKey::of(address),
        is_proxied,
    }
}

fn behind_proxies(
    peer: IpAddr,
    headers: &HeaderMap,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let client = |hops: Vec<Option<IpAddr>>| {
        let mut nearest = peer;
        for hop in hops.into_iter().rev() {
            match hop {
                Some(address) if is_trusted(address) => nearest = address,
                Some(address) => return address,
                // `unknown`, or nonsense: the nearest that is known stands for it.
                None => break,
            }
        }
        nearest
    };
    let x_forwarded_for = hops(headers, "x-forwarded-for", Some);
    let forwarded = hops(headers, header::FORWARDED.as_str(), forwarded_for);
    match (x_forwarded_for, forwarded) {
        (None, None) => peer,
        (Some(hops), None) | (None, Some(hops)) => client(hops),
        // A proxy writes one of them and may pass the other on as the client wrote it. Where they differ, one of them lies.
        (Some(left), Some(right)) => match (client(left), client(right)) {
            (left, right) if left == right => left,
            _ => peer,
        },
    }
}

/// The addresses of all lines of a header, left to right; `None` without the header.
fn hops<'a>(
    headers: &'a HeaderMap,
    name: &str,
    address_of: impl Fn(&'a str) -> Option<&'a str>,
) -> Option<Vec<Option<IpAddr>>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    if lines.is_empty() {
        return None;
    }
    let entries = lines
        .into_iter()
        .flat_map(|line| line.to_str().unwrap_or("?").split(','));
    Some(
        entries
            .map(|entry| address_of(entry.trim()).and_then(node_address))
            .collect(),
    )
}

/// The value of `for=` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
        .map(|(_, value)| value.trim().trim_matches('"'))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => address,
            _ => text,
        },
    };
    address
        .parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
            .map(|network| network.parse().unwrap())
            .into();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &map, &trusted)
            .address
            .to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy() {
        let xff = "x-forwarded-for";
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let cases: [(&str, Headers<'_>, &str); 19] = [
            ("192.0.2.9", &[(xff, "203.0.113.5")], "192.0.2.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &[(xff, "203.0.113.5")], "203.0.113.5"),
            ("::ffff:127.0.0.1", &[(xff, "203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(xff, "6.6.6.6, 203.0.113.5")], "203.0.113.5"),
            (
                "127.0.0.1",
                &[(xff, "203.0.113.5, 10.1.2.3")],
                "203.0.113.5",
            ),
            (
                "127.0.0.1",
                &[(xff, "6.6.6.6"), (xff, "203.0.113.5,10.1.2.3")],
                "203.0.113.5",
            ),
            ("127.0.0.1", &[(xff, "10.9.9.9, 10.1.2.3")], "10.9.9.9"),
            (
                "127.0.0.1",
                &[(xff, "6.6.6.6, unknown, 10.1.2.3")],
                "10.1.2.3",
            ),
            ("127.0.0.1", &[(xff, "")], "127.0.0.1"),
            ("127.0.0.1", &[(xff, "203.0.113.5:4711")], "203.0.113.5"),
            ("127.0.0.1", &[(xff, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("fd00::1", &[(xff, "2001:db8::1")], "2001:db8::1"),
            (
                "127.0.0.1",
                &[("forwarded", "for=203.0.113.5;proto=https")],
                "203.0.113.5",
            ),
            (
                "127.0.0.1",
                &[("forwarded", "For=\"[2001:db8::1]:80\"; by=x, for=10.0.0.2")],
                "2001:db8::1",
            ),
            (
                "127.0.0.1",
                &[("forwarded", "for=6.6.6.6, for=_hidden")],
                "127.0.0.1",
            ),
            ("127.0.0.1", &[("forwarded", "proto=https")], "127.0.0.1"),
            (
                "127.0.0.1",
                &[(xff, "203.0.113.5"), ("forwarded", "for=203.0.113.5")],
                "203.0.113.5",
            ),
            (
                "127.0.0.1",
                &[(xff, "203.0.113.5"), ("forwarded", "for=6.6.6.6")],
                "127.0.0.1",
            ),
        ];
        for (peer, headers, expected) in cases {
            assert_eq!(client(peer, headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let key = |text: &str| ClientKey::of(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn networks_are_read_and_nonsense_is_refused() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.1.2") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("10.1.2.3/31", "10.1.2.2") && !contains("10.1.2.3/31", "10.1.2.4"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"));
        assert!(contains("::ffff:10.0.0.0/104", "10.2.3.4"));
        assert!(!contains("10.0.0.0/8", "fd00::1"));
        for wrong in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "0.0.0.0/0",
            "::/0",
            "10.0.0/8",
            "::1/129",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
