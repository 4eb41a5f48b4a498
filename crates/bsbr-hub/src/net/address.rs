//! Addresses of web servers: redirects, and removal of secrets for display.

use ureq::Body;
use ureq::http::{Response, header};
use url::Url;

use super::answer::text;
use crate::error::HubError;

/// An address to which paths can be appended: it has neither user nor query.
pub(super) fn endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    let plain = url.origin().ascii_serialization() + url.path();
    (is_web(&url) && url.as_str() == plain).then_some(url)
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// A path below an address. A slash within a part is not a separator.
pub(super) fn join<'a>(base: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // Addresses of web servers always have a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// The target of a redirect.
pub(super) fn redirected(url: &Url, response: &Response<Body>) -> Result<Url, HubError> {
    let location = text(response.headers(), header::LOCATION)
        .ok_or_else(|| bad(url, "it redirects without a target"))?;
    let next = url.join(&location).ok().filter(is_web);
    let next =
        next.ok_or_else(|| bad(url, "it redirects to something other than a web address"))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(bad(url, "it redirects from https to http"));
    }
    Ok(next)
}

/// The error of an unusable response.
pub(super) fn bad(url: &Url, reason: impl Into<String>) -> HubError {
    HubError::BadResponse {
        url: without_secrets(url.as_str()),
        reason: reason.into(),
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
        redirected(&Url::parse(from).unwrap(), &response.unwrap()).map(|next| next.to_string())
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
        let same = |a, b| Url::parse(a).unwrap().origin() == Url::parse(b).unwrap().origin();
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
        for base in ["https://hub.example", "https://hub.example/mirror/"] {
            let joined = join(&Url::parse(base).unwrap(), ["a b", "c/d", "ü?#%.txt"]);
            let expected = "/a%20b/c%2Fd/%C3%BC%3F%23%25.txt";
            assert_eq!(
                joined.as_str(),
                base.trim_end_matches('/').to_owned() + expected
            );
        }
    }
}
