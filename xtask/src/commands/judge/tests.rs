//! The page over HTTP, requested by browsers and by other clients.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bsbr_report::judge::{Choice, Session, VOTES, read_votes};
use bsbr_report::record::{FORMAT, Record};
use bsbr_report::reproduce::RECORDS;
use bsbr_report::store::Store;
use serde_json::{Value, json};

use super::Args;
use super::server::{start, start_with};
use crate::commands::options;

pub fn every_option_counts() {
    options::check(&[""], |args: &Args| {
        let socket = args.socket();
        format!(
            "{:?} {:?} {} {socket}",
            args.results,
            args.pair(),
            args.judge
        )
    });
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A folder of results with summaries of two articles.
fn results() -> tempfile::TempDir {
    let arm = |id: &str, config: Value, default: bool| json!({"id": id, "label": id, "about": "", "default": default, "config": config});
    let measurement = |arm: &str, index: u64, texts: Value| {
        json!({"arm": arm, "source": "articles", "length": 800, "index": index, "values": {},
            "texts": texts})
    };
    let of = |index: u64| {
        [
            measurement(
                "dense",
                index,
                json!({"summary": format!("From one, {index}.")}),
            ),
            measurement(
                "local",
                index,
                json!({"summary": format!("From two, {index}.")}),
            ),
            measurement(
                "reference",
                index,
                json!({"summary": "It was so.", "article": format!("Article {index}.\n")}),
            ),
        ]
    };
    let local = json!({"arm": "local", "chunk_size": 128, "near_chunks": 1, "sink_tokens": 4});
    let record = json!({
        "format": FORMAT,
        "unit": "articles",
        "identity": {"spec": "", "model": "", "data": "", "device": "flex", "dtype": "f32"},
        "method": {"experiment": "summarisation", "version": 1, "seed": 1, "quick": false,
            "arms": [arm("dense", json!({"arm": "dense"}), false), arm("local", local, true)],
            "settings": {}, "counts": {}},
        "model": {"name": "", "layers": 1, "heads": 1, "hidden_size": 1, "positions": 1,
            "vocabulary": 1, "parameters": 1},
        "run": {"command": "", "commit": null, "version": "", "date": "", "threads": 1,
            "machine": {"cpu": null, "cores": 1, "memory_gib": null, "system": ""},
            "texts": "", "calibration": ""},
        "seconds": 1.0,
        "samples": 2,
        "measurements": ([of(0), of(1)].concat()),
    });
    let folder = tempfile::tempdir().unwrap();
    let record: Record = serde_json::from_value(record).unwrap();
    let store = Store::new(folder.path().join(RECORDS));
    store.save(&record).unwrap();
    folder
}

fn session(folder: &Path) -> Session {
    Session::open(folder, [None, None], "ada").unwrap()
}

/// The page's address; it is served until the tests end.
fn serve(folder: &Path) -> SocketAddr {
    let address = SocketAddr::new(LOOPBACK, 0);
    start(session(folder), address).unwrap().address
}

/// Sends bytes and returns the response; the caller includes
/// `Connection: close`.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    // A promised body that is never sent ends here.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn ask(address: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    raw(
        address,
        format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )
}

fn status(answer: &str) -> u16 {
    let mut words = answer.split(' ');
    words.nth(1).and_then(|word| word.parse().ok()).unwrap()
}

/// The ballot that a page's form would send.
fn ballot(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"ballot\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn votes_are_given_through_http_and_kept() {
    let folder = results();
    let address = serve(folder.path());
    assert!(address.ip().is_loopback() && address.port() != 0);
    let first = ask(address, "GET /", "", "");
    assert_eq!(status(&first), 200);
    assert!(first.contains("content-security-policy: default-src 'none'"));
    assert!(first.contains("1 of 2") && first.contains("From one, "));
    assert!(
        !first.contains("dense") && !first.contains("local"),
        "{first}"
    );

    let origin = format!("Origin: http://{address}\r\n");
    let form = format!("ballot={}&choice=left", ballot(&first));
    let answer = ask(address, "POST /vote", &origin, &form);
    assert_eq!(status(&answer), 303, "{answer}");
    assert!(answer.contains("location: /\r\n"), "{answer}");
    let again = ask(address, "POST /vote", &origin, &form);
    assert_eq!(status(&again), 409, "{again}");

    let second = ask(address, "GET /", "", "");
    assert!(second.contains("2 of 2"));
    let form = format!("choice=neither&ballot={}", ballot(&second));
    assert_eq!(status(&ask(address, "POST /vote", "", &form)), 303);
    assert!(ask(address, "GET /", "", "").contains("All 2 articles are judged"));

    let votes = read_votes(&folder.path().join(VOTES)).unwrap();
    let choices: Vec<Choice> = votes.iter().map(|vote| vote.choice).collect();
    assert_eq!(choices, [Choice::Left, Choice::Neither]);
    assert!(votes.iter().all(|vote| vote.judge == "ada"));
    assert_eq!(votes[0].pair, ["dense", "local"]);
    assert_eq!(session(folder.path()).progress(), (2, 2));
}

