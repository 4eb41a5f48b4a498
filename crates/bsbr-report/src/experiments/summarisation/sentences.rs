//! Sentences of a text.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use unicode_segmentation::UnicodeSegmentation;

/// The minimum number of words of a sentence: `Step 1.` belongs to the following text.
const LEAST_WORDS: usize = 3;

/// The sentences of a text, which also end at line ends, by Unicode's rules (UAX 29).
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        for (at, piece) in line.split_sentence_bound_indices() {
            let end = at + piece.len();
            let sentence = line[start..end].trim();
            let last = end == line.len();
            if sentence.split_whitespace().count() >= LEAST_WORDS || (last && !sentence.is_empty())
            {
                found.push(sentence);
                start = end;
            }
        }
    }
    found
}

/// The text with one sentence per line, as ROUGE-Lsum expects.
pub(super) fn on_lines(text: &str) -> String {
    sentences(text).join("\n")
}

/// `count` random sentences, in order.
pub(super) fn chosen<'a>(
    sentences: &[&'a str],
    count: usize,
    seed: u64,
    index: u64,
) -> Vec<&'a str> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    let count = count.min(sentences.len());
    let mut places = rand::seq::index::sample(&mut rng, sentences.len(), count).into_vec();
    places.sort_unstable();
    places.iter().map(|&place| sentences[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::{chosen, on_lines, sentences};

    #[test]
    fn lines_and_stops_end_sentences() {
        let text = "The wheel of Zander.\nStep 1. Turn the wheel. Wait for 3.5 hours there.\n\
                    - Milo: Look, it turns\n\"Nobody told us!\" he said. Yes.\n";
        assert_eq!(
            sentences(text),
            [
                "The wheel of Zander.",
                "Step 1. Turn the wheel.",
                "Wait for 3.5 hours there.",
                "- Milo: Look, it turns",
                "\"Nobody told us!\"",
                "he said. Yes.",
            ]
        );
        assert_eq!(on_lines("It is so. It was so."), "It is so.\nIt was so.");
        assert!(sentences(" \n").is_empty());
    }

    #[test]
    fn chance_keeps_the_order_and_takes_none_twice() {
        let all = ["a", "b", "c", "d", "e", "f"];
        let mut seen = Vec::new();
        for index in 0..50 {
            let three = chosen(&all, 3, 1, index);
            assert_eq!(three, chosen(&all, 3, 1, index));
            assert!(three.is_sorted() && three[0] != three[1] && three[1] != three[2]);
            seen.extend(three);
        }
        assert!(all.iter().all(|one| seen.contains(one)));
        assert_eq!(chosen(&all[..2], 3, 1, 0), ["a", "b"]);
    }
}
