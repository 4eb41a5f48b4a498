//! Which hosts receive the token.

use std::sync::Arc;

use bsbr_hub::{Hub, HubError, Token};

use crate::common::server::{Reply, Server};
use crate::common::{Fixture, MODEL, Recorder, Served, fetch};

const SECRET: &str = "hf_secret";

fn with_token(served: &Served) -> bsbr_hub::HubConfig {
    let mut config = served.config();
    config.token = Token::new(SECRET);
    config
}

#[test]
fn the_endpoint_gets_the_token_and_storage_does_not() {
    let served = Fixture::model().serve();
    served
        .model_with(with_token(&served), "main", &mut Recorder::default())
        .unwrap();
    assert!(!served.hub.seen().is_empty());
    for request in served.hub.seen() {
        assert_eq!(
            request.header("authorization"),
            Some("Bearer hf_secret"),
            "{request:?}"
        );
    }
    assert_eq!(served.storage.seen().len(), 1);
    for request in served.storage.seen() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn without_a_token_nothing_is_sent() {
    let served = Fixture::model().serve();
    served.model("main").unwrap();
    assert!(
        served
            .hub
            .seen()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn a_redirect_on_the_endpoint_keeps_the_token() {
    let served = Fixture::model()
        .fault(|request| {
            let renamed = request.path.strip_prefix("/former/name/")?;
            Some(Reply::status(307).header("Location", format!("/{MODEL}/{renamed}")))
        })
        .serve();
    let repository = "former/name".parse().unwrap();
    let hub = Hub::new(with_token(&served)).unwrap();
    let files = fetch(&hub, &repository, &mut Recorder::default()).unwrap();
    assert!(
        files
            .folder
            .starts_with(served.cache().join("models--former--name"))
    );
    assert!(
        served
            .hub
            .seen()
            .iter()
            .all(|request| request.header("authorization").is_some())
    );
}

#[test]
fn another_port_or_a_way_back_from_it_are_another_matter() {
    // The Hub redirects all requests to another host, which redirects some of them to a third.
    let third = Arc::new(Server::start(|_| {
        Reply::status(200).header("ETag", "abc").body("x")
    }));
    let third_url = third.url();
    let stranger = Server::start(move |_| Reply::status(302).header("Location", &third_url));
    let stranger_url = stranger.url();
    let served = Fixture::model()
        .fault(move |request| {
            let to = format!("{stranger_url}{}", request.path);
            Some(
                Reply::status(302)
                    .header("Location", to)
                    .header("X-Repo-Commit", crate::common::COMMIT),
            )
        })
        .serve();
    let outcome = served.model_with(with_token(&served), "main", &mut Recorder::default());
    // Nobody names a tokenizer that is one, but that is not the question here.
    drop(outcome);
    assert!(!stranger.seen().is_empty() && !third.seen().is_empty());
    for request in stranger.seen().iter().chain(&third.seen()) {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn the_token_is_in_no_message() {
    let served = Fixture::model().fault(|_| Some(Reply::status(401))).serve();
    let config = with_token(&served);
    assert!(!format!("{config:?}").contains(SECRET));
    let hub = Hub::new(config.clone()).unwrap();
    assert!(!format!("{hub:?}").contains(SECRET));
    let error = served
        .model_with(config, "main", &mut Recorder::default())
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET));
}

#[test]
fn a_token_that_would_break_the_header_is_refused_without_showing_it() {
    let served = Fixture::model().serve();
    for text in ["hf_secret\r\nX-Other: 1", "hf secret", "hf_sécret"] {
        let mut config = served.config();
        config.token = Token::new(text);
        let error = Hub::new(config).unwrap_err();
        assert!(
            matches!(
                &error,
                HubError::InvalidSetting {
                    setting: "HF_TOKEN",
                    ..
                }
            ),
            "{error}"
        );
        assert!(!error.to_string().contains("cret"), "{error}");
    }
    assert_eq!(Token::new("  \n"), None);
}

#[test]
fn signatures_of_storage_are_in_no_message() {
    let served = Fixture::model()
        .storage_fault(|_| Some(Reply::status(403)))
        .serve();
    let error = served.model("main").unwrap_err();
    // An expired signature: the Hub is asked for a new one, as often as the settings say.
    assert_eq!(served.storage.seen().len(), 3);
    assert!(
        matches!(&error, HubError::Server { status: 403, .. }),
        "{error}"
    );
    assert!(
        !format!("{error} {error:?}").contains("signature"),
        "{error:?}"
    );
}
