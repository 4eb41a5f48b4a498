//! Refusals of the Hub, and the advice that errors give.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use bsbr_hub::{Hub, HubError, Notice, Token};

use crate::common::server::Reply;
use crate::common::{Fixture, MODEL, Recorder, Served, fetch, tree};

/// A Hub that answers everything with this status and this error code.
fn refusing(status: u16, code: &'static str) -> Served {
    Fixture::model()
        .fault(move |_| {
            let reply = Reply::status(status);
            Some(if code.is_empty() {
                reply
            } else {
                reply.header("X-Error-Code", code)
            })
        })
        .serve()
}

/// The error and its message; nothing was left in the cache and nothing was asked twice.
fn refused(status: u16, code: &'static str) -> (HubError, String) {
    let served = refusing(status, code);
    let error = served.model("main").unwrap_err();
    assert_eq!(tree(&served.cache()), [""; 0]);
    assert_eq!(served.hub.seen().len(), 1, "{error}");
    let message = error.to_string();
    (error, message)
}

#[test]
fn what_is_not_there_is_said_apart() {
    let (error, message) = refused(404, "RepoNotFound");
    assert!(matches!(
        error,
        HubError::RepositoryNotFound {
            with_token: false,
            ..
        }
    ));
    assert!(
        message.contains(&format!("model {MODEL}@main")),
        "{message}"
    );
    assert!(message.contains("HF_TOKEN"), "{message}");
    // So says the Hub to those it does not know.
    let (error, _) = refused(401, "RepoNotFound");
    assert!(matches!(error, HubError::RepositoryNotFound { .. }));

    let (error, message) = refused(404, "RevisionNotFound");
    assert!(matches!(error, HubError::RevisionNotFound { .. }));
    assert!(message.contains("branch"), "{message}");

    for code in ["EntryNotFound", ""] {
        let (error, message) = refused(404, code);
        assert!(matches!(error, HubError::FileNotFound { .. }));
        assert!(message.contains("config.json"), "{message}");
    }
}

#[test]
fn what_may_not_be_had_is_said_apart() {
    for status in [401, 403] {
        let (error, message) = refused(status, "GatedRepo");
        assert!(matches!(
            error,
            HubError::Gated {
                with_token: false,
                ..
            }
        ));
        assert!(message.contains(&format!("/{MODEL}")), "{message}");
        assert!(message.contains("accept its terms"), "{message}");

        let (error, message) = refused(status, "");
        assert!(matches!(error, HubError::Unauthorized { status: s, .. } if s == status));
        assert!(message.contains("set HF_TOKEN"), "{message}");
    }
    let served = refusing(401, "");
    let mut config = served.config();
    config.token = Token::new("hf_old");
    let error = served
        .model_with(config, "main", &mut Recorder::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("check that HF_TOKEN is correct"),
        "{error}"
    );
}

#[test]
fn other_answers_are_not_understood() {
    for status in [400, 418] {
        let (error, message) = refused(status, "");
        assert!(matches!(error, HubError::BadResponse { .. }));
        assert!(message.contains(&status.to_string()), "{message}");
    }
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let served = Fixture::model()
            .fault(move |request| (request.before < 2).then(|| Reply::status(status)))
            .serve();
        let mut progress = Recorder::default();
        served
            .model_with(served.config(), "main", &mut progress)
            .unwrap();
        assert!(matches!(&progress.notices[0], Notice::Retrying { file, .. }
            if file == "config.json"));

        let served = refusing(status, "");
        let error = served.model("main").unwrap_err();
        // The first try and two more, as the settings say.
        assert_eq!(served.hub.seen().len(), 3);
        let expected = match error {
            HubError::RateLimited {
                retry_after: None, ..
            } => status == 429,
            HubError::Server { status: found, .. } => found == status,
            _ => false,
        };
        assert!(expected, "{error}");
        assert_eq!(tree(&served.cache()), [""; 0]);
    }
}

