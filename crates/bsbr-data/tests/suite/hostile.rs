//! Truncated, edited and malicious tokenizer files are refused, and nothing panics.

use std::error::Error;

use bsbr_data::tokenizer::{END_OF_TEXT, TextTokenizer, TokenizerError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{fixture, read_text};

fn file() -> Value {
    serde_json::from_str(&read_text("tokenizer/tokenizer.json")).expect("tokenizer.json")
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect(name);
    }
    folder
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for json in ["", "{}", "[1]", "{\"model\": 3}", "not json"] {
        let error = TextTokenizer::from_bytes(json.as_bytes()).expect_err(json);
        assert!(
            matches!(error, TokenizerError::Malformed { .. }),
            "{json}: {error}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(TextTokenizer::from_bytes(deep.as_bytes()).is_err());
    let error = TextTokenizer::from_bytes(b"{\"model\": no}").expect_err("no JSON");
    assert!(error.to_string().contains("line 1 column"), "{error}");
}

#[test]
fn two_files_that_make_no_tokenizer_are_refused_by_name() {
    let vocab: &[u8] = br#"{"a": 0, "b": 1, "ab": 2}"#;
    let cases: [(&[u8], &[u8], [&str; 2]); 8] = [
        (b"{", b"", ["vocab.json", "line 1 column 1"]),
        (b"[]", b"", ["vocab.json", "tokens and their ids"]),
        (b"{\"a\": -1}", b"", ["vocab.json", "-1"]),
        (b"{\"a\": 4294967296}", b"", ["vocab.json", "4294967296"]),
        (vocab, b"#version: 0.2\na b c d\n", ["merges.txt", "line 2"]),
        (vocab, b"a b\n\n", ["merges.txt", "line 2"]),
        (vocab, b"a \xff\n", ["merges.txt", "utf-8"]),
        (vocab, b"a c\n", ["vocab.json with", "`c`"]),
    ];
    for (vocab, merges, expected) in cases {
        let folder = folder(&[("vocab.json", vocab), ("merges.txt", merges)]);
        let error = TextTokenizer::from_folder(folder.path()).expect_err(expected[1]);
        assert!(matches!(error, TokenizerError::Malformed { .. }));
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
    let folder = folder(&[("vocab.json", vocab), ("merges.txt", b"a b\r\n")]);
    let tokenizer = TextTokenizer::from_folder(folder.path()).expect("a tokenizer");
    assert_eq!(tokenizer.encode("ab").expect("text"), [2]);
}

/// An id that the vocabulary does not have is one that no model was trained with.
#[test]
fn two_files_without_a_separator_do_not_get_one() {
    let vocab: &[u8] = br#"{"a": 0, "b": 1, "ab": 2}"#;
    let folder = folder(&[("vocab.json", vocab), ("merges.txt", b"a b\n")]);
    let tokenizer = TextTokenizer::from_folder(folder.path()).expect("a tokenizer");
    assert_eq!(tokenizer.vocab_size(), 3);
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), None);
}

#[test]
fn a_file_that_is_there_but_cannot_be_read_says_why() {
    let names = ["tokenizer.json", "vocab.json", "merges.txt"];
    for name in names {
        let folder = folder(&[]);
        for other in &names[1..] {
            std::fs::write(folder.path().join(other), "{}").expect(other);
        }
        // Nobody can read a folder as a file, whereas root can read every file.
        let unreadable = folder.path().join(name);
        let _ = std::fs::remove_file(&unreadable);
        std::fs::create_dir(&unreadable).expect(name);
        let error = TextTokenizer::from_folder(folder.path()).expect_err(name);
        assert!(
            matches!(&error, TokenizerError::Io { file, .. } if *file == unreadable),
            "{error}"
        );
        let source = error.source().expect("what the system said").to_string();
        assert!(error.to_string().contains(&source), "{error}");
    }
}

#[test]
fn half_of_two_files_is_no_tokenizer() {
    for name in ["vocab.json", "merges.txt"] {
        let folder = folder(&[(name, b"{}")]);
        let error = TextTokenizer::from_folder(folder.path()).expect_err(name);
        assert!(
            matches!(&error, TokenizerError::Missing { folder: found } if found == folder.path()),
            "{error}"
        );
    }
    assert!(matches!(
        TextTokenizer::from_folder(fixture("no such folder")),
        Err(TokenizerError::Missing { .. })
    ));
}

#[test]
fn a_tokenizer_cut_anywhere_is_refused() {
    let text = read_text("tokenizer/tokenizer.json");
    let text = text.trim_end();
    for end in (0..text.len()).step_by(7) {
        assert!(
            TextTokenizer::from_bytes(&text.as_bytes()[..end]).is_err(),
            "{end} bytes"
        );
    }
}

/// Every place of the file set to everything, the long lists at their ends only.
#[test]
fn an_edited_tokenizer_is_refused_or_works() {
    let file = file();
    let mut places = Vec::new();
    collect_places(&file, String::new(), &mut places);
    assert!(places.len() > 40, "{places:?}");
    for place in places {
        for value in [
            json!(null),
            json!(-1),
            json!(u64::MAX),
            json!("x y"),
            json!([]),
            json!({}),
        ] {
            let mut edited = file.clone();
            *edited.pointer_mut(&place).expect("a place") = value.clone();
            if let Ok(tokenizer) = TextTokenizer::from_bytes(edited.to_string().as_bytes()) {
                let _ = tokenizer.to_json();
                if let Ok(ids) = tokenizer.encode("The lamp<|endoftext|> \u{1f980}") {
                    let _ = tokenizer.decode(&ids);
                }
                let _ = tokenizer.decode(&[0, 1, 500, u32::MAX]);
            }
        }
    }
}

fn collect_places(value: &Value, at: String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    let count = inner.len();
    for (i, (key, value)) in inner.into_iter().enumerate() {
        if count < 20 || i < 2 || i + 1 == count {
            let key = key.replace('~', "~0").replace('/', "~1");
            collect_places(value, format!("{at}/{key}"), places);
        }
    }
    places.push(at);
}

/// `transformers` truncates and pads only on request, whatever the file contains.
#[test]
fn a_tokenizer_file_cannot_cut_or_fill_up_texts() {
    let mut file = file();
    file["truncation"] = json!({
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0
    });
    file["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"
    });
    let tokenizer = TextTokenizer::from_bytes(file.to_string().as_bytes()).expect("tokenizer");
    let ids = tokenizer
        .encode("The lamp of Mara is in the attic.")
        .expect("text");
    assert_eq!(ids, [280, 276, 290, 275, 264, 263, 260, 277, 14]);
}
