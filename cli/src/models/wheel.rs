//! Files out of wheels of the Python package index: found through the simple index, unzipped member by member.
//!
//! Only bytes are taken. A wheel is never installed and nothing in it is run.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::Deserialize;

use super::fetch::{FetchError, Fetcher};

/// The JSON form first; a plain mirror may only have the HTML one.
const ACCEPT_INDEX: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.2";

/// A wheel as an index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelLink {
    /// File name.
    pub filename: String,
    /// Absolute URL.
    pub url: String,
    /// Checksum the index gives.
    pub sha256: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// Why a wheel gives no file.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The index cannot be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The index has the package but not this version, or lists nonsense.
    #[error("the index lists no wheel of {package} {version}")]
    NoWheel {
        /// Package.
        package: String,
        /// Version.
        version: String,
    },
    /// The wheel is no zip file, or has no such member.
    #[error("{wheel}: {reason}")]
    Content {
        /// File name.
        wheel: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
struct SimpleIndex {
    files: Vec<SimpleFile>,
}

#[derive(Deserialize)]
struct SimpleFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    size: Option<u64>,
}

/// Finds the wheel of one version of a package in a simple index (PEP 503 or 691).
///
/// # Errors
/// [`WheelError::Fetch`] or [`WheelError::NoWheel`].
pub fn find_wheel(
    fetcher: &Fetcher,
    index: &str,
    package: &str,
    version: &str,
) -> Result<WheelLink, WheelError> {
    let page_url = format!("{}/{package}/", index.trim_end_matches('/'));
    let (content_type, body) = fetcher.page(&page_url, ACCEPT_INDEX)?;
    let files = if content_type.contains("json") {
        parse_json(&body)
    } else {
        parse_html(&body)
    };
    let prefix = format!("{}-{version}-", package.replace('-', "_"));
    files
        .into_iter()
        .find(|file| file.filename.starts_with(&prefix) && file.filename.ends_with(".whl"))
        .map(|file| WheelLink {
            url: resolve(&page_url, &file.url),
            ..file
        })
        .ok_or_else(|| WheelError::NoWheel {
            package: package.to_owned(),
            version: version.to_owned(),
        })
}

fn parse_json(body: &str) -> Vec<WheelLink> {
    let Ok(index) = serde_json::from_str::<SimpleIndex>(body) else {
        return Vec::new();
    };
    let link = |mut file: SimpleFile| WheelLink {
        filename: file.filename,
        url: file.url,
        sha256: file.hashes.remove("sha256"),
        size: file.size,
    };
    index.files.into_iter().map(link).collect()
}

/// The `href`s of a PEP 503 page; the checksum is the fragment `#sha256=...`.
fn parse_html(body: &str) -> Vec<WheelLink> {
    let mut links = Vec::new();
    for piece in body.split("href=").skip(1) {
        let quote = piece.chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(href) = quote.and_then(|quote| piece[1..].split(quote).next()) else {
            continue;
        };
        let href = href.replace("&amp;", "&");
        let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let filename = url.rsplit('/').next().unwrap_or(url).to_owned();
        let sha256 = fragment.strip_prefix("sha256=").map(str::to_owned);
        links.push(WheelLink {
            filename,
            url: url.to_owned(),
            sha256,
            size: None,
        });
    }
    links
}

/// An absolute URL out of a reference on `page` (whose URL ends with a slash).
fn resolve(page: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let origin_end = page.find("://").map_or(0, |at| {
        page[at + 3..]
            .find('/')
            .map_or(page.len(), |slash| at + 3 + slash)
    });
    if reference.starts_with('/') {
        return format!("{}{reference}", &page[..origin_end]);
    }
    let mut segments: Vec<&str> = page[origin_end..].trim_matches('/').split('/').collect();
    for segment in reference.split('/') {
        match segment {
            ".." => {
                segments.pop();
            }
            "." => {}
            other => segments.push(other),
        }
    }
    format!("{}/{}", &page[..origin_end], segments.join("/"))
}

/// Copies one member of a wheel to `out`; returns its length.
///
/// # Errors
/// [`WheelError::Content`] when the member is missing or longer than `max_bytes`, [`FetchError::Write`] for the disk.
pub fn copy_member(
    wheel: &Path,
    member: &str,
    max_bytes: u64,
    out: &mut dyn Write,
    out_path: &Path,
) -> Result<u64, WheelError> {
    let content = |reason: String| WheelError::Content {
        wheel: wheel.file_name().map_or_else(
            || "wheel".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ),
        reason,
    };
    let file = File::open(wheel).map_err(|error| content(error.to_string()))?;
    let mut archive =
        zip::ZipArchive::new(file).map_err(|error| content(format!("not a wheel: {error}")))?;
    let mut reader = archive
        .by_name(member)
        .map_err(|_| content(format!("has no member {member}")))?;
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(|error| content(format!("{member} is damaged: {error}")))?;
        if count == 0 {
            return Ok(length);
        }
        length += count as u64;
        if length > max_bytes {
            return Err(content(format!(
                "{member} is longer than the manifest says"
            )));
        }
        out.write_all(&buffer[..count])
            .map_err(|source| FetchError::Write {
                path: out_path.to_owned(),
                source,
            })?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_an_index_page_become_absolute() {
        let page = "https://mirror.example.com/root/pypi/simple/pkg/";
        let cases = [
            (
                "https://files.example.com/a.whl",
                "https://files.example.com/a.whl",
            ),
            (
                "/packages/a.whl",
                "https://mirror.example.com/packages/a.whl",
            ),
            (
                "../../packages/a.whl",
                "https://mirror.example.com/root/pypi/packages/a.whl",
            ),
            (
                "a.whl",
                "https://mirror.example.com/root/pypi/simple/pkg/a.whl",
            ),
        ];
        for (reference, expected) in cases {
            assert_eq!(resolve(page, reference), expected);
        }
    }

    #[test]
    fn both_forms_of_the_index_give_the_same_wheel() {
        let json = r#"{"files":[{"filename":"a_b-1.0-py3-none-any.whl","url":"../x/a_b-1.0-py3-none-any.whl","hashes":{"sha256":"ab"},"size":7}]}"#;
        let html = r#"<html><a href="../x/a_b-1.0-py3-none-any.whl#sha256=ab" data-requires-python="&gt;=3">a</a></html>"#;
        let (from_json, from_html) = (parse_json(json), parse_html(html));
        assert_eq!(from_json[0].url, from_html[0].url);
        assert_eq!(from_json[0].sha256, from_html[0].sha256);
        assert_eq!(from_json[0].filename, from_html[0].filename);
    }
}
