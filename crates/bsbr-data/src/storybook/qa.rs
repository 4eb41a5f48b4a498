//! Questions about facts that were stated once, far back.

use std::ops::Range;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::facts::{Fact, FactKind, draw_facts, facts_of_kind};
use super::prose::Prose;
use super::rng::{Purpose, pick, stream};
use super::scene::{draw_cast, protagonists};
use super::text::{Text, count_words};
use super::{Domain, Split, Storybook};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// Settings of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QaSpec {
    /// The minimum number of words between the value and the question (default
    /// 1700).
    pub min_distance_words: usize,
    /// The number of candidates including the answer (default 20), at most the
    /// number of values of the kind.
    pub num_candidates: usize,
    /// The number of people in the document, at most 50 (default 22).
    pub cast: usize,
    /// The kinds of stated and requested facts; `None` (the default) for all.
    pub kinds: Option<Vec<FactKind>>,
    /// The number of facts stated about each person (default 2): one of the
    /// requested kind, the others of other kinds.
    pub facts_per_person: usize,
}

impl Default for QaSpec {
    fn default() -> Self {
        Self {
            min_distance_words: 1700,
            num_candidates: 20,
            cast: 22,
            kinds: None,
            facts_per_person: 2,
        }
    }
}

/// A question about a long document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QaItem {
    /// The document.
    pub context: String,
    /// The continuation: a newline, the question, and the answer's phrase up to the
    /// value. The model continues with a space and the value.
    pub prompt: String,
    /// The requested value.
    pub answer: String,
    /// Values of the same kind including the answer, in random order.
    pub candidates: Vec<String>,
    /// The kind of the requested fact.
    pub kind: FactKind,
    /// The domain of the prose.
    pub domain: Domain,
    /// The bytes of the value in the context, where it occurs once.
    pub evidence: Range<usize>,
    /// The number of words between the value and the question.
    pub distance_words: usize,
}

impl Storybook {
    /// A document that ends in a question about one of its first facts.
    pub fn qa(&self, split: Split, index: u64, spec: &QaSpec) -> QaItem {
        let mut rng = stream(self.seed, split, Purpose::Question, 0, index);
        let rng = &mut rng;
        let domain = pick(rng, &Domain::ALL);
        let kinds = spec.kinds.as_deref().unwrap_or(&FactKind::ALL);
        let kinds = if kinds.is_empty() {
            &FactKind::ALL
        } else {
            kinds
        };
        let kind = kinds[rng.random_range(0..kinds.len())];
        // No two people share a value, so the shortest list limits the cast.
        let most = kinds.iter().map(|kind| kind.values().len()).min();
        let cast = draw_cast(rng, spec.cast.clamp(2, most.unwrap_or(2)));
        let rivals = facts_of_kind(rng, kind, &cast);
        let others: Vec<FactKind> = kinds.iter().copied().filter(|k| *k != kind).collect();
        let per_person = spec.facts_per_person.saturating_sub(1) as f32;
        let mut facts = draw_facts(rng, &others, &cast, per_person);
        facts.extend_from_slice(&rivals);
        facts.shuffle(rng);
        let asked: Fact = rivals[rng.random_range(0..rivals.len())];

        let mut text = Text::default();
        let active = protagonists(rng, &cast);
        let mut prose = Prose::new(rng, domain, active);
        prose.title(&mut text, rng);
        let mut evidence = 0..0;
        let mut words_at_evidence = 0;
        for fact in &facts {
            prose.interrupt(&mut text);
            let span = fact.state(&mut text, rng, &prose.scene);
            if *fact == asked {
                words_at_evidence = count_words(&text.as_str()[..span.end]);
                evidence = span;
            }
            if rng.random_bool(0.2) {
                prose.step(&mut text, rng);
            }
        }
        prose.run_to(&mut text, rng, words_at_evidence + spec.min_distance_words);
        let distance_words = text.words() - words_at_evidence;
        let prompt = format!("\n{}", asked.prompt(rng));

        // The values of other people come first, then values from outside the
        // document.
        let mut wrong: Vec<&str> = rivals
            .iter()
            .map(|fact| fact.value)
            .filter(|value| *value != asked.value)
            .collect();
        wrong.shuffle(rng);
        let mut outside: Vec<&str> = kind
            .values()
            .iter()
            .copied()
            .filter(|value| *value != asked.value && !wrong.contains(value))
            .collect();
        outside.shuffle(rng);
        wrong.append(&mut outside);
        wrong.truncate(spec.num_candidates.saturating_sub(1));
        wrong.push(asked.value);
        wrong.shuffle(rng);

        let mut context = text.into_string();
        context.truncate(context.trim_end().len());
        QaItem {
            context,
            prompt,
            answer: asked.value.to_owned(),
            candidates: wrong.into_iter().map(str::to_owned).collect(),
            kind,
            domain,
            evidence,
            distance_words,
        }
    }
}

/// The number of tokens from the end of the value in the context to the end of the
/// prompt: how far back the model must look to answer.
pub fn tokens_between(tokenizer: &TextTokenizer, item: &QaItem) -> Result<usize, TokenizerError> {
    let mut tail = item.context[item.evidence.end..].to_owned();
    tail.push_str(&item.prompt);
    Ok(tokenizer.encode(&tail)?.len())
}
