//! The page's bundle, embedded at compile time from `web/dist` (see build.rs).

use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file of the bundle.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Relative to `/assets/`.
    pub path: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// Its type.
    pub content_type: &'static str,
    /// Changes with the content.
    pub hash: &'static str,
}

// ASSETS: the files, by path. BUNDLE_VERSION: changes with any of them.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// `GET /assets/{path}`. With `?v=` of the present bundle it may be cached for ever, else it is asked for again each time.
pub(crate) async fn asset(
    Path(path): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let version = uri
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("v=")));
    match ASSETS.iter().find(|asset| asset.path == path) {
        Some(asset) => respond(asset, version == Some(BUNDLE_VERSION), &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Browsers ask for it whatever the page says.
pub(crate) async fn favicon(headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.path == "favicon.ico") {
        Some(asset) => respond(asset, false, &headers),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn respond(asset: &Asset, versioned: bool, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", asset.hash);
    let cache = if versioned {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(&etag));
    if known {
        return (
            StatusCode::NOT_MODIFIED,
            [
                (header::ETAG, etag),
                (header::CACHE_CONTROL, cache.to_owned()),
            ],
        )
            .into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, asset.content_type.to_owned()),
        (header::ETAG, etag),
        (header::CACHE_CONTROL, cache.to_owned()),
    ];
    (headers, asset.bytes).into_response()
}
