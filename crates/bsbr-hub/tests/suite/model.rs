//! Which files are requested, and where they are stored.

use std::fs;

use bsbr_hub::{Check, HubError, NoProgress, Repository};

use crate::common::server::Reply;
use crate::common::{COMMIT, Fixture, MODEL, Recorder, git_sha1, sha256, tree, weights};

#[test]
fn what_is_asked_for_comes_and_nothing_else() {
    let served = Fixture::model().serve();
    let mut progress = Recorder::default();
    let files = served
        .model_with(served.config(), "main", &mut progress)
        .unwrap();

    assert_eq!(
        served.asked(),
        ["config.json", "tokenizer.json", "model.safetensors"]
    );
    // One request for what each is, one for its content.
    assert_eq!(served.hub.seen().len(), 6);
    assert_eq!(served.storage.seen().len(), 1);
    assert_eq!(files.commit, COMMIT);
    assert!(files.confirmed);
    assert_eq!(
        files.folder,
        served
            .cache()
            .join("models--owner--small-gpt2/snapshots")
            .join(COMMIT)
    );
    assert_eq!(files.weights(), files.path("model.safetensors"));
    assert_eq!(fs::read(files.weights()).unwrap(), weights());
    assert!(files.files.iter().all(|file| file.check == Check::Checksum));

    let total = 22 + 2 + 300_000;
    assert_eq!(progress.bytes, total);
    assert_eq!(
        progress.started[2],
        ("model.safetensors".to_owned(), Some(300_000), 0)
    );
    assert_eq!(progress.finished, served.asked());
    assert_eq!(progress.notices, []);
}

#[test]
fn the_cache_has_the_layout_of_other_tools() {
    let served = Fixture::model().serve();
    served.model("main").unwrap();
    let (config, tokenizer) = (git_sha1(b"{\"model_type\": \"gpt2\"}"), git_sha1(b"{}"));
    let mut expected = vec![
        format!("blobs/{config}"),
        format!("blobs/{tokenizer}"),
        format!("blobs/{}", sha256(&weights())),
        "refs/main".to_owned(),
        format!("snapshots/{COMMIT}/config.json"),
        format!("snapshots/{COMMIT}/model.safetensors"),
        format!("snapshots/{COMMIT}/tokenizer.json"),
    ];
    expected.sort();
    let folder = served.cache().join("models--owner--small-gpt2");
    let mut found = tree(&folder);
    found.retain(|file| !file.ends_with(".lock"));
    assert_eq!(found, expected);
    assert_eq!(
        fs::read_to_string(folder.join("refs/main")).unwrap(),
        COMMIT
    );
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(folder.join("snapshots").join(COMMIT).join("config.json")).unwrap(),
        std::path::Path::new("../../blobs").join(config)
    );
}

#[test]
fn a_revision_is_asked_for_once_and_its_commit_from_then_on() {
    for revision in ["v1", "refs/pr/1"] {
        let served = Fixture::model().serve();
        let files = served.model(revision).unwrap();
        assert_eq!(files.commit, COMMIT);
        let lines = served.hub.lines();
        let encoded = revision.replace('/', "%2F");
        assert_eq!(
            lines[0],
            format!("HEAD /{MODEL}/resolve/{encoded}/config.json")
        );
        for line in &lines[1..] {
            assert!(line.contains(&format!("/resolve/{COMMIT}/")), "{line}");
        }
        assert!(
            served
                .cache()
                .join("models--owner--small-gpt2/refs")
                .join(revision)
                .is_file()
        );
    }
}

#[test]
fn files_of_a_dataset_at_a_commit() {
    let content = b"one line\n".repeat(100);
    let served = Fixture::default()
        .large("data/train 0.txt", content.clone())
        .file("README.md", "A dataset.")
        .serve();
    let dataset = Repository::dataset(&format!("{MODEL}@{COMMIT}")).unwrap();
    let snapshot = served
        .client()
        .files(&dataset, &["data/train 0.txt"], &mut NoProgress)
        .unwrap();
    assert_eq!(snapshot.commit, COMMIT);
    assert_eq!(snapshot.files[0].name, "data/train 0.txt");
    assert_eq!(fs::read(&snapshot.files[0].path).unwrap(), content);
    assert!(
        snapshot
            .folder
            .starts_with(served.cache().join("datasets--owner--small-gpt2"))
    );
    let path = format!("/datasets/{MODEL}/resolve/{COMMIT}/data/train%200.txt");
    assert_eq!(
        served.hub.lines(),
        [format!("HEAD {path}"), format!("GET {path}")]
    );

    let error = served
        .client()
        .files(&dataset, &["data/test.txt"], &mut NoProgress)
        .unwrap_err();
    assert!(matches!(&error, HubError::FileNotFound { file, .. } if file == "data/test.txt"));
    for path in ["../x", "/x", "a//b", ".", "a\\b", ""] {
        let error = served
            .client()
            .files(&dataset, &[path], &mut NoProgress)
            .unwrap_err();
        assert!(matches!(error, HubError::InvalidPath { .. }), "{path:?}");
    }
    let error = served
        .client()
        .files(&dataset, &[], &mut NoProgress)
        .unwrap_err();
    assert!(matches!(error, HubError::InvalidPath { .. }));
}

#[test]
fn a_mirror_that_mixes_commits_is_refused() {
    let served = Fixture::model()
        .fault(|request| {
            let other = "f".repeat(40);
            request.path.ends_with("tokenizer.json").then(|| {
                Reply::status(200)
                    .header("ETag", git_sha1(b"{}"))
                    .header("X-Repo-Commit", other)
                    .body("{}")
            })
        })
        .serve();
    let error = served.model("main").unwrap_err();
    assert!(matches!(&error, HubError::BadResponse { .. }), "{error}");
}
