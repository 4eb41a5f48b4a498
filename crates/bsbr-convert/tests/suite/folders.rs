//! Folders, indices and shards.

use std::fs;
use std::path::Path;

use bsbr_convert::{Checkpoint, LoadError, ModelFolder, WeightFiles};
use serde_json::{Value, json};

use crate::support::{copy, fixture, message};

const INDEX: &str = "model.safetensors.index.json";

fn open(folder: &Path) -> Result<Checkpoint, LoadError> {
    Checkpoint::open(&ModelFolder::open(folder)?)
}

/// A sharded checkpoint whose index has been changed.
fn with_index(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = copy("sharded");
    let path = folder.path().join(INDEX);
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    fs::write(&path, index.to_string()).unwrap();
    folder
}

#[test]
fn weights_are_found_by_name_safetensors_first() {
    let kind = |name: &str| ModelFolder::open(fixture(name)).unwrap().weights().clone();
    assert!(matches!(kind("single"), WeightFiles::Safetensors(_)));
    assert!(matches!(
        kind("sharded"),
        WeightFiles::ShardedSafetensors(_)
    ));
    assert!(matches!(kind("pickle_zip"), WeightFiles::Pickle(_)));
    assert!(matches!(
        kind("pickle_sharded"),
        WeightFiles::ShardedPickle(_)
    ));
    let both = copy("single");
    fs::write(both.path().join("pytorch_model.bin"), "not read").unwrap();
    assert!(open(both.path()).is_ok());
}

#[test]
fn a_folder_without_weights_says_what_it_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let error = ModelFolder::open(empty.path()).unwrap_err();
    assert!(matches!(error, LoadError::NoWeights { .. }));
    assert!(error.to_string().contains("pytorch_model.bin"));
    let nowhere = ModelFolder::open(empty.path().join("nowhere")).unwrap_err();
    assert!(matches!(nowhere, LoadError::Io { .. }));
}

#[test]
fn companions_are_those_files_that_are_there() {
    let folder = copy("single");
    for name in ["tokenizer.json", "merges.txt", "README.md"] {
        fs::write(folder.path().join(name), "{}").unwrap();
    }
    let model = ModelFolder::open(folder.path()).unwrap();
    let names: Vec<_> = model
        .companions()
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["tokenizer.json", "merges.txt"]);
    assert_eq!(
        model.tokenizer(),
        Some(folder.path().join("tokenizer.json"))
    );
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_its_key() {
    let folder = copy("single");
    let path = folder.path().join("config.json");
    fs::write(&path, r#"{"model_type": "gpt2", "n_embd": 4}"#).unwrap();
    let error = ModelFolder::open(folder.path()).unwrap().config();
    assert!(message(error).contains("vocab_size"));
    fs::write(&path, "{".repeat(1 << 20)).unwrap();
    assert!(ModelFolder::open(folder.path()).unwrap().config().is_err());
    fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    let error = ModelFolder::open(folder.path()).unwrap().config();
    assert!(matches!(error, Err(LoadError::FileTooLarge { .. })));
    fs::remove_file(&path).unwrap();
    let error = ModelFolder::open(folder.path()).unwrap().config();
    assert!(message(error).contains("config.json"));
}

#[test]
fn shards_outside_the_folder_are_refused() {
    let above = tempfile::tempdir().unwrap();
    let stray = above.path().join("stray.safetensors");
    fs::copy(fixture("single").join("model.safetensors"), &stray).unwrap();
    let absolute = stray.to_str().unwrap();
    for shard in [
        "../stray.safetensors",
        absolute,
        "a/../../stray.safetensors",
        "./model-00001-of-00003.safetensors",
        "",
        ".",
        "..",
        "..\\stray.safetensors",
        "C:stray.safetensors",
        "nul\0l",
    ] {
        let folder =
            with_index(|index| index["weight_map"]["transformer.wte.weight"] = json!(shard));
        match open(folder.path()) {
            Err(LoadError::ShardOutside { tensor, .. }) => {
                assert_eq!(tensor, "transformer.wte.weight");
            }
            other => panic!("{shard}: {other:?}"),
        }
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused_except_into_the_hub_cache() {
    use std::os::unix::fs::symlink;

    let above = tempfile::tempdir().unwrap();
    let shard = "model-00001-of-00003.safetensors";
    let link = |folder: &Path, target: &Path| {
        fs::remove_file(folder.join(shard)).unwrap();
        fs::copy(fixture("sharded").join(shard), target).unwrap();
        symlink(target, folder.join(shard)).unwrap();
    };
    let folder = copy("sharded");
    link(folder.path(), &above.path().join("blob"));
    assert!(matches!(
        open(folder.path()),
        Err(LoadError::ShardOutside { .. })
    ));

    let snapshot = above.path().join("models--x/snapshots/abc");
    let blobs = above.path().join("models--x/blobs");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(&blobs).unwrap();
    for entry in fs::read_dir(fixture("sharded")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, snapshot.join(path.file_name().unwrap())).unwrap();
    }
    link(&snapshot, &blobs.join("0123"));
    assert!(open(&snapshot).is_ok());
    link(&snapshot, &above.path().join("models--x/elsewhere"));
    assert!(matches!(
        open(&snapshot),
        Err(LoadError::ShardOutside { .. })
    ));
}

#[test]
fn a_missing_shard_is_named() {
    let folder = copy("sharded");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    match open(folder.path()) {
        Err(LoadError::MissingShard { shard, .. }) => {
            assert_eq!(shard, "model-00002-of-00003.safetensors");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_that_is_not_where_the_index_puts_it_is_named() {
    let folder = with_index(|index| {
        index["weight_map"]["transformer.h.7.ln_1.bias"] = json!("model-00001-of-00003.safetensors")
    });
    match open(folder.path()) {
        Err(LoadError::NotInShard { shard, tensor }) => {
            assert!(shard.ends_with("model-00001-of-00003.safetensors"));
            assert_eq!(tensor, "transformer.h.7.ln_1.bias");
        }
        other => panic!("{other:?}"),
    }
    let folder = with_index(|index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.remove("transformer.wpe.weight");
    });
    match open(folder.path()) {
        Err(LoadError::NotInIndex { tensor, .. }) => assert_eq!(tensor, "transformer.wpe.weight"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_that_is_none_is_refused() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"weight_map": []}"#,
        r#"{"weight_map": {"a": 1}}"#,
        r#"{"weight_map": {"a": "x", "a": "y"}}"#,
        "\u{feff}{}",
    ] {
        let folder = copy("sharded");
        fs::write(folder.path().join(INDEX), text).unwrap();
        assert!(
            matches!(open(folder.path()), Err(LoadError::Index { .. })),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = copy("single");
    let path = folder.path().join("model.safetensors");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        open(folder.path()),
        Err(LoadError::NotAFile { .. })
    ));
}

#[test]
fn a_git_lfs_pointer_is_told_from_a_damaged_file() {
    for (name, file) in [
        ("single", "model.safetensors"),
        ("pickle_zip", "pytorch_model.bin"),
    ] {
        let folder = copy(name);
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        fs::write(folder.path().join(file), pointer).unwrap();
        assert!(matches!(
            open(folder.path()),
            Err(LoadError::LfsPointer { .. })
        ));
    }
}
