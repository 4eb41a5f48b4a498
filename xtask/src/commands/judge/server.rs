//! The judge's page over HTTP, for this machine alone.

use std::io::{Read, copy, sink};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bsbr_report::judge::{Choice, JudgeError, Session, page, problem};
use oxhttp::model::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, ORIGIN,
    X_CONTENT_TYPE_OPTIONS,
};
use oxhttp::model::{Body, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use oxhttp::{ListeningServer, Server};

/// The largest form that is read, in bytes; a vote has about a hundred.
const MAX_BODY: u64 = 4096;

/// What is read of a larger one, so that who sends it gets to read the answer.
const MAX_IGNORED: u64 = 1 << 24;

/// How long a connection may be silent.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Connections at a time; a browser opens a few.
const CONNECTIONS: usize = 32;

/// The page loads nothing, and sends its form to where it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that is being served.
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    server: ListeningServer,
}

impl Running {
    /// Serves until the process ends.
    pub fn wait(self) -> Result<()> {
        Ok(self.server.join()?)
    }
}

/// Serves a session at an address of the loopback; at port 0, where one is free.
///
/// # Errors
///
/// Where the address is another machine's to reach, or taken.
pub fn start(session: Session, address: SocketAddr) -> Result<Running> {
    if !address.ip().is_loopback() {
        bail!(
            "--address {}: the page is for this machine alone; give 127.0.0.1 or ::1",
            address.ip()
        );
    }
    let address = free(address).with_context(|| format!("cannot listen on {address}"))?;
    let session = Mutex::new(session);
    let session = Arc::new(session);
    let server = Server::new(move |request| answer(&session, request))
        .bind(address)
        .with_global_timeout(TIMEOUT)
        .with_max_concurrent_connections(CONNECTIONS)
        .spawn()
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Running { address, server })
}

/// The address with a port that is free, for the server does not say which one it got.
fn free(address: SocketAddr) -> std::io::Result<SocketAddr> {
    match address.port() {
        0 => TcpListener::bind(address)?.local_addr(),
        _ => Ok(address),
    }
}

/// An answer that is no page.
type Refusal = (StatusCode, String);

fn answer(session: &Mutex<Session>, request: &mut Request<Body>) -> Response<Body> {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let allowed = match path.as_str() {
        "/" => Method::GET,
        "/vote" => Method::POST,
        _ => Method::HEAD,
    };
    let result = match (path.as_str(), &method) {
        _ if !is_here(request) => Err(refusal(
            StatusCode::FORBIDDEN,
            "this page answers to 127.0.0.1 and localhost alone",
        )),
        ("/", &Method::GET) => {
            // A vote is whole or not there, so a session outlives a thread that failed.
            let session = session.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(html(StatusCode::OK, page(&session)))
        }
        ("/vote", &Method::POST) => vote(session, request),
        ("/" | "/vote", _) => Err(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("{path} takes {allowed} alone"),
        )),
        _ => Err(refusal(StatusCode::NOT_FOUND, "there is no such page")),
    };
    ignore_rest(request);
    match result {
        Ok(response) => response,
        Err((status, message)) => {
            // What answers HEAD has no body.
            let body = match method {
                Method::HEAD => String::new(),
                _ => problem(&message),
            };
            let mut response = html(status, body);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                set(&mut response, ALLOW, allowed.as_str());
            }
            response
        }
    }
}

/// Whether the page was asked for by a name of this machine, and not by another site's script.
fn is_here(request: &Request<Body>) -> bool {
    let Some(authority) = request.uri().authority() else {
        return false;
    };
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let own = format!("http://{authority}");
    let origin = request.headers().get(ORIGIN);
    (loopback || host == "localhost") && origin.is_none_or(|origin| *origin == own)
}

fn vote(session: &Mutex<Session>, request: &mut Request<Body>) -> Result<Response<Body>, Refusal> {
    let (ballot, choice) = form(request)?;
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    session.vote(&ballot, choice).map_err(|error| {
        let status = match error {
            JudgeError::UnknownBallot => StatusCode::UNPROCESSABLE_ENTITY,
            JudgeError::JudgedAlready => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refusal(status, &error.to_string())
    })?;
    let mut response = html(StatusCode::SEE_OTHER, String::new());
    set(&mut response, LOCATION, "/");
    Ok(response)
}

/// The ballot and the choice of a form: two fields, of letters and digits.
fn form(request: &mut Request<Body>) -> Result<(String, Choice), Refusal> {
    let wrong = |message: &str| refusal(StatusCode::BAD_REQUEST, message);
    let too_large = || {
        let message = format!("a vote has at most {MAX_BODY} bytes");
        refusal(StatusCode::PAYLOAD_TOO_LARGE, &message)
    };
    if request.body().len().is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let read = request.body_mut().take(MAX_BODY + 1).read_to_end(&mut body);
    read.map_err(|error| wrong(&format!("the form did not arrive: {error}")))?;
    if body.len() as u64 > MAX_BODY {
        return Err(too_large());
    }
    let body = std::str::from_utf8(&body).map_err(|_| wrong("the form is no text"))?;
    let (mut ballot, mut choice) = (None, None);
    for field in body.split('&') {
        let place = match field.split_once('=') {
            Some(("ballot", value)) => ballot.replace(value),
            Some(("choice", value)) => choice.replace(value),
            _ => return Err(wrong("a vote has the fields `ballot` and `choice` alone")),
        };
        if place.is_some() {
            return Err(wrong("a vote has each field once"));
        }
    }
    match (ballot, choice.and_then(Choice::named)) {
        (Some(ballot), Some(choice)) => Ok((ballot.to_owned(), choice)),
        (None, _) => Err(wrong("`ballot` is missing")),
        _ => Err(wrong("`choice` must be left, right or neither")),
    }
}

/// Reads what is left of a body, but not without end: then the connection is closed instead.
fn ignore_rest(request: &mut Request<Body>) {
    let ignored = copy(&mut request.body_mut().take(MAX_IGNORED), &mut sink());
    if ignored.is_ok_and(|bytes| bytes < MAX_IGNORED) {
        return;
    }
    *request.body_mut() = Body::empty();
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
}

fn refusal(status: StatusCode, message: &str) -> Refusal {
    (status, message.to_owned())
}

fn html(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, CONTENT_SECURITY_POLICY, POLICY);
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    // Every value here is plain ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
