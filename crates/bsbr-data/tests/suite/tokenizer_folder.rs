//! The files that make up a tokenizer in a folder, which gives the ids of `transformers`.

use std::fs;
use std::path::Path;

use bsbr_data::tokenizer::{CachedEncoder, END_OF_TEXT, PieceEncoder, TextTokenizer};
use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const SPACE: u32 = 220;
const H: u32 = 71;
const I: u32 = 72;

/// The bytes, in the order of their letters, so that `h` is 71, `i` 72 and the space 220.
fn bytes() -> Map<String, Value> {
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let ids = letters.iter().zip(0u32..);
    ids.map(|(letter, id)| (letter.to_string(), id.into()))
        .collect()
}

/// A folder of `vocab.json` and `merges.txt`, with files beside them.
fn parts(files: &[(&str, Value)]) -> tempfile::TempDir {
    let mut vocab = bytes();
    vocab.insert(END_OF_TEXT.into(), 256.into());
    let folder = with(files);
    write(folder.path(), "vocab.json", &vocab.into());
    fs::write(folder.path().join("merges.txt"), "#version: 0.2\n").unwrap();
    folder
}

/// A folder of `tokenizer.json`, with files beside it.
fn whole(changes: Value, files: &[(&str, Value)]) -> tempfile::TempDir {
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{
            "id": 256, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }],
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": bytes(), "merges": [],
        },
    });
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
    }
    let folder = with(files);
    write(folder.path(), "tokenizer.json", &json);
    folder
}

fn with(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(folder.path(), name, content);
    }
    folder
}

fn write(folder: &Path, name: &str, content: &Value) {
    fs::write(folder.join(name), content.to_string()).unwrap();
}

fn read(folder: &tempfile::TempDir) -> TextTokenizer {
    TextTokenizer::from_folder(folder.path()).unwrap()
}

fn user(id: u32, strip: bool) -> Value {
    let token = json!({
        "content": "<u>", "lstrip": strip, "rstrip": strip, "normalized": false,
        "single_word": false, "special": true,
    });
    json!({ "added_tokens_decoder": { id.to_string(): token } })
}

#[test]
fn added_tokens_of_any_file_are_one_id() {
    let config = |value| [("tokenizer_config.json", value)];
    let added = [("added_tokens.json", json!({"<u>": 257}))];
    let both = [
        ("added_tokens.json", json!({"<u>": 257})),
        (
            "special_tokens_map.json",
            json!({"additional_special_tokens": ["<u>"]}),
        ),
    ];
    for folder in [
        parts(&added),
        parts(&both),
        parts(&config(user(257, false))),
        whole(json!({}), &added),
        whole(json!({}), &both),
        whole(json!({}), &config(user(257, false))),
    ] {
        let tokenizer = read(&folder);
        assert_eq!(tokenizer.encode("hi<u> h").unwrap(), [H, I, 257, SPACE, H]);
        assert_eq!(tokenizer.decode(&[H, 257, H]).unwrap(), "h<u>h");
        assert_eq!(tokenizer.vocab_size(), 258);
        assert!(
            tokenizer.fits(257).is_err(),
            "the model must have a row for it"
        );
    }
    // A token that takes the space around it.
    for folder in [
        parts(&config(user(257, true))),
        whole(json!({}), &config(user(257, true))),
    ] {
        assert_eq!(read(&folder).encode("hi <u> h").unwrap(), [H, I, 257, H]);
    }
}

#[test]
fn an_added_token_has_the_id_that_its_file_gives_it() {
    let config = [("tokenizer_config.json", user(270, false))];
    for folder in [parts(&config), whole(json!({}), &config)] {
        let tokenizer = read(&folder);
        assert_eq!(tokenizer.encode("h<u>").unwrap(), [H, 270]);
        assert_eq!(tokenizer.decode(&[270, H]).unwrap(), "<u>h");
    }
}

#[test]
fn a_named_token_without_an_id_comes_last_and_needs_no_row() {
    let named = json!({"pad_token": "<u>", "eos_token": END_OF_TEXT, "unk_token": null});
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        for folder in [
            parts(&[(file, named.clone())]),
            whole(json!({}), &[(file, named.clone())]),
        ] {
            let tokenizer = read(&folder);
            assert_eq!(tokenizer.encode("h<u>").unwrap(), [H, 257], "{file}");
            tokenizer.fits(257).unwrap();
            assert!(tokenizer.fits(256).is_err());
        }
    }
}

