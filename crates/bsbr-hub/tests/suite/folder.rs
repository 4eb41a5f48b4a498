//! A folder of the user's own, and names that may be one.

use std::fs;
use std::path::Path;

use bsbr_hub::{
    Check, Hub, HubConfig, HubError, ModelFiles, ModelSource, NoProgress, Repository,
    RepositoryKind, TokenizerFiles, WeightFiles,
};

fn open(folder: &Path) -> Result<ModelFiles, HubError> {
    // Neither the cache nor the endpoint is touched.
    let mut config = HubConfig::new("/nowhere");
    config.endpoint = "http://127.0.0.1:1".to_owned();
    let source: ModelSource = folder.to_str().unwrap().parse().unwrap();
    assert_eq!(source, ModelSource::Folder(folder.to_owned()));
    Hub::new(config).unwrap().model(&source, &mut NoProgress)
}

#[test]
fn a_folder_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("config.json"), "").unwrap();
    fs::write(at("model.safetensors"), "").unwrap();
    let files = open(folder.path()).unwrap();
    assert_eq!(files.folder, folder.path());
    assert_eq!(files.commit, None);
    assert_eq!(files.tokenizer, None);
    assert_eq!(
        files.weights,
        WeightFiles::Safetensors(at("model.safetensors"))
    );
    assert!(files.files.iter().all(|file| file.check == Check::Folder));

    fs::write(at("vocab.json"), "").unwrap();
    assert_eq!(open(folder.path()).unwrap().tokenizer, None);
    fs::write(at("merges.txt"), "").unwrap();
    let parts = TokenizerFiles::Parts {
        vocabulary: at("vocab.json"),
        merges: at("merges.txt"),
    };
    assert_eq!(open(folder.path()).unwrap().tokenizer, Some(parts));
    fs::write(at("tokenizer.json"), "").unwrap();
    let whole = TokenizerFiles::Whole(at("tokenizer.json"));
    assert_eq!(open(folder.path()).unwrap().tokenizer, Some(whole));
}

#[test]
fn what_a_folder_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, HubError::MissingFile { folder: at, missing }
        if at == folder.path() && missing.starts_with("config.json, model.safetensors")),
        "{error}"
    );

    fs::write(folder.path().join("config.json"), "").unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, "{\"weight_map\": {\"a\": \"a.safetensors\"}}").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(&error, HubError::MissingFile { missing, .. } if missing == "a.safetensors"));

    // Of a folder, too, only what is in it.
    fs::write(&index, "{\"weight_map\": {\"a\": \"../a.safetensors\"}}").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, HubError::UnsafeShard { .. }), "{error}");

    let gone = ModelSource::Folder(folder.path().join("gone"));
    let hub = Hub::new(HubConfig::new("/nowhere")).unwrap();
    let error = hub.model(&gone, &mut NoProgress).unwrap_err();
    assert!(matches!(error, HubError::NoSuchFolder { .. }), "{error}");
}

#[test]
fn names_of_repositories() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let cases = [
        ("gpt2", "gpt2", "main", false),
        (
            "openai-community/gpt2",
            "openai-community/gpt2",
            "main",
            false,
        ),
        ("o/n_1.5@v1.0", "o/n_1.5", "v1.0", false),
        ("o/n@refs/pr/3", "o/n", "refs/pr/3", false),
        (&format!("gpt2@{commit}"), "gpt2", commit, true),
        // A commit in short, or in capitals, may be the name of a branch.
        ("gpt2@0123456", "gpt2", "0123456", false),
        (
            &format!("gpt2@{}", commit.to_uppercase()),
            "gpt2",
            &commit.to_uppercase(),
            false,
        ),
    ];
    for (text, name, revision, pinned) in cases {
        let repository: Repository = text.parse().unwrap();
        assert_eq!(repository.name(), name);
        assert_eq!(repository.revision(), revision);
        assert_eq!(repository.is_pinned(), pinned);
        assert_eq!(repository.kind(), RepositoryKind::Model);
        assert_eq!(repository.to_string(), format!("model {name}@{revision}"));
        let source: ModelSource = text.parse().unwrap();
        assert_eq!(source, ModelSource::Repository(repository));
    }
    let dataset = Repository::dataset("owner/texts")
        .unwrap()
        .at(commit)
        .unwrap();
    assert_eq!(dataset.to_string(), format!("dataset owner/texts@{commit}"));
    assert!(dataset.is_pinned());
}

#[test]
fn what_is_no_name_is_refused_with_a_reason() {
    let long = "a".repeat(97);
    for text in [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "a@",
        "@main",
        "a b",
        "a/b c",
        "a--b",
        "a..b",
        "-a",
        "a-",
        ".a",
        "a/.b",
        "a.",
        "a/b.git",
        "a@../b",
        "a@b//c",
        "a@/b",
        "a@b/",
        "a@.b",
        "a@b@c",
        "a?b",
        "ä",
        "a\nb",
        "a@b c",
        "https://huggingface.co/gpt2",
        &long,
    ] {
        let error = Repository::model(text).unwrap_err();
        assert!(
            matches!(&error, HubError::InvalidName { name, .. } if name == text),
            "{text:?}"
        );
        // The root of the file system is no name, but a folder.
        assert!(
            text == "/" || text.parse::<ModelSource>().is_err(),
            "{text:?}"
        );
        assert!(Repository::dataset(text).is_err());
    }
}

#[test]
fn what_can_only_be_a_path_is_a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for text in [
        "./gpt2",
        "../models/gpt2",
        "/models/gpt2",
        "~/gpt2",
        "a/b/c",
        "models/",
        "a\\b",
        file,
    ] {
        let error = text.parse::<ModelSource>().unwrap_err();
        assert!(
            matches!(&error, HubError::NoSuchFolder { path } if path == Path::new(text)),
            "{text}: {error}"
        );
    }
    // The folder of this crate's sources, seen from where its tests run.
    let source: ModelSource = "src".parse().unwrap();
    assert_eq!(source, ModelSource::Folder("src".into()));
    assert_eq!(source.to_string(), "folder src");
}
