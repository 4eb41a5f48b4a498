//! The files that make up a model, from any source.

use std::fs;
use std::io;
use std::path::PathBuf;

use bsbr_convert::{FileSource, GatherError, LoadError, gather};
use serde_json::json;

/// A place with files, which says what it was asked for.
struct FakeSource {
    folder: tempfile::TempDir,
    lists: bool,
    asked: Vec<String>,
}

impl FakeSource {
    fn new(lists: bool, files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        }
        Self {
            folder,
            lists,
            asked: Vec::new(),
        }
    }

    fn with_index(self, name: &str, shards: &[&str]) -> Self {
        let map: serde_json::Map<_, _> = (0..)
            .zip(shards)
            .map(|(at, shard)| (format!("tensor.{at}"), json!(shard)))
            .collect();
        let index = json!({ "weight_map": map }).to_string();
        fs::write(self.folder.path().join(name), index).unwrap();
        self
    }

    fn all(&self) -> Vec<String> {
        let root = self.folder.path();
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(root).unwrap();
                        found.push(name.to_str().unwrap().replace('\\', "/"));
                    }
                }
            }
        }
        found.sort();
        found
    }
}

impl FileSource for FakeSource {
    type Error = io::Error;

    fn list(&mut self) -> io::Result<Option<Vec<String>>> {
        Ok(self.lists.then(|| self.all()))
    }

    fn fetch(&mut self, name: &str, max: Option<u64>) -> io::Result<Option<PathBuf>> {
        self.asked.push(name.to_owned());
        let path = self.folder.path().join(name);
        let size = fs::metadata(&path).map(|file| file.len()).ok();
        Ok(size
            .filter(|size| *size <= max.unwrap_or(u64::MAX))
            .map(|_| path))
    }
}

const CHAT: [&str; 11] = [
    "README.md",
    "LICENSE",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "onnx/model.onnx",
];

#[test]
fn all_that_a_model_needs_comes_and_nothing_else() {
    let mut listed = FakeSource::new(true, &CHAT);
    gather(&mut listed).unwrap();
    assert_eq!(
        listed.asked,
        [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "added_tokens.json",
            "chat_template.jinja",
            "generation_config.json",
            "LICENSE",
            "model.safetensors",
        ]
    );
    // Without a listing, files are requested by their names.
    let mut unlisted = FakeSource::new(false, &CHAT);
    gather(&mut unlisted).unwrap();
    for name in CHAT {
        let unknown = [
            "README.md",
            "LICENSE",
            "pytorch_model.bin",
            "onnx/model.onnx",
        ];
        let asked = unlisted.asked.contains(&name.to_owned());
        assert_ne!(asked, unknown.contains(&name), "{name}");
    }
}

#[test]
fn a_file_that_nobody_knows_comes_where_it_is_small() {
    let mut place = FakeSource::new(true, &["config.json", "model.safetensors", "notes.txt"]);
    let large = fs::File::create(place.folder.path().join("data.jsonl")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    gather(&mut place).unwrap();
    assert!(place.asked.contains(&"notes.txt".to_owned()));
    let path = place.fetch("data.jsonl", Some(16 << 20)).unwrap();
    assert_eq!(path, None);
}

#[test]
fn shards_are_those_that_the_index_names() {
    let (first, second) = ("model-1.safetensors", "parts/model-2.safetensors");
    let files = [
        "config.json",
        "tokenizer.json",
        first,
        second,
        "model-3.safetensors",
    ];
    for lists in [true, false] {
        let index = "model.safetensors.index.json";
        let mut place = FakeSource::new(lists, &files).with_index(index, &[first, second, first]);
        gather(&mut place).unwrap();
        assert!(
            place
                .asked
                .ends_with(&[first.to_owned(), second.to_owned()])
        );
        fs::remove_file(place.folder.path().join(second)).unwrap();
        match gather(&mut place) {
            Err(GatherError::Missing(missing)) => assert_eq!(missing, [second]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn pickles_are_the_last_resort() {
    let files = ["config.json", "tokenizer.json", "pytorch_model.bin"];
    let mut place = FakeSource::new(false, &files);
    gather(&mut place).unwrap();
    let asked = &place.asked[place.asked.len() - 3..];
    assert_eq!(
        asked,
        [
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin"
        ]
    );
    let index = "pytorch_model.bin.index.json";
    let mut place = FakeSource::new(true, &["config.json", "a.bin"]).with_index(index, &["a.bin"]);
    gather(&mut place).unwrap();
    assert_eq!(place.asked.last().unwrap(), "a.bin");
}

#[test]
fn what_is_missing_is_named_before_weights_are_fetched() {
    let missing = |lists, files: &[&str]| {
        let mut place = FakeSource::new(lists, files);
        match gather(&mut place) {
            Err(GatherError::Missing(missing)) => (missing, place.asked),
            other => panic!("{other:?}"),
        }
    };
    let (names, asked) = missing(false, &["model.safetensors", "vocab.json"]);
    assert_eq!(
        names,
        [
            "config.json",
            "tokenizer.json (or vocab.json and merges.txt)"
        ]
    );
    assert!(!asked.contains(&"model.safetensors".to_owned()));
    // Who lists a repository's files says for sure that it has no tokenizer.
    gather(&mut FakeSource::new(
        true,
        &["config.json", "model.safetensors"],
    ))
    .unwrap();
    let (names, _) = missing(true, &["config.json", "tokenizer.json"]);
    assert!(names[0].starts_with("model.safetensors (or "), "{names:?}");
}

#[test]
fn an_index_that_leads_elsewhere_is_refused_and_nothing_is_fetched_for_it() {
    for shard in [
        "../../outside.safetensors",
        "/etc/passwd",
        "a/../../b.safetensors",
        "..\\outside",
        "C:\\outside",
        "",
    ] {
        let index = "model.safetensors.index.json";
        let files = ["config.json", "tokenizer.json", "good.safetensors"];
        let mut place =
            FakeSource::new(false, &files).with_index(index, &["good.safetensors", shard]);
        let error = gather(&mut place).unwrap_err();
        let outside = matches!(&error, GatherError::Index(LoadError::ShardOutside { .. }));
        assert!(outside, "{shard}: {error}");
        assert_eq!(place.asked.last().unwrap(), index);
    }
    for text in [
        "",
        "[]",
        "{\"weight_map\": {\"a\": 1}}",
        "{\"weight_map\": ",
    ] {
        let files = ["config.json", "tokenizer.json"];
        let mut place = FakeSource::new(false, &files);
        let index = "model.safetensors.index.json";
        fs::write(place.folder.path().join(index), text).unwrap();
        let error = gather(&mut place).unwrap_err();
        assert!(
            matches!(error, GatherError::Index(LoadError::Index { .. })),
            "{error}"
        );
        assert!(error.to_string().contains(index), "{error}");
    }
}
