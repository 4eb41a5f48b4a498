//! Plain documents for language modelling.

use std::ops::Range;

use rand::Rng;

use super::facts::{Fact, FactKind, draw_facts};
use super::prose::Prose;
use super::rng::{Purpose, stream};
use super::scene::draw_cast;
use super::text::Text;
use super::{Domain, Split, Storybook};

/// Prose without questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainDocument {
    /// The text; ends with a newline.
    pub text: String,
    /// The domain of its prose.
    pub domain: Domain,
    /// The stated facts with the bytes of their values; often none.
    pub facts: Vec<(Fact, Range<usize>)>,
}

impl Storybook {
    /// Prose of a domain with about `target_words` words.
    pub fn plain(
        &self,
        split: Split,
        domain: Domain,
        index: u64,
        target_words: usize,
    ) -> PlainDocument {
        let mut rng = stream(self.seed, split, Purpose::Plain, domain as u64, index);
        let rng = &mut rng;
        // Any person may come and go; facts are about a few.
        let cast = draw_cast(rng, usize::MAX);
        let known = &cast[..rng.random_range(3..7)];
        let per_person = if rng.random_bool(0.4) { 0.7 } else { 0.0 };
        let mut pending = draw_facts(rng, &FactKind::ALL, known, per_person);
        let mut facts = Vec::new();
        let mut text = Text::default();
        let mut prose = Prose::new(rng, domain, cast);
        prose.title(&mut text, rng);
        while text.words() < target_words {
            prose.step(&mut text, rng);
            if rng.random_bool(0.1)
                && let Some(fact) = pending.pop()
            {
                prose.interrupt(&mut text);
                facts.push((fact, fact.state(&mut text, rng, &prose.scene)));
            }
        }
        text.end_line();
        PlainDocument {
            text: text.into_string(),
            domain,
            facts,
        }
    }
}
