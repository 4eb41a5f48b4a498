//! Guarantees of the tokenizer.

use std::sync::LazyLock;

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::{CachedEncoder, END_OF_TEXT, TextTokenizer, TokenizerError};
use proptest::prelude::*;

const BUNDLED: &[u8] = include_bytes!("../../../../assets/bundled/tokenizer.json");

// It was trained when storybook's episodes were longer, and is kept for the model that knows its ids.
#[test]
fn the_bundled_tokenizer_is_as_good_as_one_trained_now() {
    let texts = Storybook::new(0).tokenizer_texts();
    let trained = TextTokenizer::train_bpe(texts, 3072).unwrap();
    let bundled = TextTokenizer::from_bytes(BUNDLED).unwrap();
    let tokens = |tokenizer: &TextTokenizer| -> usize {
        Domain::ALL
            .iter()
            .map(|&domain| {
                Storybook::new(1)
                    .plain(Split::Validation, domain, 0, 2000)
                    .text
            })
            .map(|text| tokenizer.encode(&text).unwrap().len())
            .sum()
    };
    let [bundled, trained] = [&bundled, &trained].map(tokens);
    assert!(
        bundled * 100 <= trained * 101,
        "{bundled} tokens, {trained} of a new one"
    );
}

/// With another tokenizer in its place the bundled model would read nonsense.
#[test]
fn the_bundled_tokenizer_has_the_ids_that_the_bundled_model_knows() {
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    let known: [(&str, u32); 7] = [
        (" Mara", 1168),
        (" Odrin", 1609),
        (" attic", 1634),
        (" weaver", 1641),
        (" heron", 1809),
        (" lantern", 1815),
        (" Velden", 2167),
    ];
    for (word, id) in known {
        assert_eq!(tokenizer.encode(word).unwrap(), [id], "{word}");
    }
}

#[test]
fn training_gives_the_same_twice() {
    let train = || {
        let texts = Storybook::new(0).tokenizer_texts();
        TextTokenizer::train_bpe(texts, 3072)
            .unwrap()
            .to_json()
            .unwrap()
    };
    assert_eq!(train(), train());
}

#[test]
fn fact_words_are_one_token() {
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    for word in Storybook::fact_words() {
        let ids = tokenizer.encode(&format!(" {word}")).unwrap();
        assert_eq!(ids.len(), 1, "{word}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), format!(" {word}"));
    }
}

#[test]
fn the_separator_is_the_last_id_and_one_token() {
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    assert_eq!(tokenizer.vocab_size(), 3072);
    assert_eq!(tokenizer.end_of_text().unwrap(), 3071);
    assert_eq!(tokenizer.encode(END_OF_TEXT).unwrap(), [3071]);
}

#[test]
fn a_saved_tokenizer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    let inner = folder.path().join("a/b");
    tokenizer.save(&inner).unwrap();
    assert!(std::fs::read(inner.join("tokenizer.json")).unwrap() == BUNDLED);
    assert_eq!(
        std::fs::read_dir(&inner).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    let text = "The treasure of Mara is in the attic.";
    let again = TextTokenizer::from_folder(&inner).unwrap();
    assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap());
}

