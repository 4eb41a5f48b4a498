//! The cache without the Hub.

use std::fs;

use bsbr_hub::{Check, HubConfig, HubError, NoProgress, Notice, Repository};

use crate::common::server::Reply;
use crate::common::{
    COMMIT, Fixture, MODEL, OLD, Recorder, Served, git_sha1, sha256, tree, weights,
};

fn offline(served: &Served) -> HubConfig {
    let mut config = served.config();
    config.offline = true;
    config
}

fn missing(error: &HubError) -> &[String] {
    match error {
        HubError::Offline { missing, .. } => missing,
        other => panic!("{other}"),
    }
}

#[test]
fn offline_with_a_cache_asks_nobody() {
    let served = Fixture::model().serve();
    let online = served.model("main").unwrap();
    let before = served.hub.seen().len();
    for revision in ["main", COMMIT] {
        let files = served
            .model_with(offline(&served), revision, &mut Recorder::default())
            .unwrap();
        assert_eq!(files.folder, online.folder);
        assert_eq!(files.weights(), online.weights());
        assert_eq!(files.commit, COMMIT);
        // A branch may have moved on since.
        assert_eq!(files.confirmed, revision == COMMIT);
        assert!(files.files.iter().all(|file| file.check == Check::Cached));
    }
    assert_eq!(served.hub.seen().len(), before);
}

#[test]
fn offline_without_a_cache_names_all_that_is_missing() {
    let served = Fixture::model().serve();
    let error = served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap_err();
    let missing = missing(&error);
    assert_eq!(missing.len(), 3);
    for (missing, expected) in
        missing
            .iter()
            .zip(["config.json", "tokenizer.json", "model.safetensors"])
    {
        assert!(missing.starts_with(expected), "{missing}");
    }
    let message = error.to_string();
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    assert!(
        message.contains(&served.cache().display().to_string()),
        "{message}"
    );
    assert!(message.contains(&format!("{MODEL}@main")), "{message}");
    assert_eq!(served.hub.seen().len(), 0);
    // To look is not to write.
    assert_eq!(tree(served.folder.path()), [""; 0]);
}

#[test]
fn offline_with_a_part_of_it_names_the_rest() {
    let served = Fixture::model().serve();
    let files = served.model("main").unwrap();
    fs::remove_file(files.path("model.safetensors")).unwrap();
    let error = served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap_err();
    assert_eq!(missing(&error), ["model.safetensors"]);

    let model = Repository::model(MODEL).unwrap();
    let hub = bsbr_hub::Hub::new(offline(&served)).unwrap();
    let error = hub
        .files(&model, &["config.json", "c.txt"], &mut NoProgress)
        .unwrap_err();
    assert_eq!(missing(&error), ["c.txt"]);
    let tagged = Repository::model(&format!("{MODEL}@v9")).unwrap();
    let error = hub.files(&tagged, &["config.json"], &mut NoProgress);
    assert_eq!(missing(&error.unwrap_err()), ["config.json"]);
}

#[test]
fn the_list_of_files_is_asked_for_once() {
    let served = Fixture::model().serve();
    let model = Repository::model(MODEL).unwrap();
    let list = |config| {
        let hub = bsbr_hub::Hub::new(config).unwrap();
        let mut progress = NoProgress;
        let mut session = hub.open(&model, "config.json", &mut progress).unwrap();
        let listing = session.list().unwrap();
        session.close().unwrap();
        listing
    };
    // Nothing is known, and no request is sent.
    assert_eq!(list(offline(&served)), None);
    let listing = list(served.config()).unwrap();
    for name in ["README.md", "config.json", "tf_model.h5"] {
        assert!(listing.contains(&name.to_owned()), "{listing:?}");
    }
    let api = |served: &Served| {
        let lines = served.hub.lines();
        lines.iter().filter(|line| line.contains("/api/")).count()
    };
    assert_eq!(list(served.config()).unwrap(), listing);
    assert_eq!(list(offline(&served)).unwrap(), listing);
    assert_eq!(api(&served), 1);
}

