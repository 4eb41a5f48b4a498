//! Requests to the Hub and to its redirect targets.

mod address;
mod answer;

use std::io::Read;

use hf_hub::api::Siblings;
use serde::Deserialize;
use ureq::http::{Response, header};
use ureq::{Agent, Body, Proxy};
use url::Url;

use crate::config::{HubConfig, Token};
use crate::error::HubError;
use crate::etag::Etag;
use crate::hub::Hub;
use crate::names::{Repository, check_path};
use address::bad;
use answer::{number, text};

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 10;
const TOO_MANY_REDIRECTS: &str = "it redirects more than 10 times";
/// The size limit of a file listing, in bytes.
const MAX_LISTING: u64 = 32 << 20;
/// Sent with redirects to storage, whose own ETag and size differ.
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";
const COMMIT: &str = "x-repo-commit";

/// The Hub's metadata of a file.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// The commit of the revision.
    pub(crate) commit: Option<String>,
    pub(crate) etag: Etag,
    pub(crate) size: Option<u64>,
}

/// The content of a file, or its remainder.
pub(crate) struct Content {
    /// Its offset in the file.
    pub(crate) start: u64,
    /// Length of the whole file, if known.
    pub(crate) size: Option<u64>,
    pub(crate) reader: Box<dyn Read>,
}

/// The list of files in the Hub's description of a repository.
#[derive(Deserialize)]
struct Info {
    siblings: Vec<Siblings>,
}

/// What is requested of an address.
#[derive(Clone, Copy)]
enum Part {
    /// The headers of a file.
    Headers,
    /// A list of files.
    Listing,
    /// The content of a file from an offset on.
    Content { start: u64 },
}

/// The address of the endpoint, and the agent for its requests.
pub(crate) fn connect(config: &HubConfig) -> Result<(Url, Agent), HubError> {
    let endpoint = address::endpoint(&config.endpoint).ok_or_else(|| HubError::InvalidSetting {
        setting: "HF_ENDPOINT",
        value: address::without_secrets(&config.endpoint),
        expected: "an address such as https://huggingface.co, without a user or a query",
    })?;
    let printable = |token: &Token| token.secret().bytes().all(|b| b.is_ascii_graphic());
    if !config.token.as_ref().is_none_or(printable) {
        return Err(HubError::InvalidSetting {
            setting: "HF_TOKEN",
            value: "hidden".to_owned(),
            expected: "printable ASCII characters without spaces",
        });
    }
    let proxy = config.proxy_from_env.then(Proxy::try_from_env).flatten();
    let agent = Agent::config_builder()
        .user_agent(USER_AGENT)
        // Offsets and sizes are those of the file itself.
        .accept_encoding("identity")
        // Redirects are followed here, so that the token is sent only to the endpoint.
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(proxy)
        .build();
    Ok((endpoint, agent.into()))
}

