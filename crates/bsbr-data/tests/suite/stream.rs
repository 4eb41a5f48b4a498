//! Guarantees of the training stream.

use std::collections::HashSet;

use bsbr_data::storybook::{FactKind, Split};
use bsbr_data::stream::{StreamConfig, TrainingStream};
use bsbr_data::tokenizer::{TextTokenizer, TokenizerError};

const BUNDLED: &[u8] = include_bytes!("../../../../assets/bundled/tokenizer.json");

fn stream(config: StreamConfig) -> Result<TrainingStream, TokenizerError> {
    TrainingStream::new(TextTokenizer::from_bytes(BUNDLED)?, config)
}

#[test]
fn windows_are_pure_functions_of_their_place() {
    let config = StreamConfig::for_window(1, 128);
    let (one, other) = (
        stream(config.clone()).unwrap(),
        stream(config.clone()).unwrap(),
    );
    let places: Vec<(u64, u64)> = (0..6).flat_map(|s| (0..6).map(move |r| (s, r))).collect();
    let forward: Vec<_> = places
        .iter()
        .map(|&(s, r)| one.window(s, r).unwrap())
        .collect();
    let mut backward: Vec<_> = places
        .iter()
        .rev()
        .map(|&(s, r)| other.window(s, r).unwrap())
        .collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let distinct: HashSet<_> = forward.iter().map(|w| w.ids.clone()).collect();
    assert_eq!(distinct.len(), places.len());
    let held_out = stream(StreamConfig {
        split: Split::Validation,
        ..config
    })
    .unwrap();
    assert!(!distinct.contains(&held_out.window(0, 0).unwrap().ids));
}

#[test]
fn weights_fall_on_the_values_of_answers_and_nothing_else() {
    for window in [64, 256, 2048] {
        let stream = stream(StreamConfig {
            fact_share: 1.0,
            ..StreamConfig::for_window(1, window)
        })
        .unwrap();
        let tokenizer = stream.tokenizer();
        let mut heavy = 0;
        for row in 0..20 {
            let row = stream.window(0, row).unwrap();
            assert_eq!((row.ids.len(), row.weights.len()), (window + 1, window));
            let mut expected = vec![1.0; window];
            let text = tokenizer.decode(&row.ids).unwrap();
            let mut from = 0;
            while let Some(at) = text[from..].find("Answer: ") {
                from += at;
                let Some(end) = text[from..].find(".\n").map(|at| from + at) else {
                    break;
                };
                let before = tokenizer.encode(&text[..end]).unwrap().len();
                let value = tokenizer.decode(&row.ids[before - 1..before]).unwrap();
                assert!(
                    FactKind::ALL
                        .iter()
                        .any(|k| k.values().contains(&value.trim()))
                );
                expected[before - 2] = 5.0;
                heavy += 1;
                from = end;
            }
            // The last answer may be cut right after its value.
            let last = expected.len() - 1;
            let (wanted, got) = (&mut expected[last - 2..], &row.weights[last - 2..]);
            for (wanted, got) in wanted.iter_mut().zip(got) {
                *wanted = got.max(*wanted);
            }
            assert_eq!(row.weights, expected);
        }
        assert!(
            heavy * 150 > window * 20,
            "{heavy} answers in windows of {window}"
        );
    }
}

#[test]
fn the_mix_is_what_was_asked_for() {
    let count = |config: StreamConfig, mark: &str| {
        let stream = stream(config).unwrap();
        (0..200)
            .filter(|&row| {
                let ids = stream.window(0, row).unwrap().ids;
                stream.tokenizer().decode(&ids).unwrap().contains(mark)
            })
            .count()
    };
    let config = StreamConfig::for_window(3, 1024);
    let facts = count(config.clone(), "Question:");
    assert!((115..=165).contains(&facts), "{facts}");
    let plain = StreamConfig {
        fact_share: 0.0,
        article_share: 0.0,
        ..config.clone()
    };
    assert_eq!(count(plain.clone(), "Question:"), 0);
    assert_eq!(count(plain.clone(), "TL;DR:"), 0);
    assert!(
        count(
            StreamConfig {
                article_share: 1.0,
                ..plain
            },
            "TL;DR:"
        ) > 150
    );
}

#[test]
fn plain_texts_are_as_long_as_asked_for() {
    let end = TextTokenizer::from_bytes(BUNDLED)
        .unwrap()
        .end_of_text()
        .unwrap();
    let texts = |plain_words: usize| -> usize {
        let config = StreamConfig {
            fact_share: 0.0,
            article_share: 0.0,
            plain_words,
            ..StreamConfig::for_window(3, 1024)
        };
        let stream = stream(config).unwrap();
        (0..20)
            .map(|row| stream.window(0, row).unwrap().ids)
            .map(|ids| ids.iter().filter(|&&id| id == end).count())
            .sum()
    };
    let (short, long) = (texts(20), texts(10_000));
    // One text fills a window, but for what rounding leaves.
    assert!(long < 45 && short > 2 * long, "{short} and {long}");
}

#[test]
fn shares_outside_of_their_range_are_brought_into_it() {
    let config = StreamConfig {
        fact_share: f32::NAN,
        article_share: -1.0,
        domains: Vec::new(),
        people: (0, 0),
        ..StreamConfig::for_window(3, 64)
    };
    assert_eq!(
        stream(config.clone())
            .unwrap()
            .window(0, 0)
            .unwrap()
            .ids
            .len(),
        65
    );
    let config = StreamConfig {
        fact_share: 7.0,
        window: 0,
        ..config
    };
    assert_eq!(
        stream(config).unwrap().window(0, 0).unwrap().weights.len(),
        0
    );
}