#[test]
fn bad_input_is_refused_and_leaves_no_vote() {
    let folder = results();
    let address = serve(folder.path());
    let id = ballot(&ask(address, "GET /", "", ""));
    let foreign = format!("ballot={}&choice=left", "0".repeat(64));
    let good = format!("ballot={id}&choice=left");
    let huge = format!("{good}{}", " ".repeat(1 << 20));
    for (line, headers, body, expected, words) in [
        ("POST /vote", "", foreign.as_str(), 422, "not on a pair"),
        ("POST /vote", "", &huge, 413, "at most 4096 bytes"),
        ("POST /vote", "", "", 400, "`ballot` and `choice`"),
        ("POST /vote", "", "choice=left", 400, "`ballot` is missing"),
        (
            "POST /vote",
            "",
            &format!("ballot={id}&choice=both"),
            400,
            "left, right",
        ),
        (
            "POST /vote",
            "",
            &format!("{good}&choice=right"),
            400,
            "once",
        ),
        (
            "POST /vote",
            "",
            &format!("{good}&judge=bob"),
            400,
            "only the fields",
        ),
        (
            "POST /vote",
            "Origin: http://elsewhere.example\r\n",
            &good,
            403,
            "only available",
        ),
        ("GET /vote", "", "", 405, "accepts only POST"),
        ("DELETE /vote", "", &good, 405, "accepts only POST"),
        ("POST /", "", &good, 405, "accepts only GET"),
        ("GET /votes.jsonl", "", "", 404, "no such page"),
        ("GET /../votes.jsonl", "", "", 404, "no such page"),
    ] {
        let answer = ask(address, line, headers, body);
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        assert!(answer.contains(words), "{line}: {answer}");
        let allows = answer.contains("allow: ");
        assert_eq!(allows, expected == 405, "{line}: {answer}");
    }
    let host = "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&raw(address, host.as_bytes())), 403);
    let chunked = format!(
        "POST /vote HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n0\r\n\r\n",
        "a".repeat(0x2000)
    );
    assert_eq!(status(&raw(address, chunked.as_bytes())), 411);
    for head in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\n{}\r\n\r\n",
            "a".repeat(1 << 20)
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            "a: b\r\n".repeat(1000)
        ),
        format!("POST /vote HTTP/1.1\r\nHost: {address}\r\nContent-Length: +9\r\n\r\n{good}"),
        "\u{1}\r\n\r\n".to_owned(),
    ] {
        let answer = raw(address, head.as_bytes());
        assert_eq!(status(&answer), 400, "{head:.80}: {answer}");
    }
    let short =
        format!("POST /vote HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2000\r\n\r\n{good}");
    assert_eq!(status(&raw(address, short.as_bytes())), 400);
    for (length, expected) in [("999999999999999", 413), ("99999999999999999999999", 400)] {
        let promise = format!(
            "POST /vote HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{good}"
        );
        assert_eq!(status(&raw(address, promise.as_bytes())), expected);
    }
    assert!(read_votes(&folder.path().join(VOTES)).unwrap().is_empty());
    // The page is still available.
    assert_eq!(status(&ask(address, "GET /", "", "")), 200);
}

#[test]
fn silent_clients_keep_nobody_out() {
    let folder = results();
    let address = serve(folder.path());
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let start = Instant::now();
    assert_eq!(status(&ask(address, "GET /", "", "")), 200);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    drop(silent);
}

#[test]
fn a_slow_client_has_a_deadline_for_the_whole_request() {
    let folder = results();
    let deadline = Duration::from_millis(600);
    let page = start_with(
        session(folder.path()),
        SocketAddr::new(LOOPBACK, 0),
        deadline,
    );
    let address = page.unwrap().address;
    let start = Instant::now();
    let mut slow = TcpStream::connect(address).unwrap();
    // Never silent for long, and never complete.
    while slow.write_all(b"G").is_ok() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it is served for ever"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() >= deadline);
    assert_eq!(status(&ask(address, "GET /", "", "")), 200);
}

#[test]
fn only_this_machine_is_listened_to() {
    let folder = results();
    for ip in [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
    ] {
        let error = start(session(folder.path()), SocketAddr::new(ip, 0))
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("only for this machine"),
            "{error}"
        );
    }
    let taken = serve(folder.path());
    let error = start(session(folder.path()), taken).err().unwrap();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
