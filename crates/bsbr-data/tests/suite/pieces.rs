//! Encoding a text in pieces gives the ids of the whole text.

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::stream::{StreamConfig, TrainingStream};
use bsbr_data::tokenizer::{CachedEncoder, PieceEncoder, TextTokenizer, TokenizerError};
use serde_json::{Value, json};

const BUNDLED: &[u8] = include_bytes!("../../../../assets/bundled/tokenizer.json");

/// The bundled tokenizer with some of its file changed.
fn changed(change: impl Fn(&mut Value)) -> TextTokenizer {
    let mut json = serde_json::from_slice(BUNDLED).unwrap();
    change(&mut json);
    TextTokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

/// Tokenizers that split texts differently.
fn tokenizers() -> Vec<(&'static str, TextTokenizer)> {
    let digits = json!({"type": "Digits", "individual_digits": true});
    vec![
        ("as GPT-2", changed(|_| ())),
        (
            "a blank before",
            changed(|json| json["pre_tokenizer"]["add_prefix_space"] = true.into()),
        ),
        (
            "digits alone",
            changed(|json| {
                let bytes = json["pre_tokenizer"].take();
                json["pre_tokenizer"] =
                    json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
            }),
        ),
        (
            "small letters",
            changed(|json| json["normalizer"] = json!({"type": "Lowercase"})),
        ),
        (
            "tokens with blanks",
            changed(|json| {
                let tokens = json["added_tokens"].as_array_mut().unwrap();
                for (at, (content, lstrip, rstrip)) in [
                    ("two words", false, false),
                    ("<l>", true, false),
                    ("<r>", false, true),
                ]
                .into_iter()
                .enumerate()
                {
                    tokens.push(
                        json!({"id": 3072 + at, "content": content, "lstrip": lstrip,
                        "rstrip": rstrip, "normalized": false, "single_word": false,
                        "special": true}),
                    );
                }
            }),
        ),
    ]
}

/// More than a few pieces of prose.
fn prose() -> String {
    let book = Storybook::new(3);
    let mut text = String::new();
    for index in 0.. {
        for domain in Domain::ALL {
            text.push_str(&book.plain(Split::Test, domain, index, 2000).text);
        }
        text.push_str(
            "It 's two words <l>   12,345.67 \u{e9}t\u{e9} <r>   \t\n\n  <|endoftext|> n't!'s\n",
        );
        if text.len() > 400_000 {
            return text;
        }
    }
    text
}

fn in_pieces(
    tokenizer: &TextTokenizer,
    text: &str,
    part: usize,
) -> Result<Vec<u32>, TokenizerError> {
    let mut encoder = PieceEncoder::new(tokenizer);
    let mut ids = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.ceil_char_boundary(part));
        encoder.push(now, &mut ids)?;
        rest = later;
    }
    encoder.finish(&mut ids)?;
    Ok(ids)
}

#[test]
fn prose_has_the_ids_of_the_whole_whatever_the_tokenizer() {
    let text = prose();
    for (name, tokenizer) in tokenizers() {
        let whole = tokenizer.encode(&text).unwrap();
        for part in [60_000, usize::MAX / 2] {
            let ids = in_pieces(&tokenizer, &text, part).unwrap();
            assert!(ids == whole, "{name}, parts of {part} bytes");
        }
    }
}

#[test]
fn an_endless_word_has_the_ids_of_the_whole() {
    let tokenizer = changed(|_| ());
    let mut random = 7u64;
    let mut letters = |from: &[u8]| {
        let next = |_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(from[(random >> 33) as usize % from.len()])
        };
        (0..300_000).map(next).collect::<String>()
    };
    let words = [
        "a".repeat(300_001),
        "ab".repeat(150_000),
        " ".repeat(300_003),
        "\n".repeat(299_999),
        format!("{}x", " ".repeat(300_000)),
        "'".repeat(300_000),
        "'s".repeat(150_000),
        "\u{4f60}\u{597d}".repeat(50_000),
        "\u{1f642}".repeat(75_000),
        letters(b"etaoinshrdlu"),
        letters(b"0123456789"),
        letters(b"the,.'s "),
        format!(
            "a {}",
            letters(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/=")
        ),
    ];
    for word in &words {
        let whole = tokenizer.encode(word).unwrap();
        let ids = in_pieces(&tokenizer, word, 50_000).unwrap();
        let start: String = word.chars().take(12).collect();
        assert!(ids == whole, "{start}…, {} bytes", word.len());
    }
}

