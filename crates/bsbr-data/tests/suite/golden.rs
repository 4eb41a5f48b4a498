//! Texts are encoded to the ids of `transformers`.

use bsbr_data::tokenizer::{END_OF_TEXT, TextTokenizer};
use serde::Deserialize;

use crate::common::{fixture, read_text};

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

/// GPT-2's two files, without a `tokenizer.json`, which would be read first.
fn two_files() -> TextTokenizer {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["vocab.json", "merges.txt"] {
        let copy = folder.path().join(name);
        std::fs::copy(fixture("tokenizer").join(name), copy).expect(name);
    }
    TextTokenizer::from_folder(folder.path()).expect("two files")
}

#[test]
fn texts_become_the_ids_of_transformers_and_texts_again() {
    let cases: Vec<Case> =
        serde_json::from_str(&read_text("tokenizer/cases.json")).expect("cases.json");
    let bytes = read_text("tokenizer/tokenizer.json");
    for tokenizer in [
        TextTokenizer::from_bytes(bytes.as_bytes()).expect("bytes"),
        TextTokenizer::from_folder(fixture("tokenizer")).expect("tokenizer.json"),
        two_files(),
    ] {
        assert_eq!(tokenizer.vocab_size(), 294);
        assert_eq!(tokenizer.end_of_text().expect("a separator"), 0);
        assert_eq!(tokenizer.token_to_id("no such token"), None);
        for case in &cases {
            let ids = tokenizer.encode(&case.text).expect("text");
            assert_eq!(ids, case.ids, "{}", case.text);
            assert_eq!(tokenizer.decode(&ids).expect("ids"), case.decoded);
        }
        let text = format!("lamp{END_OF_TEXT}The");
        let ids = tokenizer.encode(&text).expect("text");
        assert!(ids.contains(&0), "special tokens are one token: {ids:?}");
        assert_eq!(tokenizer.decode(&ids).expect("ids"), text);
    }
}