#[test]
fn a_mirror_without_lists_of_files_is_good_enough() {
    for reply in [
        Reply::status(404),
        Reply::status(404).header("X-Error-Code", "RepoNotFound"),
        Reply::status(200).body("<html>"),
        Reply::status(200).body("{\"siblings\": [{\"name\": 1}]}"),
    ] {
        let served = Fixture::model()
            .fault(move |request| request.path.contains("/api/").then(|| reply.clone()))
            .serve();
        let hub = served.client();
        let model = Repository::model(MODEL).unwrap();
        let mut progress = NoProgress;
        let mut session = hub.open(&model, "config.json", &mut progress).unwrap();
        assert_eq!(session.list().unwrap(), None);
        assert!(session.find("config.json").unwrap().is_some());
    }
    // What leads out of the repository is no file of it.
    let names =
        ["../x", "/x", "a//b", "good.txt"].map(|name| format!("{{\"rfilename\": {name:?}}}"));
    let body = format!("{{\"siblings\": [{}]}}", names.join(", "));
    let served = Fixture::model()
        .fault(move |request| {
            let listing = Reply::status(200).body(body.clone());
            request.path.contains("/api/").then_some(listing)
        })
        .serve();
    let hub = served.client();
    let model = Repository::model(MODEL).unwrap();
    let mut progress = NoProgress;
    let mut session = hub.open(&model, "config.json", &mut progress).unwrap();
    assert_eq!(session.list().unwrap().unwrap(), ["good.txt"]);
}

#[test]
fn a_file_beyond_a_limit_is_left_where_it_is() {
    let served = Fixture::model().serve();
    let hub = served.client();
    let model = Repository::model(MODEL).unwrap();
    let mut progress = Recorder::default();
    let mut session = hub.open(&model, "config.json", &mut progress).unwrap();
    let within = |session: &mut bsbr_hub::Session<'_>, max| {
        session.find_within("model.safetensors", Some(max)).unwrap()
    };
    assert_eq!(within(&mut session, 299_999), None);
    assert!(within(&mut session, 300_000).is_some());
    drop(session);
    assert_eq!(progress.finished, ["model.safetensors"]);
}

#[test]
fn a_commit_that_the_cache_has_is_not_asked_for() {
    // Also what it does not have is remembered: here `tokenizer.json`.
    let served = Fixture::model().without(&["tokenizer.json"]).serve();
    served.model(COMMIT).unwrap();
    let before = served.hub.seen().len();
    let files = served.model(COMMIT).unwrap();
    assert!(files.confirmed);
    assert_eq!(served.hub.seen().len(), before);
}

#[test]
fn a_bare_404_is_not_remembered() {
    let folder = Fixture::model()
        .fault(|request| {
            let name = "model.safetensors";
            request.path.ends_with(name).then(|| Reply::status(404))
        })
        .serve();
    let files = folder.model(COMMIT).unwrap();
    assert!(files.weights().ends_with("pytorch_model.bin"));
    let files = Fixture::model()
        .serve_in(folder.stop())
        .model(COMMIT)
        .unwrap();
    assert!(files.weights().ends_with("model.safetensors"));
}

#[test]
fn a_branch_that_the_cache_has_costs_one_request() {
    let served = Fixture::model().serve();
    served.model("main").unwrap();
    let before = served.hub.seen().len();
    assert!(served.model("main").unwrap().confirmed);
    let lines = &served.hub.lines()[before..];
    assert_eq!(lines, [format!("HEAD /{MODEL}/resolve/main/config.json")]);
}

#[test]
fn a_new_commit_fetches_only_what_changed() {
    let folder = Fixture::model().commit(OLD).serve();
    assert_eq!(folder.model("main").unwrap().commit, OLD);
    let served = Fixture::model()
        .file("config.json", "{\"n_ctx\": 1}")
        .serve_in(folder.stop());
    let mut progress = Recorder::default();
    let files = served
        .model_with(served.config(), "main", &mut progress)
        .unwrap();
    assert_eq!(files.commit, COMMIT);
    assert_eq!(
        fs::read_to_string(files.path("config.json")).unwrap(),
        "{\"n_ctx\": 1}"
    );
    assert_eq!(progress.finished, ["config.json"]);
    assert_eq!(served.storage.seen().len(), 0);
    // The former version is still there for those who pinned it.
    let old = served
        .model_with(offline(&served), OLD, &mut Recorder::default())
        .unwrap();
    assert_ne!(
        fs::read(old.path("config.json")).unwrap(),
        fs::read(files.path("config.json")).unwrap()
    );
}

