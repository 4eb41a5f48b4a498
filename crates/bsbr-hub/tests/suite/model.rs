//! Which files are asked for, and where they end up.

use std::fs;

use bsbr_hub::{Check, HubError, NoProgress, Repository, TokenizerFiles, WeightFiles};

use crate::common::server::Reply;
use crate::common::{COMMIT, Fixture, MODEL, Recorder, git_sha1, sha256, tree, weights};

fn index(shards: &[&str]) -> String {
    let map: Vec<String> = shards
        .iter()
        .enumerate()
        .map(|(i, name)| format!("\"tensor.{i}\": {name:?}"))
        .collect();
    format!(
        "{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}",
        map.join(", ")
    )
}

#[test]
fn a_model_is_three_files_and_no_other_is_asked_for() {
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
    assert_eq!(files.commit.as_deref(), Some(COMMIT));
    assert!(files.confirmed);
    assert_eq!(
        files.folder,
        served
            .cache()
            .join("models--owner--small-gpt2/snapshots")
            .join(COMMIT)
    );
    assert_eq!(files.config, files.folder.join("config.json"));
    assert_eq!(
        files.tokenizer,
        Some(TokenizerFiles::Whole(files.folder.join("tokenizer.json")))
    );
    let path = files.folder.join("model.safetensors");
    assert_eq!(fs::read(&path).unwrap(), weights());
    assert_eq!(files.weights, WeightFiles::Safetensors(path));
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
fn the_parts_of_a_tokenizer_are_taken_where_there_is_no_whole_one() {
    let served = Fixture::model().without(&["tokenizer.json"]).serve();
    let files = served.model("main").unwrap();
    assert_eq!(
        files.tokenizer,
        Some(TokenizerFiles::Parts {
            vocabulary: files.folder.join("vocab.json"),
            merges: files.folder.join("merges.txt"),
        })
    );
    // An empty file is a file.
    assert_eq!(fs::read(files.folder.join("merges.txt")).unwrap(), b"");
}

#[test]
fn a_model_without_tokenizer_is_refused_before_its_weights_are_fetched() {
    let served = Fixture::model()
        .without(&["tokenizer.json", "merges.txt"])
        .serve();
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(&error, HubError::FileNotFound { file, .. } if file.contains("merges.txt")),
        "{error}"
    );
    assert!(!served.asked().contains(&"model.safetensors".to_owned()));
}

#[test]
fn shards_are_those_that_the_index_names() {
    let (first, second) = (
        "model-00001-of-00002.safetensors",
        "parts/model-2.safetensors",
    );
    let served = Fixture::model()
        .without(&["model.safetensors"])
        .file(
            "model.safetensors.index.json",
            index(&[first, second, first]),
        )
        .large(first, vec![1; 1000])
        .large(second, vec![2; 500])
        .large("model-00003-of-00002.safetensors", vec![3; 500])
        .serve();
    let files = served.model("main").unwrap();
    let expected = [files.folder.join(first), files.folder.join(second)];
    assert_eq!(files.weights.tensors(), expected);
    assert!(matches!(
        files.weights,
        WeightFiles::ShardedSafetensors { .. }
    ));
    assert_eq!(fs::read(files.folder.join(second)).unwrap(), [2; 500]);
    let asked = served.asked();
    assert!(
        !asked
            .iter()
            .any(|file| file.contains("00003") || file.ends_with(".bin")),
        "{asked:?}"
    );
}

#[test]
fn pickles_are_the_last_resort() {
    let served = Fixture::model().without(&["model.safetensors"]).serve();
    let files = served.model("main").unwrap();
    assert_eq!(
        files.weights,
        WeightFiles::Pickle(files.folder.join("pytorch_model.bin"))
    );

    let index = index(&["pytorch_model-1.bin"]);
    let served = Fixture::model()
        .without(&["model.safetensors", "pytorch_model.bin"])
        .file("pytorch_model.bin.index.json", index)
        .large("pytorch_model-1.bin", vec![1; 10])
        .serve();
    let files = served.model("main").unwrap();
    assert!(matches!(files.weights, WeightFiles::ShardedPickle { .. }));
    assert_eq!(
        files.weights.tensors(),
        [files.folder.join("pytorch_model-1.bin")]
    );

    let served = Fixture::model()
        .without(&["model.safetensors", "pytorch_model.bin"])
        .serve();
    let error = served.model("main").unwrap_err();
    assert!(
        error.to_string().contains("pytorch_model.bin.index.json"),
        "{error}"
    );
}

#[test]
fn shards_that_leave_the_folder_are_refused_and_not_asked_for() {
    for shard in [
        "../../../../outside.safetensors",
        "/etc/passwd",
        "a/../../b.safetensors",
        "..\\outside",
        "C:\\outside",
        "",
    ] {
        let served = Fixture::model()
            .without(&["model.safetensors"])
            .file(
                "model.safetensors.index.json",
                index(&["good.safetensors", shard]),
            )
            .large("good.safetensors", vec![1; 10])
            .serve();
        let error = served.model("main").unwrap_err();
        assert!(
            matches!(&error, HubError::UnsafeShard { shard: found, .. } if found == shard),
            "{error}"
        );
        let asked = served.asked();
        assert_eq!(
            asked.last().unwrap(),
            "model.safetensors.index.json",
            "{asked:?}"
        );
    }
}

#[test]
fn an_index_that_is_none_is_named() {
    for text in [
        "",
        "[]",
        "{\"weight_map\": {\"a\": 1}}",
        "{\"weight_map\": {}}",
        "{\"weight_map\": ",
    ] {
        let served = Fixture::model()
            .without(&["model.safetensors"])
            .file("model.safetensors.index.json", text)
            .serve();
        let error = served.model("main").unwrap_err();
        assert!(
            matches!(&error, HubError::InvalidIndex { index, .. }
                if index.ends_with("model.safetensors.index.json")),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn a_revision_is_asked_for_once_and_its_commit_from_then_on() {
    for revision in ["v1", "refs/pr/1"] {
        let served = Fixture::model().serve();
        let files = served.model(revision).unwrap();
        assert_eq!(files.commit.as_deref(), Some(COMMIT));
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
