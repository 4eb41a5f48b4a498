//! Text files instead of storybook.

use bsbr_report::ReportError;
use bsbr_report::corpus::{Corpus, random};

use crate::tiny;

#[test]
fn files_are_domains_and_their_first_fifth_is_never_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..400).map(|i| format!("word{i} ")).collect();
    let paths = [folder.path().join("one.txt"), folder.path().join("two.txt")];
    std::fs::write(&paths[0], words.concat()).unwrap();
    std::fs::write(&paths[1], "short").unwrap();
    let corpus = Corpus::files(tiny::tokenizer(), &paths).unwrap();
    assert_eq!(corpus.domains(), ["one", "two"]);

    let count = corpus.available("one", 50, 100).unwrap();
    assert!((1..100).contains(&count));
    assert_eq!(corpus.available("one", 50, 2).unwrap(), 2);
    let training = corpus.training(0, 10_000, 50).unwrap().concat();
    let all = corpus.tokenizer().encode(&words.concat()).unwrap();
    assert!(all.starts_with(&training[..training.len() - 1]));
    // Choices are made on the same part, as far as a file has one.
    let choices = corpus.development(0, 4, 50).unwrap();
    assert_eq!(choices.concat(), training[..100]);
    let mut texts = Vec::new();
    for index in 0..count {
        texts.extend(corpus.text(0, "one", index, 50).unwrap());
    }
    assert_eq!(texts, all[all.len() / 5..][..texts.len()]);

    let error = corpus.available("two", 50, 1).unwrap_err();
    assert!(matches!(error, ReportError::ShortText { .. }), "{error}");
    assert!(corpus.text(0, "one", count, 50).is_err());
    let other = Corpus::files(tiny::tokenizer(), &paths[..1]).unwrap();
    assert_ne!(corpus.hash(), other.hash());
}

#[test]
fn random_ids_depend_on_seed_and_index() {
    assert_eq!(random(1, 0, 50, 20), random(1, 0, 50, 20));
    assert_ne!(random(1, 0, 50, 20), random(1, 1, 50, 20));
    assert_ne!(random(1, 0, 50, 20), random(2, 0, 50, 20));
    assert!(random(1, 0, 50, 200).iter().all(|&id| id < 50));
}