#[test]
fn an_update_that_fails_leaves_the_former_version_in_use() {
    let folder = Fixture::model().commit(OLD).serve();
    folder.model("main").unwrap();
    let served = Fixture::model()
        .large("model.safetensors", vec![7; 5000])
        .storage_fault(|_| Some(Reply::status(503)))
        .serve_in(folder.stop());
    let error = served.model("main").unwrap_err();
    assert!(matches!(error, HubError::Server { .. }), "{error}");
    let files = served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap();
    assert_eq!(files.commit, OLD);
    assert_eq!(fs::read(files.weights()).unwrap(), weights());
}

#[test]
fn a_hub_that_cannot_be_reached_is_replaced_by_the_cache_and_said_so() {
    let folder = Fixture::model().serve();
    folder.model("main").unwrap();
    let served = Fixture::model()
        .fault(|_| Some(Reply::status(503)))
        .serve_in(folder.stop());
    let mut progress = Recorder::default();
    let files = served
        .model_with(served.config(), "main", &mut progress)
        .unwrap();
    assert!(!files.confirmed);
    assert!(
        matches!(progress.notices.last(), Some(Notice::Unreachable { commit, .. }) if commit == COMMIT)
    );

    // What the cache lacks is then missing because of the Hub, not because of the user.
    fs::remove_file(files.folder.join("tokenizer.json")).unwrap();
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(error, HubError::Server { status: 503, .. }),
        "{error}"
    );
}

#[test]
fn a_refusal_is_not_replaced_by_the_cache() {
    let folder = Fixture::model().serve();
    folder.model("main").unwrap();
    let served = Fixture::model()
        .fault(|_| Some(Reply::status(404).header("X-Error-Code", "RevisionNotFound")))
        .serve_in(folder.stop());
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(error, HubError::RevisionNotFound { .. }),
        "{error}"
    );
}

/// As `huggingface_hub` leaves it, without anything of ours.
#[test]
fn a_cache_that_another_tool_has_filled_is_used() {
    let served = Fixture::model().serve();
    let root = served.cache().join("models--owner--small-gpt2");
    let snapshot = root.join("snapshots").join(OLD);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(root.join("refs")).unwrap();
    fs::write(root.join("refs/main"), format!("{OLD}\n")).unwrap();
    for name in [
        "config.json",
        "vocab.json",
        "merges.txt",
        "pytorch_model.bin",
    ] {
        fs::write(snapshot.join(name), name).unwrap();
    }
    let files = served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap();
    assert_eq!(files.commit, OLD);
    assert_eq!(files.weights(), snapshot.join("pytorch_model.bin"));
}

#[cfg(unix)]
#[test]
fn damage_to_the_cache_is_repaired() {
    let served = Fixture::model().serve();
    let files = served.model("main").unwrap();
    let blob = served.blob(&sha256(&weights()));
    // A link that leads nowhere.
    fs::remove_file(&blob).unwrap();
    assert_eq!(
        fs::read(served.model("main").unwrap().weights()).unwrap(),
        weights()
    );
    // A blob of another length, and no link to it.
    fs::write(&blob, "short").unwrap();
    fs::remove_file(files.weights()).unwrap();
    assert_eq!(
        fs::read(served.model("main").unwrap().weights()).unwrap(),
        weights()
    );
    // A branch of which nothing sensible is known.
    fs::write(
        served.cache().join("models--owner--small-gpt2/refs/main"),
        "../../..",
    )
    .unwrap();
    let error = served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap_err();
    assert_eq!(missing(&error).len(), 3);
    served.model("main").unwrap();
    served
        .model_with(offline(&served), "main", &mut Recorder::default())
        .unwrap();
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_good_enough_where_it_is_complete() {
    use std::os::unix::fs::PermissionsExt;
    let served = Fixture::model().serve();
    served.model("main").unwrap();
    let root = served.cache().join("models--owner--small-gpt2");
    let before = tree(&root);
    let folders = [
        root.clone(),
        root.join("refs"),
        root.join("snapshots").join(COMMIT),
    ];
    let set = |mode| {
        for folder in &folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    let outcome = served.model("main");
    set(0o755);
    outcome.unwrap();
    assert_eq!(tree(&root), before);
    assert!(before.contains(&format!("blobs/{}", git_sha1(b"{}"))));
}
