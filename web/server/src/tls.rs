//! TLS: certificate and key from files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to a known root.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1, without a password.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("certificate {certificate} and key {key} cannot be used: {source}")]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Whether the files can be used now.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn check(&self) -> Result<(), TlsError> {
        self.load().map(drop)
    }

    pub(crate) fn load(&self) -> Result<Loaded, TlsError> {
        let (chain, key) = (read(&self.certificate)?, read(&self.key)?);
        let loaded = Loaded {
            config: Arc::new(self.config(&chain, &key)?),
            contents: contents(&chain, &key),
        };
        Ok(loaded)
    }

    fn config(&self, chain: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let certificates = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|found| match found.is_empty() {
                true => Err(pem::Error::NoItemsFound),
                false => Ok(found),
            })
            .map_err(pem(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(pem(&self.key, "private key without a password"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(certificates, key)
            });
        let mut config = config.map_err(|source| TlsError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Looks at the files at this interval for ever and takes over what changed. While they cannot be used, the old ones stay.
    pub(crate) async fn follow(self, serving: RustlsConfig, mut seen: Contents, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let files = self.clone();
            let looked = tokio::task::spawn_blocking(move || files.load_if_not(seen)).await;
            match looked {
                Ok(Ok(Some(loaded))) => {
                    seen = loaded.contents;
                    serving.reload_from_config(loaded.config);
                    tracing::info!("the certificate was read again");
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the certificate changed and cannot be used; the one before stays");
                }
                Err(error) => tracing::error!(%error, "looking at the certificate broke down"),
            }
        }
    }

    fn load_if_not(&self, seen: Contents) -> Result<Option<Loaded>, TlsError> {
        let (chain, key) = (read(&self.certificate)?, read(&self.key)?);
        let contents = contents(&chain, &key);
        if contents == seen {
            return Ok(None);
        }
        let config = Arc::new(self.config(&chain, &key)?);
        Ok(Some(Loaded { config, contents }))
    }
}

/// Of both files.
type Contents = blake3::Hash;

pub(crate) struct Loaded {
    pub config: Arc<ServerConfig>,
    pub contents: Contents,
}

/// The contents and not the times of change: files are also replaced by renaming and by links.
fn contents(chain: &[u8], key: &[u8]) -> Contents {
    let (chain, key) = (blake3::hash(chain), blake3::hash(key));
    blake3::hash(&[*chain.as_bytes(), *key.as_bytes()].concat())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name)
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let files = |certificate: &str, key: &str| TlsFiles {
            certificate: data(certificate),
            key: data(key),
        };
        assert!(files("tls-a.crt", "tls-a.key").check().is_ok());
        let cases = [
            ("none.crt", "tls-a.key", "cannot read"),
            ("tls-a.key", "tls-a.key", "holds no certificate"),
            ("tls-a.crt", "tls-a.crt", "holds no private key"),
            ("tls-a.crt", "tls-b.key", "cannot be used"),
        ];
        for (certificate, key, reason) in cases {
            let error = files(certificate, key).check().unwrap_err().to_string();
            assert!(error.contains(reason), "{certificate} {key}: {error}");
        }
    }
}
