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
fn all_files_but_weights_go_along_and_no_link_leads_out() {
    let folder = copy("single");
    let path = folder.path();
    for name in [
        "tokenizer.json",
        "merges.txt",
        "README.md",
        "LICENSE",
        "notes.md",
        "additional_chat_templates/tools.jinja",
        "checkpoint-5/trainer_state.json",
        "checkpoint-5/optimizer.pt",
        "pytorch_model.bin",
        ".cache/x",
    ] {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "{}").unwrap();
    }
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let link = |name: &str| {
            std::os::unix::fs::symlink(outside.path().join("secret"), path.join(name)).unwrap();
        };
        link("id.txt");
        link("vocab.json");
        std::os::unix::fs::symlink(outside.path(), path.join("folder")).unwrap();
        std::os::unix::fs::symlink("LICENSE", path.join("COPYING")).unwrap();
        let names = names_of(path);
        assert!(!names.contains(&"id.txt".to_owned()), "{names:?}");
        assert!(
            !names.iter().any(|name| name.starts_with("folder")),
            "{names:?}"
        );
        assert!(names.contains(&"vocab.json".to_owned()), "{names:?}");
        assert!(names.contains(&"COPYING".to_owned()), "{names:?}");
        fs::remove_file(path.join("COPYING")).unwrap();
        fs::remove_file(path.join("vocab.json")).unwrap();
    }
    // What is large or much is no part of a model.
    let large = fs::File::create(path.join("train.txt")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    let expected = [
        "LICENSE",
        "merges.txt",
        "notes.md",
        "tokenizer.json",
        "additional_chat_templates/tools.jinja",
    ];
    assert_eq!(names_of(path), expected);
    fs::create_dir(path.join("pages")).unwrap();
    for page in 0..300 {
        fs::write(path.join(format!("pages/{page}.html")), "").unwrap();
    }
    // 200 files that are not needed, and two that are read.
    assert_eq!(names_of(path).len(), 200 + 2);
    assert!(names_of(path).contains(&"tokenizer.json".to_owned()));
}

fn names_of(folder: &Path) -> Vec<String> {
    let files = ModelFolder::open(folder).unwrap().companions();
    files.into_iter().map(|file| file.name).collect()
}

#[test]
fn generation_is_what_the_folder_says() {
    let folder = copy("single");
    let file = folder.path().join("generation_config.json");
    let open = || ModelFolder::open(folder.path()).unwrap();
    let config = open().config().unwrap();
    let none = open().generation(&config).unwrap();
    assert_eq!(none.eos_token_id, config.eos_token_id);
    fs::write(&file, r#"{"eos_token_id": [1, 2], "do_sample": true}"#).unwrap();
    let read = open()
        .generation(&config)
        .unwrap()
        .settings(config.vocab_size);
    assert_eq!(read.stop_tokens, [1, 2]);
    // A file that names no end of texts is one of a model that has none.
    fs::write(&file, "{}").unwrap();
    assert_eq!(open().generation(&config).unwrap().eos_token_id, None);
    fs::write(&file, r#"{"top_k": "many"}"#).unwrap();
    let error = message(open().generation(&config));
    for part in ["generation_config.json", "top_k", "many"] {
        assert!(error.contains(part), "{error}");
    }
    fs::write(&file, " ".repeat((1 << 20) + 1)).unwrap();
    let error = open().generation(&config);
    assert!(matches!(error, Err(LoadError::FileTooLarge { .. })));
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

/// An index and its shards must agree only about the tensors that the model uses.
#[test]
fn an_index_may_name_what_is_not_needed() {
    for name in [
        "lm_head.weight",
        "transformer.h.0.attn.bias",
        "h.1.attn.masked_bias",
        "score.weight",
    ] {
        let folder = with_index(|index| {
            index["weight_map"][name] = json!("model-00001-of-00003.safetensors");
        });
        open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
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
