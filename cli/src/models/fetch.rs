//! HTTP downloads that resume: bytes go to a `.part` file, a broken transfer continues where it stopped.
//!
//! Proxies come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), certificates from the system's store, so
//! that a company's own authority is trusted. Whether the bytes are right is not decided here: callers compare checksums.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest, Sha256};
use ureq::http::header::{ACCEPT, AUTHORIZATION, RANGE};
use ureq::tls::{RootCerts, TlsConfig};

use super::progress::ByteProgress;

/// A hub behind a firewall that drops packets must not hold up the next source for long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// From the request to the headers of the response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two pieces of a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts that make no progress before a source is given up.
const ATTEMPTS: u32 = 3;
/// Largest index page: the longest real ones are below 10 MB.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection, or a status such as 404.
    #[error("{reason}")]
    Http {
        /// What the other side or the network said.
        reason: String,
        /// Whether trying again at once may help.
        transient: bool,
    },
    /// This machine's disk.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More bytes than the manifest says.
    #[error("more than the expected {expected} bytes arrived")]
    TooLong {
        /// Bytes according to the manifest or index.
        expected: u64,
    },
    /// Fewer bytes than announced, after all attempts.
    #[error("the transfer stopped at {got} of {expected} bytes")]
    Short {
        /// Bytes on disk, kept for the next attempt.
        got: u64,
        /// Bytes according to the manifest or index.
        expected: u64,
    },
}

/// Something to download.
pub struct Download<'a> {
    /// Absolute http or https URL; `user:password@` becomes basic authentication.
    pub url: &'a str,
    /// Bearer key for the first host only; not sent on after a redirect.
    pub bearer: Option<&'a str>,
    /// Where the bytes are kept.
    pub part: &'a Path,
    /// Exact size, where known.
    pub bytes: Option<u64>,
}

/// Makes the requests.
pub struct Fetcher {
    agent: ureq::Agent,
}

impl Fetcher {
    /// A client with short timeouts, the system's certificates and the environment's proxies.
    pub fn new() -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("cloister/", env!("CARGO_PKG_VERSION")))
            .build();
        Fetcher {
            agent: config.new_agent(),
        }
    }

    /// Content type and body of a page.
    ///
    /// # Errors
    /// [`FetchError::Http`] for anything but a 2xx answer of at most 64 MiB.
    pub fn page(&self, url: &str, accept: &str) -> Result<(String, String), FetchError> {
        let (url, basic) = split_credentials(url);
        let mut request = self.agent.get(&url).header(ACCEPT, accept);
        if let Some(basic) = basic {
            request = request.header(AUTHORIZATION, basic);
        }
        let mut response = request.call().map_err(http_error)?;
        let content_type = header(&response, "content-type").unwrap_or_default();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_PAGE_BYTES)
            .read_to_string()
            .map_err(http_error)?;
        Ok((content_type, body))
    }

    /// Brings `download.part` to its full length, continuing what is there; calls `progress` with the bytes on disk.
    ///
    /// # Errors
    /// See [`FetchError`]; what has arrived stays in the part file.
    pub fn download(
        &self,
        download: &Download<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let mut attempt = 0;
        loop {
            let before = part_bytes(download.part);
            let outcome = self.transfer(download, progress);
            let (error, transient) = match outcome {
                Ok(()) => return Ok(()),
                Err(FetchError::Http { reason, transient }) => {
                    (FetchError::Http { reason, transient }, transient)
                }
                Err(FetchError::Short { got, expected }) => {
                    (FetchError::Short { got, expected }, true)
                }
                Err(error) => return Err(error),
            };
            attempt = if part_bytes(download.part) > before {
                1
            } else {
                attempt + 1
            };
            if !transient || attempt >= ATTEMPTS {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(300) * attempt);
        }
    }

    fn transfer(
        &self,
        download: &Download<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let have = part_bytes(download.part);
        if download.bytes == Some(have) && have > 0 {
            return Ok(());
        }
        let (url, basic) = split_credentials(download.url);
        // `identity`: a compressed transfer could not be resumed by byte position.
        let mut request = self.agent.get(&url).header("accept-encoding", "identity");
        if let Some(authorization) =
            basic.or_else(|| download.bearer.map(|key| format!("Bearer {key}")))
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let response = match request.call() {
            // The part is longer than the file, or a left-over of another one: begin again.
            Err(ureq::Error::StatusCode(416)) if have > 0 => {
                remove_part(download.part)?;
                return self.transfer(download, progress);
            }
            other => other.map_err(http_error)?,
        };
        let resumed = response.status() == 206 && content_range_start(&response) == Some(have);
        let start = if resumed { have } else { 0 };
        let announced =
            header(&response, "content-length").and_then(|text| text.parse::<u64>().ok());
        let expected = download.bytes.or(announced.map(|bytes| bytes + start));
        let got = append(
            download.part,
            start,
            response.into_body().into_reader(),
            expected,
            progress,
        )?;
        match expected {
            Some(expected) if got < expected => Err(FetchError::Short { got, expected }),
            _ => Ok(()),
        }
    }
}

