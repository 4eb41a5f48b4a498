//! Requests to the Hub and to its redirect targets.

mod address;
mod answer;

use std::io::{BufReader, Read};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body, Proxy};

use crate::config::{HubConfig, Token};
use crate::error::HubError;
use crate::etag::Etag;
use crate::names::{Repository, check_path};
use address::Address;
use answer::number;

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 10;
const TOO_MANY_REDIRECTS: &str = "it redirects more than 10 times";
/// The size limit of a file listing, in bytes.
const MAX_LISTING: u64 = 32 << 20;
/// Sent with redirects to storage, whose own ETag and size differ.
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";
const COMMIT: &str = "x-repo-commit";

/// The subject of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) repository: &'a Repository,
    /// The requested revision: the repository's own, or its resolved commit.
    pub(crate) revision: &'a str,
    pub(crate) file: &'a str,
}

/// The Hub's metadata of a file.
#[derive(Debug, Clone)]
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
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What is requested of an address.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The headers of a file.
    Headers,
    /// A list of files.
    Listing,
    /// The content of a file from an offset on.
    Content { start: u64 },
}

/// Sends requests to the Hub.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    endpoint: Address,
    token: Option<Token>,
    /// The timeout of content.
    timeout: Duration,
    /// The timeout of what is known about files.
    etag_timeout: Duration,
}

impl Client {
    pub(crate) fn new(config: &HubConfig) -> Result<Self, HubError> {
        let endpoint = Address::parse(config.endpoint.trim_end_matches('/'))
            .filter(Address::is_plain)
            .ok_or_else(|| HubError::InvalidSetting {
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
        let agent = Agent::config_builder()
            .user_agent(USER_AGENT)
            // Offsets and sizes are those of the file itself.
            .accept_encoding("identity")
            // Redirects are followed here, so that the token is sent only to the endpoint.
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(if config.proxy_from_env {
                Proxy::try_from_env()
            } else {
                None
            })
            .build()
            .into();
        Ok(Self {
            agent,
            endpoint,
            token: config.token.clone(),
            timeout: config.timeout,
            etag_timeout: config.etag_timeout,
        })
    }

    /// The Hub's metadata of a file, without its content.
    pub(crate) fn metadata(&self, target: &Target<'_>) -> Result<Metadata, HubError> {
        let mut address = self.address(target);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(Part::Headers, &address, target)?;
            let headers = response.headers();
            let bad = |reason: &str| address.bad(reason);
            if address.same_origin(&self.endpoint) {
                commit = commit.or_else(|| text(headers, COMMIT));
                etag = etag.or_else(|| text(headers, LINKED_ETAG));
                size = size.or_else(|| number(headers, LINKED_SIZE));
            }
            let next = if response.status().is_redirection() {
                Some(address.redirected(&response)?)
            } else {
                answer::check(&response, self, &address, target)?;
                None
            };
            // Storage need not be asked if the Hub has identified the file.
            let elsewhere = next
                .as_ref()
                .is_some_and(|next| !next.same_origin(&self.endpoint));
            if next.is_none() || (elsewhere && (etag.is_some() || has_etag(headers))) {
                let etag = etag.or_else(|| text(headers, header::ETAG.as_str()));
                let etag = etag.ok_or_else(|| bad("it has no ETag"))?;
                if next.is_none() {
                    size = size.or_else(|| number(headers, header::CONTENT_LENGTH.as_str()));
                }
                return Ok(Metadata {
                    commit,
                    etag: Etag::parse(&etag).map_err(bad)?,
                    size,
                });
            }
            address = next.unwrap_or(address);
        }
        Err(address.bad(TOO_MANY_REDIRECTS))
    }

    /// The response after all redirects, and its address.
    fn follow(
        &self,
        part: Part,
        mut address: Address,
        target: &Target<'_>,
    ) -> Result<(Response<Body>, Address), HubError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(part, &address, target)?;
            if !response.status().is_redirection() {
                return Ok((response, address));
            }
            address = address.redirected(&response)?;
        }
        Err(address.bad(TOO_MANY_REDIRECTS))
    }

    /// The content of a file from an offset on, or from its start if the server does not
    /// support offsets.
    ///
    /// `None` if the file ends before the offset.
    pub(crate) fn content(
        &self,
        target: &Target<'_>,
        start: u64,
    ) -> Result<Option<Content>, HubError> {
        let part = Part::Content { start };
        let (response, address) = self.follow(part, self.address(target), target)?;
        if response.status().as_u16() == 416 && start > 0 {
            return Ok(None);
        }
        answer::check(&response, self, &address, target)?;
        let (start, size) = answer::extent(&response, start).map_err(|e| address.bad(e))?;
        Ok(Some(Content {
            start,
            size,
            reader: Box::new(response.into_body().into_reader()),
        }))
    }

    /// The paths of a commit's files; `None` if the endpoint does not list them.
    pub(crate) fn list(&self, target: &Target<'_>) -> Result<Option<Vec<String>>, HubError> {
        let kind = format!("{}s", target.repository.kind());
        let name = target.repository.name().split('/');
        let path = ["api", &kind].into_iter().chain(name);
        let address = self
            .endpoint
            .join(path.chain(["revision", target.revision]));
        let (response, address) = self.follow(Part::Listing, address, target)?;
        match answer::check(&response, self, &address, target) {
            Err(error) if error.is_temporary() => return Err(error),
            // The repository exists; a mirror may serve only its files.
            Err(_) => return Ok(None),
            Ok(()) => {}
        }
        let body = response.into_body().into_reader().take(MAX_LISTING);
        let Ok(info) = serde_json::from_reader::<_, Info>(BufReader::new(body)) else {
            return Ok(None);
        };
        // Invalid paths could not be requested.
        let files = info.siblings.into_iter().map(|file| file.rfilename);
        Ok(Some(
            files.filter(|file| check_path(file).is_ok()).collect(),
        ))
    }

    /// Whether requests to the endpoint carry a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The web page of a repository.
    pub(crate) fn page(&self, repository: &Repository) -> String {
        let path = repository.to_hf().url();
        self.endpoint.join(path.split('/')).to_string()
    }

    fn address(&self, target: &Target<'_>) -> Address {
        let repository = target.repository.to_hf().url();
        let path = repository.split('/').chain(["resolve", target.revision]);
        self.endpoint.join(path.chain(target.file.split('/')))
    }

    fn send(
        &self,
        part: Part,
        address: &Address,
        target: &Target<'_>,
    ) -> Result<Response<Body>, HubError> {
        let url = address.to_string();
        let (request, timeout) = match part {
            Part::Headers => (self.agent.head(&url), self.etag_timeout),
            Part::Listing => (self.agent.get(&url), self.etag_timeout),
            Part::Content { .. } => (self.agent.get(&url), self.timeout),
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
        if let Some(token) = self
            .token
            .as_ref()
            .filter(|_| address.same_origin(&self.endpoint))
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        request
            .call()
            .map_err(|error| answer::failed(error, address, target))
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn has_etag(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG)
}

/// The repository and the requested revision, for messages.
pub(crate) fn describe(target: &Target<'_>) -> String {
    let (kind, name) = (target.repository.kind(), target.repository.name());
    format!("{kind} {name}@{}", target.revision)
}
