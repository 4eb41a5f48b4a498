//! The meaning of responses.

use std::io;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, header, header::AsHeaderName};
use ureq::{Body, Error, Timeout};
use url::Url;

use super::address::bad;
use crate::error::HubError;
use crate::hub::Hub;
use crate::names::Repository;

/// The Hub's reason for a refusal, in one word.
const ERROR_CODE: &str = "x-error-code";

/// Turns refusals into errors.
pub(super) fn check(
    response: &Response<Body>,
    hub: &Hub,
    url: &Url,
    repository: &Repository,
    file: &str,
) -> Result<(), HubError> {
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(());
    }
    let host = host(url);
    let file = file.to_owned();
    if status == 429 {
        let retry_after = number(response.headers(), header::RETRY_AFTER);
        return Err(HubError::RateLimited {
            host,
            retry_after: retry_after.map(Duration::from_secs),
        });
    }
    // Storage refuses expired signed addresses; the Hub gives a new one.
    if status >= 500 || status == 408 || !hub.is_own(url) {
        return Err(HubError::Server { host, status, file });
    }
    let page = hub.page(repository);
    let repository = repository.to_string();
    let with_token = hub.config.token.is_some();
    let code = text(response.headers(), ERROR_CODE);
    Err(match (code.as_deref(), status) {
        (Some("GatedRepo"), _) => HubError::Gated {
            repository,
            page,
            with_token,
        },
        (Some("RevisionNotFound"), _) => HubError::RevisionNotFound { repository },
        (Some("EntryNotFound"), _) | (None, 404 | 410) => HubError::FileNotFound {
            repository,
            file,
            confirmed: code.is_some(),
        },
        (Some("RepoNotFound"), _) | (_, 404) => HubError::RepositoryNotFound {
            repository,
            with_token,
        },
        (_, 401 | 403) => HubError::Unauthorized {
            repository,
            status,
            with_token,
        },
        _ => bad(url, format!("status {status}")),
    })
}

/// The position of the content in the file, and the length of the whole file.
pub(super) fn extent(
    response: &Response<Body>,
    asked: u64,
) -> Result<(u64, Option<u64>), &'static str> {
    let headers = response.headers();
    if response.status().as_u16() != 206 {
        return Ok((0, number(headers, header::CONTENT_LENGTH)));
    }
    let range = text(headers, header::CONTENT_RANGE);
    let parts = range.as_deref().and_then(|range| {
        let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let start: u64 = range.split_once('-')?.0.parse().ok()?;
        Some((start, size.parse().ok()))
    });
    match parts {
        Some((start, size)) if start == asked => Ok((start, size)),
        Some(_) => Err("it sends a different part of the file than requested"),
        None => Err("it sends an unspecified part of the file"),
    }
}

/// A request without a response.
pub(super) fn failed(error: Error, url: &Url, file: &str) -> HubError {
    use io::ErrorKind as Kind;
    let broken = match &error {
        // Other system errors, such as names that cannot be resolved, mean that the host is
        // unreachable.
        Error::Io(error) => matches!(
            error.kind(),
            Kind::UnexpectedEof
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::BrokenPipe
                | Kind::TimedOut
                | Kind::WouldBlock
        ),
        Error::Timeout(timeout) => !matches!(timeout, Timeout::Resolve | Timeout::Connect),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => true,
        _ => false,
    };
    match error {
        error if broken => HubError::interrupted(file, error),
        Error::BadUri(_) | Error::Http(_) => bad(url, "it is not a valid address"),
        error => HubError::Network {
            host: host(url),
            source: error.into(),
        },
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn number(headers: &HeaderMap, name: impl AsHeaderName) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}