/// Writes a body after the first `start` bytes of a part file; returns its length then.
fn append(
    part: &Path,
    start: u64,
    mut body: impl Read,
    expected: Option<u64>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, FetchError> {
    let write_error = |source| FetchError::Write {
        path: part.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(part)
        .map_err(write_error)?;
    file.set_len(start).map_err(write_error)?;
    file.seek(SeekFrom::Start(start)).map_err(write_error)?;
    let mut length = start;
    let mut buffer = vec![0; 256 << 10];
    progress(length);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(FetchError::Http {
                    reason: format!("the connection broke: {error}"),
                    transient: true,
                });
            }
        };
        length += count as u64;
        if let Some(expected) = expected.filter(|expected| length > *expected) {
            drop(file);
            remove_part(part)?;
            return Err(FetchError::TooLong { expected });
        }
        file.write_all(&buffer[..count]).map_err(write_error)?;
        progress(length);
    }
    file.sync_data().map_err(write_error)?;
    Ok(length)
}

/// Lower-case hex SHA-256 of a file, showing progress under `label`.
///
/// # Errors
/// Whatever reading fails with.
pub fn sha256_file(path: &Path, label: &str) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let progress = ByteProgress::new(label, file.metadata()?.len());
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        done += count as u64;
        progress.set(done);
    }
    progress.finish();
    Ok(hex::encode(digest.finalize()))
}

/// Length of a part file, 0 where there is none.
pub fn part_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Removes a part file if it is there.
///
/// # Errors
/// [`FetchError::Write`].
pub fn remove_part(path: &Path) -> Result<(), FetchError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(FetchError::Write {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn http_error(error: ureq::Error) -> FetchError {
    let (reason, transient) = match error {
        ureq::Error::StatusCode(401 | 403) => (
            "access denied (the model may need an accepted licence and HF_TOKEN)".to_owned(),
            false,
        ),
        ureq::Error::StatusCode(404) => ("not found (404)".to_owned(), false),
        ureq::Error::StatusCode(code) => (
            format!("the server answered {code}"),
            code >= 500 || code == 429,
        ),
        ureq::Error::HostNotFound => (
            "the host name is unknown here (no network, or no DNS)".to_owned(),
            false,
        ),
        ureq::Error::Timeout(what) => (format!("timed out ({what})"), false),
        ureq::Error::Io(error) => {
            let transient = error.kind() != std::io::ErrorKind::ConnectionRefused;
            (format!("cannot connect: {error}"), transient)
        }
        other => (other.to_string(), false),
    };
    FetchError::Http { reason, transient }
}

fn header<T>(response: &ureq::http::Response<T>, name: &str) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// First byte position of a `Content-Range: bytes 100-199/200`.
fn content_range_start<T>(response: &ureq::http::Response<T>) -> Option<u64> {
    header(response, "content-range")?
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Takes `user:password@` out of a URL; returns it as the value of an `Authorization` header.
fn split_credentials(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest[..authority_end].rfind('@') else {
        return (url.to_owned(), None);
    };
    let basic = base64::engine::general_purpose::STANDARD.encode(&rest[..at]);
    (
        format!("{scheme}://{}", &rest[at + 1..]),
        Some(format!("Basic {basic}")),
    )
}

/// A URL without its `user:password@`, for messages.
pub fn without_credentials(url: &str) -> String {
    split_credentials(url).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_become_a_header_and_are_not_shown() {
        let (url, basic) = split_credentials("https://mirror:s3cret@pypi.example.com/simple/a@b");
        assert_eq!(url, "https://pypi.example.com/simple/a@b");
        assert_eq!(basic.as_deref(), Some("Basic bWlycm9yOnMzY3JldA=="));
        assert_eq!(split_credentials("https://pypi.org/simple").1, None);
    }
}
