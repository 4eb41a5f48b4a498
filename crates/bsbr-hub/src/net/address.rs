//! Addresses: redirects, and removal of secrets for display.

use std::fmt;

use ureq::Body;
use ureq::http::{Response, Uri, header};

use crate::error::HubError;

/// An absolute address of a web server.
#[derive(Debug, Clone)]
pub(super) struct Address {
    text: String,
    uri: Uri,
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        (web && uri.host().is_some_and(|host| !host.is_empty())).then(|| Self {
            text: text.to_owned(),
            uri,
        })
    }

    /// Whether it has neither user nor query, so that paths can be appended.
    pub(super) fn is_plain(&self) -> bool {
        self.uri.query().is_none() && !self.text.contains(['@', '#'])
    }

    /// A path below it, percent-encoded and with its first slash.
    pub(super) fn join(&self, path: &str) -> Self {
        let text = format!("{}{path}", self.text);
        // An address stays valid with a valid path.
        let uri = text.parse().unwrap_or_else(|_| self.uri.clone());
        Self { text, uri }
    }

    /// Scheme, host and port: the recipients of a token.
    fn origin(&self) -> (bool, String, u16) {
        let secure = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        (secure, self.host().to_ascii_lowercase(), port)
    }

    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.origin() == other.origin()
    }

    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The target of a redirect.
    pub(super) fn redirected(&self, response: &Response<Body>) -> Result<Self, HubError> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.bad("it redirects without a target"))?;
        let (scheme, rest) = self.text.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        // A scheme is at the start: the query of a path may contain another address.
        let before = location.split(['/', '?', '#']).next().unwrap_or_default();
        let text = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if before.ends_with(':') {
            location.to_owned()
        } else {
            let path = rest.split('?').next().unwrap_or_default();
            let folder = path
                .rsplit_once('/')
                .map_or(authority, |(folder, _)| folder);
            format!("{scheme}://{folder}/{location}")
        };
        let next = Self::parse(&text)
            .ok_or_else(|| self.bad("it redirects to something other than a web address"))?;
        if self.origin().0 && !next.origin().0 {
            return Err(self.bad("it redirects from https to http"));
        }
        Ok(next)
    }

    pub(super) fn bad(&self, reason: &str) -> HubError {
        HubError::BadResponse {
            url: without_secrets(&self.text),
            reason: reason.to_owned(),
        }
    }
}

/// As sent: with its query, which may contain a signature.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An address without user, password and query, which may be secrets.
pub(super) fn without_secrets(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => text.to_owned(),
    }
}

/// A path with its parts percent-encoded.
pub(super) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: &str) -> Result<String, HubError> {
        let response = Response::builder()
            .status(302)
            .header("location", location)
            .body(Body::builder().data(""));
        Address::parse(from)
            .unwrap()
            .redirected(&response.unwrap())
            .map(|next| next.to_string())
    }

    #[test]
    fn redirects_lead_where_the_standard_says() {
        let from = "https://hub.example:8080/a/b?c=d/e";
        let cases = [
            ("https://store.example/x?y", "https://store.example/x?y"),
            ("//store.example/x", "https://store.example/x"),
            ("/x/y", "https://hub.example:8080/x/y"),
            ("x", "https://hub.example:8080/a/x"),
            (
                "/x?to=http://b/c",
                "https://hub.example:8080/x?to=http://b/c",
            ),
            (
                "x?to=http://b/c",
                "https://hub.example:8080/a/x?to=http://b/c",
            ),
            (
                "//store.example/x?to=http://b",
                "https://store.example/x?to=http://b",
            ),
        ];
        for (location, expected) in cases {
            assert_eq!(redirect(from, location).unwrap(), expected);
        }
        assert!(redirect(from, "http://hub.example:8080/").is_err());
        assert!(redirect(from, "ftp://hub.example/").is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a, b| {
            Address::parse(a)
                .unwrap()
                .same_origin(&Address::parse(b).unwrap())
        };
        assert!(same("https://hub.example/a", "https://HUB.example:443/b"));
        assert!(!same("https://hub.example", "http://hub.example"));
        assert!(!same("https://hub.example", "https://hub.example:444"));
        assert!(!same("https://hub.example", "https://hub.example.evil"));
        assert!(!same("https://hub.example", "https://hub.example@evil/"));
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        assert_eq!(
            without_secrets("https://a.b/c?Signature=d#e"),
            "https://a.b/c"
        );
        assert_eq!(without_secrets("https://user:word@a.b/c"), "https://a.b/c");
    }

    #[test]
    fn paths_are_encoded_part_by_part() {
        assert_eq!(encode("a b/ü?#%.txt"), "a%20b/%C3%BC%3F%23%25.txt");
    }
}
