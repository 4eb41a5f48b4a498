//! HTTP for few small requests: one per connection, answered within a deadline.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maximum number of connections; a browser opens a few. A new one closes the oldest.
const CONNECTIONS: usize = 32;

/// The size limit of a request's head, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The maximum number of header fields.
const MAX_FIELDS: usize = 100;

/// The number of bytes read from an unwanted body, so that the sender can read the response.
const MAX_IGNORED: u64 = 1 << 24;

/// A request, without its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// The requested host, with a port if given.
    pub authority: String,
    /// The origin of the requesting page, if given.
    pub origin: Option<String>,
    /// Bytes of the body; `None` if not given.
    pub length: Option<u64>,
}

/// A response. It closes the connection.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: String,
}

impl Response {
    fn to_bytes(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            303 => "See Other",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            411 => "Length Required",
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            _ => "Internal Server Error",
        };
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len();
        text.push_str(&format!(
            "content-length: {length}\r\nconnection: close\r\n\r\n"
        ));
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// Answers requests until the process ends, each with `answer`, which receives the bytes after the
/// head, or why there is no request. Requests that take longer than `deadline` in total are cut
/// off.
pub fn serve(
    listener: &TcpListener,
    deadline: Duration,
    answer: impl Fn(Result<Request, String>, &mut dyn Read) -> Response + Send + Sync + 'static,
) {
    let (answer, slots) = (Arc::new(answer), Arc::new(Slots::default()));
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            let slot = Slots::take(&slots, &stream)?;
            let answer = answer.clone();
            let connection = Connection {
                stream,
                until: Instant::now() + deadline,
            };
            let work = move || {
                // A client that has left need not be told.
                let _ = connection.answer(&*answer);
                drop(slot);
            };
            std::thread::Builder::new().spawn(work)
        });
        if accepted.is_err() {
            // No file or thread is available at the moment.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct Slots {
    next: AtomicU64,
    open: Mutex<VecDeque<(u64, TcpStream)>>,
}

impl Slots {
    /// A slot for a connection; if there is none, the oldest is closed.
    fn take(slots: &Arc<Self>, stream: &TcpStream) -> io::Result<Slot> {
        let id = slots.next.fetch_add(1, Ordering::Relaxed);
        let mut open = slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back((id, stream.try_clone()?));
        while open.len() > CONNECTIONS {
            if let Some((_, oldest)) = open.pop_front() {
                // It may already be closed.
                let _ = oldest.shutdown(Shutdown::Both);
            }
        }
        Ok(Slot {
            id,
            slots: slots.clone(),
        })
    }
}

/// The slot of a connection, until it is dropped.
struct Slot {
    id: u64,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let open = self.slots.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.retain(|(id, _)| *id != self.id);
    }
}

/// Answers a request, given the bytes after its head.
type Answer = dyn Fn(Result<Request, String>, &mut dyn Read) -> Response;

/// The head of a request, and the bytes after it.
type Head = (Option<Vec<u8>>, io::Cursor<Vec<u8>>);

/// A connection with its deadline.
struct Connection {
    stream: TcpStream,
    until: Instant,
}

impl Connection {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    fn answer(mut self, answer: &Answer) -> io::Result<()> {
        let (head, rest) = self.head()?;
        let Some(head) = head else {
            return Ok(());
        };
        let request = parse(&head);
        if expects_to_be_told(&head) {
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let no_body = matches!(&request, Ok(Request { method, .. }) if method == "HEAD");
        let mut body = rest.chain(&mut self);
        let mut response = answer(request, &mut body);
        if no_body {
            response.body.clear();
        }
        self.write_all(&response.to_bytes())?;
        self.stream.shutdown(Shutdown::Write)?;
        copy(&mut self.take(MAX_IGNORED), &mut sink()).map(drop)
    }

    /// The bytes up to the blank line, and those after it; `None` if there is no request.
    fn head(&mut self) -> io::Result<Head> {
        let mut bytes = Vec::new();
        loop {
            let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = bytes.split_off(end + 4);
                return Ok((Some(bytes), io::Cursor::new(rest)));
            }
            let mut part = [0; 1024];
            let count = self.read(&mut part)?;
            bytes.extend_from_slice(&part[..count]);
            // An invalid head is reported as such.
            if bytes.len() > MAX_HEAD || (count == 0 && !bytes.is_empty()) {
                return Ok((Some(bytes), io::Cursor::default()));
            }
            if count == 0 {
                return Ok((None, io::Cursor::default()));
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The request of a head.
///
/// # Errors
///
/// Why it is invalid, in words.
pub fn parse(head: &[u8]) -> Result<Request, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let whole = parsed.parse(head).map_err(|error| error.to_string())?;
    let (Some(method), Some(target), true) = (parsed.method, parsed.path, whole.is_complete())
    else {
        return Err("the request is incomplete".to_owned());
    };
    let field = |name: &str| {
        let mut found = parsed.headers.iter();
        let mut found = found
            .by_ref()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => std::str::from_utf8(one.value)
                .map(|value| Some(value.trim().to_owned()))
                .map_err(|_| format!("the field {name} is not text")),
            _ => Err(format!("the field {name} occurs twice")),
        }
    };
    let host = field("host")?.ok_or("the field host is missing")?;
    let (authority, path) = match target.strip_prefix("http://") {
        Some(rest) => match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), &rest[at..]),
            None => (rest.to_owned(), "/"),
        },
        None => (host, target),
    };
    let length = match (field("content-length")?, field("transfer-encoding")?) {
        (_, Some(_)) => None,
        (None, None) => Some(0),
        (Some(length), None) => {
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            let number = length.parse().ok().filter(|_| digits);
            Some(number.ok_or_else(|| format!("{length:?} is not a length"))?)
        }
    };
    Ok(Request {
        method: method.to_owned(),
        path: path.split('?').next().unwrap_or(path).to_owned(),
        authority,
        origin: field("origin")?,
        length,
    })
}

/// Whether a client waits for `100 Continue` before it sends its body.
fn expects_to_be_told(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.contains("\r\nexpect: 100-continue\r\n")
}