#[test]
fn a_rate_limit_says_how_long_to_wait() {
    let limited = |seconds: u64| {
        move |request: &crate::common::server::Request| {
            let reply = Reply::status(429).header("Retry-After", seconds);
            (request.before == 0).then_some(reply)
        }
    };
    // Longer than anyone would sit there: the user decides.
    let served = Fixture::model().fault(limited(300)).serve();
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(&error, HubError::RateLimited { retry_after: Some(wait), .. }
        if wait.as_secs() == 300)
    );
    assert!(error.to_string().contains("300 s"), "{error}");
    assert_eq!(served.hub.seen().len(), 1);

    let served = Fixture::model()
        .fault(move |request| limited(1)(request).filter(|_| request.path.ends_with("config.json")))
        .serve();
    let mut progress = Recorder::default();
    served
        .model_with(served.config(), "main", &mut progress)
        .unwrap();
    assert!(
        matches!(&progress.notices[0], Notice::Retrying { after, .. }
        if *after == Duration::from_secs(1))
    );
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let served = Fixture::model().serve();
    let mut config = served.config();
    config.endpoint = format!("http://{free}");
    let mut progress = Recorder::default();
    let error = served
        .model_with(config, "main", &mut progress)
        .unwrap_err();
    assert!(
        matches!(&error, HubError::Network { host, .. } if host == "127.0.0.1"),
        "{error}"
    );
    assert!(error.to_string().contains("HF_HUB_OFFLINE=1"), "{error}");
    assert_eq!(progress.notices, []);
}

#[test]
fn a_server_that_does_not_encrypt_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        // Until the other side hangs up.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let served = Fixture::model().serve();
    let mut config = served.config();
    config.endpoint = format!("https://{address}");
    let error = served
        .model_with(config, "main", &mut Recorder::default())
        .unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error:?}");
    server.join().unwrap();
}

#[test]
fn answers_that_lack_something_are_refused() {
    let ok = Reply::status(200);
    let redirect = Reply::status(302);
    let answers = [
        (
            "has no ETag",
            ok.clone().header("X-Repo-Commit", crate::common::COMMIT),
        ),
        ("state the commit", ok.clone().header("ETag", "abc")),
        (
            "state the commit",
            ok.clone()
                .header("ETag", "abc")
                .header("X-Repo-Commit", "../x"),
        ),
        (
            "file name",
            ok.header("ETag", "../../x")
                .header("X-Repo-Commit", crate::common::COMMIT),
        ),
        ("without a target", redirect.clone()),
        (
            "other than a web address",
            redirect.header("Location", "ftp://elsewhere/"),
        ),
    ];
    for (reason, answer) in answers {
        let served = Fixture::model()
            .fault(move |_| Some(answer.clone()))
            .serve();
        let error = served.model("main").unwrap_err();
        assert!(matches!(error, HubError::BadResponse { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(tree(served.folder.path()), [""; 0]);
    }
}

#[test]
fn a_circle_of_redirects_ends() {
    let served = Fixture::model()
        .fault(|request| Some(Reply::status(307).header("Location", &request.path)))
        .serve();
    let error = served.model("main").unwrap_err();
    assert!(error.to_string().contains("more than 10 times"), "{error}");
    assert_eq!(served.hub.seen().len(), 11);
}

#[test]
fn an_endpoint_that_is_no_address_is_refused() {
    let served = Fixture::model().serve();
    for endpoint in [
        "",
        "huggingface.co",
        "ftp://hub",
        "http://",
        "http://hub?x",
        "http://me:word@hub",
    ] {
        let mut config = served.config();
        config.endpoint = endpoint.to_owned();
        let error = Hub::new(config).unwrap_err();
        assert!(
            matches!(
                &error,
                HubError::InvalidSetting {
                    setting: "HF_ENDPOINT",
                    ..
                }
            ),
            "{endpoint}: {error}"
        );
        assert!(!error.to_string().contains("word"), "{error}");
    }
    let mut config = served.config();
    config.endpoint.push('/');
    let hub = Hub::new(config).unwrap();
    let repository = MODEL.parse().unwrap();
    fetch(&hub, &repository, &mut Recorder::default()).unwrap();
}
