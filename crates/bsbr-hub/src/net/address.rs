//! Addresses of web servers: redirects, and removal of secrets for display.

use std::fmt;

use ureq::Body;
use ureq::http::{Response, header};
use url::Url;

use crate::error::HubError;

/// An absolute address of a web server.
#[derive(Debug, Clone)]
pub(super) struct Address(Url);

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(Self(url))
    }

    /// Whether it has neither user nor query, so that paths can be appended.
    pub(super) fn is_plain(&self) -> bool {
        let has_user = !self.0.username().is_empty() || self.0.password().is_some();
        !has_user && self.0.query().is_none() && self.0.fragment().is_none()
    }

    /// A path below it. A slash within a part is not a separator.
    pub(super) fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        // Addresses of web servers always have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        Self(url)
    }

    /// Whether scheme, host and port, the recipients of a token, are the same.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The target of a redirect.
    pub(super) fn redirected(&self, response: &Response<Body>) -> Result<Self, HubError> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.bad("it redirects without a target"))?;
        let next = self.0.join(location).ok();
        let next = next
            .and_then(|url| Self::parse(url.as_str()))
            .ok_or_else(|| self.bad("it redirects to something other than a web address"))?;
        if self.0.scheme() == "https" && next.0.scheme() != "https" {
            return Err(self.bad("it redirects from https to http"));
        }
        Ok(next)
    }

    pub(super) fn bad(&self, reason: &str) -> HubError {
        HubError::BadResponse {
            url: without_secrets(self.0.as_str()),
            reason: reason.to_owned(),
        }
    }
}

/// As sent: with its query, which may contain a signature.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        for endpoint in ["https://hub.example", "https://hub.example/mirror/"] {
            let joined = Address::parse(endpoint)
                .unwrap()
                .join(["a b", "c/d", "ü?#%.txt"]);
            let expected = "/a%20b/c%2Fd/%C3%BC%3F%23%25.txt";
            assert_eq!(
                joined.to_string(),
                endpoint.trim_end_matches('/').to_owned() + expected
            );
        }
    }
}