#[test]
fn texts_follow_one_another() {
    let tokenizer = changed(|_| ());
    let text = prose();
    let mut encoder = PieceEncoder::new(&tokenizer);
    for text in ["", "a rose", &text, " is", &text] {
        let mut ids = Vec::new();
        encoder.push(text, &mut ids).unwrap();
        encoder.finish(&mut ids).unwrap();
        assert_eq!(ids, tokenizer.encode(text).unwrap());
    }
}

#[test]
fn the_cache_gives_the_ids_of_the_tokenizer_and_marks_answers_whatever_it_splits_at() {
    for (name, tokenizer) in tokenizers() {
        let cached = CachedEncoder::new(tokenizer.clone());
        let text = "Mara, the weaver, said: \"Odrin.\" It was 12:30; she left.\n";
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        cached.encode_into(text, &mut ids, &mut ends).unwrap();
        assert_eq!(ids, tokenizer.encode(text).unwrap(), "{name}");
        assert_eq!(ends.len(), ids.len());
        assert!(ends.is_sorted() && ends.ends_with(&[text.len()]), "{name}");
        assert!(ends.contains(&"Mara".len()), "{name}");
        let config = StreamConfig::for_window(1, 256);
        let stream = TrainingStream::new(tokenizer, config).unwrap();
        let weighted = (0..20u64).any(|row| {
            let window = stream.window(0, row).unwrap();
            window.weights.iter().any(|weight| *weight > 1.0)
        });
        assert!(weighted, "{name}");
    }
}

#[test]
fn a_hole_in_the_vocabulary_counts_by_the_highest_id() {
    let holed = changed(|json| json["model"]["vocab"]["zzz"] = 3200.into());
    assert_eq!(holed.vocab_size(), 3201);
    assert!(holed.fits(3201).is_ok());
    let error = holed.fits(3200).unwrap_err();
    assert!(
        matches!(
            error,
            TokenizerError::NoEmbedding {
                id: 3200,
                rows: 3200,
                ..
            }
        ),
        "{error}"
    );
}

/// Whatever it is called: the folder says which token ends a text.
#[test]
fn the_end_of_text_is_what_the_folder_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, json: Value| {
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    };
    let read = || TextTokenizer::from_folder(folder.path()).unwrap();
    let mut json: Value = serde_json::from_slice(BUNDLED).unwrap();
    file("tokenizer.json", json.clone());
    assert_eq!(read().end_of_text_id(), read().token_to_id("<|endoftext|>"));
    assert_eq!(read().or_end_of_text(Some(7)).end_of_text_id(), Some(7));
    // No token has that id.
    assert_eq!(
        read().or_end_of_text(Some(50_256)).end_of_text_id(),
        Some(3071)
    );
    let end = json!({"id": 3072, "content": "</s>", "lstrip": false, "rstrip": false,
        "normalized": false, "single_word": false, "special": true});
    json["added_tokens"].as_array_mut().unwrap().push(end);
    file("tokenizer.json", json);
    for (name, said) in [
        ("special_tokens_map.json", json!({"eos_token": "</s>"})),
        (
            "tokenizer_config.json",
            json!({"eos_token": {"content": "</s>"}}),
        ),
        ("tokenizer_config.json", json!({"eos_token": "</s>"})),
    ] {
        file(name, said);
        let tokenizer = read().or_end_of_text(Some(7));
        assert_eq!(tokenizer.end_of_text_id(), Some(3072), "{name}");
        assert_eq!(tokenizer.encode_document("a").unwrap()[0], 3072);
        let stream = TrainingStream::new(tokenizer, StreamConfig::for_window(1, 64)).unwrap();
        assert_eq!(stream.window(0, 0).unwrap().ids[0], 3072);
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
}
