//! The judge's page over HTTP, only for this machine.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bsbr_report::judge::{Choice, JudgeError, Session, page, problem};

use super::http::{self, Request, Response};

/// The size limit of a form, in bytes; a vote has about a hundred.
const MAX_BODY: u64 = 4096;

/// The time limit of a request, from the connection to the end of the response.
const DEADLINE: Duration = Duration::from_secs(10);

/// The page loads nothing, and sends its form only to its own origin.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that is being served.
pub struct Running {
    /// Its address.
    pub address: SocketAddr,
    server: JoinHandle<()>,
}

impl Running {
    /// Serves until the process ends.
    pub fn wait(self) -> Result<()> {
        let ended = self.server.join();
        ended.map_err(|_| anyhow!("the page's server stopped; start it again, all votes are kept"))
    }
}

/// Serves a session at a loopback address; port 0 selects a free one.
///
/// # Errors
///
/// If the address is not a loopback address, or in use.
pub fn start(session: Session, address: SocketAddr) -> Result<Running> {
    start_with(session, address, DEADLINE)
}

/// The same, with another deadline.
pub fn start_with(session: Session, address: SocketAddr, deadline: Duration) -> Result<Running> {
    if !address.ip().is_loopback() {
        bail!(
            "--address {}: the page is only for this machine; give 127.0.0.1 or ::1",
            address.ip()
        );
    }
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let session = Mutex::new(session);
    let server = std::thread::Builder::new().spawn(move || {
        http::serve(&listener, deadline, move |request, body| {
            answer(&session, request, body)
        });
    })?;
    Ok(Running { address, server })
}

/// A response that is not a page.
type Refusal = (u16, String);

fn answer(
    session: &Mutex<Session>,
    request: Result<Request, String>,
    body: &mut dyn Read,
) -> Response {
    let request = match request {
        Ok(request) => request,
        Err(reason) => return html(400, problem(&reason)),
    };
    let allowed = match request.path.as_str() {
        "/" => "GET",
        "/vote" => "POST",
        _ => "HEAD",
    };
    let path = request.path.as_str();
    let result = match (path, request.method.as_str()) {
        _ if !is_here(&request) => Err(refusal(
            403,
            "this page is only available at 127.0.0.1 and localhost",
        )),
        ("/", "GET") => {
            // A vote is complete or absent, so a session survives a failed thread.
            let session = session.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(html(200, page(&session)))
        }
        ("/vote", "POST") => vote(session, &request, body),
        ("/" | "/vote", _) => Err(refusal(405, &format!("{path} accepts only {allowed}"))),
        _ => Err(refusal(404, "there is no such page")),
    };
    result.unwrap_or_else(|(status, message)| {
        let mut response = html(status, problem(&message));
        if status == 405 {
            response.fields.push(("allow", allowed.to_owned()));
        }
        response
    })
}

/// Whether the request names this machine as its host, and is not from another site's script.
fn is_here(request: &Request) -> bool {
    let authority = request.authority.as_str();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let own = format!("http://{authority}");
    let origin = request.origin.as_ref();
    (loopback || host == "localhost") && origin.is_none_or(|origin| *origin == own)
}

fn vote(
    session: &Mutex<Session>,
    request: &Request,
    body: &mut dyn Read,
) -> Result<Response, Refusal> {
    let (ballot, choice) = form(request, body)?;
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    session.vote(&ballot, choice).map_err(|error| {
        let status = match error {
            JudgeError::UnknownBallot => 422,
            JudgeError::JudgedAlready => 409,
            _ => 500,
        };
        refusal(status, &error.to_string())
    })?;
    let mut response = html(303, String::new());
    response.fields.push(("location", "/".to_owned()));
    Ok(response)
}

/// The ballot and the choice in a form: two fields of letters and digits.
fn form(request: &Request, body: &mut dyn Read) -> Result<(String, Choice), Refusal> {
    let wrong = |message: &str| refusal(400, message);
    let Some(length) = request.length else {
        return Err(refusal(411, "a vote must state its length"));
    };
    if length > MAX_BODY {
        let message = format!("a vote must have at most {MAX_BODY} bytes");
        return Err(refusal(413, &message));
    }
    let mut sent = Vec::new();
    let read = body.take(length).read_to_end(&mut sent);
    read.map_err(|error| wrong(&format!("the form did not arrive: {error}")))?;
    if sent.len() as u64 != length {
        return Err(wrong("the form is incomplete"));
    }
    let body = sent;
    let body = std::str::from_utf8(&body).map_err(|_| wrong("the form is not text"))?;
    let (mut ballot, mut choice) = (None, None);
    for field in body.split('&') {
        let place = match field.split_once('=') {
            Some(("ballot", value)) => ballot.replace(value),
            Some(("choice", value)) => choice.replace(value),
            _ => return Err(wrong("a vote has only the fields `ballot` and `choice`")),
        };
        if place.is_some() {
            return Err(wrong("a vote must have each field once"));
        }
    }
    match (ballot, choice.and_then(Choice::named)) {
        (Some(ballot), Some(choice)) => Ok((ballot.to_owned(), choice)),
        (None, _) => Err(wrong("`ballot` is missing")),
        _ => Err(wrong("`choice` must be left, right or neither")),
    }
}

fn refusal(status: u16, message: &str) -> Refusal {
    (status, message.to_owned())
}

fn html(status: u16, body: String) -> Response {
    let fields = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ];
    Response {
        status,
        fields: fields.map(|(name, value)| (name, value.to_owned())).into(),
        body,
    }
}
