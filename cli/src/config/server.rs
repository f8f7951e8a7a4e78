//! What `[server]` says about how the server is reached: TLS, the public address, the proxies in front.

use web_server::{Network, PublicUrl, TlsFiles};

use super::file::ServerSection;

impl ServerSection {
    /// Certificate and key, if there are any.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { certificate, key })
    }

    /// The address of the site.
    ///
    /// # Errors
    /// It is none.
    pub fn public_url(&self) -> Result<Option<PublicUrl>, String> {
        let parsed = self.public_url.as_ref().map(|url| url.parse()).transpose();
        parsed.map_err(|error| format!("`public_url` under [server]: {error}"))
    }

    /// The proxies whose word counts.
    ///
    /// # Errors
    /// One is no address and no network.
    pub fn trusted_proxies(&self) -> Result<Vec<Network>, String> {
        let parsed = self.trusted_proxies.iter().map(|network| network.parse());
        parsed
            .collect::<Result<_, _>>()
            .map_err(|error| format!("`trusted_proxies` under [server]: {error}"))
    }

    /// Values and pairs that nothing can work with.
    ///
    /// # Errors
    /// The first of them, naming its key.
    pub(super) fn check(&self) -> Result<(), String> {
        let at_least_one = [
            ("max_connections", self.max_connections as u64),
            (
                "max_connections_per_client",
                self.max_connections_per_client as u64,
            ),
            ("head_timeout_s", self.head_timeout_s),
            ("body_timeout_s", self.body_timeout_s),
            ("write_timeout_s", self.write_timeout_s),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` under [server] must be at least 1"));
        }
        self.trusted_proxies()?;
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => {
                return Err("`tls_cert` under [server] needs a `tls_key`".to_owned());
            }
            (None, Some(_)) => {
                return Err("`tls_key` under [server] needs a `tls_cert`".to_owned());
            }
            _ => {}
        }
        let is_plain = self.public_url()?.is_some_and(|url| !url.is_https());
        if is_plain && (self.tls_cert.is_some() || self.secure_cookies) {
            return Err(
                "`public_url` under [server] begins with http://, but `tls_cert` or `secure_cookies` says that people come over TLS"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