#[test]
fn a_vocab_and_merges_make_the_same_tokenizer() {
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    let json: serde_json::Value = serde_json::from_slice(BUNDLED).unwrap();
    let mut vocab = json["model"]["vocab"].clone();
    vocab[END_OF_TEXT] = 3071.into();
    let mut merges = String::from("#version: 0.2\n");
    for pair in json["model"]["merges"].as_array().unwrap() {
        let side = |at: usize| pair[at].as_str().unwrap();
        merges.push_str(&format!("{} {}\n", side(0), side(1)));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vocab.json"), vocab.to_string()).unwrap();
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
    let old = TextTokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(old.vocab_size(), 3072);
    let mut text = Storybook::new(4)
        .plain(Split::Test, Domain::News, 0, 300)
        .text;
    text.push_str(END_OF_TEXT);
    assert_eq!(old.encode(&text).unwrap(), tokenizer.encode(&text).unwrap());
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = TextTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(matches!(missing, TokenizerError::Missing { .. }));
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, "{}").unwrap();
    let malformed = TextTokenizer::from_folder(folder.path()).unwrap_err();
    let text = malformed.to_string();
    assert!(
        text.contains(&file.display().to_string()) && text.contains("again"),
        "{text}"
    );
    std::fs::remove_file(&file).unwrap();
    std::fs::write(folder.path().join("vocab.json"), "[").unwrap();
    std::fs::write(folder.path().join("merges.txt"), "").unwrap();
    let text = TextTokenizer::from_folder(folder.path())
        .unwrap_err()
        .to_string();
    assert!(text.contains("vocab.json"), "{text}");
    let blocked = folder.path().join("vocab.json");
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    assert!(matches!(
        tokenizer.save(&blocked),
        Err(TokenizerError::Output(_))
    ));
}

#[test]
fn a_tokenizer_without_a_separator_says_so() {
    let mut json: serde_json::Value = serde_json::from_slice(BUNDLED).unwrap();
    json["added_tokens"] = serde_json::json!([]);
    let tokenizer = TextTokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let error = tokenizer.end_of_text().unwrap_err();
    assert!(error.to_string().contains(END_OF_TEXT));
}

#[test]
fn a_tokenizer_fits_an_embedding_of_as_many_rows_or_more() {
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    assert!(tokenizer.fits(3072).is_ok());
    assert!(tokenizer.fits(3136).is_ok());
    let error = tokenizer.fits(3071).unwrap_err();
    assert!(matches!(
        error,
        TokenizerError::NoEmbedding {
            id: 3071,
            rows: 3071,
            ..
        }
    ));
    let text = error.to_string();
    for part in [END_OF_TEXT, "3071", "trained with"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn few_texts_make_a_small_vocabulary() {
    let tokenizer = TextTokenizer::train_bpe(["a rose is a rose"], 5000).unwrap();
    assert!(tokenizer.vocab_size() < 300);
    let text = "A rose, by \"any\" name: \u{e9}t\u{e9}!\n";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
}

static CACHED: LazyLock<Result<CachedEncoder, TokenizerError>> =
    LazyLock::new(|| Ok(CachedEncoder::new(TextTokenizer::from_bytes(BUNDLED)?)));

fn assert_cached_alike(text: &str) -> Result<(), &'static TokenizerError> {
    let encoder = CACHED.as_ref()?;
    let (mut ids, mut ends) = (vec![7], Vec::new());
    let cached = encoder.encode_into(text, &mut ids, &mut ends);
    let plain = encoder.tokenizer().encode(text);
    assert!(
        cached.is_ok() && plain.is_ok_and(|plain| plain == ids[1..]),
        "{text:?}"
    );
    assert_eq!(ends.len() + 1, ids.len());
    assert!(ends.is_sorted());
    assert_eq!(ends.last().copied().unwrap_or(0), text.len());
    Ok(())
}

#[test]
fn the_cache_changes_nothing_on_storybook() {
    let book = Storybook::new(2);
    for index in 0..10 {
        for domain in Domain::ALL {
            assert_cached_alike(&book.plain(Split::Train, domain, index, 300).text).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn every_text_comes_back(text in "\\PC{0,60}") {
        let tokenizer = CACHED.as_ref().unwrap().tokenizer();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn the_cache_changes_nothing_on_any_ascii(text in "[ -~\t\n]{0,60}|([a'stvmdrel ]|\n| {2,3}){0,40}|([a <|>]|\n|<\\|endoftext\\|>){0,20}") {
        assert_cached_alike(&text).unwrap();
        assert_cached_alike(&text).unwrap();
    }

    #[test]
    fn the_cache_passes_other_text_on(text in "\\PC{0,20}") {
        assert_cached_alike(&text).unwrap();
    }
}
