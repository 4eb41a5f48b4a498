//! Documents for training retrieval: facts, prose and questions.

use std::ops::Range;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::facts::{Fact, FactKind, draw_facts};
use super::prose::Prose;
use super::rng::{ChaCha8Rng, Purpose, pick, stream};
use super::scene::{draw_cast, protagonists};
use super::text::Text;
use super::{Domain, Split, Storybook};

/// Settings of a training document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSpec {
    /// The approximate number of words (default 800).
    pub target_words: usize,
    /// The minimum and maximum number of people (default 8 to 16).
    pub people: (usize, usize),
    /// The kinds of stated facts (default all).
    pub kinds: Vec<FactKind>,
    /// The mean number of facts per person (default 2), limited so that
    /// questions and some prose fit.
    pub facts_per_person: f32,
    /// The share of words in question lines, 0 to 0.5 (default 0.25). Each fact
    /// is asked at most once, so few facts also limit it.
    pub questions_share: f32,
    /// The domains of the prose, with equal probability (default all).
    pub domains: Vec<Domain>,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        Self {
            target_words: 800,
            people: (8, 16),
            kinds: FactKind::ALL.to_vec(),
            facts_per_person: 2.0,
            questions_share: 0.25,
            domains: Domain::ALL.to_vec(),
        }
    }
}

/// An answered question in a training document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredFact {
    /// The fact in question.
    pub fact: Fact,
    /// The bytes of the value where the fact was stated.
    pub evidence: Range<usize>,
    /// The bytes of the value in the answer.
    pub answer: Range<usize>,
}

/// A document with facts and answered questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingDocument {
    /// The text; ends with a newline.
    pub text: String,
    /// The domain of its prose.
    pub domain: Domain,
    /// The questions, in the order of the text.
    pub questions: Vec<AnsweredFact>,
    /// All stated facts with the bytes of their values.
    pub facts: Vec<(Fact, Range<usize>)>,
}

/// The approximate number of words of a question line.
const QUESTION_WORDS: f32 = 11.5;
/// The approximate number of words of a statement.
const STATEMENT_WORDS: f32 = 9.0;
/// The maximum share of statements in the rest of the document.
const STATEMENTS_SHARE: f32 = 0.7;

enum Event {
    State(Fact),
    Ask,
}

impl Storybook {
    /// A document that states facts, in a group at the start and later on, and
    /// asks for them at all distances: each question picks any fact that was
    /// stated and not yet asked.
    pub fn training_document(
        &self,
        split: Split,
        index: u64,
        spec: &TrainingSpec,
    ) -> TrainingDocument {
        let mut rng = stream(self.seed, split, Purpose::Training, 0, index);
        let rng = &mut rng;
        let domain = pick(rng, &spec.domains);
        let (least, most) = (
            spec.people.0.max(1),
            spec.people.1.max(spec.people.0.max(1)),
        );
        let people = rng.random_range(least..=most);
        let cast = draw_cast(rng, people);
        let mut facts = draw_facts(rng, &spec.kinds, &cast, spec.facts_per_person);
        let share = spec.questions_share.clamp(0.0, 0.5);
        // Statements leave room for questions and some prose.
        let room = spec.target_words as f32 * (1.0 - share) * STATEMENTS_SHARE / STATEMENT_WORDS;
        facts.truncate((room as usize).max(2));
        let asked = (spec.target_words as f32 * share / QUESTION_WORDS).round() as usize;
        let asked = asked.min(facts.len());

        let mut text = Text::default();
        let active = protagonists(rng, &cast);
        let mut prose = Prose::new(rng, domain, active);
        prose.title(&mut text, rng);
        let mut page = Page {
            text,
            prose,
            open: Vec::new(),
            facts: Vec::new(),
            questions: Vec::new(),
        };

        // A group at the start, the other facts later.
        let early = rng.random_range(0.3..1.0f32);
        let early = ((facts.len() as f32 * early).ceil() as usize).min(facts.len());
        for &fact in &facts[..early] {
            page.state(rng, fact);
            if rng.random_bool(0.2) {
                page.prose.step(&mut page.text, rng);
            }
        }
        let late = facts.len() - early;
        let mut events: Vec<(f32, Event)> = Vec::with_capacity(late + asked);
        for &fact in &facts[early..] {
            events.push((rng.random_range(0.0..0.85), Event::State(fact)));
        }
        events.extend((0..asked).map(|_| (rng.random_range(0.0..1.0), Event::Ask)));
        events.shuffle(rng);
        events.sort_by(|a, b| a.0.total_cmp(&b.0));

        let begun = page.text.words() as f32;
        let reserved = asked as f32 * QUESTION_WORDS + late as f32 * STATEMENT_WORDS;
        let filler = (spec.target_words as f32 - begun - reserved).max(0.0);
        let mut extra = 0.0;
        let mut missed = 0;
        for (at, event) in events {
            let goal = begun + at * filler + extra;
            page.prose.run_to(&mut page.text, rng, goal as usize);
            let before = page.text.words();
            match event {
                Event::State(fact) => page.state(rng, fact),
                Event::Ask if page.open.is_empty() => missed += 1,
                Event::Ask => page.ask(rng),
            }
            extra += (page.text.words() - before) as f32;
        }
        let goal = begun + filler + extra;
        page.prose.run_to(&mut page.text, rng, goal as usize);
        for _ in 0..missed {
            if !page.open.is_empty() {
                page.ask(rng);
            }
        }
        page.text.end_line();
        TrainingDocument {
            text: page.text.into_string(),
            domain,
            questions: page.questions,
            facts: page.facts,
        }
    }
}

/// A document under construction.
struct Page {
    text: Text,
    prose: Prose,
    open: Vec<(Fact, Range<usize>)>,
    facts: Vec<(Fact, Range<usize>)>,
    questions: Vec<AnsweredFact>,
}

impl Page {
    fn state(&mut self, rng: &mut ChaCha8Rng, fact: Fact) {
        self.prose.interrupt(&mut self.text);
        let span = fact.state(&mut self.text, rng, &self.prose.scene);
        self.open.push((fact, span.clone()));
        self.facts.push((fact, span));
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) {
        let chosen = rng.random_range(0..self.open.len());
        let (fact, evidence) = self.open.swap_remove(chosen);
        let answer = fact.ask(&mut self.text, rng);
        self.questions.push(AnsweredFact {
            fact,
            evidence,
            answer,
        });
    }
}