#[test]
fn a_space_before_the_first_word_is_added_where_a_file_says_so() {
    let config = |class: Option<&str>, space: bool| {
        let settings = json!({"tokenizer_class": class, "add_prefix_space": space});
        [("tokenizer_config.json", settings)]
    };
    let byte_level = |space: bool| {
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true,
        });
        json!({ "pre_tokenizer": bytes })
    };
    let gpt2 = Some("GPT2Tokenizer");
    let fast = Some("PreTrainedTokenizerFast");
    for (folder, space) in [
        (parts(&[]), false),
        (parts(&config(gpt2, true)), true),
        (whole(byte_level(true), &[]), true),
        (whole(byte_level(false), &config(gpt2, true)), true),
        (whole(byte_level(false), &config(None, true)), true),
        (whole(byte_level(true), &config(gpt2, false)), false),
        (whole(byte_level(false), &config(fast, true)), false),
        (whole(byte_level(true), &config(fast, false)), true),
    ] {
        let expected: &[u32] = if space { &[SPACE, H, I] } else { &[H, I] };
        let tokenizer = read(&folder);
        assert_eq!(tokenizer.encode("hi").unwrap(), expected);
        assert_eq!(tokenizer.encode(" hi").unwrap(), [SPACE, H, I]);
        let mut found = (Vec::new(), Vec::new());
        let cached = CachedEncoder::new(tokenizer);
        let text = "hi, hi!\n\nIt's h.";
        cached
            .encode_into(text, &mut found.0, &mut found.1)
            .unwrap();
        assert_eq!(found.0, cached.tokenizer().encode(text).unwrap());
        assert_eq!(found.1.len(), found.0.len());
        // All tokens of a word end where it does.
        let word = usize::from(space);
        assert_eq!(found.1[..word + 3], [vec![2; word + 2], vec![3]].concat());
        assert_eq!(found.1.last(), Some(&text.len()));
    }
}

#[test]
fn a_splitter_of_another_kind_is_not_taken_for_gpt2s() {
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let digits = json!({"type": "Digits", "individual_digits": true});
    let merged = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
        "vocab": bytes_and(&["12"]), "merges": [["1", "2"]],
    });
    for changes in [
        json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytes]}, "model": merged}),
        json!({"normalizer": {"type": "Lowercase"}}),
        json!({"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "_"}}),
        json!({"pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        }, "model": merged}),
        json!({"pre_tokenizer": null}),
    ] {
        let cached = CachedEncoder::new(read(&whole(changes.clone(), &[])));
        for text in ["Hi 12 hi 12", "12", "A 1, b 2.\n"] {
            let mut found = (Vec::new(), Vec::new());
            cached
                .encode_into(text, &mut found.0, &mut found.1)
                .unwrap();
            let expected = cached.tokenizer().encode(text).unwrap();
            assert_eq!(found.0, expected, "{changes}");
            assert_eq!(found.0.len(), found.1.len());
        }
    }
}

fn bytes_and(tokens: &[&str]) -> Map<String, Value> {
    let mut vocab = bytes();
    for token in tokens {
        vocab.insert((*token).into(), vocab.len().into());
    }
    vocab
}

/// The ids of a prompt, which are the same if it is encoded in pieces.
fn prompt(tokenizer: &TextTokenizer) -> Vec<u32> {
    let ids = tokenizer.encode_prompt("hi").unwrap();
    let [before, after] = tokenizer.around_prompt().unwrap();
    let mut pieces = before;
    let mut encoder = PieceEncoder::new(tokenizer);
    encoder.push("hi", &mut pieces).unwrap();
    encoder.finish(&mut pieces).unwrap();
    pieces.extend(after);
    assert_eq!(pieces, ids);
    ids
}

#[test]
fn prompts_begin_and_end_as_the_folder_says() {
    let asks = json!({"add_bos_token": true, "add_eos_token": true, "eos_token": "<e>"});
    let files = [
        ("tokenizer_config.json", asks.clone()),
        ("added_tokens.json", json!({"<e>": 257})),
    ];
    let tokenizer = read(&parts(&files));
    assert_eq!(prompt(&tokenizer), [256, H, I, 257]);
    assert_eq!(tokenizer.encode("hi").unwrap(), [H, I]);
    // With a `tokenizer.json`, what it says itself is what counts.
    let tokenizer = read(&whole(json!({}), &files));
    assert_eq!(prompt(&tokenizer), [H, I]);
    let post_processor = json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            END_OF_TEXT: {"id": END_OF_TEXT, "ids": [256], "tokens": [END_OF_TEXT]},
        },
    });
    let tokenizer = read(&whole(json!({"post_processor": post_processor}), &[]));
    assert_eq!(prompt(&tokenizer), [256, H, I]);
    assert_eq!(prompt(&read(&parts(&[]))), [H, I]);
}

#[test]
fn damaged_files_are_refused_by_name() {
    for (file, content) in [
        ("tokenizer_config.json", json!([])),
        ("tokenizer_config.json", json!({"add_prefix_space": "yes"})),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"x": {"content": "<u>"}}}),
        ),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"7": {"id": 8}}}),
        ),
        ("added_tokens.json", json!({"<u>": -1})),
        ("special_tokens_map.json", json!(7)),
    ] {
        for folder in [
            parts(&[(file, content.clone())]),
            whole(json!({}), &[(file, content.clone())]),
        ] {
            let error = TextTokenizer::from_folder(folder.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(file), "{content}: {error}");
        }
    }
}
