//! Names of repositories, and local folders of the same name.

use std::fs;
use std::path::Path;

use bsbr_hub::{HubError, ModelSource, Repository, RepositoryKind};

#[test]
fn a_folder_that_exists_wins_over_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let source: ModelSource = folder.path().to_str().unwrap().parse().unwrap();
    assert_eq!(source, ModelSource::Folder(folder.path().to_owned()));
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
    let dataset = Repository::dataset(&format!("owner/texts@{commit}")).unwrap();
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
}