impl Hub {
    /// The Hub's metadata of a file, without its content.
    pub(crate) fn metadata(
        &self,
        repository: &Repository,
        file: &str,
    ) -> Result<Metadata, HubError> {
        let mut url = self.address(repository, file);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let (response, next) = self.send(Part::Headers, &url, file)?;
            let headers = response.headers();
            if self.is_own(&url) {
                commit = commit.or_else(|| text(headers, COMMIT));
                etag = etag.or_else(|| text(headers, LINKED_ETAG));
                size = size.or_else(|| number(headers, LINKED_SIZE));
            }
            let identified = etag.is_some() || headers.contains_key(header::ETAG);
            match next {
                // Storage need not be asked if the Hub has identified the file.
                Some(next) if identified && !self.is_own(&next) => {}
                Some(next) => {
                    url = next;
                    continue;
                }
                None => {
                    answer::check(&response, self, &url, repository, file)?;
                    size = size.or_else(|| number(headers, header::CONTENT_LENGTH));
                }
            }
            let etag = etag
                .or_else(|| text(headers, header::ETAG))
                .ok_or_else(|| bad(&url, "it has no ETag"))?;
            return Ok(Metadata {
                commit,
                etag: Etag::parse(&etag).map_err(|reason| bad(&url, reason))?,
                size,
            });
        }
        Err(bad(&url, TOO_MANY_REDIRECTS))
    }

    /// The response after all redirects, and its address.
    fn follow(
        &self,
        part: Part,
        mut url: Url,
        file: &str,
    ) -> Result<(Response<Body>, Url), HubError> {
        for _ in 0..=MAX_REDIRECTS {
            match self.send(part, &url, file)? {
                (response, None) => return Ok((response, url)),
                (_, Some(next)) => url = next,
            }
        }
        Err(bad(&url, TOO_MANY_REDIRECTS))
    }

    /// The content of a file from an offset on, or from its start if the server does not
    /// support offsets.
    ///
    /// `None` if the file ends before the offset.
    pub(crate) fn content(
        &self,
        repository: &Repository,
        file: &str,
        start: u64,
    ) -> Result<Option<Content>, HubError> {
        let part = Part::Content { start };
        let (response, url) = self.follow(part, self.address(repository, file), file)?;
        if response.status().as_u16() == 416 && start > 0 {
            return Ok(None);
        }
        answer::check(&response, self, &url, repository, file)?;
        let (start, size) = answer::extent(&response, start).map_err(|e| bad(&url, e))?;
        Ok(Some(Content {
            start,
            size,
            reader: Box::new(response.into_body().into_reader()),
        }))
    }

    /// The paths of a commit's files; `None` if the endpoint does not list them. `subject` names
    /// the list in errors.
    pub(crate) fn list(
        &self,
        repository: &Repository,
        subject: &str,
    ) -> Result<Option<Vec<String>>, HubError> {
        let path = repository.to_hf().api_url();
        let url = address::join(&self.endpoint, ["api"].into_iter().chain(path.split('/')));
        let (mut response, url) = self.follow(Part::Listing, url, subject)?;
        match answer::check(&response, self, &url, repository, subject) {
            Err(error) if error.is_temporary() => return Err(error),
            // The repository exists; a mirror may serve only its files.
            Err(_) => return Ok(None),
            Ok(()) => {}
        }
        let body = response.body_mut().with_config().limit(MAX_LISTING);
        let Ok(info) = body.read_json::<Info>() else {
            return Ok(None);
        };
        // Invalid paths could not be requested.
        let files = info.siblings.into_iter().map(|file| file.rfilename);
        Ok(Some(
            files.filter(|file| check_path(file).is_ok()).collect(),
        ))
    }

    /// The web page of a repository.
    pub(crate) fn page(&self, repository: &Repository) -> String {
        let path = repository.to_hf().url();
        address::join(&self.endpoint, path.split('/')).into()
    }

    /// The error of an unusable response about a repository.
    pub(crate) fn bad(&self, repository: &Repository, reason: impl Into<String>) -> HubError {
        HubError::BadResponse {
            url: self.page(repository),
            reason: reason.into(),
        }
    }

    /// Whether scheme, host and port are those of the endpoint, which gets the token.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    fn address(&self, repository: &Repository, file: &str) -> Url {
        let path = repository.to_hf().url();
        let path = path.split('/').chain(["resolve", repository.revision()]);
        address::join(&self.endpoint, path.chain(file.split('/')))
    }

    /// A response, and the target of its redirect.
    fn send(
        &self,
        part: Part,
        url: &Url,
        file: &str,
    ) -> Result<(Response<Body>, Option<Url>), HubError> {
        let (request, timeout) = match part {
            Part::Headers => (self.agent.head(url.as_str()), self.config.etag_timeout),
            Part::Listing => (self.agent.get(url.as_str()), self.config.etag_timeout),
            Part::Content { .. } => (self.agent.get(url.as_str()), self.config.timeout),
        };
        let mut request = request
            .config()
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .build();
        if let Part::Content { start: start @ 1.. } = part {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        // Other hosts get signed addresses from the Hub and do not need the token.
        if let (Some(token), true) = (&self.config.token, self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        let response = request
            .call()
            .map_err(|error| answer::failed(error, url, file))?;
        let next = match response.status().is_redirection() {
            true => Some(address::redirected(url, &response)?),
            false => None,
        };
        Ok((response, next))
    }
}
