//! Text in, text out.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use bsbr_gpt2::{GenerationConfig, GenerationError, Gpt2, InputError, TextError, Tokenizer};
use burn::tensor::Device;
use common::{config, fixture, read_text};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&read_text("tokenizer/cases.json")).expect("cases.json")
}

/// The same tokenizer from `tokenizer.json` and from GPT-2's two files.
fn tokenizers(test: &str) -> [Tokenizer; 2] {
    let json = Tokenizer::from_json(read_text("tokenizer/tokenizer.json").as_bytes());
    let folder = temporary(test);
    for name in ["vocab.json", "merges.txt"] {
        std::fs::copy(fixture("tokenizer").join(name), folder.join(name)).expect(name);
    }
    [
        json.expect("tokenizer.json"),
        Tokenizer::from_folder(folder).expect("two files"),
    ]
}

fn temporary(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn texts_become_the_ids_of_transformers_and_texts_again() {
    for tokenizer in tokenizers("texts-become-ids") {
        assert_eq!(tokenizer.vocab_size(), 294);
        assert_eq!(tokenizer.id("<|endoftext|>"), Some(0));
        assert_eq!(tokenizer.id("no such token"), None);
        for case in cases() {
            let ids = tokenizer.encode(&case.text).expect("text");
            assert_eq!(ids, case.ids, "{}", case.text);
            assert_eq!(tokenizer.decode(&ids).expect("ids"), case.decoded);
        }
        let ids = tokenizer.encode("lamp<|endoftext|>The").expect("text");
        assert!(ids.contains(&0), "special tokens are one token: {ids:?}");
        assert_eq!(tokenizer.decode(&ids).expect("ids"), "lamp<|endoftext|>The");
    }
    let folder = Tokenizer::from_folder(fixture("tokenizer")).expect("tokenizer.json");
    assert_eq!(folder.vocab_size(), 294);
}

#[test]
fn texts_are_continued() {
    let [tokenizer, _] = tokenizers("texts-are-continued");
    let config = bsbr_gpt2::Gpt2Config {
        vocab_size: 294,
        ..config("base")
    };
    let model = Gpt2::init(&config, 5, &Device::default()).expect("config");
    let settings = GenerationConfig {
        max_new_tokens: 6,
        ..Default::default()
    };
    let prompts = ["The lamp of Mara", "Answer: the key is in"];
    let together = model
        .generate_text(&tokenizer, &prompts, &settings)
        .expect("texts");
    assert_eq!(together.len(), 2);
    for (prompt, expected) in prompts.iter().zip(&together) {
        let alone = model
            .generate_text(&tokenizer, &[prompt], &settings)
            .expect("text");
        assert_eq!(&alone[0], expected);
        assert!(!expected.is_empty());
    }
    let empty = model
        .generate_text(&tokenizer, &["The", ""], &settings)
        .expect_err("empty");
    assert_eq!(
        empty,
        TextError::Generation(GenerationError::Input(InputError::Empty))
    );
    let none = model
        .generate_text::<&str>(&tokenizer, &[], &settings)
        .expect_err("none");
    assert_eq!(
        none,
        TextError::Generation(GenerationError::Input(InputError::Empty))
    );
    let small = common::load("base");
    let unknown = small
        .generate_text(&tokenizer, &["The lamp"], &settings)
        .expect_err("ids");
    assert!(
        unknown.to_string().contains("the model's own tokenizer"),
        "{unknown}"
    );
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for json in ["", "{}", "[1]", "{\"model\": 3}", "not json"] {
        let error = Tokenizer::from_json(json.as_bytes()).expect_err(json);
        assert!(
            matches!(error, TextError::Malformed { .. }),
            "{json}: {error}"
        );
    }
    let missing = Tokenizer::from_folder(fixture("base")).expect_err("no tokenizer");
    assert!(missing.to_string().contains("tokenizer.json"), "{missing}");
    let folder = temporary("broken");
    for (name, content) in [("vocab.json", "{\"a\": 0}"), ("merges.txt", "a b c d\n")] {
        std::fs::write(folder.join(name), content).expect(name);
    }
    let broken = Tokenizer::from_folder(folder).expect_err("broken merges");
    assert!(matches!(broken, TextError::Malformed { .. }), "{broken}");
}
